// The branch's end of the link: one object per connection. Pure; called by one thread.
#pragma once

#include <array>
#include <deque>
#include <map>
#include <optional>
#include <set>

#include "replication/line/compress.h"
#include "replication/session/greeting.h"
#include "replication/session/link_budget.h"
#include "replication/session/lookup.h"
#include "replication/session/outbox_source.h"
#include "replication/session/verification.h"
#include "replication/wire/feed_frame.h"
#include "replication/wire/frame.h"

namespace branchline {

enum class LinkState { idle, greeting, joining, following, closed };
std::string_view to_string(LinkState state);

// What the owner has to do, in this order.
struct BranchEffects {
  std::optional<Registration> welcome;  // note origin, subscription
  std::optional<SnapshotHead> begin_join;
  std::vector<std::string> chunks;  // snapshot chunks to install, behind the ranges of before
  std::optional<SnapshotEnd> end_join;
  std::vector<FeedRange> ranges;            // to apply, in order; then call on_applied()
  std::optional<VerifyPoint> verify_point;  // behind the ranges of before, before those that follow
  std::optional<VerifySums> verify_sums;
  std::vector<LookupAnswer> answers;
  std::vector<std::string> frames;  // to send, in order
  std::optional<Error> close;       // after sending
};

class BranchSession {
 public:
  // `outbox` and `budget` outlive this. Without a budget nothing is held back.
  BranchSession(const OutboxSource& outbox, int64_t now_us, LinkBudget* budget = nullptr);

  BranchEffects start(const Introduction& intro, int64_t wall_ms);
  BranchEffects on_frame(const Frame& frame, int64_t now_us, int64_t wall_ms);
  // There is more in the outbox, and it is synced.
  BranchEffects on_outbox();
  // Bulk work up to here goes at any hour: see ReplicaState.
  void set_hurried(PendingRef last) { hurried_ = last; }
  // What is pending through here was offered to an earlier line. A restored master puts it in order
  // by time, and may need to see the bulk lane before it decides the other: that one being full
  // does not hold it up.
  void set_offered_again(PendingRef last) { offered_again_ = last; }
  // A range or a snapshot is in the store.
  BranchEffects on_applied(Csn csn, int64_t now_us);
  BranchEffects on_chunk_installed(uint64_t chunks);
  // The snapshot is switched to, and the outbox is that of the new side: shipping goes on. Before,
  // what is pending may still be retired by it, and its forecasts are of the old base.
  BranchEffects on_joined(Csn csn);
  // Whether a question may be asked now, and why not: the link is not up yet, the master is of an
  // older version (neither helps to wait for), or as many are under way as it takes.
  enum class LookupRoom { room, full, closed, unknown };
  LookupRoom lookup_room() const;
  // Asks; there must be room. Sets the question's number, which the answer bears.
  BranchEffects look_up(LookupRequest& question);
  // Whether a question of verification may be asked now: one at a time.
  bool may_verify() const;
  // Asks; sets the question's number.
  BranchEffects verify(VerifyRequest& question);
  // What the master sent cannot be read or put in place: it is told why, then the link closes.
  BranchEffects on_broken(const Error& error);
  struct Facts {
    Csn applied, durable;
    uint64_t pending = 0;
    int64_t oldest_pending_ms = 0;
    Csn passed;
    uint64_t pending_bytes = 0;
  };
  BranchEffects tick(int64_t now_us, int64_t wall_ms, const Facts& facts);
  // More would go if the line were free or the hour had come: a tick looks again.
  bool held_back() const { return held_back_; }

  LinkState state() const { return state_; }
  // Whether a connection in this state must begin anew when a file takes pending work along: its
  // greeting may not name that work, and a snapshot brings the fates of what the greeting named. A
  // fate in between would be missing (SEMANTICS 25). Over the link nothing is shipped until then.
  static bool outdated_by_export(LinkState state) {
    return state == LinkState::greeting || state == LinkState::joining;
  }
  int64_t round_trip_us() const { return round_trip_us_; }
  // Master's clock minus ours, as far as the round trip lets one see.
  int64_t clock_offset_ms() const { return clock_offset_ms_; }
  Csn master_head() const { return master_head_; }
  bool caught_up() const { return state_ == LinkState::following && received_ >= master_head_; }
  size_t in_flight_bytes() const { return lanes_[0].in_flight_bytes + lanes_[1].in_flight_bytes; }
  // Of each lane: what it shipped over this connection and what is held back now.
  struct LaneStatus {
    SendHold hold = SendHold::no;
    uint64_t mutations = 0;  // shipped
    uint64_t bytes = 0;      // of their frames
  };
  const LaneStatus& lane(Lane lane) const { return lanes_[size_t(lane)].status; }

 private:
  Result<void> handle(const Frame& frame, int64_t now_us, int64_t wall_ms, BranchEffects& out);
  Result<void> on_welcome(const Frame& frame, int64_t wall_ms, BranchEffects& out);
  Result<void> on_feed(const Frame& frame, BranchEffects& out);
  void acknowledged(const Stream& stream, Seq seq);
  struct InFlight {
    Stream stream;
    Seq last;
    size_t bytes;
  };
  struct LaneShipping {
    PendingRef shipped;
    std::deque<InFlight> in_flight;
    size_t in_flight_bytes = 0;
    LaneStatus status;
  };
  Result<void> ship(BranchEffects& out);
  // Whether the lane may send now; notes why not.
  bool may_ship(Lane lane);
  bool bulk_is_offered_again() const;
  // Ships the next slice of a lane; false where it has none.
  Result<bool> ship_lane(Lane lane, BranchEffects& out);
  void send(FrameType type, std::string_view payload, BranchEffects& out);
  Result<void> ship_slice(LaneShipping& lane, const OutboxSlice& slice, BranchEffects& out);
  // What was applied gives the master room to feed more.
  void report_progress(BranchEffects& out);
  void close(BranchEffects& out, const Error& error);

  const OutboxSource& outbox_;
  LinkState state_ = LinkState::idle;
  Introduction intro_;
  OriginId origin_;
  std::map<Stream, Seq> high_waters_;
  std::array<LaneShipping, kLaneCount> lanes_;
  PendingRef hurried_;
  PendingRef offered_again_;
  bool held_back_ = false;  // more might go than did, later
  LinkBudget no_limits_;
  LinkBudget& budget_;
  StreamCompressor compressor_;

  std::optional<FeedAssembler> assembler_;
  Csn received_;  // end of the last complete range
  Csn master_head_;
  bool switching_ = false;  // a partial snapshot is due: nothing is shipped until it is installed
  uint64_t chunks_ = 0;
  bool head_seen_ = false;
  bool greets_again_ = false;
  struct Received {
    Csn to;
    size_t bytes;
  };
  std::deque<Received> unapplied_;  // ranges
  size_t range_bytes_ = 0;          // of the one that is not complete
  size_t unreported_bytes_ = 0;     // applied
  Csn applied_;

  // As of the last frame or tick: on_outbox() comes without the time.
  int64_t now_us_;
  int64_t wall_ms_ = 0;
  uint32_t lookup_limit_ = 0;
  uint64_t last_lookup_ = 0;
  std::set<uint64_t> lookups_;  // asked and not answered
  bool master_verifies_ = false;
  uint64_t last_verify_ = 0;
  bool point_due_ = false;
  size_t sums_due_ = 0;  // how many the master owes

  int64_t started_at_;
  int64_t heard_at_;
  int64_t beat_at_ = 0;
  int64_t peer_sent_us_ = 0;
  int64_t peer_heard_at_ = 0;
  int64_t round_trip_us_ = 0;
  int64_t clock_offset_ms_ = 0;
};

}  // namespace branchline
