// One seed: servers, workload, faults, and what must hold when all is quiet.
#pragma once

#include <set>

#include "tests/simulation/servers.h"

namespace branchline::sim {

struct Outcome {
  uint64_t seed = 0;
  std::string failure;  // empty: all held
  std::map<std::string, uint64_t> counts;
};

struct ScenarioOptions {
  uint64_t operations = 2000;
  uint64_t faults = 20;
  double moves = 0.2;      // the share of operations that are of the moves workload
  double upgrades = 0.4;   // the share of seeds in which servers get the next schema
  double couriers = 0.35;  // the share of seeds in which files go beside the links
  Bug bug = Bug::none;
  bool verbose = false;
};

Outcome run_scenario(uint64_t seed, const ScenarioOptions& options);

}  // namespace branchline::sim
