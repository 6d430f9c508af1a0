// The one row that changes with every batch of a replica.
#pragma once

#include "branch/replica/outbox.h"
#include "replication/line/commit.h"
#include "replication/line/line_history.h"

namespace branchline {

struct ReplicaState {
  OriginId self;      // 0 before the first welcome
  LineCursor cursor;  // csn 0 before the first snapshot is installed
  Term term;
  keys::Side side = 0;                   // of the live replica
  std::vector<TerritoryId> territories;  // the subscription, without the reference territory
  bool holds_everything = false;

  uint32_t generation = 0;  // of this process start
  Incarnation incarnation;
  Order order;  // last used in this incarnation
  struct LaneEnd {
    Seq seq;
    Digest chain;
  };
  std::array<LaneEnd, kLaneCount> ends;
  uint32_t announced = 0;  // the master knows our incarnations through this generation
  Retired retired;
  // The last bulk mutation that an interactive one turned into by touching what waits in the bulk
  // lane: it and what stands before it are shipped at any hour.
  PendingRef hurried;

  Hlc hlc;
  Ledger ledger;
  uint64_t key_rows = 0;  // in Table::keys
  Totals totals;          // sums of the base, counts of the view

  bool joined() const { return cursor.csn.value != 0; }
};

// How far the log of a process start had come, for the anchor: the number of mutations it took, and
// one hash over the chains of its lanes.
using LaneEnds = std::array<ReplicaState::LaneEnd, kLaneCount>;
Digest chain_of(const LaneEnds& ends);
// What does not change with every batch: the lines it has followed, and what is kept of decided
// mutations so that they can be offered again to a restored master (SEMANTICS 29).
struct ReplicaHistory {
  LineHistory past;
  bool leaving = false;  // the line followed is replaced: a snapshot of its successor is wanted
  uint64_t kept_blocks = 0;
  uint64_t kept_bytes = 0;
  // Whatever is pending through here was so when a line was left. The restored master decides it by
  // time, whichever lane it comes in.
  PendingRef offered_again;
  bool operator==(const ReplicaHistory&) const = default;
};
std::string encode_replica_history(const ReplicaHistory& history);
Result<ReplicaHistory> decode_replica_history(std::string_view bytes);
// A block in the place keys::kKept: when its last mutation was decided, and the block, without
// pre-images.
std::string encode_kept_block(int64_t decided_ms, OutboxBlock block);
struct KeptBlock {
  int64_t decided_ms = 0;
  OutboxBlock block;
};
Result<KeptBlock> decode_kept_block(PendingRef last, std::string_view bytes);

std::string encode_replica_state(const ReplicaState& state);
Result<ReplicaState> decode_replica_state(std::string_view bytes);

// How far the side that is built from a snapshot has come (Table::meta, `j`).
struct SeedRow {
  uint64_t id = 0;  // of the snapshot, at its master
  LineCursor at;
  bool partial = false;
  keys::Side side = 0;
  uint64_t chunks = 0;
  Digest chain;  // over them
  uint64_t records = 0;
  uint64_t expected = 0;
  Totals totals;  // of their rows
};
// Value of keys::meta_compact(): what was erased with this csn is still in the files.
std::string compaction_row(Csn csn);
std::string encode_seed_row(const SeedRow& row);
Result<SeedRow> decode_seed_row(std::string_view bytes);

// Rows of Table::keys at a branch.
struct KeyRow {
  MutationId mutation;  // none: the request changed nothing, so there is none
  std::string
      request;  // 16 bytes of the request's SHA-256: a key used for something else is refused
};
std::string encode_key_row(const KeyRow& row);
Result<KeyRow> decode_branch_key_row(std::string_view bytes);

}  // namespace branchline
