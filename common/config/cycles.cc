#include "common/config/cycles.h"

#include <algorithm>

#include "common/config/mistakes.h"

namespace branchline {

std::vector<std::vector<int>> find_cycles(const std::vector<int>& next) {
  std::vector<std::vector<int>> cycles;
  // The walk that first came by; a walk that meets itself has found a cycle.
  std::vector<int> walk(next.size(), -1);
  for (int start = 0; start < static_cast<int>(next.size()); ++start) {
    int at = start;
    while (at >= 0 && walk[static_cast<size_t>(at)] < 0) {
      walk[static_cast<size_t>(at)] = start;
      at = next[static_cast<size_t>(at)];
    }
    if (at < 0 || walk[static_cast<size_t>(at)] != start) continue;
    std::vector<int> cycle;
    int member = at;
    do {
      cycle.push_back(member);
      member = next[static_cast<size_t>(member)];
    } while (member != at);
    std::rotate(cycle.begin(), std::min_element(cycle.begin(), cycle.end()), cycle.end());
    cycles.push_back(std::move(cycle));
  }
  return cycles;
}

std::string describe_cycle(const std::vector<int>& cycle,
                           const std::function<std::string(int)>& name) {
  constexpr size_t kShown = 8;
  std::string out;
  for (size_t i = 0; i < std::min(cycle.size(), kShown); ++i)
    out += quoted(name(cycle[i])) + " -> ";
  return out + (cycle.size() > kShown ? "... -> " : "") + quoted(name(cycle[0]));
}

}  // namespace branchline
