// Where a branch session reads pending mutations from; branch/replica implements it over its store.
#pragma once

#include <vector>

#include "common/base/arena.h"
#include "common/record/mutation.h"

namespace branchline {

// Consecutive pending mutations of one stream.
struct OutboxSlice {
  std::vector<Mutation> mutations;
  std::vector<uint64_t> forecasts;  // one per mutation
  Digest chain_after;               // of the stream after the last one
  PendingRef last;                  // where to go on
  std::vector<std::string> bytes;   // what the mutations point into
};

class OutboxSource {
 public:
  virtual ~OutboxSource() = default;
  // What is synced behind `after` in its lane, oldest process start first; empty where there is
  // nothing.
  virtual Result<OutboxSlice> read(PendingRef after, size_t max_mutations,
                                   size_t max_bytes) const = 0;
  // The chain of a stream after `seq`, where the outbox still reaches there.
  virtual Result<std::optional<Digest>> chain_at(const Stream& stream, Seq seq) const = 0;
};

}  // namespace branchline
