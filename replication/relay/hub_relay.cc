#include "replication/relay/hub_relay.h"

#include <algorithm>
#include <utility>

#include "common/base/check.h"
#include "replication/line/mutation_block.h"
#include "replication/session/greeting.h"

namespace branchline {
namespace {

std::string refusal(const Error& error) {
  return encode_frame(FrameType::refused, encode_refused(error));
}

}  // namespace

HubRelay::HubRelay(std::string server, std::string upstream, LinkBudget* budget)
    : server_(std::move(server)),
      upstream_(std::move(upstream)),
      budget_(budget ? *budget : no_limits_),
      down_because_{ErrorKind::unavailable, "link.starting", "it is not up yet"} {}

void HubRelay::send_up(std::string frame, RelayEffects& out) {
  budget_.sent(frame.size(), now_us_, wall_ms_);
  out.up.push_back(std::move(frame));
}

// --- The upstream ---

RelayEffects HubRelay::on_upstream_up(uint32_t channels) {
  up_ = true;
  most_channels_ = channels;
  next_channel_ = 1;
  receiver_ = {};
  return {};
}

RelayEffects HubRelay::on_upstream_down(const Error& why) {
  RelayEffects out;
  up_ = false;
  down_because_ = why;
  Error error{ErrorKind::unavailable, "hub.upstream_down",
              "the hub " + server_ + " has lost its link to " + upstream_ + " (" + why.message +
                  "); the link is made again by itself when that is back"};
  for (const auto& [id, leaf] : leaves_) {
    if (leaf.channels.count(0)) out.down.push_back({id, refusal(error)});
    out.closed.push_back(id);
  }
  leaves_.clear();
  channels_.clear();
  interactive_.clear();
  bulk_.clear();
  return out;
}

RelayEffects HubRelay::on_upstream(const Frame& frame, int64_t now_us, int64_t wall_ms) {
  RelayEffects out;
  now_us_ = now_us;
  wall_ms_ = wall_ms;
  auto known = [&](uint64_t channel) -> Result<void> {
    if (channel < next_channel_) return {};
    return fail(ErrorKind::invalid, "channel.unknown",
                "channel " + std::to_string(channel) + ", which was never opened");
  };
  auto handle = [&]() -> Result<void> {
    if (frame.type == FrameType::channel_closed) {
      BL_ASSIGN(uint64_t channel, decode_channel_closed(frame.payload));
      BL_TRY(known(channel));
      if (channels_.count(channel)) end(channel, out);
      return {};
    }
    if (frame.type != FrameType::channel) {
      return fail(ErrorKind::invalid, "channel.unexpected",
                  "a " + std::string(to_string(frame.type)) + " frame from the upstream");
    }
    // Also of a channel that was closed here meanwhile: the window counts every block.
    BL_ASSIGN(ChannelFrame f, receiver_.receive(frame.payload));
    BL_TRY(known(f.channel));
    if (f.channel == 0) {
      out.own.push_back(std::move(f.frame));
    } else if (channels_.count(f.channel)) {
      hand_down(f.channel, encode_frame(f.frame.type, f.frame.payload), out);
    }
    return {};
  };
  if (auto ok = handle(); !ok) out.broken = ok.error();
  return out;
}

void HubRelay::hand_down(uint64_t channel, std::string frame, RelayEffects& out) {
  const Channel& c = *channels_.at(channel);
  out.down.push_back({c.leaf, leaves_.at(c.leaf).down.send(c.below, std::move(frame))});
}

void HubRelay::end(uint64_t channel, RelayEffects& out) {
  uint64_t leaf = channels_.at(channel)->leaf, below = channels_.at(channel)->below;
  channels_.erase(channel);
  leaves_.at(leaf).channels.erase(below);
  if (below != 0) {
    out.down.push_back({leaf, encode_channel_closed(below)});
    return;
  }
  // Its own session is its link: what it carries for others ends with it.
  forget_leaf(leaf, out);
  out.closed.push_back(leaf);
}

// --- Those beneath ---

RelayEffects HubRelay::on_connected(uint64_t leaf, const std::string& peer) {
  RelayEffects out;
  leaves_[leaf].peer = peer;
  if (auto ok = open(leaf, 0, {}, out); !ok) {
    out.down.push_back({leaf, refusal(ok.error())});
    out.closed.push_back(leaf);
    leaves_.erase(leaf);
  }
  return out;
}

Result<void> HubRelay::open(uint64_t leaf, uint64_t below, std::vector<std::string> path,
                            RelayEffects& out) {
  path.push_back(leaves_.at(leaf).peer);
  if (!up_) {
    return fail(ErrorKind::unavailable, "hub.upstream_down",
                "the hub " + server_ + " has no link to " + upstream_ + " (" +
                    down_because_.message + "); the link is made by itself when that is back");
  }
  if (most_channels_ == 0) {
    return fail(ErrorKind::conflict, "hub.upstream_older",
                upstream_ + ", the upstream of the hub " + server_ +
                    ", is of a version that knows no hubs; upgrade it");
  }
  if (channels_.size() >= std::min<size_t>(most_channels_, limits::kMaxChannels)) {
    return fail(ErrorKind::unavailable, "hub.full",
                "the hub " + server_ + " carries " + std::to_string(channels_.size()) +
                    " servers already, as many as its upstream takes");
  }
  if (path.size() > limits::kMaxHubsBetween) {
    return fail(ErrorKind::conflict, "hub.deep",
                "more than " + std::to_string(limits::kMaxHubsBetween) + " hubs between " +
                    path.front() + " and the master");
  }
  uint64_t channel = next_channel_++;
  auto c = std::make_unique<Channel>();
  c->leaf = leaf;
  c->below = below;
  channels_[channel] = std::move(c);
  leaves_.at(leaf).channels[below] = channel;
  send_up(encode_frame(FrameType::channel_open, encode_channel_open({channel, std::move(path)})),
          out);
  return {};
}

RelayEffects HubRelay::on_leaf(uint64_t leaf, const Frame& frame, int64_t now_us, int64_t wall_ms) {
  now_us_ = now_us;
  wall_ms_ = wall_ms;
  RelayEffects out;
  if (!leaves_.count(leaf)) return out;
  if (auto ok = take(leaf, frame, out); !ok) {
    RelayEffects broken = on_leaf_broken(leaf, ok.error());
    for (auto& f : broken.up) out.up.push_back(std::move(f));
    for (auto& d : broken.down) out.down.push_back(std::move(d));
    out.closed.insert(out.closed.end(), broken.closed.begin(), broken.closed.end());
  }
  pump(out);
  return out;
}

Result<void> HubRelay::take(uint64_t leaf, const Frame& frame, RelayEffects& out) {
  Leaf& l = leaves_.at(leaf);
  auto known = [&](uint64_t below) -> Result<void> {
    if (below != 0 && below <= l.last) return {};
    return fail(ErrorKind::invalid, "channel.unknown",
                "channel " + std::to_string(below) + ", which was never opened");
  };
  if (frame.type == FrameType::channel_open) {
    BL_ASSIGN(ChannelOpen opening, decode_channel_open(frame.payload));
    if (opening.channel <= l.last)
      return fail(ErrorKind::invalid, "channel.number", "numbers of channels rise");
    l.last = opening.channel;
    l.down.opened();
    if (auto ok = open(leaf, opening.channel, std::move(opening.path), out); !ok) {
      out.down.push_back({leaf, l.down.send(opening.channel, refusal(ok.error()))});
      out.down.push_back({leaf, encode_channel_closed(opening.channel)});
    }
    return {};
  }
  if (frame.type == FrameType::channel) {
    BL_ASSIGN(ChannelFrame f, decode_channel_frame(frame.payload));
    BL_TRY(known(f.channel));
    auto at = l.channels.find(f.channel);
    // One that the upstream ended meanwhile.
    return at == l.channels.end() ? Result<void>{} : forward(at->second, f.frame, out);
  }
  if (frame.type == FrameType::channel_closed) {
    BL_ASSIGN(uint64_t below, decode_channel_closed(frame.payload));
    BL_TRY(known(below));
    auto at = l.channels.find(below);
    if (at == l.channels.end()) return {};
    send_up(encode_channel_closed(at->second), out);
    channels_.erase(at->second);
    l.channels.erase(at);
    return {};
  }
  return forward(l.channels.at(0), frame, out);
}

Result<void> HubRelay::forward(uint64_t channel, const Frame& frame, RelayEffects& out) {
  if (frame.type != FrameType::mutations) {
    send_up(encode_channel_frame(channel, frame.type, frame.payload), out);
    return {};
  }
  Channel& c = *channels_.at(channel);
  BL_ASSIGN(std::string block, c.in.decompress(frame.payload, limits::kMaxBlockBytes));
  c.waiting += block.size();
  if (c.waiting > limits::kMaxLinkQueueBytes) {
    return fail(ErrorKind::exhausted, "hub.queue_full",
                "more waits at the hub " + server_ + " than a branch may send at once");
  }
  auto& queue = peek_lane(block) == Lane::bulk ? bulk_ : interactive_;
  queue.push_back({channel, std::move(block)});
  return {};
}

// People's work of all goes before bulk work of any. A branch sends bulk work in its hours only,
// or where people's edits wait for it: here it is not held to hours again.
void HubRelay::pump(RelayEffects& out) {
  auto send = [&](std::deque<Waiting>& queue, Lane lane) {
    while (!queue.empty() && budget_.hold(lane, now_us_, wall_ms_, true) == SendHold::no) {
      Waiting next = std::move(queue.front());
      queue.pop_front();
      auto at = channels_.find(next.channel);
      if (at == channels_.end()) continue;  // its session is over
      Channel& c = *at->second;
      c.waiting -= next.block.size();
      send_up(encode_channel_frame(next.channel, FrameType::mutations, c.out.compress(next.block)),
              out);
    }
    return queue.empty();
  };
  if (up_ && send(interactive_, Lane::interactive)) send(bulk_, Lane::bulk);
}

RelayEffects HubRelay::tick(int64_t now_us, int64_t wall_ms) {
  now_us_ = now_us;
  wall_ms_ = wall_ms;
  RelayEffects out;
  pump(out);
  return out;
}

size_t HubRelay::waiting_bytes() const {
  size_t bytes = 0;
  for (const auto& [number, c] : channels_) bytes += c->waiting;
  return bytes;
}

RelayEffects HubRelay::on_leaf_broken(uint64_t leaf, const Error& error) {
  RelayEffects out;
  if (!leaves_.count(leaf)) return out;
  out.down.push_back({leaf, refusal(error)});
  out.closed.push_back(leaf);
  forget_leaf(leaf, out);
  return out;
}

RelayEffects HubRelay::on_leaf_gone(uint64_t leaf) {
  RelayEffects out;
  forget_leaf(leaf, out);
  return out;
}

void HubRelay::forget_leaf(uint64_t leaf, RelayEffects& out) {
  auto at = leaves_.find(leaf);
  if (at == leaves_.end()) return;
  for (const auto& [below, channel] : at->second.channels) {
    send_up(encode_channel_closed(channel), out);
    channels_.erase(channel);
  }
  leaves_.erase(at);
}

}  // namespace branchline
