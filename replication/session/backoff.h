// How long a branch waits before it dials again.
#pragma once

#include <algorithm>
#include <cstdint>

#include "common/base/random.h"

namespace branchline {

class Backoff {
 public:
  static constexpr int64_t kFirstMs = 100;
  static constexpr int64_t kLastMs = 10'000;
  static constexpr int64_t kRefusedMs = 30'000;  // until an operator acts, there is no hurry
  static constexpr int64_t kHeldUs =
      5'000'000;  // a connection that held so long starts the waiting anew

  // After a connection that lasted `lasted_us`: doubles from kFirstMs to kLastMs. Between half of
  // it and all, so that offices that lost one line do not come back all at once.
  int64_t pause_ms(int64_t lasted_us, bool refused, Random& random) {
    if (lasted_us > kHeldUs) next_ms_ = kFirstMs;
    int64_t pause = refused ? kRefusedMs : next_ms_;
    next_ms_ = std::min(next_ms_ * 2, kLastMs);
    return pause / 2 + static_cast<int64_t>(random.below(static_cast<uint64_t>(pause / 2 + 1)));
  }

 private:
  int64_t next_ms_ = kFirstMs;
};

}  // namespace branchline
