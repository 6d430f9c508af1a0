// Virtual time, events and lines between servers.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <queue>
#include <string>
#include <vector>

#include "common/base/random.h"
#include "common/time/clock.h"

namespace branchline::sim {

class World {
 public:
  explicit World(uint64_t seed) : random(seed) {}

  // Runs `what` after `delay_us`.
  void after(int64_t delay_us, std::function<void()> what);
  // Runs events until `until_us` or until there is none.
  void run_until(int64_t until_us);
  int64_t now() const { return now_; }

  SeededRandom random;
  bool chance(double p) { return random.below(1'000'000) < static_cast<uint64_t>(p * 1'000'000); }
  int64_t between(int64_t low, int64_t high) {
    return low + static_cast<int64_t>(random.below(static_cast<uint64_t>(high - low + 1)));
  }
  std::map<std::string, uint64_t> counts;  // faults, operations, fates: for the summary
  bool verbose = false;
  void say(const std::string& text) const;

 private:
  struct Event {
    int64_t at;
    uint64_t number;  // ties run in order of scheduling
    std::function<void()> what;
    bool operator>(const Event& o) const { return at != o.at ? at > o.at : number > o.number; }
  };
  std::priority_queue<Event, std::vector<Event>, std::greater<>> events_;
  int64_t now_ = 0;
  uint64_t next_ = 0;
};

// A server's own idea of time: the world's, with an offset that can jump.
class SimClock : public Clock {
 public:
  explicit SimClock(World& world) : world_(world) {}
  int64_t wall_ms() override { return kEpochMs + world_.now() / 1000 + offset_ms; }
  int64_t steady_us() override { return world_.now(); }
  int64_t offset_ms = 0;

 private:
  static constexpr int64_t kEpochMs = 1'780'000'000'000;
  World& world_;
};

// One connection: two ordered directions. What one end sent before it died still arrives.
class Line {
 public:
  Line(World& world) : world_(world) {}
  struct End {
    std::function<void(const std::string&)> receive;
    std::function<void()> closed;
    bool open = true;
  };
  End branch, master;

  void send_up(std::string bytes) { send(std::move(bytes), true); }
  void send_down(std::string bytes) { send(std::move(bytes), false); }
  // One end goes away; the other learns it after what is under way, or never while stalled.
  void close_from(bool branch_end);

  int64_t latency_us = 5'000;
  bool stalled = false;  // nothing arrives; it is kept and arrives later

  std::weak_ptr<Line> self;

 private:
  void send(std::string bytes, bool up);
  void deliver(bool up);
  struct Direction {
    std::deque<std::pair<int64_t, std::function<void()>>> queue;
    bool scheduled = false;
  };
  Direction up_, down_;
  World& world_;
};

}  // namespace branchline::sim
