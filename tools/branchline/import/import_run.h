// Carries a plan out at a branch, over a few connections at a time.
#pragma once

#include <atomic>
#include <chrono>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "tools/branchline/import/import_plan.h"

namespace branchline::import {

struct RunOptions {
  std::string url;
  std::string token;
  size_t jobs = 8;  // connections; each has one request under way
  std::chrono::seconds patience{
      600};  // with a branch that does not answer, is joining or has no room
};

struct SetCounts {
  uint64_t created = 0, updated = 0, unchanged = 0, rejected = 0;
  uint64_t deleted = 0;  // imported before and deleted by somebody since: left so
};

struct RunResult {
  std::map<std::string, SetCounts> sets;  // by entity set, children under their own
  std::vector<Rejection> rejections;      // by the branch
  uint64_t mutations = 0;                 // writes that the branch took
  std::string gave_up;                    // why the rest was not done; empty: all was done
  bool no_answer = false;                 // it was because the branch did not answer
  bool no_office = false;                 // it was because another server is at the address
};

// What a progress display needs; written by all workers.
struct Progress {
  std::atomic<uint64_t> done{0};  // of `total`; a row counts once per step in which it has a part
  std::atomic<uint64_t> total{0};
  std::atomic<uint64_t> rows{0};  // to be imported
  std::atomic<uint64_t> rejected{0};
  std::atomic<const char*> waiting{nullptr};  // what the import waits for, if it does
};

// Blocks. Asks first whether an office is at the address: every row would be rejected elsewhere, by
// an answer that says nothing of rows. Steps run one after another, so that lookups find what
// earlier steps made. Safe to repeat at any time, also after it was killed: what is there already
// is compared and left or changed, never doubled.
RunResult run_plan(const Mapping& mapping, const Plan& plan, const RunOptions& options,
                   Progress& progress);

}  // namespace branchline::import
