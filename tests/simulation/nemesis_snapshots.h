// Bad luck around snapshots: joins that break off again and again, subscriptions that change while
// work is pending, territories that are new, an office that is away for longer than anything is
// kept for it.
#pragma once

#include <functional>
#include <memory>
#include <set>
#include <vector>

#include "tests/simulation/servers.h"

namespace branchline::sim {

class SnapshotNemesis {
 public:
  // `topology` is what `master` is given; it is changed here. `broken` says that the run is over.
  SnapshotNemesis(World& world, Topology& topology, SimMaster& master,
                  std::vector<SimBranch*> branches, std::function<bool()> broken);

  // Spreads its faults over so many microseconds from now.
  void schedule(int64_t span_us);
  // Territories that an office held at some time: what it did itself to records of them it keeps.
  bool held_once(const std::string& branch, const std::string& territory) const {
    return held_.count({branch, territory}) > 0;
  }

 private:
  SimBranch& any();
  void fault(const char* name);
  void change_subscription();
  void grow();
  void apply(const std::vector<std::string>& concerned);
  void break_join();
  void keep_breaking(SimBranch* b, int times);
  void long_absence();

  World& world_;
  Topology& topology_;
  SimMaster& master_;
  std::vector<SimBranch*> branches_;
  std::function<bool()> broken_;
  std::set<std::pair<std::string, std::string>> held_;
  int grown_ = 0;
};

}  // namespace branchline::sim
