// What an office has pending, cut into parts, in the order in which a link would ship it.
#pragma once

#include <array>

#include "replication/session/outbox_source.h"

namespace branchline {

// How far each lane was read.
using PendingPosition = std::array<PendingRef, kLaneCount>;
PendingPosition pending_begin();

struct PendingSlice {
  std::vector<std::string> blocks;  // mutation blocks
  uint64_t mutations = 0;
  PendingPosition after = pending_begin();
  bool more = false;
};
// The next blocks behind `after`, until about `target` bytes. What is accepted meanwhile comes
// along. `corrupt` "outbox.gap" as on the link.
Result<PendingSlice> read_pending(const OutboxSource& outbox, const PendingPosition& after,
                                  size_t target);

}  // namespace branchline
