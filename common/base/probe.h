// BL_PROBE("name"): a rare path was taken. A counter per place, for tests that must prove they
// reach it; costs one relaxed addition.
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <string>

namespace branchline {

class Probe {
 public:
  explicit Probe(const char* name);
  void hit() { hits_.fetch_add(1, std::memory_order_relaxed); }
  // All probes of this program that were reached at least once.
  static std::map<std::string, uint64_t> counts();

 private:
  const char* name_;
  std::atomic<uint64_t> hits_{0};
  Probe* next_;
};

}  // namespace branchline

#define BL_PROBE(name)                         \
  do {                                         \
    static ::branchline::Probe bl_probe(name); \
    bl_probe.hit();                            \
  } while (false)
