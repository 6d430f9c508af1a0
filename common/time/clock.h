// Time as a collaborator: production reads the system, the simulator its own.
#pragma once

#include <cstdint>

namespace branchline {

class Clock {
 public:
  virtual ~Clock() = default;
  // Milliseconds since 1970-01-01 UTC. May jump.
  virtual int64_t wall_ms() = 0;
  // Microseconds from some start; never goes back.
  virtual int64_t steady_us() = 0;
};

class SystemClock : public Clock {
 public:
  int64_t wall_ms() override;
  int64_t steady_us() override;
};

}  // namespace branchline
