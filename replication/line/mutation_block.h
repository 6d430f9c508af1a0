// Consecutive mutations of one stream, as a branch ships them: by column, self-contained.
#pragma once

#include <string>
#include <vector>

#include "common/base/arena.h"
#include "common/record/mutation.h"

namespace branchline {

// How many mutations share one forecast digest: one that the master decides differently sends the
// effects of its run back, not of the whole block.
inline constexpr size_t kForecastRun = 16;

// The digest of one mutation's forecast effects (put_forecast); of a run, over its mutations'
// digests.
uint64_t forecast_digest(std::string_view forecast_bytes);
uint64_t run_digest(const uint64_t* digests, size_t count);

struct MutationBlock {
  Stream stream;
  std::vector<Mutation> mutations;  // seqs consecutive, orders rising
  std::vector<uint64_t> forecasts;  // one per run of kForecastRun
  uint32_t chain_check = 0;         // first 4 bytes of the chain after the last mutation
  Arena arena;                      // what the mutations point into, with `bytes`
  std::string bytes;
};

// Builds a block mutation by mutation; the strings they point to must live until finish().
class MutationBlockWriter {
 public:
  MutationBlockWriter();
  ~MutationBlockWriter();
  // All of one stream, seqs consecutive.
  void add(const Mutation& m, uint64_t forecast);
  size_t count() const;
  std::string finish(const Digest& chain_after);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// `corrupt` unless the bytes are exactly one block within the limits.
// Of an encoded block, without decoding it; interactive for what is none.
Lane peek_lane(std::string_view block);
Result<MutationBlock> decode_mutation_block(std::string bytes);

}  // namespace branchline
