// Pending mutations as kept at a branch: one block per commit group and lane.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "common/store/keyspace.h"
#include "common/store/store.h"
#include "replication/line/incarnation.h"
#include "replication/merge/workspace.h"
#include "replication/session/outbox_source.h"

namespace branchline {

// One mutation without a fate yet.
struct PendingEntry {
  Mutation mutation;      // points into the block's bytes
  uint64_t forecast = 0;  // digest of its effects when it was accepted: what is shipped
  uint64_t current = 0;   // digest of its effects on the base of today
  Deltas sums;            // what it does to the checksums, on the base of today
  std::string undo;       // pre-images (replication/merge/undo.h)
  // Its effects when it was accepted, where those of today are others: a fate "as forecast" means
  // these.
  std::string original;
};

// Of a mutation that is decided: it has nothing to undo.
void forget_effects(PendingEntry& entry);

struct OutboxBlock {
  uint32_t generation = 0;
  Lane lane = Lane::interactive;
  Digest chain_before;  // of the stream, before the first and after the last mutation
  Digest chain_after;
  std::vector<PendingEntry> entries;
  std::string bytes;  // what the mutations point into

  PendingRef ref(const PendingEntry& e) const { return {generation, e.mutation.order, lane}; }
  PendingRef first() const { return ref(entries.front()); }
  PendingRef last() const { return ref(entries.back()); }
};

// Takes canonical bytes of mutations as they were hashed (one per entry), so that nothing is
// encoded twice.
std::string encode_outbox_block(const OutboxBlock& block,
                                const std::vector<std::string>& canonical);
std::string encode_outbox_block(const OutboxBlock& block);
// Effects as kept in `original`.
std::string encode_effects(const std::vector<RecordOp>& effects);
Result<std::vector<RecordOp>> decode_effects(std::string_view bytes);
// `corrupt` unless it is exactly one block. `with_undo` false leaves undo and sums out: for
// shipping.
Result<OutboxBlock> decode_outbox_block(PendingRef last, std::string bytes, bool with_undo = true);

// One lane of one process start, and through which of its mutations all are decided. Lanes are
// decided apart, each in its order (SEMANTICS 32).
struct PendingLane {
  uint32_t generation = 0;
  Lane lane = Lane::interactive;
  auto operator<=>(const PendingLane&) const = default;
};
inline PendingLane lane_of(PendingRef ref) { return {ref.generation, ref.lane}; }
struct Decided {
  Seq seq;
  Order order;  // of that seq
};
// A lane that is not in it has nothing pending.
using Retired = std::map<PendingLane, Decided>;
bool is_pending(const Retired& retired, PendingRef ref);
// Where a walk to what is pending behind `after`, in its lane, may begin; none where there is
// nothing. Walks begin there and not at the lane's first key: a store walks over each row that was
// erased, and of those there are as many as the lane ever had since the last compaction.
std::optional<PendingRef> skip_decided(const Retired& retired, PendingRef after);

// Walks the outbox in order of its keys: first the interactive lanes of all starts, then the bulk
// lanes. Blocks read in order cost one cursor, which sees the outbox as it was when it was opened:
// a reader is for one walk, not to be kept.
class OutboxReader {
 public:
  OutboxReader(const StoreView& view, keys::Side side) : view_(view), side_(side) {}
  // Ends with this lane.
  OutboxReader(const StoreView& view, keys::Side side, Lane only)
      : view_(view), side_(side), only_(only) {}
  // The first block that ends behind `after`; it may be of another lane or start.
  Result<std::optional<OutboxBlock>> next(PendingRef after, bool with_undo = true);
  // The block that holds `ref`.
  Result<std::optional<OutboxBlock>> holding(PendingRef ref);
  // The block that holds this seq of a lane. Orders count across the lanes of a start, so they are
  // at least as high as seqs: it walks from there, past as many blocks as the other lane wrote.
  Result<std::optional<OutboxBlock>> holding_seq(PendingLane lane, Seq seq, bool with_undo = true);

 private:
  const StoreView& view_;
  keys::Side side_;
  std::optional<Lane> only_;
  std::unique_ptr<Cursor> cursor_;
  PendingRef at_;  // where the cursor stands: the last block returned
};

}  // namespace branchline
