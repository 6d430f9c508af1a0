// The topology as commits: servers and territories become records that every branch gets.
#pragma once

#include "common/config/topology.h"
#include "master/ingest/ingest.h"

namespace branchline {

// Operations that make the committed topology the given one; none if it is that already. New
// servers and territories are numbered, numbers are never used again. `conflict` for what is not
// possible, by name: a territory that is gone, another kind or upstream of a server, and another
// subscription before the line's feature level knows it.
struct TopologyPlan {
  std::vector<RecordOp> ops;
  Arena arena;  // what the operations point into
  // What it does, by name: for operators, and for whom it concerns.
  std::vector<std::string> territories_added, servers_added, servers_removed, subscriptions_changed;
};
Result<TopologyPlan> plan_topology(const Schema& schema, const Directory& directory,
                                   const Topology& topology);

}  // namespace branchline
