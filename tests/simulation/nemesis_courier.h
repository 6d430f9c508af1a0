// Somebody carries files between the offices and the master, beside the links: late, twice, in any
// order, from before a disk was rolled back or a replica fetched anew.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "tests/simulation/servers.h"

namespace branchline::sim {

class CourierNemesis {
 public:
  struct Host {
    World& world;
    SimMaster& master;
    std::vector<std::unique_ptr<SimBranch>>& branches;
    std::function<bool()> broken;
    std::function<void(const char*)> fault;
    std::function<void(const std::string&)> wrong;
  };
  explicit CourierNemesis(Host host) : host_(std::move(host)) {}

  // Within the next `span` microseconds.
  void schedule(int64_t span);

 private:
  struct Bag {
    std::vector<std::string> up, down;  // files under way
    std::vector<LineCursor> cursors;    // where the office stood when it wrote one
  };
  void step();
  std::string pick(std::vector<std::string>& files);
  void carry_up(const SimBranch& b, Bag& bag);
  void ask_feed(const SimBranch& b, Bag& bag);
  void carry_down(SimBranch& b, Bag& bag);

  Host host_;
  std::map<SimBranch*, Bag> bags_;
};

}  // namespace branchline::sim
