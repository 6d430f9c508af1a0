#include "branch/uplink/range_queue.h"

#include <algorithm>
#include <utility>

#include "common/base/limits.h"

namespace branchline {
namespace {

// Clients wait while a range is applied.
constexpr size_t kMostWork = limits::kTargetFeedFrameBytes;
constexpr size_t kMostWorkBehind = 8 * kMostWork;
constexpr size_t kFateWork = 64;  // as one pending mutation that is decided again

size_t work_of(const FeedRange& range) {
  size_t work = 0;
  for (const auto& b : range.blocks) work += b.size();
  for (const auto& f : range.fates) work += f.count * kFateWork;
  return work;
}

}  // namespace

bool RangeQueue::add(FeedRange range) {
  std::lock_guard lock(mutex_);
  waiting_.push_back(std::move(range));
  return !std::exchange(taker_, true);
}

std::optional<FeedRange> RangeQueue::take(bool& more, uint64_t redone) {
  std::lock_guard lock(mutex_);
  more = false;
  if (waiting_.empty()) {
    taker_ = false;
    return std::nullopt;
  }
  FeedRange out = std::move(waiting_.front());
  waiting_.pop_front();
  size_t work = work_of(out);
  size_t most = std::min<uint64_t>(kMostWork + redone * kFateWork, kMostWorkBehind);
  while (!waiting_.empty() && waiting_.front().from == out.to.csn &&
         waiting_.front().to.line == out.to.line) {
    work += work_of(waiting_.front());
    if (work > most) break;
    FeedRange& next = waiting_.front();
    out.to = next.to;
    for (auto& b : next.blocks) out.blocks.push_back(std::move(b));
    for (auto& f : next.fates) out.fates.push_back(std::move(f));
    waiting_.pop_front();
  }
  more = !waiting_.empty();
  taker_ = more;
  return out;
}

void RangeQueue::clear() {
  std::lock_guard lock(mutex_);
  waiting_.clear();
}

}  // namespace branchline
