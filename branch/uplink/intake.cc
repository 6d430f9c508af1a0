#include "branch/uplink/intake.h"

#include <spdlog/spdlog.h>

#include <utility>

#include "replication/courier/feed_reader.h"

namespace branchline {
namespace {

namespace asio = boost::asio;
using Task = std::move_only_function<void()>;  // back on the I/O thread
constexpr int64_t kJoinNewsUs = 2'000'000;     // how often the log tells how far a join is

Result<void> check_file(const FileHead& head, const ReplicaState& state) {
  if (!state.joined()) {
    return fail(ErrorKind::unavailable, "file.never_joined",
                "this office has no data yet; it joins by its link, and files go on from there");
  }
  if (head.line != state.cursor.line) {
    return fail(ErrorKind::conflict, "file.other_line",
                "the file belongs to main line " + to_hex(head.line.value) +
                    ", this office follows " + to_hex(state.cursor.line.value));
  }
  if (head.origin != state.self || head.territories != state.territories) {
    return fail(ErrorKind::conflict, "file.subscription",
                "the file is cut by other territories than this office holds: its subscription was "
                "changed, and what that takes comes over the link");
  }
  return {};
}

}  // namespace

Intake::Intake(Committer& committer, Clock& clock, Events events)
    : committer_(committer), clock_(clock), events_(std::move(events)) {}

void Intake::new_connection() {
  ++connection_;
  holding_ = false;
  held_.clear();
}

Task Intake::failed(uint64_t connection, const Error& why) {
  return [this, connection, why] {
    if (connection == connection_) events_.unusable(why);
  };
}

// --- Ranges ---

void Intake::take_range(FeedRange range) {
  if (holding_) {
    held_.push_back(std::move(range));
  } else if (ranges_.add(std::move(range))) {
    apply_waiting();
  }
}

void Intake::release() {
  holding_ = false;
  for (auto& range : std::exchange(held_, {})) take_range(std::move(range));
}

// One task at a time, so that clients' groups come in between.
void Intake::apply_waiting() {
  committer_.post([this](Replica& replica, const Committer::Write& write) -> Task {
    bool more = false;
    auto range = ranges_.take(more, redone_);
    if (more) apply_waiting();
    if (!range || moved_by_file_) return {};
    Csn csn = range->to.csn;
    auto result = range->from == replica.state().cursor.csn
                      ? replica.apply(*range)
                      : Result<ApplyResult>(fail(ErrorKind::unavailable, "feed.gap",
                                                 "a range before this one could not be applied"));
    if (result) {
      (void)write(result->batch, Sync::no);
      redone_ = result->redone;
    }
    return
        [this, csn, result = std::move(result)]() mutable { after_apply(std::move(result), csn); };
  });
}

void Intake::after_apply(Result<ApplyResult> result, Csn csn) {
  if (!result) {
    if (result.error().code == "effects.diverged") {
      // The base proves to differ from the master's: a fresh copy mends it, pending work is kept.
      spdlog::error("the feed cannot be applied, this replica is fetched anew: {}",
                    result.error().message);
      fetch_anew();
    }
    events_.unusable({ErrorKind::unavailable, result.error().code, result.error().message});
    return;
  }
  applied(*result);
  events_.applied(csn);
}

void Intake::applied(const ApplyResult& result) {
  for (const auto& f : result.fates) {
    spdlog::info("mutation {}.{}: {}", to_hex(f.id.incarnation.value), f.id.seq.value,
                 to_string(f.fate));
  }
  if (!result.changes.records.empty()) events_.changed(result.changes);
  events_.moved();
}

// --- Snapshots ---

void Intake::take_snapshot_parts(const BranchEffects& effects) {
  uint64_t connection = connection_;
  if (effects.begin_join) {
    spdlog::info("receiving a snapshot at csn {} (about {} records{}{})",
                 effects.begin_join->at.csn.value, effects.begin_join->records,
                 effects.begin_join->partial ? ", of what this office is to hold besides" : "",
                 effects.begin_join->first_chunk > 0 ? ", going on where it broke off" : "");
    join_told_at_ = clock_.steady_us();
    committer_.post([this, connection, head = *effects.begin_join](
                        Replica& replica, const Committer::Write& write) -> Task {
      auto ok = replica.begin_seed(head, write);
      return ok ? Task() : failed(connection, ok.error());
    });
  }
  for (const auto& chunk : effects.chunks) {
    committer_.post(
        [this, connection, chunk](Replica& replica, const Committer::Write& write) -> Task {
          auto ok = replica.seed_chunk(chunk, write);
          if (!ok) return failed(connection, ok.error());
          return [this, connection, chunks = replica.seeded_chunks(),
                  records = replica.seeded_records(), expected = replica.seed_expected()] {
            if (connection != connection_) return;
            if (clock_.steady_us() - join_told_at_ > kJoinNewsUs) {
              join_told_at_ = clock_.steady_us();
              spdlog::info("joining: {} of about {} records", records, expected);
            }
            events_.chunk_installed(chunks);
          };
        });
  }
  if (effects.end_join) {
    hold();
    finish_join(connection, *effects.end_join);
  }
}

// A part at a time, so that clients' groups and the ranges of before come in between. Ranges that
// come behind the end are held.
void Intake::finish_join(uint64_t connection, const SnapshotEnd& end) {
  committer_.post([this, connection, end](Replica& replica, const Committer::Write& write) -> Task {
    auto copied = replica.copy_kept(write);
    if (!copied && copied.error().code != "snapshot.early")
      return failed(connection, copied.error());
    if (!copied || !*copied) {
      return [this, connection, end] {
        if (connection == connection_) finish_join(connection, end);
      };
    }
    auto result = replica.end_seed(end, write);
    if (!result) return failed(connection, result.error());
    (void)write(result->batch, Sync::yes);
    uint64_t records = 0;
    for (const auto& [key, count] : replica.state().totals.counts) records += count;
    return [this, connection, records, csn = replica.state().cursor.csn,
            retired = result->retired] {
      spdlog::info("snapshot installed: {} records, {} pending changes of ours had been decided",
                   records, retired);
      reseed_ = false;
      // Everything may be another: caches start anew, open browsers read anew.
      events_.installed();
      if (connection != connection_) return;
      release();
      events_.joined(csn);
    };
  });
}

// --- Files ---

asio::awaitable<Result<FileTaken>> Intake::take_file(FilePart part) {
  // One after another, and not as one task: clients' groups come in between, and so may ranges of
  // the link. Then the next of ours does not fit any more, and what is left is chosen anew.
  FileTaken out;
  for (bool first = true;; first = false) {
    struct Step {
      ApplyResult applied;
      ReplicaState before, after;
      bool more = false;
    };
    auto step = co_await committer_.run<Result<Step>>(
        [this, &part](Replica& replica, const Committer::Write& write) -> Result<Step> {
          Step s;
          s.before = s.after = replica.state();
          BL_TRY(check_file(part.head, s.before));
          BL_ASSIGN(size_t first_range, first_new(part, s.before.cursor));
          RangeQueue queue;
          for (size_t i = first_range; i < part.ranges.size(); ++i) queue.add(part.ranges[i]);
          auto range = queue.take(s.more, redone_);
          if (range) {
            BL_ASSIGN(s.applied, replica.apply(*range));
            redone_ = s.applied.redone;
            (void)write(s.applied.batch, Sync::no);
            // The greeting of the connection that is up said another place, and whether the line
            // is the same up to here only the next one shows.
            moved_by_file_ = true;
          }
          s.after = replica.state();
          if (s.more) return s;
          Batch sync;  // everything before it is durable with it
          sync.put(Table::meta, keys::meta_state(), encode_replica_state(s.after));
          (void)write(sync, Sync::yes);
          return s;
        });
    if (!step) {
      if (step.error().code == "effects.diverged") {
        spdlog::error("a file cannot be applied, this replica is fetched anew: {}",
                      step.error().message);
        fetch_anew();
      }
      co_return std::unexpected(step.error());
    }
    if (first) out.from = step->before.cursor.csn;
    out.to = step->after.cursor.csn;
    out.pending = step->after.ledger.pending;
    out.decided += step->applied.retired;
    const Ledger &a = step->before.ledger, &b = step->after.ledger;
    out.fates.applied += b.applied - a.applied;
    out.fates.merged += b.merged - a.merged;
    out.fates.overridden += b.overridden - a.overridden;
    out.fates.rejected += b.rejected - a.rejected;
    applied(step->applied);
    if (step->after.cursor.csn != step->before.cursor.csn) {
      events_.unusable(
          {ErrorKind::unavailable, "session.moved_by_file",
           "a file brought this office further than its greeting said; greeting anew"});
    }
    if (!step->more) co_return out;
  }
}

}  // namespace branchline
