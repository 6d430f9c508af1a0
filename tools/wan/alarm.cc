#include "tools/wan/alarm.h"

#include <algorithm>
#include <chrono>
#include <utility>

namespace branchline::wan {

namespace {

// After the timer has fired it rests this long: on a fast line packets then leave in small groups,
// not with one wake-up each. On an idle line it makes no difference.
constexpr Nanos kTimerRest = std::chrono::microseconds(100);
// A processor that has slept for long wakes some 50 us late. So after a long sleep the timer fires
// this much early and the rest is spun away; a busy line never sleeps as long, and does not spin.
constexpr Nanos kLongSleep = std::chrono::milliseconds(2);
constexpr Nanos kWakeEarly = std::chrono::microseconds(60);

}  // namespace

Nanos steady_now() { return std::chrono::steady_clock::now().time_since_epoch(); }

std::optional<Nanos> next_due(const std::array<LineDirection, 2>& lines) {
  std::optional<Nanos> due;
  for (const auto& line : lines) {
    if (auto next = line.next_due(); next && (!due || *next < *due)) due = next;
  }
  return due;
}

Alarm::Alarm(boost::asio::io_context& io, std::function<void()> ring)
    : timer_(io), ring_(std::move(ring)) {}

void Alarm::set(std::optional<Nanos> due) {
  if (!due) return;
  due = std::max(*due, last_fired_ + kTimerRest);
  if (armed_ && *armed_ <= *due) return;
  armed_ = due;
  const bool early = *due - steady_now() > kLongSleep;
  timer_.expires_at(std::chrono::steady_clock::time_point(early ? *due - kWakeEarly : *due));
  timer_.async_wait([this, at = *due](const boost::system::error_code& error) {
    if (!error) on_timer(at);
  });
}

void Alarm::cancel() {
  timer_.cancel();
  armed_.reset();
}

void Alarm::on_timer(Nanos due) {
  do last_fired_ = steady_now();
  while (last_fired_ < due && due - last_fired_ <= kWakeEarly);
  armed_.reset();
  ring_();
}

}  // namespace branchline::wan
