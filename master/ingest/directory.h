// Servers and territories as the master committed them: names to numbers, and what each branch may
// hold.
#pragma once

#include <map>
#include <set>
#include <string>
#include <vector>

#include "common/config/topology.h"
#include "common/record/record.h"
#include "common/schema/schema.h"
#include "replication/merge/feature_level.h"

namespace branchline {

// The kind of a server that was removed; 1 is the master, 2 a branch.
inline constexpr int64_t kRemovedServer = 3;

struct ServerEntry {
  OriginId origin;
  std::string name;
  bool master = false;
  bool removed = false;  // from the topology; its number stays its own
  std::string upstream;
  std::set<TerritoryId> territories;  // a branch's subscription, without the reference territory

  bool holds(TerritoryId t) const { return t == kReferenceTerritory || territories.count(t) > 0; }
};

class Directory {
 public:
  // Takes in a record of entity `server`, `territory` or `topology`; others are ignored.
  void take(const Schema& schema, const Record& record);
  // Resolves the servers' territory names; after the last take().
  void resolve();

  const ServerEntry* server(std::string_view name) const;
  const ServerEntry* server(OriginId origin) const;
  std::optional<TerritoryId> territory(std::string_view name) const;
  // This territory and all below it in the tree.
  std::set<TerritoryId> with_below(TerritoryId t) const;
  // Of a territory's record: the record above it; nil at a root, or where it is not known.
  RecordId parent_of(std::string_view territory) const;
  // Whether each of these is a territory, or the reference territory.
  bool knows(const std::vector<TerritoryId>& territories) const;
  const std::map<OriginId, ServerEntry>& servers() const { return servers_; }
  const std::map<std::string, TerritoryId, std::less<>>& territories() const {
    return territories_;
  }
  // SHA-256 of the topology that was committed last, hex; empty before the first.
  const std::string& topology_digest() const { return topology_digest_; }
  // What the line has committed (replication/merge/feature_level.h).
  uint32_t feature_level() const { return feature_level_; }
  // As committed with it; see TopologyPolicies.
  const TopologyPolicies& policies() const { return policies_; }

 private:
  std::map<OriginId, ServerEntry> servers_;
  std::map<OriginId, std::string> territory_names_;
  std::map<std::string, TerritoryId, std::less<>> territories_;
  struct Node {
    TerritoryId number;
    RecordId parent;
  };
  std::map<RecordId, Node> tree_;
  std::string topology_digest_;
  uint32_t feature_level_ = kFeatureLevel;
  TopologyPolicies policies_;
};

// Whether a session may come by this way: a server, the hubs between, the one whose link it is;
// each must be the upstream of the one before. Empty: its own link, which it may always use.
Result<void> check_path(const Directory& directory, const std::vector<std::string>& path);

}  // namespace branchline
