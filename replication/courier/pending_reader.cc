#include "replication/courier/pending_reader.h"

#include "common/base/limits.h"
#include "replication/line/mutation_block.h"

namespace branchline {
namespace {

class Reading {
 public:
  Reading(const OutboxSource& outbox, const PendingPosition& after) : outbox_(outbox) {
    slice.after = after;
  }

  Result<OutboxSlice> peek(Lane lane) const {
    return outbox_.read(slice.after[size_t(lane)], limits::kMaxBlockMutations,
                        limits::kTargetBlockBytes);
  }
  // False where the lane has nothing.
  Result<bool> take(Lane lane) {
    BL_ASSIGN(OutboxSlice next, peek(lane));
    if (next.mutations.empty()) return false;
    BL_TRY(add(lane, next));
    return true;
  }
  Result<void> add(Lane lane, const OutboxSlice& next) {
    MutationBlockWriter writer;
    for (size_t i = 0; i < next.mutations.size(); ++i) {
      const MutationId& id = next.mutations[i].id;
      if (i > 0 && id.seq != next.mutations[i - 1].id.seq.next()) {
        return fail(ErrorKind::corrupt, "outbox.gap",
                    "the outbox has no mutation before " + std::to_string(id.seq.value) +
                        " of process start " + to_hex(id.incarnation.value) +
                        ": the store is damaged; `branchline audit` tells more");
      }
      writer.add(next.mutations[i], next.forecasts[i]);
    }
    slice.blocks.push_back(writer.finish(next.chain_after));
    slice.mutations += next.mutations.size();
    slice.after[size_t(lane)] = next.last;
    bytes += slice.blocks.back().size();
    return {};
  }

  PendingSlice slice;
  size_t bytes = 0;

 private:
  const OutboxSource& outbox_;
};

}  // namespace

PendingPosition pending_begin() {
  PendingPosition out;
  for (int l = 0; l < kLaneCount; ++l) out[size_t(l)].lane = static_cast<Lane>(l);
  return out;
}

Result<PendingSlice> read_pending(const OutboxSource& outbox, const PendingPosition& after,
                                  size_t target) {
  Reading reading(outbox, after);
  auto full = [&] { return reading.bytes >= target; };
  auto more = [&] {
    reading.slice.more = true;
    return std::move(reading.slice);
  };
  for (;;) {
    if (full()) return more();
    BL_ASSIGN(bool interactive, reading.take(Lane::interactive));
    if (interactive) continue;
    BL_ASSIGN(OutboxSlice bulk, reading.peek(Lane::bulk));
    if (bulk.mutations.empty()) return std::move(reading.slice);
    // Bulk work must not overtake what it leans on (SEMANTICS 32). That was accepted before it, so
    // it is in the store by now: look again, after reading.
    for (;;) {
      BL_ASSIGN(bool again, reading.take(Lane::interactive));
      if (!again) break;
      if (full()) return more();
    }
    BL_TRY(reading.add(Lane::bulk, bulk));
  }
}

}  // namespace branchline
