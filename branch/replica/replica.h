// A branch's replica. A state machine: commands, feed ranges and snapshots in, Batches out. One
// thread; other threads read the store through views of their own.
#pragma once

#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "branch/replica/state.h"
#include "common/base/limits.h"
#include "common/base/random.h"
#include "common/time/clock.h"
#include "replication/merge/index_upkeep.h"
#include "replication/merge/merge.h"
#include "replication/session/greeting.h"
#include "replication/session/verification.h"
#include "replication/snapshot/snapshot.h"
#include "replication/wire/feed_frame.h"

namespace branchline {

// What a command wants done; payloads point into `arena`.
struct Draft {
  std::vector<RecordOp> ops;
  std::vector<Guard> guards;
  bool atomic = false;
  Arena arena;
};

// A client's write. prepare() runs on the writing thread, within the transaction: it sees the view
// with all writes before it, checks what has to be checked and says what is to be done.
class Command {
 public:
  virtual ~Command() = default;
  virtual Result<Draft> prepare(Workspace& view, RecordIdMaker& ids, int64_t now_ms) = 0;

  RecordId author;
  RecordId credential;
  Lane lane = Lane::interactive;  // as asked for; an edit of what waits in bulk joins bulk
  std::string operation_key;      // empty: none
  std::string request;            // 16 bytes of the request's SHA-256, where there is a key
};

struct Accepted {
  MutationId id;          // none: there was nothing to do
  bool replayed = false;  // the operation key was used for the same request before
};

// For caches and the change stream.
struct Changes {
  std::vector<RecordKey> records;
  // Of records that changed territories or are held here no longer: where they were, so that those
  // who lost sight of them are told.
  std::map<RecordKey, std::vector<TerritoryId>> were_in;
};

struct GroupResult {
  Batch batch;  // to be written synced before anyone is told; may be empty
  std::vector<Result<Accepted>> results;  // one per command taken, in order
  Changes changes;
};

struct ApplyResult {
  Batch batch;                   // need not be synced
  std::vector<FateEntry> fates;  // other than plainly applied
  uint64_t retired = 0;
  uint64_t redone = 0;  // pending mutations that were undone and decided again
  Changes changes;
};

// Records fetched again from the master.
struct RepairResult {
  Batch batch;  // to be written synced; may be empty
  // Pending mutations tie these to what was fetched: they must come along, and nothing was changed.
  std::vector<RecordKey> more;
  struct Mended {
    RecordKey record;
    std::string what;  // what was wrong with it, for people
  };
  std::vector<Mended> mended;
  uint64_t redone = 0;
  Changes changes;
};

class Replica {
 public:
  // Reads the state and checks the outbox's chain; draws an incarnation and puts it in `start`, to
  // be written synced before anything else. `corrupt` where what is stored contradicts itself.
  // Indexes of another collation than this program's are rebuilt in `store` before it returns.
  static Result<std::unique_ptr<Replica>> open(Store& store, std::shared_ptr<const Schema> schema,
                                               Clock& clock, Random& random, Batch& start,
                                               const IndexUpkeep& upkeep = {});

  // At most limits::kMaxGroupMutations commands. Takes the first of them, and further ones as long
  // as the group stays small enough to be shipped (limits::kTargetGroupBytes); the others are to be
  // given again.
  Result<GroupResult> accept(const std::vector<Command*>& commands);

  // --- The link ---
  Result<Introduction> introduction(const std::string& server,
                                    const std::string& topology_digest) const;
  // Notes what the master said; the rows need not be synced.
  Result<Batch> welcome(const Registration& registration);
  // SEMANTICS 26, of what is in the store, synced or not.
  Result<Csn> passed() const;
  // What the outbox takes in the store.
  uint64_t outbox_bytes() const { return outbox_bytes_; }
  // `invalid` for a range that does not continue the cursor, `corrupt` with code "effects.diverged"
  // where the base proves to differ from the master's: then nothing was changed, and the replica
  // must be seeded anew.
  Result<ApplyResult> apply(const FeedRange& range);

  // A snapshot: begin, chunks in order, end. Until the end the live side goes on as it is. `write`
  // writes a batch; the one that switches comes last, everything before it need not be synced.
  // begin_seed() goes on with a snapshot that broke off where the head says so. A partial one holds
  // only what is not here: copy_kept() takes the rest over from the live side, a part at a time,
  // until it says true; `unavailable` with code "snapshot.early" until the feed has come to the
  // snapshot's csn. What is accepted or applied meanwhile is not lost, but no range may be applied
  // between the first part and the end.
  using Write = std::function<Result<void>(const Batch&, Sync)>;
  Result<void> begin_seed(const SnapshotHead& head, const Write& write);
  Result<void> seed_chunk(std::string_view payload, const Write& write);
  Result<bool> copy_kept(const Write& write);
  Result<ApplyResult> end_seed(const SnapshotEnd& end, const Write& write);
  uint64_t seeded_chunks() const { return seed_ ? seed_->reader.chunks() : 0; }
  // The master says that the line followed is replaced (it was restored behind its branches): what
  // is kept of decided mutations becomes pending again, and introduction() asks for a snapshot. In
  // steps, each of which is whole: after a crash, say it again.
  Result<void> leave_line(const Write& write);
  // How long decided mutations are kept for that, and how much of them at most.
  void set_restore_window(int64_t ms, uint64_t bytes = limits::kMaxKeptBytes);
  const ReplicaHistory& history() const { return history_; }
  // When the oldest that is kept was decided; 0: nothing is kept.
  Result<int64_t> kept_since_ms() const;

  uint64_t seeded_records() const { return seed_ ? seed_->records : 0; }
  uint64_t seed_expected() const { return seed_ ? seed_->expected : 0; }

  // --- Verification (SEMANTICS 27, 24) ---
  // What the master has in these ranges at exactly the csn of the cursor takes the place of what is
  // held of them; pending mutations on it are decided again. `corrupt` with code "repair.failed"
  // where only a fresh copy helps: then nothing was changed.
  Result<RepairResult> repair(const std::vector<KeyRange>& ranges, std::string_view rows);
  // Writes the index rows that these records lack, and erases these rows where no record has them.
  // Adds to `mended` how many.
  Result<Batch> mend_index(const std::vector<RecordKey>& records,
                           const std::vector<std::string>& rows, uint64_t& mended);
  // Adds what a recount found missing in the sums and counts that are kept.
  Batch mend_totals(const std::vector<std::pair<TerritoryId, Sum128>>& sums, const Totals& stored,
                    const Totals& counted);

  const ReplicaState& state() const { return state_; }
  const Schema& schema() const { return *schema_; }
  // That the line has committed, as far as this replica has followed it.
  uint32_t feature_level() const { return merger_->level(); }
  // Without a fate, by lane.
  std::array<uint64_t, kLaneCount> pending_by_lane() const;
  // Stamp of the oldest pending mutation, in milliseconds; 0: none.
  Result<int64_t> oldest_pending_ms() const;
  // Through which seq each stream of this server reaches, where not all of it is decided.
  std::vector<std::pair<Stream, Seq>> pending_streams() const;
  Workspace& workspace() { return *workspace_; }

 private:
  struct Seed {
    SnapshotHead head;
    keys::Side side;
    SnapshotReader reader;
    Totals totals;
    uint64_t records = 0;
    uint64_t expected = 0;
    // Of a partial one: the live side as it is at its csn, without what is pending.
    std::shared_ptr<const StoreView> view;
    std::unique_ptr<Workspace> base;
    std::set<RecordKey> touched;  // by what is pending: read through `base`
    std::unique_ptr<Cursor> rows, elements;
    bool copied = false;
    std::optional<std::pair<Totals, uint64_t>> before_copy;  // totals and records of the chunks
  };
  struct SeedBatch;  // seed.cc
  struct Apply;      // apply.cc

  Replica(Store& store, std::shared_ptr<const Schema> schema, Clock& clock, Random& random);
  Result<void> load(Batch& start, const IndexUpkeep& upkeep);
  Result<void> check_newer(const SnapshotHead& head) const;
  Result<void> abandon_seed(Batch& batch);
  Result<void> take_level();  // from the topology that is held here
  struct Connected;           // repair.cc
  Result<Connected> connected_to(const std::set<RecordKey>& records);
  // Decides these pending mutations again, whose records have just been put as the master has them.
  // `did`: what is known of their effects so far.
  Result<ApplyResult> redo_pending(const std::set<PendingRef>& refs,
                                   const std::map<PendingRef, std::vector<RecordOp>>& did,
                                   const std::function<Result<void>()>& before_write);
  Result<void> check_outbox();
  Result<void> load_seed();
  Result<void> open_kept();
  Result<ApplyResult> switch_territories(const SnapshotEnd& end);
  struct Oldest {
    int64_t ms = 0;           // 0: nothing is pending
    std::optional<Csn> base;  // the lowest, of what was accepted on this line
  };
  Result<Oldest> oldest_pending() const;
  int64_t now_ms() { return clock_.wall_ms() + clock_correction_ms_; }

  struct Group;
  Result<std::optional<Accepted>> replayed(const Command& command, const Group& group) const;
  Result<Accepted> accept_one(Command& command, Group& group);
  Result<bool> touches_bulk(const Mutation& m, const Journal& journal);
  static void remember(const Command& command, const MutationId& id, Group& group);
  // The last seq that this server has given in a lane of one of its starts.
  Seq last_of(const PendingLane& lane) const;
  // Of a stream, before the first mutation that is pending, or after the last where none is.
  Result<Digest> chain_before_pending(const PendingLane& lane) const;
  void add_counts(const Deltas& deltas);
  bool holds(TerritoryId t) const;
  bool holds_any(const std::vector<TerritoryId>& of) const;
  // A pending mutation on what is not held here is decided again when that arrives.
  Result<void> note_unplaced(const Mutation& m, PendingRef ref);
  Result<void> find_unplaced();
  bool unplaced_due_ = false;  // before the next range: it came to hold less
  void write_state(Batch& batch);
  void count_fate(const FateEntry& entry, uint64_t n, bool was_pending);
  void write_fate(Batch& batch, FateEntry entry, std::string_view content);
  // keep.cc
  void keep_block(Batch& batch, const OutboxBlock& block);
  void drop_old_kept(Batch& batch);
  void write_history(Batch& batch) const;
  Result<void> take_back_kept(const Write& write);
  Result<uint64_t> take_back_fates(Batch& batch, PendingLane lane, Seq from);
  std::unique_ptr<Cursor> kept_of(Lane lane) const;
  // Decides a pending mutation again; its base may be of an earlier line.
  Result<Decision> run_again(Mutation& m);
  Result<void> replay_pending(const SnapshotEnd& end, const Write& write, ApplyResult& result,
                              ReplicaState& next);
  struct LaneWalk;  // seed.cc
  Result<void> retire_by_snapshot(const std::map<MutationId, const FateEntry*>& fates,
                                  PendingRef ref, PendingEntry& e, ApplyResult& result);
  Result<void> replay_one(PendingRef ref, PendingEntry& e, ApplyResult& result);
  Result<Decision> decide_pending(const Mutation& m);

  Store& store_;
  std::shared_ptr<const Schema> schema_;
  Clock& clock_;
  RecordIdMaker ids_;
  Random& random_;
  std::string collation_;  // index_version() of the rows that this process writes
  ReplicaState state_;
  ReplicaHistory history_;
  int64_t restore_window_ms_ = limits::kRestoreWindowMs;
  uint64_t kept_limit_ = limits::kMaxKeptBytes;
  std::array<PendingRef, kLaneCount> kept_from_;  // by lane: nothing is kept through here
  int64_t kept_look_ms_ = 0;                      // when it was last looked what is too old
  std::vector<IncarnationInfo> incarnations_;     // all of this data directory, by generation
  Lineage lineage_;
  HybridClock hlc_;
  Csn echo_until_;                   // see Registration
  Hlc highest_seen_;                 // of others' stamps: ours must exceed them
  int64_t clock_correction_ms_ = 0;  // learnt from stamps that the master clamped
  std::array<std::unique_ptr<MutationHasher>, kLaneCount> hashers_;
  std::unique_ptr<Workspace> workspace_;
  std::unique_ptr<Merger> merger_;
  // Pending mutations by records that they concern and that are not held here; may name more.
  std::map<RecordKey, std::set<PendingRef>> unplaced_;
  std::map<Stream, FateEntry> open_fates_;  // the row that the next plain run may extend
  std::unique_ptr<Seed> seed_;
  std::vector<TerritoryId> welcomed_;  // what the snapshot that comes is of
  bool welcomed_everything_ = false;
  bool distrust_ = false;  // what is kept here is not what the master has: everything comes anew
  uint64_t outbox_bytes_ = 0;
};

// What the uplink ships, read from the store by its own thread.
class ReplicaOutbox : public OutboxSource {
 public:
  // `side` is the live one; a new source is assigned after a switch. read() stays in the lane of
  // `after`.
  ReplicaOutbox(const StoreView& view, keys::Side side) : view_(&view), side_(side) {}
  Result<OutboxSlice> read(PendingRef after, size_t max_mutations, size_t max_bytes) const override;
  Result<std::optional<Digest>> chain_at(const Stream& stream, Seq seq) const override;

 private:
  const StoreView* view_;
  keys::Side side_;
};

}  // namespace branchline
