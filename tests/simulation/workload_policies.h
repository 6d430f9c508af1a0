// `first`, `ask` and `escrow` under all faults: what clients do, and what must hold of it. Apart
// from workload.h, on records of its own, so that its checks need no excuse for anybody else's
// edits.
#pragma once

#include <functional>
#include <optional>

#include "replication/merge/fate.h"
#include "tests/simulation/servers.h"

namespace branchline::sim {

class PolicyWorkload {
 public:
  PolicyWorkload(World& world, std::shared_ptr<const Schema> schema);

  // Accounts and products, and a user and token for each branch, committed at the master.
  void set_up(SimMaster& master, const std::vector<SimBranch*>& branches);
  // One operation at this branch.
  void step(SimBranch& branch);
  // After every batch of the master: no share below zero, all together no more than the stock.
  std::string check_bound(SimMaster& master);

  // At rest.
  struct Decided {
    Fate fate;
    std::vector<branchline::Outcome> outcomes;
  };
  // Whether a spend that this branch accepted may be more than its share at the master, so that the
  // rest comes from what nobody holds; and whether it may even be refused.
  struct Excused {
    std::function<bool(const std::string& branch)> from_reserve, refused;
  };
  std::string check(SimMaster& master,
                    const std::function<std::optional<Decided>(const MutationId&)>& fate_of,
                    const Excused& excused);

 private:
  struct Written {
    enum class What { stock, limit, owner } what;
    MutationId id;
    std::string branch;
    std::string key;  // its operation key
    RecordKey record;
    int64_t change = 0;  // of a stock
    bool answered = true;
  };
  void spend(SimBranch& b);
  void set_limit(SimBranch& b);
  void set_owner(SimBranch& b);
  void write(SimBranch& b, Written written, CellOp cell, std::string payload, bool atomic);
  const Field& field(EntityId e, const char* name) const {
    return *schema_->entity(e)->field(name);
  }

  World& world_;
  std::shared_ptr<const Schema> schema_;
  RecordId user_, other_user_;
  std::map<std::string, RecordId> tokens_;  // by branch
  std::vector<RecordKey> products_;
  std::map<RecordKey, int64_t> initial_;
  std::vector<std::pair<RecordKey, TerritoryId>> accounts_;
  std::vector<Written> written_;
  uint64_t next_key_ = 0;
};

}  // namespace branchline::sim
