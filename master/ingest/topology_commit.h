// The topology as commits: servers and territories become records that every branch gets.
#pragma once

#include "common/config/topology.h"
#include "master/ingest/ingest.h"

namespace branchline {

// Operations that make the committed topology the given one; none if it is that already. New
// servers and territories are numbered, numbers are never used again. `conflict` for what is not
// possible, by name: a territory that is gone, another kind of a server, and another
// subscription before the line's feature level knows it; so many tokens concerned that one commit
// does not hold them (kMaxOperationsPerMutation).
struct TopologyPlan {
  std::vector<RecordOp> ops;
  Arena arena;  // what the operations point into
  // What it does, by name: for operators, and for whom it concerns.
  std::vector<std::string> territories_added, servers_added, servers_removed, subscriptions_changed,
      upstreams_changed;
};
// A token is good for what comes below its territories as well: `tokens` are those of the store,
// and the plan moves those that it concerns. What was below before it leaves as it is.
struct TokenPlace {
  RecordId token;
  TerritoryId home;
  std::vector<TerritoryId> also_in;
};
Result<std::vector<TokenPlace>> token_places(const StoreView& store);
Result<TopologyPlan> plan_topology(const Schema& schema, const Directory& directory,
                                   const Topology& topology,
                                   const std::vector<TokenPlace>& tokens = {});

}  // namespace branchline
