#include "tests/simulation/world.h"

#include <cstdio>

namespace branchline::sim {

void World::after(int64_t delay_us, std::function<void()> what) {
  events_.push({now_ + delay_us, next_++, std::move(what)});
}

void World::run_until(int64_t until_us) {
  while (!events_.empty() && events_.top().at <= until_us) {
    Event e = events_.top();
    events_.pop();
    now_ = e.at;
    e.what();
  }
  now_ = std::max(now_, until_us);
}

void World::say(const std::string& text) const {
  if (verbose)
    std::fprintf(stderr, "%10.3f ms  %s\n", static_cast<double>(now_) / 1000, text.c_str());
}

void Line::send(std::string bytes, bool up) {
  Direction& d = up ? up_ : down_;
  // deliver() keeps the line alive while it runs this: a pointer that owned it would close a
  // circle.
  d.queue.emplace_back(world_.now() + latency_us, [this, up, bytes = std::move(bytes)] {
    End& to = up ? master : branch;
    if (to.open && to.receive) to.receive(bytes);
  });
  deliver(up);
}

void Line::close_from(bool branch_end) {
  End& own = branch_end ? branch : master;
  if (!own.open) return;
  own.open = false;
  Direction& d = branch_end ? up_ : down_;
  d.queue.emplace_back(world_.now() + latency_us, [this, branch_end] {
    End& to = branch_end ? master : branch;
    if (!to.open) return;
    to.open = false;
    if (to.closed) to.closed();
  });
  deliver(branch_end);
}

void Line::deliver(bool up) {
  Direction& d = up ? up_ : down_;
  if (d.scheduled || d.queue.empty()) return;
  d.scheduled = true;
  auto line = self.lock();
  int64_t delay = std::max<int64_t>(d.queue.front().first - world_.now(), 0);
  if (stalled) delay = std::max<int64_t>(delay, 20'000);
  world_.after(delay, [line, up] {
    Direction& dir = up ? line->up_ : line->down_;
    dir.scheduled = false;
    if (!line->stalled && !dir.queue.empty() && dir.queue.front().first <= line->world_.now()) {
      auto what = std::move(dir.queue.front().second);
      dir.queue.pop_front();
      what();
    }
    line->deliver(up);
  });
}

}  // namespace branchline::sim
