// A condition that coroutines of the I/O thread wait for.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>

namespace branchline {

// Use as a condition variable: `while (!ready) co_await event.wait();`. Nothing is remembered:
// between the test and the wait nothing else runs on this thread, and notify() wakes all who wait.
// I/O thread only; outlives its waiters (they hold a shared_ptr to what owns it). Never an error.
class Event {
 public:
  // The time stays for ever at the end: setting it again would wake the waiters, who would set it
  // again.
  explicit Event(const boost::asio::any_io_executor& executor)
      : timer_(executor, boost::asio::steady_timer::time_point::max()) {}

  boost::asio::awaitable<void> wait() {
    co_await timer_.async_wait(boost::asio::as_tuple(boost::asio::use_awaitable));
  }
  void notify() { timer_.cancel(); }

 private:
  boost::asio::steady_timer timer_;
};

}  // namespace branchline
