// Circles among things that each point to one other: parents, upstreams.
#pragma once

#include <functional>
#include <string>
#include <vector>

namespace branchline {

// `next[i]` is where i points, or -1. Each circle once, from its smallest member.
std::vector<std::vector<int>> find_cycles(const std::vector<int>& next);

// "`a` -> `b` -> `a`", cut when long.
std::string describe_cycle(const std::vector<int>& cycle,
                           const std::function<std::string(int)>& name);

}  // namespace branchline
