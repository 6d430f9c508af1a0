#include "common/program/start_log.h"

#include <spdlog/spdlog.h>

namespace branchline {
namespace {

constexpr int64_t kEveryUs = 2'000'000;

}  // namespace

void StartLog::milestone(const std::string& line) {
  spdlog::info("{}", line);
  told_us_ = clock_.steady_us();
}

void StartLog::progress(const std::string& line) {
  if (clock_.steady_us() - told_us_ >= kEveryUs) milestone(line);
}

}  // namespace branchline
