// How the master shares out escrow fields (SEMANTICS 31): pure planning, the decision is the
// merge's.
#pragma once

#include <vector>

#include "common/base/arena.h"
#include "replication/merge/companions.h"

namespace branchline {

struct Holder {
  OriginId origin;
  Incarnation chain;
};

// The grants that are due on `field` of `record`, in the order of `holders`; payloads live in
// `arena`. Half of what is not frozen with other chains is meant for the holders, in equal parts of
// whole units, at least one; who is below half of his part is filled up to it as far as
// what is nobody's reaches. The other half stays with the master, for who sells most.
Result<std::vector<CellOp>> plan_grants(Workspace& workspace, const Record& record,
                                        const Field& field, const std::vector<Holder>& holders,
                                        Arena& arena);

}  // namespace branchline
