// Edits by the clock at one server, and when another shows each of them.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "tools/benchmarks/fleet.h"
#include "tools/benchmarks/http_load.h"

namespace branchline::bench {

struct LivePlan {
  Fleet* fleet = nullptr;
  std::string writer = "office", reader = "hq";
  int rate = 0;  // a second, whatever the answers do
  double seconds = 0;
  std::chrono::microseconds shown_from{0};  // after the request; nothing shows it earlier
  bool watch = true;                        // whether what is shown is looked at
  // Appends a request that sets `numberofchildren` of contact `id` to a number not below earlier
  // ones; asked again where an edit of that contact is still on its way.
  struct Made {
    uint64_t number = 0;
    std::string id;
  };
  std::function<Made(std::string& out, int connection)> make;
  std::function<bool()> over;  // ends it early; optional
};

struct LiveEdit {
  Clock::time_point sent, answered, shown;  // the last one only if it is looked at
};

// Until all have been answered and shown; throws where that does not come.
std::vector<LiveEdit> run_live(const LivePlan& plan);

double milliseconds(Clock::duration d);
// 0 to 1; 0 of nothing.
double percentile(std::vector<double> values, double p);

}  // namespace branchline::bench
