#include "tests/simulation/servers.h"

#include <algorithm>
#include <utility>

#include "common/base/check.h"
#include "master/ingest/topology_commit.h"
#include "master/verify/verify.h"
#include "replication/courier/feed_reader.h"
#include "replication/courier/file_part.h"
#include "replication/courier/pending_reader.h"

namespace branchline::sim {
namespace {

// Small, so that snapshots of a small world have many.
constexpr size_t kChunkBytes = 4 * 1024;

}  // namespace

// --- Master ---

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
  auto plan = plan_topology(*schema, ingest->directory(), topology_);
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

// --- Branch ---

SimBranch::SimBranch(World& world, std::string branch_name,
                     std::shared_ptr<const Schema> program_schema,
                     const std::string& topology_digest, SimMaster& master, Bug bug)
    : schema(std::move(program_schema)),
      clock(world),
      name(std::move(branch_name)),
      world_(world),
      topology_digest_(topology_digest),
      master_(master),
      store_(disk, bug == Bug::dedupe_off ? Bug::none : bug) {}

void SimBranch::fail(const std::string& what) {
  if (failure.empty()) failure = name + ": " + what;
}

Result<void> SimBranch::put(const Batch& batch, Sync sync) {
  auto ok = store_.write(batch, sync);
  // What was written before is durable with it.
  if (sync == Sync::yes && replica) durable_ = replica->state().cursor.csn;
  return ok;
}

void SimBranch::start() {
  ++epoch_;
  Batch rows;
  auto opened = Replica::open(store_, schema, clock, world_.random, rows);
  if (!opened) return fail("does not start: " + opened.error().message);
  replica = std::move(*opened);
  BL_CHECK(put(rows, Sync::yes));
  reseed_ = false;
  finishing_ = false;
  if (is_hub_) relay_ = std::make_unique<HubRelay>(name, hub_ ? hub_->name : "master", &budget_);
  verifier = std::make_unique<Verifier>();
  recount_.reset();
  uint64_t epoch = epoch_;
  world_.after(1000, [this, epoch] {
    if (epoch == epoch_) connect();
  });
  world_.after(kTick, [this, epoch] {
    if (epoch == epoch_) tick();
  });
}

void SimBranch::crash() {
  ++epoch_;
  if (line_) line_->close_from(true);
  line_.reset();
  session.reset();
  relay_.reset();
  for (auto& [number, leaf] : std::exchange(leaves_, {})) leaf.line->close_from(false);
  replica.reset();
  recount_.reset();
  verifier.reset();
  ranges_ = std::make_unique<RangeQueue>();
  disk.crash(world_.random.below(disk.unsynced() + 1));
}

void SimBranch::set_line(bool bulk_closed, uint64_t bytes_per_s) {
  LinePolicy policy;
  policy.bytes_per_s = bytes_per_s;
  if (bulk_closed) {
    // An hour that has just passed.
    int64_t hour = (clock.wall_ms() / 3'600'000 + 22) % 24;
    char text[12];
    std::snprintf(text, sizeof text, "%02d:00-%02d:00", int(hour), int((hour + 1) % 24));
    policy.bulk_hours = DailyHours::parse(text);
    BL_CHECK(policy.bulk_hours);
  }
  budget_ = LinkBudget(policy);
}

void SimBranch::disconnect() {
  if (line_) line_->close_from(true);
  closed();
}

void SimBranch::move() {
  if (session) disconnect();
}

void SimBranch::closed() {
  if (verifier) verifier->interrupted();
  line_.reset();
  session.reset();
  if (relay_) {
    perform_relay(relay_->on_upstream_down({ErrorKind::unavailable, "link.ended", "it broke"}));
  }
  uint64_t epoch = epoch_;
  world_.after(world_.between(50'000, 400'000), [this, epoch] {
    if (epoch == epoch_) connect();
  });
}

void SimBranch::connect() {
  if (session) return;
  if (partitioned || !(hub_ ? hub_->up() : master_.up())) return closed();
  line_ = std::make_shared<Line>(world_);
  line_->self = line_;
  line_->latency_us = latency_us;
  line_->stalled = stalled;
  decoder_ = {};
  uint64_t connection = ++connection_;
  line_->branch.receive = [this, connection, epoch = epoch_](const std::string& bytes) {
    if (epoch == epoch_ && connection == connection_ && session) received(bytes);
  };
  line_->branch.closed = [this, connection, epoch = epoch_] {
    if (epoch == epoch_ && connection == connection_ && session) closed();
  };
  if (hub_) {
    hub_->accept_leaf(line_, name);
  } else {
    master_.accept(line_, name);
  }
  outbox_ = std::make_unique<ReplicaOutbox>(store_, replica->state().side);
  session = std::make_unique<BranchSession>(*outbox_, world_.now(), &budget_);
  session->set_hurried(replica->state().hurried);
  session->set_offered_again(replica->history().offered_again);
  ranges_->clear();
  finishing_ = false;
  held_.clear();
  auto intro = replica->introduction(name, topology_digest_);
  moved_by_file_ = false;
  if (!intro) return fail("introduces itself: " + intro.error().message);
  intro->reseed = intro->reseed || reseed_;
  perform(session->start(*intro, clock.wall_ms()));
}

void SimBranch::received(const std::string& bytes) {
  decoder_.append(bytes);
  while (session) {
    auto frame = decoder_.next();
    if (!frame) return fail("a frame cannot be read: " + frame.error().message);
    if (!*frame) return;
    if (!relay_ || !is_channel_frame((*frame)->type)) {
      perform(session->on_frame(**frame, world_.now(), clock.wall_ms()));
      continue;
    }
    RelayEffects effects = relay_->on_upstream(**frame, world_.now(), clock.wall_ms());
    if (effects.broken) return fail("channels: " + effects.broken->message);
    auto own = std::move(effects.own);
    perform_relay(std::move(effects));
    for (const auto& f : own) {
      if (session) perform(session->on_frame(f, world_.now(), clock.wall_ms()));
    }
  }
}

// --- As a hub ---

void SimBranch::accept_leaf(std::shared_ptr<Line> line, const std::string& peer) {
  uint64_t number = ++last_leaf_;
  leaves_[number].line = line;
  line->master.receive = [this, number, epoch = epoch_](const std::string& bytes) {
    if (epoch != epoch_ || !leaves_.count(number)) return;
    leaves_[number].decoder.append(bytes);
    while (relay_ && leaves_.count(number)) {
      auto frame = leaves_[number].decoder.next();
      if (!frame) return fail("a leaf's frame cannot be read: " + frame.error().message);
      if (!*frame) return;
      perform_relay(relay_->on_leaf(number, **frame, world_.now(), clock.wall_ms()));
    }
  };
  line->master.closed = [this, number, epoch = epoch_] {
    if (epoch != epoch_ || !relay_ || leaves_.erase(number) == 0) return;
    perform_relay(relay_->on_leaf_gone(number));
  };
  perform_relay(relay_->on_connected(number, peer));
}

void SimBranch::perform_relay(RelayEffects effects) {
  for (auto& frame : effects.up) {
    if (line_) line_->send_up(std::move(frame));
  }
  for (auto& [number, frame] : effects.down) {
    if (leaves_.count(number)) leaves_[number].line->send_down(std::move(frame));
  }
  for (uint64_t number : effects.closed) {
    auto leaf = leaves_.find(number);
    if (leaf == leaves_.end()) continue;
    auto line = leaf->second.line;
    leaves_.erase(leaf);
    line->close_from(false);
  }
}

void SimBranch::perform(BranchEffects effects) {
  auto write = [this](const Batch& b, Sync s) { return put(b, s); };
  if (effects.welcome) {
    auto rows = replica->welcome(*effects.welcome);
    if (!rows) return fail("welcome: " + rows.error().message);
    BL_CHECK(put(*rows, Sync::no));
    refused_as_copy = false;
    if (relay_) perform_relay(relay_->on_upstream_up(effects.welcome->channels));
  }
  if (effects.begin_join) {
    auto ok = replica->begin_seed(*effects.begin_join, write);
    if (!ok) return fail("snapshot: " + ok.error().message);
  }
  for (const auto& chunk : effects.chunks) {
    auto ok = replica->seed_chunk(chunk, write);
    if (!ok) return fail("snapshot: " + ok.error().message);
    perform(session->on_chunk_installed(replica->seeded_chunks()));
  }
  if (effects.end_join) {
    finishing_ = true;
    finish_later(*effects.end_join);
  }
  for (auto& range : effects.ranges) take_range(std::move(range));
  if (effects.verify_point) {
    finishing_ = true;
    take_point_later(*effects.verify_point);
  }
  if (effects.verify_sums) verifier->sums_came(std::move(*effects.verify_sums));
  if (!line_) return;
  for (auto& frame : effects.frames) line_->send_up(std::move(frame));
  if (effects.close) {
    refused_as_copy = effects.close->code == "session.copy";
    bool moving = effects.close->code == "session.other_hub";
    if (effects.close->kind != ErrorKind::unavailable && !refused_as_copy && !moving)
      fail("closes its link: " + effects.close->message);
    if (effects.close->code == kLineReplaced) {
      ranges_->clear();
      auto left = replica->leave_line(write);
      if (!left) return fail("leaves the line: " + left.error().message);
    }
    disconnect();
  }
}

void SimBranch::take_range(FeedRange range) {
  if (finishing_) {
    held_.push_back(std::move(range));
  } else if (ranges_->add(std::move(range))) {
    apply_later();
  }
}

void SimBranch::finish_later(const SnapshotEnd& end) {
  world_.after(world_.between(0, 20'000), [this, end, epoch = epoch_, connection = connection_] {
    if (epoch != epoch_ || connection != connection_ || !session) return;
    auto write = [this](const Batch& b, Sync s) { return put(b, s); };
    auto copied = replica->copy_kept(write);
    if (!copied && copied.error().code != "snapshot.early")
      return fail("snapshot: " + copied.error().message);
    if (!copied || !*copied) return finish_later(end);
    auto done = replica->end_seed(end, write);
    if (!done && damaged && done.error().code == "snapshot.corrupt") {
      // What it kept was damaged, and shows: everything comes anew.
      ++world_.counts["seen: damage found by a snapshot's checksums"];
      return disconnect();
    }
    if (!done) return fail("snapshot: " + done.error().message);
    BL_CHECK(put(done->batch, Sync::yes));
    reseed_ = false;
    *outbox_ = ReplicaOutbox(store_, replica->state().side);
    finishing_ = false;
    for (auto& range : std::exchange(held_, {})) take_range(std::move(range));
    perform(session->on_joined(replica->state().cursor.csn));
  });
}

std::string SimBranch::export_file() {
  Batch state;
  state.put(Table::meta, keys::meta_state(), encode_replica_state(replica->state()));
  BL_CHECK(put(state, Sync::yes));
  ReplicaOutbox outbox(store_, replica->state().side);
  FilePart part;
  auto slice = read_pending(outbox, pending_begin(), size_t{4} << 20);
  BL_CHECK(slice);
  part.head.kind = FileKind::pending;
  part.head.from = name;
  part.head.to = "master";
  part.head.line = replica->state().cursor.line;
  part.head.file = std::string(16, 'p');
  auto introduction = replica->introduction(name, topology_digest_);
  BL_CHECK(introduction);
  part.introduction = std::move(*introduction);
  part.blocks = std::move(slice->blocks);
  if (session && BranchSession::outdated_by_export(session->state())) {
    ++world_.counts["seen: greeting outdated by a file"];
    disconnect();
  }
  return encode_file_part(part, clock.wall_ms());
}

Result<void> SimBranch::import_file(const std::string& bytes) {
  BL_ASSIGN(FilePart part, decode_file_part(bytes));
  const ReplicaState& state = replica->state();
  if (part.head.line != state.cursor.line)
    return branchline::fail(ErrorKind::conflict, "file.other_line", "another line");
  if (part.head.territories != state.territories || part.head.origin != state.self)
    return branchline::fail(ErrorKind::conflict, "file.subscription", "another subscription");
  BL_ASSIGN(size_t first, first_new(part, state.cursor));
  world_.counts["seen: range of a file known"] += first;
  for (size_t i = first; i < part.ranges.size(); ++i) {
    const FeedRange& range = part.ranges[i];
    auto applied = replica->apply(range);
    if (!applied && applied.error().code == "file.line_replaced")
      return std::unexpected(applied.error());
    if (!applied) {
      fail("diverged by file: " + applied.error().message);
      return std::unexpected(applied.error());
    }
    moved_by_file_ = true;
    if (session) disconnect();
    world_.say(name + " takes in a file, csn " + std::to_string(range.from.value) + " to " +
               std::to_string(range.to.csn.value));
    if (!put(applied->batch, Sync::no)) return {};
    ++world_.counts["seen: range taken in by file"];
    for (const auto& f : applied->fates) ++world_.counts["fate: " + std::string(to_string(f.fate))];
  }
  return {};
}

// Ranges behind it wait until it is taken at its csn.
void SimBranch::take_point_later(const VerifyPoint& point) {
  world_.after(world_.between(0, 20'000), [this, point, epoch = epoch_, connection = connection_] {
    if (epoch != epoch_ || connection != connection_ || !session) return;
    if (replica->state().cursor.csn < point.at.csn) return take_point_later(point);
    auto write = [this](const Batch& b, Sync s) { return put(b, s); };
    auto taken = verifier->at_point(point, *replica, store_, write, clock.wall_ms());
    if (!taken) return fail("verification: " + taken.error().message);
    if (hub_) ++world_.counts["seen: answer of verification beneath a hub"];
    for (const auto& line : taken->news) world_.say(name + ": " + line);
    if (!damaged && !taken->news.empty())
      return fail("verification found what nobody damaged: " + taken->news.front());
    finishing_ = false;
    for (auto& range : std::exchange(held_, {})) take_range(std::move(range));
  });
}

void SimBranch::verify() {
  switch (verifier->step()) {
    case Verifier::Step::rest:
      if (verifier->status().outcome == kMasterDiffers)
        return fail("verification: " + verifier->status().found.back());
      if (!replica->state().joined() || world_.now() < verify_at_) return;
      verify_at_ = world_.now() + world_.between(500'000, 3'000'000);
      if (world_.chance(0.5)) {
        verifier->compare();
      } else {
        verifier->begin();
      }
      return;
    case Verifier::Step::count: {
      if (!recount_) {
        auto opened = Recount::open(store_.snapshot(), schema);
        if (!opened) return verifier->counted(std::unexpected(opened.error()));
        recount_ = std::move(*opened);
      }
      auto done = recount_->step(200);
      if (done && !*done) return;
      auto counted = std::move(recount_);
      if (!done) return verifier->counted(std::unexpected(done.error()));
      return verifier->counted(counted->findings());
    }
    case Verifier::Step::ask: {
      if (!session || !session->may_verify()) return;
      VerifyRequest question = verifier->request();
      return perform(session->verify(question));
    }
    case Verifier::Step::wait:
      return;
    case Verifier::Step::sum:
      return verifier->summed(Verifier::sum(verifier->view(), schema, verifier->ranges()));
    case Verifier::Step::reseed:
      ++world_.counts["seen: fetched anew by verification"];
      if (!damaged) return fail("fetched anew: " + verifier->status().found.back());
      world_.say(name + " is fetched anew: " + verifier->status().found.back());
      reseed_ = true;
      verifier->reseeding();
      if (session) disconnect();
      return;
  }
}

// As the servers' writing thread does: whenever its turn comes, what waits until then as one.
void SimBranch::apply_later() {
  world_.after(world_.between(0, 30'000), [this, epoch = epoch_] {
    if (epoch != epoch_) return;
    bool more = false;
    auto range = ranges_->take(more, redone_);
    if (more) apply_later();
    if (!range || moved_by_file_) return;
    auto applied = replica->apply(*range);
    if (!applied) {
      fail("diverged: " + applied.error().message);
      reseed_ = true;
      if (session) disconnect();
      return;
    }
    redone_ = applied->redone;
    if (!put(applied->batch, Sync::no)) return;
    for (const auto& f : applied->fates) ++world_.counts["fate: " + std::string(to_string(f.fate))];
    if (session) perform(session->on_applied(replica->state().cursor.csn, world_.now()));
  });
}

void SimBranch::tick() {
  if (session) {
    line_->stalled = stalled;
    line_->latency_us = latency_us;
    BranchSession::Facts facts;
    facts.applied = replica->state().cursor.csn;
    facts.durable = durable_;
    facts.passed = std::min(durable_, replica->passed().value_or(Csn(0)));
    facts.pending = replica->state().ledger.pending;
    perform(session->tick(world_.now(), clock.wall_ms(), facts));
  }
  if (relay_) perform_relay(relay_->tick(world_.now(), clock.wall_ms()));
  verify();
  world_.after(kTick, [this, epoch = epoch_] {
    if (epoch == epoch_) tick();
  });
}

std::optional<Result<Accepted>> SimBranch::write(Command& command) {
  if (!up()) return std::nullopt;
  std::vector<Command*> group{&command};
  auto result = replica->accept(group);
  if (!result) {
    fail("accept: " + result.error().message);
    return std::nullopt;
  }
  if (!result->batch.empty()) {
    BL_CHECK(put(result->batch, Sync::yes));
    if (session) {
      session->set_hurried(replica->state().hurried);
      perform(session->on_outbox());
    }
  }
  return result->results[0];
}

}  // namespace branchline::sim
