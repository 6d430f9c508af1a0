// Wakes the driver of a line when something is due on it, as exactly as the machine allows.
#pragma once

#include <array>
#include <functional>
#include <optional>

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>

#include "tools/wan/link.h"

namespace branchline::wan {

// The clock of the lines.
Nanos steady_now();
// When the first of both ways wants to be woken.
std::optional<Nanos> next_due(const std::array<LineDirection, 2>& lines);

class Alarm {
 public:
  Alarm(boost::asio::io_context& io, std::function<void()> ring);
  // Rings once at `due`, or at an earlier time that was set before. Nothing: changes nothing, since
  // an alarm that rings for no reason does no harm.
  void set(std::optional<Nanos> due);
  void cancel();

 private:
  void on_timer(Nanos due);

  boost::asio::steady_timer timer_;
  std::function<void()> ring_;
  std::optional<Nanos> armed_;
  Nanos last_fired_{0};
};

}  // namespace branchline::wan
