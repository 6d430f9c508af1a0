// What comes from the upstream is put in place: ranges of the feed, snapshots, files. Each is a
// task of the committer's thread, in order, so that clients' groups come in between. I/O thread
// only.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <functional>
#include <vector>

#include "branch/replica/committer.h"
#include "branch/uplink/range_queue.h"
#include "common/time/clock.h"
#include "replication/courier/file_part.h"
#include "replication/session/branch_session.h"

namespace branchline {

struct FileTaken {
  Csn from, to;          // of this replica, before and after
  uint64_t decided = 0;  // changes of ours that got their fate
  Ledger fates;          // which
  uint64_t pending = 0;
};

class Intake {
 public:
  struct Events {
    // For the connection that is up; what an earlier one brought is not told.
    std::function<void(const Error&)> unusable;  // what came is of no use here: greet anew
    std::function<void(Csn)> applied;
    std::function<void(uint64_t chunks)> chunk_installed;
    std::function<void(Csn)> joined;
    // For whoever shows the replica.
    std::function<void(const Changes&)> changed;
    std::function<void()> installed;  // a snapshot: everything may be another
    std::function<void()> moved;      // its csn
  };
  Intake(Committer& committer, Clock& clock, Events events);

  // A connection begins or has ended: what is held back is forgotten, the next one brings it again.
  void new_connection();
  // Ranges that wait are forgotten. Before the replica is asked where it stands.
  void forget_ranges() { ranges_.clear(); }
  void take_range(FeedRange range);
  // What of a snapshot came: its beginning, chunks, its end.
  void take_snapshot_parts(const BranchEffects& effects);
  // Ranges that come from now on wait until release().
  void hold() { holding_ = true; }
  void release();

  // Takes in a part of a feed that came by file, beside the link: what is known is skipped, the
  // rest is applied as if it had come over the link and durable when this returns. Errors: conflict
  // "file.other_line", "file.subscription", "file.gap" (with the csn to export from),
  // "file.off_line"; unavailable "file.never_joined"; corrupt "effects.diverged": this replica is
  // fetched anew when the link is up.
  boost::asio::awaitable<Result<FileTaken>> take_file(FilePart part);
  // Whether a file moved the replica behind what the connection was greeted with. Committer's
  // thread.
  bool moved_by_file() const { return moved_by_file_; }
  void greet_anew() { moved_by_file_ = false; }  // committer's thread

  // The replica differs from the master's: the next greeting asks for a snapshot.
  void fetch_anew() { reseed_ = true; }
  bool fetches_anew() const { return reseed_; }

 private:
  void apply_waiting();
  void after_apply(Result<ApplyResult> result, Csn csn);
  void applied(const ApplyResult& result);
  void finish_join(uint64_t connection, const SnapshotEnd& end);
  // Tells the connection, if it is still up, why a task for it failed.
  std::move_only_function<void()> failed(uint64_t connection, const Error& why);

  Committer& committer_;
  Clock& clock_;
  Events events_;
  uint64_t connection_ = 0;  // callbacks of an earlier connection are ignored
  RangeQueue ranges_;
  bool holding_ = false;
  std::vector<FeedRange> held_;
  bool reseed_ = false;
  int64_t join_told_at_ = 0;
  uint64_t redone_ = 0;         // by the last range; of the committer's thread
  bool moved_by_file_ = false;  // of that thread, too
};

}  // namespace branchline
