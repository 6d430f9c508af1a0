// Hybrid logical clock: 48 bits of milliseconds, 16 bits of counter, in one integer that sorts as
// time.
#pragma once

#include <compare>
#include <cstdint>

namespace branchline {

struct Hlc {
  uint64_t value = 0;

  constexpr auto operator<=>(const Hlc&) const = default;
  constexpr int64_t ms() const { return static_cast<int64_t>(value >> 16); }
  static constexpr Hlc at_ms(int64_t ms, uint16_t counter = 0) {
    return Hlc{static_cast<uint64_t>(ms) << 16 | counter};
  }
};

// Stamps grow at every call, exceed every stamp observed, and stay near the wall clock otherwise.
// The last stamp is persisted by the owner in the batch of what it stamped, and given back to
// start(). Not thread-safe.
class HybridClock {
 public:
  void start(Hlc persisted) { last_ = persisted > last_ ? persisted : last_; }
  Hlc stamp(int64_t wall_ms) {
    Hlc now = Hlc::at_ms(wall_ms);
    last_ = now > last_ ? now : Hlc{last_.value + 1};
    return last_;
  }
  void observe(Hlc seen) { last_ = seen > last_ ? seen : last_; }
  // The master clamped a stamp of ours (a clock too far ahead): fall back to what it said, so that
  // the wrong clock does not win against every other office until real time catches up (SEMANTICS
  // 7).
  void reset(Hlc to) { last_ = to; }
  Hlc last() const { return last_; }

 private:
  Hlc last_;
};

}  // namespace branchline
