#include "tests/simulation/servers.h"

#include <algorithm>
#include <utility>

#include "common/base/check.h"
#include "replication/courier/feed_reader.h"
#include "replication/courier/file_part.h"
#include "replication/courier/pending_reader.h"

namespace branchline::sim {

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
