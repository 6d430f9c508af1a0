// The topology as commits: servers and territories become records that every branch gets.
#pragma once

#include "common/config/topology.h"
#include "master/ingest/ingest.h"

namespace branchline {

// Operations that make the committed topology the given one; none if it is that already. New
// servers and territories are numbered. `conflict` for what is not possible yet, by name: another
// subscription of a branch, a server or territory that is gone, another kind or upstream.
struct TopologyPlan {
  std::vector<RecordOp> ops;
  Arena arena;  // what the operations point into
};
Result<TopologyPlan> plan_topology(const Schema& schema, const Directory& directory,
                                   const Topology& topology);

}  // namespace branchline
