// Kills servers at random moments under load and holds them to what they had promised.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "tests/crash/workload.h"

namespace branchline::crash {

struct CampaignOptions {
  int cycles = 30;
  uint64_t seed = 1;
  size_t clients_per_branch = 24;
  bool verbose = false;
  // In place of kill -9 of the servers named: whatever ends them, e.g. a power cut. They are gone
  // afterwards.
  std::function<void(Company&, const std::vector<std::string>&)> cut;
};

struct CampaignSummary {
  int cycles = 0;
  int with_requests_in_flight = 0;  // at least 16 at every office whose requests the kill concerned
  int with_unacknowledged_work = 0;
  int least_in_flight = 1 << 30;
  uint64_t killed_branches = 0, killed_masters = 0, line_down = 0, line_stalled = 0;
  uint64_t writes = 0, retried = 0, unanswered = 0, replays_checked = 0, creates_read = 0;
};

// Throws Failure, with the cycle in its text. The company has been started.
CampaignSummary run_campaign(Company& company, const CampaignOptions& options);
std::string to_string(const CampaignSummary& summary);

}  // namespace branchline::crash
