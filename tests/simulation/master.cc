#include "tests/simulation/servers.h"

#include <algorithm>
#include <utility>

#include "common/base/check.h"
#include "master/ingest/topology_commit.h"
#include "master/verify/verify.h"
#include "replication/courier/feed_reader.h"
#include "replication/courier/file_part.h"

namespace branchline::sim {
namespace {

// Small, so that snapshots of a small world have many.
constexpr size_t kChunkBytes = 4 * 1024;

}  // namespace

SimMaster::SimMaster(World& world, std::shared_ptr<const Schema> program_schema,
                     const Topology& topology, Bug bug)
    : schema(std::move(program_schema)),
      clock(world),
      world_(world),
      topology_(topology),
      store_(disk, bug == Bug::dedupe_off ? bug : Bug::none) {}

void SimMaster::fail(const std::string& what) {
  if (failure.empty()) failure = "master: " + what;
}

void SimMaster::start() {
  ++epoch_;
  Batch rows;
  auto opened = Ingest::open(store_, schema, clock, world_.random, nullptr, rows);
  if (!opened) return fail("does not start: " + opened.error().message);
  ingest = std::move(*opened);
  BL_CHECK(store_.write(rows, Sync::yes));
  feed = std::make_unique<LineFeed>(
      store_, LineCursor{ingest->state().line, ingest->state().head, ingest->state().chain},
      16 * 1024);
  apply_topology();
  world_.after(kTick, [this, epoch = epoch_] {
    if (epoch == epoch_) tick();
  });
}

void SimMaster::apply_topology() {
  auto tokens = token_places(store_);
  BL_CHECK(tokens);
  auto plan = plan_topology(*schema, ingest->directory(), topology_, *tokens);
  BL_CHECK(plan);
  if (plan->ops.empty()) return;
  commit(plan->ops, "");
  auto all = connections_;
  for (auto& c : all) {
    auto names = plan->subscriptions_changed;
    names.insert(names.end(), plan->upstreams_changed.begin(), plan->upstreams_changed.end());
    if (std::find(names.begin(), names.end(), c->session->peer()) == names.end()) continue;
    perform(
        c, c->session->on_broken({ErrorKind::unavailable, "session.subscription", "connect anew"}));
  }
}

std::pair<TerritoryId, std::vector<TerritoryId>> SimMaster::all_territories() const {
  std::set<TerritoryId> all;
  for (const auto& [name, number] : ingest->directory().territories()) all.insert(number);
  return {*all.begin(), {std::next(all.begin()), all.end()}};
}

// As the server does, with the same floors.
void SimMaster::retain() {
  RetentionInput input;
  input.now_ms = clock.wall_ms();
  input.max_offline_ms = ingest->directory().policies().max_offline_us / 1000;
  input.floor = shelf_.lowest().value_or(feed->head().csn);
  for (auto& c : connections_) {
    auto state = c->session->state();
    if (c->snapshot) input.floor = std::min(input.floor, c->snapshot->head().at.csn);
    if (state == MasterSession::State::feeding)
      input.floor = std::min(input.floor, c->session->sent().csn);
    bool open =
        state == MasterSession::State::feeding || state == MasterSession::State::snapshotting;
    const Heartbeat& h = c->session->peer_heartbeat();
    if (!open || h.sent_us == 0) continue;
    input.connected.push_back({c->session->registration().origin, h.passed_csn, h.pending,
                               h.pending_bytes, h.oldest_pending_ms});
  }
  Batch rows;
  auto result = ingest->retain(input, rows);
  if (!result) return fail("retention: " + result.error().message);
  BL_CHECK(store_.write(rows, Sync::yes));
  world_.counts["seen: branch lapsed"] += result->lapsed.size();
  world_.counts["seen: batches trimmed"] += result->trimmed;
}

void SimMaster::forget(const Handle& c) {
  if (c->snapshot) shelf_.put(std::exchange(c->snapshot, nullptr), world_.now());
  std::erase(connections_, c);
  Trunk& trunk = *c->trunk;
  if (c->channel != 0) {
    if (trunk.channels.erase(c->channel) > 0 && !trunk.closed)
      trunk.line->send_down(encode_channel_closed(c->channel));
    return;
  }
  trunk.closed = true;
  for (auto& [number, other] : std::exchange(trunk.channels, {})) {
    if (auto handle = other.lock()) forget(handle);
  }
  trunk.line->close_from(false);
}

void SimMaster::crash() {
  ++epoch_;
  shelf_ = {};
  for (auto& c : connections_) {
    c->trunk->closed = true;
    c->trunk->line->close_from(false);
  }
  connections_.clear();
  queue_.clear();
  bulk_.clear();
  ingest_scheduled_ = false;
  ingest.reset();
  feed.reset();
  disk.crash(world_.random.below(disk.unsynced() + 1));
}

void SimMaster::commit(std::vector<RecordOp> ops, const std::string& key) {
  auto local = ingest->commit_local(std::move(ops), {}, key);
  BL_CHECK(local);
  BL_CHECK(local->fate == Fate::applied);
  BL_CHECK(store_.write(local->result.batch, Sync::yes));
  publish(local->result);
}

bool SimMaster::release(const std::string& branch) {
  Batch rows;
  auto ok = ingest->release(ingest->directory().server(branch)->origin, rows);
  BL_CHECK(store_.write(rows, Sync::yes));
  return ok.has_value();
}

void SimMaster::accept(std::shared_ptr<Line> line, const std::string& peer) {
  auto trunk = std::make_shared<Trunk>();
  trunk->line = line;
  trunk->peer = peer;
  std::weak_ptr<Connection> weak = connect(trunk, 0, {});
  line->master.receive = [this, weak, epoch = epoch_](const std::string& bytes) {
    if (auto handle = weak.lock(); handle && epoch == epoch_) received(handle->trunk, bytes);
  };
  line->master.closed = [this, weak, epoch = epoch_] {
    if (auto handle = weak.lock(); handle && epoch == epoch_) forget(handle);
  };
}

SimMaster::Handle SimMaster::connect(const std::shared_ptr<Trunk>& trunk, uint64_t channel,
                                     std::vector<std::string> path) {
  auto c = std::make_shared<Connection>();
  c->trunk = trunk;
  c->channel = channel;
  c->path = std::move(path);
  c->session = std::make_unique<MasterSession>(*feed, c->path.empty() ? trunk->peer : c->path[0],
                                               world_.now());
  connections_.push_back(c);
  return c;
}

void SimMaster::received(const std::shared_ptr<Trunk>& trunk, const std::string& bytes) {
  auto own = std::find_if(connections_.begin(), connections_.end(),
                          [&](const Handle& c) { return c->trunk == trunk && c->channel == 0; });
  if (own == connections_.end()) return;
  Handle c = *own;
  trunk->decoder.append(bytes);
  while (!trunk->closed) {
    auto frame = trunk->decoder.next();
    if (!frame) return fail("a frame cannot be read: " + frame.error().message);
    if (!*frame) return;
    if (!is_channel_frame((*frame)->type)) {
      perform(c, c->session->on_frame(**frame, world_.now(), clock.wall_ms()));
    } else if (auto ok = on_channel(trunk, **frame); !ok) {
      return fail("channels of " + trunk->peer + ": " + ok.error().message);
    }
  }
}

Result<void> SimMaster::on_channel(const std::shared_ptr<Trunk>& trunk, const Frame& frame) {
  if (frame.type == FrameType::channel_open) {
    BL_ASSIGN(ChannelOpen open, decode_channel_open(frame.payload));
    if (open.channel <= trunk->last_channel)
      return branchline::fail(ErrorKind::invalid, "channel.number", "out of order");
    trunk->last_channel = open.channel;
    trunk->down.opened();
    ++world_.counts[open.path.size() > 1 ? "seen: session by two hubs" : "seen: session by a hub"];
    trunk->channels[open.channel] = connect(trunk, open.channel, std::move(open.path));
    return {};
  }
  bool over = frame.type == FrameType::channel_closed;
  uint64_t channel = 0;
  ChannelFrame f;
  if (over) {
    BL_ASSIGN(channel, decode_channel_closed(frame.payload));
  } else {
    BL_ASSIGN(f, decode_channel_frame(frame.payload));
    channel = f.channel;
  }
  if (channel == 0 || channel > trunk->last_channel)
    return branchline::fail(ErrorKind::invalid, "channel.unknown", "never opened");
  auto at = trunk->channels.find(channel);
  if (at == trunk->channels.end()) return {};
  Handle c = at->second.lock();
  if (!c) return {};
  if (over) {
    trunk->channels.erase(at);
    forget(c);
  } else {
    perform(c, c->session->on_frame(f.frame, world_.now(), clock.wall_ms()));
  }
  return {};
}

void SimMaster::perform(const Handle& c, MasterEffects effects) {
  if (effects.introduce) {
    c->pending = effects.introduce->pending;
    c->join = effects.introduce->join;
    Batch rows;
    bool other_alive =
        std::any_of(connections_.begin(), connections_.end(), [&](const Handle& other) {
          return other != c && other->session->peer() == c->session->peer() &&
                 other->session->alive(world_.now());
        });
    std::vector<std::string> path = c->path;
    if (!path.empty()) path.push_back(c->trunk->peer);
    auto registration = [&]() -> Result<Registration> {
      BL_TRY(check_path(ingest->directory(), path));
      return ingest->begin_session(*effects.introduce, rows, other_alive);
    }();
    BL_CHECK(store_.write(rows, Sync::yes));
    const Introduction& hello = *effects.introduce;
    std::string pending;
    for (const auto& p : hello.pending) {
      pending += " " + to_hex(p.stream.incarnation.value).substr(0, 6) + "." +
                 std::string(to_string(p.stream.lane)) + ":" + std::to_string(p.first.value) +
                 ".." + std::to_string(p.last.value);
    }
    world_.say(hello.server + " start " +
               to_hex(hello.incarnations.back().incarnation.value).substr(0, 6) + " at csn " +
               std::to_string(hello.cursor.csn.value) + ", pending" + pending + ": " +
               (registration ? "taken at " + std::to_string(registration->head.csn.value) +
                                   (registration->join ? ", joins" : "") +
                                   (registration->rolled_back ? ", rolled back" : "")
                             : registration.error().code));
    const MasterState& s = ingest->state();
    if (feed->head().line != s.line) {
      ++world_.counts["seen: line replaced"];
      feed->rename({s.line, s.head, s.chain});
      auto all = connections_;
      for (auto& other : all) {
        if (other != c)
          perform(other, other->session->on_broken(
                             {ErrorKind::unavailable, kLineReplaced, "the line is replaced"}));
      }
    }
    if (registration && registration->rolled_back) ++world_.counts["seen: rolled-back disk"];
    if (registration && registration->partial) ++world_.counts["seen: subscription changed"];
    auto others = connections_;
    for (auto& other : others) {
      if (!registration || other == c || other->session->peer() != c->session->peer()) continue;
      auto supersede = [this, other] {
        perform(other, other->session->on_broken(
                           {ErrorKind::unavailable, "session.superseded", "a newer connection"}));
      };
      // Ingest knows of the newer one before the links do: blocks of the old one may come between.
      if (world_.chance(0.5)) {
        supersede();
      } else {
        world_.after(world_.between(0, 300'000), [this, supersede, epoch = epoch_] {
          if (epoch == epoch_) supersede();
        });
      }
    }
    perform(c, c->session->on_registered(registration, world_.now(), clock.wall_ms()));
  }
  for (auto& block : effects.blocks) {
    (peek_lane(block) == Lane::bulk ? bulk_ : queue_).emplace_back(c, std::move(block));
  }
  schedule_ingest();
  for (auto& frame : effects.frames) {
    uint64_t before = c->trunk->down.named_bytes();
    if (c->trunk->closed) break;
    c->trunk->line->send_down(c->trunk->down.send(c->channel, std::move(frame)));
    if (c->trunk->down.named_bytes() > before) ++world_.counts["seen: block sent once for several"];
  }
  if (effects.verify) verify(c, *effects.verify);
  if (effects.open_snapshot) open_snapshot(c);
  if (effects.want_chunk) {
    world_.after(1000, [this, c, epoch = epoch_] {
      if (epoch != epoch_ || c->session->state() != MasterSession::State::snapshotting) return;
      if (!c->snapshot) return;  // its connection is gone
      auto chunk = c->snapshot->chunk(c->session->next_chunk());
      BL_CHECK(chunk);
      bool last = !*chunk;
      perform(c, c->session->on_chunk(std::move(*chunk), c->snapshot->end(), world_.now()));
      if (last && c->snapshot) shelf_.put(std::exchange(c->snapshot, nullptr), world_.now());
    });
  }
  if (effects.close) {
    bool copy = effects.close->code == "session.copy" && !c->session->registration().session;
    if (copy) ++world_.counts["seen: copy refused"];
    // A server whose file names another upstream than what is committed just now.
    bool moving = effects.close->code == "session.other_hub";
    world_.counts["seen: refused by another hub"] += moving;
    if (effects.close->kind != ErrorKind::unavailable && !copy && !moving) {
      world_.say("master closes " + c->session->peer() + ": " + effects.close->message);
      fail("closed the link of " + c->session->peer() + ": " + effects.close->message);
    }
    forget(c);
  }
}

void SimMaster::open_snapshot(const Handle& c) {
  const Registration& r = c->session->registration();
  FeedScope scope;
  scope.origin = r.origin;
  scope.territories.insert(r.territories.begin(), r.territories.end());
  scope.territories.insert(kReferenceTerritory);
  std::set<TerritoryId> held;
  if (r.partial) {
    held.insert(r.installed.begin(), r.installed.end());
    held.insert(kReferenceTerritory);
  }
  c->snapshot = shelf_.take(r.origin, world_.now());
  if (c->snapshot && c->snapshot->head().at.line != feed->head().line) c->snapshot.reset();
  if (c->snapshot) {
    auto goes_on = c->snapshot->resume(c->join, scope, held, c->pending);
    BL_CHECK(goes_on);
    if (*goes_on) {
      ++world_.counts["seen: snapshot resumed"];
    } else {
      c->snapshot.reset();
    }
  }
  if (!c->snapshot) {
    uint64_t id = 0;
    while (id == 0) id = world_.random.next();
    auto source = SnapshotSource::open(store_.snapshot(), scope, c->pending, held, id, kChunkBytes);
    BL_CHECK(source);
    c->snapshot = std::move(*source);
    ++world_.counts["seen: snapshot"];
  }
  perform(c, c->session->on_snapshot(c->snapshot->head(), world_.now()));
}

void SimMaster::verify(const Handle& c, const VerifyRequest& question) {
  std::shared_ptr<const StoreView> view = store_.snapshot();
  auto at = line_at(*view);
  BL_CHECK(at);
  c->session->on_verify_view(at->csn);
  const Registration& r = c->session->registration();
  std::set<TerritoryId> held(r.territories.begin(), r.territories.end());
  held.insert(kReferenceTerritory);
  auto later = [this](auto what) {
    world_.after(world_.between(0, 30'000), [this, what, epoch = epoch_] {
      if (epoch == epoch_) what();
    });
  };
  later([this, c, view, held, question] {
    auto point = verify_point(*view, held, question);
    BL_CHECK(point);
    perform(c, c->session->on_verify_point(std::move(*point), world_.now()));
  });
  if (question.sums.empty()) return;
  later([this, c, view, held, question] {
    perform(c, c->session->on_verify_sums(verify_sums(*view, held, question)));
  });
}

void SimMaster::run_ingest() {
  ingest_scheduled_ = false;
  std::vector<IncomingBlock> blocks;
  auto take = [&](auto& queue, size_t most) {
    for (; !queue.empty() && blocks.size() < most; queue.pop_front()) {
      auto& [c, bytes] = queue.front();
      auto block = decode_mutation_block(std::move(bytes));
      if (!block) return fail("a block cannot be read: " + block.error().message);
      blocks.push_back({c->session->registration().origin, c->session->registration().session,
                        std::move(*block)});
    }
  };
  take(queue_, 4);
  // Bulk work waits at the master too.
  if (blocks.empty() && !world_.chance(0.5)) take(bulk_, 1);
  while (!blocks.empty() || ingest->held_ready()) {
    auto result = ingest->ingest(std::move(blocks));
    if (!result) return fail("ingest: " + result.error().message);
    BL_CHECK(store_.write(result->batch, Sync::yes));
    blocks = std::move(result->rest);
    publish(*result);
  }
  while (ingest->grants_due()) {
    auto granted = ingest->grant_step();
    if (!granted) return fail("granting: " + granted.error().message);
    if (!*granted) continue;
    ++world_.counts["seen: grants"];
    BL_CHECK(store_.write((*granted)->result.batch, Sync::yes));
    publish((*granted)->result);
  }
  schedule_ingest();
}

Result<void> SimMaster::import_file(const std::string& bytes) {
  BL_ASSIGN(FilePart part, decode_file_part(bytes));
  Batch rows;
  BL_ASSIGN(OriginId origin, ingest->introduce_file(*part.introduction, rows));
  BL_CHECK(store_.write(rows, Sync::yes));
  for (auto& bytes_of_block : part.blocks) {
    BL_ASSIGN(MutationBlock block, decode_mutation_block(std::move(bytes_of_block)));
    world_.say("master takes in a file of " + part.head.from + ", start " +
               to_hex(block.stream.incarnation.value).substr(0, 6) + " seq " +
               std::to_string(block.mutations.front().id.seq.value) + ".." +
               std::to_string(block.mutations.back().id.seq.value) + " behind csn " +
               std::to_string(ingest->state().head.value));
    std::vector<IncomingBlock> blocks;
    blocks.push_back({origin, 0, std::move(block), true});
    while (!blocks.empty()) {
      auto result = ingest->ingest(std::move(blocks));
      if (!result) {
        fail("ingest: " + result.error().message);
        return std::unexpected(result.error());
      }
      BL_CHECK(store_.write(result->batch, Sync::yes));
      blocks = std::move(result->rest);
      std::optional<Error> broken;
      if (!result->broken.empty()) broken = result->broken.front().error;
      result->broken.clear();
      if (result->line) ++world_.counts["seen: work taken in by file"];
      publish(*result);
      if (broken) return std::unexpected(*broken);
    }
  }
  return {};
}

Result<std::string> SimMaster::export_feed(const std::string& branch, Csn place) {
  const ServerEntry* entry = ingest->directory().server(branch);
  FeedScope scope;
  scope.origin = entry->origin;
  FilePart part;
  BL_ASSIGN(LineCursor from, feed->cursor_before(place));
  // An office whose subscription was changed has to wait for its link.
  part.head.territories.assign(entry->territories.begin(), entry->territories.end());
  scope.territories = entry->territories;
  scope.territories.insert(kReferenceTerritory);
  BL_ASSIGN(part.ranges, read_feed(*feed, from, feed->head().csn, scope,
                                   static_cast<size_t>(world_.between(1, 200'000))));
  part.head.kind = FileKind::feed;
  part.head.from = "master";
  part.head.to = branch;
  part.head.line = feed->head().line;
  part.head.origin = entry->origin;
  part.head.file = std::string(16, 'f');
  part.head.begin = from.csn;
  part.head.begin_chain = from.chain;
  part.head.end = part.ranges.empty() ? from.csn : part.ranges.back().to.csn;
  return encode_file_part(part, clock.wall_ms());
}

void SimMaster::schedule_ingest() {
  bool idle = queue_.empty() && bulk_.empty() && !ingest->held_ready();
  if (idle || ingest_scheduled_) return;
  ingest_scheduled_ = true;
  world_.after(world_.between(0, 3000), [this, epoch = epoch_] {
    if (epoch == epoch_) run_ingest();
  });
}

void SimMaster::publish(const IngestResult& result) {
  if (result.line) feed->add(result.line);
  if (result.line && check_batch) {
    if (std::string wrong = check_batch(); !wrong.empty()) fail(wrong);
  }
  auto all = connections_;
  for (auto& c : all) {
    const Registration& r = c->session->registration();
    for (const auto& ack : result.acks) {
      if (ack.origin == r.origin && ack.session == r.session) {
        perform(c, c->session->on_committed(ack.stream, ack.seq, world_.now()));
      }
    }
    for (const auto& b : result.broken) {
      if (b.origin == r.origin && b.session == r.session)
        perform(c, c->session->on_broken(b.error));
    }
    if (result.line) perform(c, c->session->on_line(feed->head(), world_.now()));
  }
}

void SimMaster::tick() {
  if (world_.now() - retained_at_ > 500'000) {
    retained_at_ = world_.now();
    retain();
  }
  auto all = connections_;
  for (auto& c : all) perform(c, c->session->tick(world_.now(), clock.wall_ms()));
  world_.after(kTick, [this, epoch = epoch_] {
    if (epoch == epoch_) tick();
  });
}

}  // namespace branchline::sim
