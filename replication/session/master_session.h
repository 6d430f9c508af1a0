// The master's end of a link: one object per connection. Pure; called by one thread.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <set>

#include "replication/line/compress.h"
#include "replication/session/greeting.h"
#include "replication/session/link_budget.h"
#include "replication/session/lookup.h"
#include "replication/session/verification.h"
#include "replication/wire/feed_frame.h"
#include "replication/wire/frame.h"

namespace branchline {

// What a branch gets to see of the line.
struct FeedScope {
  OriginId origin;
  std::set<TerritoryId> territories;  // the reference territory included
  Csn echo_until;                     // see Registration
  Csn until;                          // the end of a batch behind which nothing is read; 0: none
};

class FeedSource {
 public:
  virtual ~FeedSource() = default;
  // The batches behind `after` as one range, until about `budget` bytes; `to` == `after` where
  // there is none.
  virtual Result<FeedRange> read(const LineCursor& after, const FeedScope& scope,
                                 size_t budget) const = 0;
};

// What the owner has to do, in this order.
struct MasterEffects {
  std::optional<Introduction> introduce;  // register it with ingest, then call on_registered()
  std::vector<std::string> blocks;        // decompressed mutation blocks for ingest, in order
  std::vector<LookupRequest> lookups;     // to answer, each once, by on_looked_up()
  std::vector<std::string> frames;        // to send, in order
  // To answer: take a view of the store and call on_verify_view() with its csn at once, then
  // on_verify_point(), and on_verify_sums() where sums are asked for.
  std::optional<VerifyRequest> verify;
  bool open_snapshot = false;   // then call on_snapshot()
  bool want_chunk = false;      // then call on_chunk()
  std::optional<Error> close;   // after sending
  bool closed_by_peer = false;  // `close` is the branch's reason, not ours
};

// A question of verification under way.
struct Verifying {
  uint64_t number = 0;
  std::optional<VerifyPoint> point;  // to be sent when the feed has come to it
  bool point_due = true;
  bool sums_due = false;
};

class MasterSession {
 public:
  enum class State { greeting, registering, snapshotting, feeding, closed };

  // `feed` and `budget` outlive this. `peer` is the name in the certificate of the other end.
  // Without a budget nothing is held back.
  MasterSession(const FeedSource& feed, std::string peer, int64_t now_us,
                LinkBudget* budget = nullptr);

  // For a session that shares its line with others (replication/relay): asked before more is fed;
  // the owner counts what it comes to on the line.
  void set_room(std::function<bool()> room) { room_ = std::move(room); }

  MasterEffects on_frame(const Frame& frame, int64_t now_us, int64_t wall_ms);
  MasterEffects on_registered(const Result<Registration>& registration, int64_t now_us,
                              int64_t wall_ms);
  // It is open. A partial one's head is sent when the feed has come to its csn.
  MasterEffects on_snapshot(const SnapshotHead& head, int64_t now_us);
  // The number of the chunk that was asked for.
  uint64_t next_chunk() const { return chunks_sent_; }
  // A chunk, or at the end nothing and what ends it.
  MasterEffects on_chunk(std::optional<std::string> payload, const SnapshotEnd& end,
                         int64_t now_us);
  // Mutations of this session are committed and synced.
  MasterEffects on_committed(const Stream& stream, Seq seq, int64_t now_us);
  MasterEffects on_looked_up(const LookupAnswer& answer);
  // The feed stops there until on_verify_point(); a view is at least as new as what was sent.
  void on_verify_view(Csn csn);
  MasterEffects on_verify_point(VerifyPoint point, int64_t now_us);
  MasterEffects on_verify_sums(const VerifySums& sums);
  // The line has grown to `head`, synced.
  MasterEffects on_line(const LineCursor& head, int64_t now_us);
  // Ingest ends this session, or what the branch sent cannot be read: it is told why.
  MasterEffects on_broken(const Error& error);
  MasterEffects tick(int64_t now_us, int64_t wall_ms);
  // When tick() is due at the latest.
  int64_t next_tick_us() const;
  // Whether it is served and was heard a moment ago.
  bool alive(int64_t now_us) const;

  State state() const { return state_; }
  const std::string& peer() const { return peer_; }
  const Registration& registration() const { return registration_; }
  int64_t round_trip_us() const { return round_trip_us_; }
  const Heartbeat& peer_heartbeat() const { return peer_beat_; }
  int64_t heard_at_us() const { return heard_at_; }
  const LineCursor& sent() const { return sent_; }
  size_t in_flight_bytes() const { return in_flight_bytes_; }
  // Whether more bulk work may be decided as far as this branch is concerned: what it decides goes
  // down this line too, before whatever people do next (SEMANTICS 32). While a branch is behind,
  // catching up or on a line that carries less than it should, bulk work goes on at half of its
  // line's rate: it was allowed last at `allowed_at_us`.
  bool has_room_for_bulk(int64_t now_us, int64_t allowed_at_us) const;

 private:
  Result<void> handle(const Frame& frame, int64_t now_us, MasterEffects& out);
  Result<void> pump(int64_t now_us, MasterEffects& out);
  bool may_feed(int64_t now_us);
  // When what is open and smaller than a frame should be is sent.
  int64_t open_due_us() const;
  void send(FrameType type, std::string_view payload, MasterEffects& out);
  void send_open_range(MasterEffects& out);
  void begin_chunks(const SnapshotHead& head, MasterEffects& out);
  void set_territories(const std::vector<TerritoryId>& territories);
  void send_acks(MasterEffects& out);
  void beat(int64_t now_us, MasterEffects& out);
  void close(MasterEffects& out, const Error& error, bool tell);

  const FeedSource& feed_;
  std::string peer_;
  State state_ = State::greeting;
  Registration registration_;
  FeedScope scope_;
  StreamDecompressor decompressor_;

  LineCursor head_;  // of the line
  LineCursor sent_;  // end of the last range sent
  FeedRange open_;   // read but not yet sent: from sent_.csn to scanned_
  LineCursor scanned_;
  size_t open_bytes_ = 0;
  int64_t open_since_ = 0;
  int64_t quiet_at_;  // when a range without anything for this branch was sent last
  struct InFlight {
    Csn to;
    size_t bytes;
  };
  std::deque<InFlight> in_flight_;
  size_t in_flight_bytes_ = 0;

  std::set<uint64_t> lookups_;  // under way
  std::optional<Verifying> verifying_;

  std::optional<SnapshotHead> switch_;  // a partial snapshot whose csn the feed has not reached
  uint64_t chunks_sent_ = 0;
  uint64_t chunks_installed_ = 0;
  bool chunk_wanted_ = false;

  std::map<Stream, Seq> unacked_;
  int64_t unacked_since_ = 0;
  size_t unacked_bytes_ = 0;

  LinkBudget no_limits_;
  LinkBudget& budget_;
  std::function<bool()> room_;
  bool no_room_ = false;     // when it was asked last
  int64_t at_head_us_ = -1;  // when all of the line had been sent last; -1: not yet
  int64_t now_us_;
  int64_t wall_ms_ = 0;  // as of the last frame or tick
  int64_t started_at_;
  int64_t heard_at_;
  int64_t beat_at_ = 0;
  int64_t peer_heard_at_ = 0;
  int64_t round_trip_us_ = 0;
  Heartbeat peer_beat_;
};
std::string_view to_string(MasterSession::State state);

}  // namespace branchline
