// Where randomness comes from. The protocol's code takes a Random&, so that the simulator repeats a
// run.
#pragma once

#include <array>
#include <cstdint>
#include <string>

#include "common/base/ids.h"

namespace branchline {

class Random {
 public:
  virtual ~Random() = default;
  virtual uint64_t next() = 0;
  // Uniform in [0, bound); bound > 0.
  uint64_t below(uint64_t bound);
  std::string bytes(size_t count);
};

// The kernel's generator; thread-safe.
class SystemRandom : public Random {
 public:
  uint64_t next() override;
};

// xoshiro256** (Blackman, Vigna): repeatable, for simulations, jitter in tests and generated data.
class SeededRandom : public Random {
 public:
  explicit SeededRandom(uint64_t seed);
  uint64_t next() override;

 private:
  std::array<uint64_t, 4> state_;
};

// Makes RecordIds in the order of time: ids of one process never repeat while its clock is within
// 2^48 ms, also when the clock steps back. Not thread-safe.
class RecordIdMaker {
 public:
  explicit RecordIdMaker(Random& random);
  RecordId make(int64_t now_ms);

 private:
  uint64_t node_;
  uint64_t last_ms_ = 0;
  uint32_t counter_ = 0;
};

}  // namespace branchline
