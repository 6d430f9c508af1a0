// A clock that stands where a test puts it.
#pragma once

#include "common/time/clock.h"

namespace branchline {

class FixedClock : public Clock {
 public:
  explicit FixedClock(int64_t wall_ms) : ms(wall_ms) {}
  int64_t wall_ms() override { return ms; }
  int64_t steady_us() override { return ms * 1000; }
  int64_t ms;
};

}  // namespace branchline
