// What a server writes down and tells its upstream about each of its process starts (SEMANTICS 1).
#pragma once

#include <array>

#include "common/record/mutation.h"
#include "replication/merge/seen.h"

namespace branchline {

struct IncarnationInfo {
  uint32_t generation = 0;  // counts the starts of one data directory, from 1
  Incarnation incarnation;
  Incarnation predecessor;  // 0: this is the first
  Order predecessor_order;  // the last order that the predecessor is known to have used
  struct LaneEnd {
    Seq seq;
    Digest chain;
  };
  std::array<LaneEnd, kLaneCount> predecessor_ends;
  SaltKey salt_key;

  Lineage::Link link() const { return {predecessor, predecessor_order}; }
};

std::string encode_incarnation(const IncarnationInfo& info);
Result<IncarnationInfo> decode_incarnation(std::string_view bytes);

}  // namespace branchline
