#include "tests/simulation/servers.h"

#include "common/base/check.h"
#include "master/ingest/topology_commit.h"

namespace branchline::sim {

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
  auto plan = plan_topology(*schema, ingest->directory(), topology_);
  BL_CHECK(plan);
  if (!plan->ops.empty()) commit(plan->ops, "");
  world_.after(kTick, [this, epoch = epoch_] {
    if (epoch == epoch_) tick();
  });
}

void SimMaster::crash() {
  ++epoch_;
  for (auto& c : connections_) c->line->close_from(false);
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

void SimMaster::accept(std::shared_ptr<Line> line, const std::string& peer) {
  auto c = std::make_shared<Connection>();
  c->line = line;
  c->session = std::make_unique<MasterSession>(*feed, peer, world_.now());
  connections_.push_back(c);
  std::weak_ptr<Connection> weak = c;
  line->master.receive = [this, weak, epoch = epoch_](const std::string& bytes) {
    if (auto handle = weak.lock(); handle && epoch == epoch_) received(handle, bytes);
  };
  line->master.closed = [this, weak, epoch = epoch_] {
    if (auto handle = weak.lock(); handle && epoch == epoch_) std::erase(connections_, handle);
  };
}

void SimMaster::received(const Handle& c, const std::string& bytes) {
  c->decoder.append(bytes);
  for (;;) {
    auto frame = c->decoder.next();
    if (!frame) return fail("a frame cannot be read: " + frame.error().message);
    if (!*frame) return;
    perform(c, c->session->on_frame(**frame, world_.now(), clock.wall_ms()));
  }
}

void SimMaster::perform(const Handle& c, MasterEffects effects) {
  if (effects.introduce) {
    c->pending = effects.introduce->pending;
    Batch rows;
    auto registration = ingest->begin_session(*effects.introduce, rows);
    BL_CHECK(store_.write(rows, Sync::yes));
    const Introduction& hello = *effects.introduce;
    std::string pending;
    for (const auto& p : hello.pending) {
      pending += " " + to_hex(p.stream.incarnation.value).substr(0, 6) + ":" +
                 std::to_string(p.first.value) + ".." + std::to_string(p.last.value);
    }
    world_.say(hello.server + " start " +
               to_hex(hello.incarnations.back().incarnation.value).substr(0, 6) + " at csn " +
               std::to_string(hello.cursor.csn.value) + ", pending" + pending + ": " +
               (registration ? "taken at " + std::to_string(registration->head.csn.value) +
                                   (registration->join ? ", joins" : "") +
                                   (registration->rolled_back ? ", rolled back" : "")
                             : registration.error().code));
    if (registration && registration->rolled_back) ++world_.counts["seen: rolled-back disk"];
    perform(c, c->session->on_registered(registration, world_.now(), clock.wall_ms()));
  }
  for (auto& block : effects.blocks) {
    (peek_lane(block) == Lane::bulk ? bulk_ : queue_).emplace_back(c, std::move(block));
  }
  schedule_ingest();
  for (auto& frame : effects.frames) c->line->send_down(std::move(frame));
  if (effects.open_snapshot) {
    FeedScope scope;
    scope.origin = c->session->registration().origin;
    const auto& t = c->session->registration().territories;
    scope.territories.insert(t.begin(), t.end());
    scope.territories.insert(kReferenceTerritory);
    auto source = SnapshotSource::open(store_.snapshot(), scope, c->pending);
    BL_CHECK(source);
    c->snapshot = std::move(*source);
    ++world_.counts["seen: snapshot"];
    perform(c, c->session->on_snapshot(c->snapshot->head(), world_.now()));
  }
  if (effects.want_chunk) {
    world_.after(1000, [this, c, epoch = epoch_] {
      if (epoch != epoch_ || c->session->state() != MasterSession::State::snapshotting) return;
      auto chunk = c->snapshot->next();
      BL_CHECK(chunk);
      perform(c, c->session->on_chunk(std::move(*chunk), c->snapshot->end(), world_.now()));
    });
  }
  if (effects.close) {
    if (effects.close->kind != ErrorKind::unavailable) {
      world_.say("master closes " + c->session->peer() + ": " + effects.close->message);
      fail("closed the link of " + c->session->peer() + ": " + effects.close->message);
    }
    c->line->close_from(false);
    std::erase(connections_, c);
  }
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
  while (!blocks.empty()) {
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

void SimMaster::schedule_ingest() {
  if ((queue_.empty() && bulk_.empty()) || ingest_scheduled_) return;
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

Result<void> SimBranch::put(const Batch& batch, Sync sync) { return store_.write(batch, sync); }

void SimBranch::start() {
  ++epoch_;
  Batch rows;
  auto opened = Replica::open(store_, schema, clock, world_.random, rows);
  if (!opened) return fail("does not start: " + opened.error().message);
  replica = std::move(*opened);
  BL_CHECK(put(rows, Sync::yes));
  reseed_ = false;
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
  replica.reset();
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

void SimBranch::closed() {
  line_.reset();
  session.reset();
  uint64_t epoch = epoch_;
  world_.after(world_.between(50'000, 400'000), [this, epoch] {
    if (epoch == epoch_) connect();
  });
}

void SimBranch::connect() {
  if (session) return;
  if (partitioned || !master_.up()) return closed();
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
  master_.accept(line_, name);
  outbox_ = std::make_unique<ReplicaOutbox>(store_, replica->state().side);
  session = std::make_unique<BranchSession>(*outbox_, world_.now(), &budget_);
  session->set_hurried(replica->state().hurried);
  ranges_->clear();
  Introduction intro = replica->introduction(name, topology_digest_);
  intro.reseed = reseed_;
  perform(session->start(intro, clock.wall_ms()));
}

void SimBranch::received(const std::string& bytes) {
  decoder_.append(bytes);
  while (session) {
    auto frame = decoder_.next();
    if (!frame) return fail("a frame cannot be read: " + frame.error().message);
    if (!*frame) return;
    perform(session->on_frame(**frame, world_.now(), clock.wall_ms()));
  }
}

void SimBranch::perform(BranchEffects effects) {
  auto write = [this](const Batch& b, Sync s) { return put(b, s); };
  if (effects.welcome) {
    auto rows = replica->welcome(*effects.welcome);
    if (!rows) return fail("welcome: " + rows.error().message);
    BL_CHECK(put(*rows, Sync::no));
  }
  if (effects.begin_join) chunks_installed_ = 0;  // a crash may have broken off another
  if (effects.begin_join) BL_CHECK(replica->begin_seed(*effects.begin_join, write));
  for (const auto& chunk : effects.chunks) {
    auto ok = replica->seed_chunk(chunk, write);
    if (!ok) return fail("snapshot: " + ok.error().message);
    perform(session->on_chunk_installed(1 + chunks_installed_++));
  }
  if (effects.end_join) {
    auto done = replica->end_seed(*effects.end_join, write);
    if (!done) return fail("snapshot: " + done.error().message);
    BL_CHECK(put(done->batch, Sync::yes));
    reseed_ = false;
    chunks_installed_ = 0;
    *outbox_ = ReplicaOutbox(store_, replica->state().side);
    perform(session->on_installed());
  }
  for (auto& range : effects.ranges) {
    if (ranges_->add(std::move(range))) apply_later();
  }
  if (!line_) return;
  for (auto& frame : effects.frames) line_->send_up(std::move(frame));
  if (effects.close) {
    if (effects.close->kind != ErrorKind::unavailable)
      fail("closes its link: " + effects.close->message);
    disconnect();
  }
}

// As the servers' writing thread does: whenever its turn comes, what waits until then as one.
void SimBranch::apply_later() {
  world_.after(world_.between(0, 30'000), [this, epoch = epoch_] {
    if (epoch != epoch_) return;
    bool more = false;
    auto range = ranges_->take(more, redone_);
    if (more) apply_later();
    if (!range) return;
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
    facts.applied = facts.durable = replica->state().cursor.csn;
    facts.pending = replica->state().ledger.pending;
    perform(session->tick(world_.now(), clock.wall_ms(), facts));
  }
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
