// What must hold when a run has come to rest.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "tests/simulation/nemesis_identity.h"
#include "tests/simulation/nemesis_snapshots.h"
#include "tests/simulation/servers.h"
#include "tests/simulation/workload.h"
#include "tests/simulation/workload_moves.h"
#include "tests/simulation/workload_policies.h"

namespace branchline::sim {

// Per office: from when its disk was set back to, and when.
using RolledBack = std::map<std::string, std::vector<std::pair<int64_t, int64_t>>>;

class Checks {
 public:
  struct Run {
    World& world;
    SimMaster& master;
    const std::vector<std::unique_ptr<SimBranch>>& branches;
    std::shared_ptr<const Schema> schema, next_schema;
    const Workload& workload;
    PolicyWorkload& policies;
    MovesWorkload& moves;
    const SnapshotNemesis& snapshots;
    const IdentityNemesis& identity;
    const RolledBack& rolled_back;
    const std::set<std::string>& flipped;  // records with a byte that was changed, at some office
  };
  explicit Checks(const Run& run) : run_(run) {}

  // What is wrong first; empty where all holds.
  std::string all();
  // Only that every server is right in itself, and all hold the same.
  std::string copies();

 private:
  void wrong(const std::string& what) {
    if (failure_.empty()) failure_ = what;
  }
  uint64_t& count(const std::string& what) { return run_.world.counts[what]; }
  // Whether master and offices can have forgotten together what a third had seen (SEMANTICS 22).
  bool forgotten() const;

  void check_audits();
  void check_equal();
  void check_acknowledged();
  void check_order();
  void check_notes();
  void check_badges();
  void check_counters();
  void check_canaries();
  void check_policies();

  std::map<std::string, std::string> contents(const MemStore& disk, keys::Side side,
                                              const std::set<TerritoryId>& held) const;
  std::optional<FateEntry> entry_of(const MutationId& id) const;
  std::optional<Fate> fate_of(const MutationId& id) const;
  bool excused(const Intention::Attempt& a) const;
  std::map<RecordKey, MutationId> creations() const;
  std::vector<RecordKey> named_by(const SimBranch& office, const MutationId& id,
                                  const branchline::Outcome& o) const;
  bool is_gone(const RecordKey& key, const std::map<RecordKey, MutationId>& created) const;
  std::string tell(const std::vector<RecordKey>& named,
                   const std::map<RecordKey, MutationId>& created) const;
  bool leans_on_forgotten(const MutationId& id) const;

  Run run_;
  std::string failure_;
};

}  // namespace branchline::sim
