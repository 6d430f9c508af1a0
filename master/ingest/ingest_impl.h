// Private parts of Ingest: the cached state, and the batch under work.
#pragma once

#include <algorithm>
#include <deque>
#include <set>
#include <tuple>
#include <unordered_map>

#include "common/base/check.h"
#include "common/base/limits.h"
#include "common/store/keyspace.h"
#include "master/ingest/grants.h"
#include "master/ingest/ingest.h"
#include "replication/line/compress.h"
#include "replication/merge/effects.h"

namespace branchline {

// What comes in order from one branch.
using OriginLane = std::pair<OriginId, Lane>;
inline OriginLane lane_of(const IncomingBlock& b) { return {b.origin, b.block.stream.lane}; }

// Where a mutation stands among those that are offered again. Whoever had seen another office's
// work had applied its commit, so the base of what leans on it is higher; clocks say nothing here,
// since the line clamps them anew. Of one office, acceptance decides.
struct OfferedPlace {
  size_t line = 0;  // that it was made on: its place in the history
  Csn seen;         // its base, or what was read upstream if that is higher
  OriginId origin;
  uint32_t generation = 0;
  Order order;
  auto operator<=>(const OfferedPlace&) const = default;
  // By the same server.
  bool accepted_after(const OfferedPlace& other) const {
    return std::tie(generation, order) > std::tie(other.generation, other.order);
  }
};

// Everything one call of ingest() collects until it is written.
struct IngestBatch {
  struct Decided {
    Commit commit;                                // effects of all territories
    std::vector<std::vector<TerritoryId>> where;  // per effect
    std::vector<TerritoryId> lost_where;
    // Images of records for the territories that they newly enter.
    struct Arrival {
      std::vector<RecordOp> images;
      std::vector<TerritoryId> where;
    };
    std::vector<Arrival> arrivals;
    bool echo = false;
    // A record came (back) into the author's territories: what it holds now it did not forecast.
    bool needs_echo = false;
    FateEntry fate;
  };
  std::vector<IncomingBlock> blocks;  // what commits point into
  Arena arena;
  std::vector<Decided> decided;
  size_t effect_bytes = 0;
  bool cut = false;       // the last block was taken in part
  std::set<size_t> hold;  // blocks of which the rest waits, see Reconciling
  size_t at = 0;          // the block under work
  bool of_held = false;
  bool holds(const OriginLane& lane) const {
    return std::any_of(hold.begin(), hold.end(),
                       [&](size_t i) { return lane_of(blocks[i]) == lane; });
  }
  bool full() const { return effect_bytes >= limits::kMaxBatchEffectBytes; }
  std::string rejected;  // canonical bytes of rejected mutations, each with its length
  Sha256 rejected_digest;
  bool any_rejected = false;
  std::set<Stream> streams;
  std::set<OriginId> origins;
  std::vector<std::pair<std::string, std::string>> key_rows;
  std::unordered_map<std::string, MutationId> keys_used;
};

struct Ingest::Impl {
  Store& store;
  std::shared_ptr<const Schema> schema;
  Clock& clock;
  Random& random;
  AttemptLog* attempts;

  MasterState state;
  std::map<OriginId, OriginState> origins;
  std::map<OriginId, ProgramSeen> programs;
  std::map<Stream, StreamState> streams;
  // The last plain row of a stream in Table::fates, which the next run may extend.
  std::map<Stream, FateEntry> open_fates;
  std::map<std::pair<OriginId, Incarnation>, IncarnationInfo> incarnations;
  std::map<Stream, std::unique_ptr<MutationHasher>> hashers;
  std::map<OriginId, uint64_t> sessions;
  std::set<std::pair<OriginId, RecordId>> shown;
  Lineage lineage;
  Directory directory;
  TrimState trim;
  std::map<OriginId, BranchProgress> branches;
  HybridClock hlc;
  std::unique_ptr<Workspace> workspace;
  std::unique_ptr<Merger> merger;
  uint64_t last_session = 0;
  std::optional<Error> fault;  // of the store, while a permit was asked

  // ingest_identity.cc: copies, restores
  Reconciling reconciling;
  bool reconciling_changed = false;
  std::map<OriginLane, std::deque<IncomingBlock>> held;  // first mutation: not decided yet
  std::map<OriginLane, OfferedPlace> heads;              // of what is held, and under work
  std::map<OriginId, std::map<Stream, Seq>> offered;     // to be decided until it is not awaited

  // This process start of the master itself.
  IncarnationInfo own;
  Seq own_seq;
  Order own_order;
  Digest own_chain;

  // Escrow (grants.cc): fields by entity, records whose shares are to be looked at, and where the
  // walk over all of them is.
  std::map<EntityId, std::vector<FieldId>> escrow_fields;
  std::set<RecordKey> grants_due;
  std::optional<RecordKey> grant_scan;
  bool granting = true;

  Impl(Store& s, std::shared_ptr<const Schema> sc, Clock& c, Random& r, AttemptLog* a)
      : store(s), schema(std::move(sc)), clock(c), random(r), attempts(a) {}

  Result<void> load();
  void start_line(Batch& rows);
  void start_incarnation(Batch& rows);
  void learn(OriginId origin, const IncarnationInfo& info);
  MutationHasher& hasher(const Stream& stream);
  Result<void> check_introduction(const Introduction& intro, const ServerEntry& server) const;
  // Both may put rows that must be written even where they refuse.
  Result<void> check_line(const Introduction& intro, const ServerEntry& server, Batch& rows);
  Result<bool> holds_cursor(const LineCursor& cursor) const;  // of what is not trimmed
  Result<void> check_copy(const Introduction& intro, const ServerEntry& server, bool other_alive,
                          Batch& rows);
  // Whether what it offers goes on where what is known here ends.
  Result<void> check_missing(const Introduction& intro, const ServerEntry& server, Batch& rows);
  Error replace_line(const ServerEntry& server, const std::string& why, Batch& rows);
  void await_all();
  void note_offer(const Introduction& intro, OriginId origin, bool joins, Batch& rows);
  // Whether all that it had offered is decided; then it is not awaited any more.
  void note_progress(OriginId origin);
  void close_if_done();
  bool base_is_lost(const Mutation& m) const;
  bool still_offers(OriginId origin, Lane lane) const;
  OfferedPlace place_of(const Mutation& m) const;
  // Whether what a lane has next, or still offers, stands behind that; not known: no.
  bool comes_behind(const OriginLane& lane, const OfferedPlace& place) const;
  void drop_held(OriginId origin);
  bool may_decide(const Mutation& m) const;
  const Mutation* head_of(const IncomingBlock& block) const;
  void note_head(const IncomingBlock& block);
  std::vector<IncomingBlock> take_held();

  // retention.cc
  Result<void> trim_line(Csn through, Batch& rows, RetentionResult& out);
  Result<const ServerEntry*> known_branch(const std::string& name) const;
  // Learns the process starts that it names.
  Result<void> learn_all(const Introduction& intro, const ServerEntry& server, Batch& rows);
  // Of a file: it is of this line, and of the one office of that name.
  Result<void> check_file(const Introduction& intro, const ServerEntry& server) const;
  // A file has no place among what branches offer anew after a restore.
  static Error waits_for_links();

  // ingest_batch.cc
  Result<void> take_blocks(IngestBatch& work, size_t& taken, IngestResult& result);
  Result<void> take_block(IngestBatch& work, IncomingBlock& incoming, IngestResult& result);
  // Skips what is committed already; an error tells why the session must end.
  Result<size_t> check_continuity(const MutationBlock& block, const StreamState& at) const;
  Result<size_t> decide_run(IngestBatch& work, MutationBlock& block, size_t begin, size_t end,
                            size_t stop, size_t fresh_from,
                            std::optional<uint64_t> expected_forecast);
  Result<Decision> decide(IngestBatch& work, Mutation& m, Csn csn);
  Result<std::optional<MutationId>> key_used_by(IngestBatch& work, const Mutation& m);
  Result<Permit> permit_of(const Mutation& m, bool base_lost);
  // Where a record is, the home first, and where it was for those whose base is `base`: it, or what
  // it belongs to, was moved later, or what he knew as another record was merged into it.
  std::vector<TerritoryId> territories_at(const Record& record, Csn base);
  void add_merged_away(const Record& survivor, Csn base, std::vector<TerritoryId>& out);
  Result<void> keep(IngestBatch& work, Decision&& decision, const Mutation& m, Csn csn,
                    Hlc clamped);
  Result<void> finish(IngestBatch& work, IngestResult& result);
  void write_fates(IngestBatch& work, Batch& batch, LineBatch& line, BatchHeader& header);
  Result<void> find_arrivals(IngestBatch& work, IngestBatch::Decided& decided,
                             const Journal& journal);
  void write_arrivals(IngestBatch& work, Batch& batch, LineBatch& line, BatchHeader& header);
  void write_effects(IngestBatch& work, Batch& batch, LineBatch& line, BatchHeader& header);
  void write_state(Batch& batch, const std::set<Stream>& streams,
                   const std::set<OriginId>& origins);
  void apply_totals(const Deltas& deltas);
  void note_escrow(const std::vector<RecordOp>& effects);
  void grants_due_everywhere();
  Result<void> scan_for_grants();
  Result<std::vector<RecordOp>> plan_write_off(OriginId origin, bool everything, Arena& arena,
                                               bool& more) const;
  std::vector<Holder> holders_of(const Record& record) const;
  void take_into_directory(const IngestBatch& work, Batch& rows);
};

}  // namespace branchline
