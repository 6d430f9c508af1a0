// Faults of identity: copies of a branch, and a master that is set back to an old copy.
#pragma once

#include "tests/simulation/servers.h"

namespace branchline::sim {

class IdentityNemesis {
 public:
  struct Host {
    World& world;
    SimMaster& master;
    std::vector<std::unique_ptr<SimBranch>>& branches;
    std::shared_ptr<const Schema> schema;
    std::string topology_digest;
    Bug bug;
    std::function<bool()> broken;
    std::function<void(const char*)> fault;
  };
  explicit IdentityNemesis(Host host) : host_(std::move(host)) {}

  // Within the next `span` microseconds.
  void schedule(int64_t span);
  // No copy runs on; whoever was refused for one is let in again, as an operator would.
  void heal();
  // There were copies: what one of them alone had is gone with it.
  bool copied() const { return !copies_.empty(); }
  bool copied(const std::string& name) const;
  // Old files were put back at the master, and nothing told it.
  bool restored_untold() const { return restored_untold_; }
  // Something went wrong at a copy.
  std::string failure() const;

 private:
  void restore_master();
  void start_copy();
  void operate();
  bool copy_runs(const std::string& name) const;

  Host host_;
  MemStore::Tables old_master_;
  bool restored_untold_ = false;
  std::vector<std::unique_ptr<SimBranch>> copies_;
};

}  // namespace branchline::sim
