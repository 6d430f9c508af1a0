// Answers a branch's questions of verification from a view of the master's store. Pure; any thread.
#pragma once

#include <set>

#include "common/store/store.h"
#include "replication/session/verification.h"

namespace branchline {

// Where the line stands in a view.
Result<LineCursor> line_at(const StoreView& view);

// Sums of the territories, and the rows that are asked for; the latter's errors go into it.
Result<VerifyPoint> verify_point(const StoreView& view, const std::set<TerritoryId>& territories,
                                 const VerifyRequest& question);
// The sums that are asked for; reads all of their ranges. Errors go into it.
VerifySums verify_sums(const StoreView& view, const std::set<TerritoryId>& territories,
                       const VerifyRequest& question);

}  // namespace branchline
