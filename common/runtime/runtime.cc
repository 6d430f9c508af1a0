#include "common/runtime/runtime.h"

#include <spdlog/spdlog.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/post.hpp>
#include <chrono>
#include <csignal>
#include <exception>

namespace branchline {
namespace {

// Longer than a link's orderly close may take.
constexpr std::chrono::seconds kSlowStop{10};

}  // namespace

Runtime::Runtime(const Options& options)
    : io_(1),  // one thread runs it: Asio need not lock for others
      pool_(io_.get_executor(), options.blocking_threads, options.blocking_queue),
      tasks_(io_.get_executor(),
             [this](std::string_view task, std::string_view what) {
               fail("task '" + std::string(task) + "': " + std::string(what));
             }),
      slow_stop_(io_) {}

Runtime::~Runtime() {
  // A pool's job posts to the context when it ends.
  pool_.join();
}

void Runtime::stop_on_signals() {
  signals_ = std::make_unique<StopSignals>(io_, [this](int signal) {
    spdlog::info("{}: stopping; a second signal ends the process at once",
                 signal == SIGINT ? "SIGINT" : "SIGTERM");
    begin_stop();
  });
}

void Runtime::request_stop() {
  boost::asio::post(io_, [this] { begin_stop(); });
}

void Runtime::fail(std::string_view why) {
  failed_ = true;
  spdlog::critical("this server stops: {}", why);
  request_stop();
}

void Runtime::begin_stop() {
  if (stopping_) return;
  stopping_ = true;
  report_slow_stop();
  // A callback that throws must not keep the others from being called, nor the stop from its end.
  for (bool called = false; !called;) {
    try {
      tasks_.stop();
      called = true;
    } catch (const std::exception& e) {
      fail(std::string("an exception in a stop callback, a bug: ") + e.what());
    }
  }
  boost::asio::co_spawn(
      io_, [this] { return finish_stop(); },
      [](const std::exception_ptr& exception) {
        if (exception) std::rethrow_exception(exception);
      });
}

boost::asio::awaitable<void> Runtime::finish_stop() {
  co_await tasks_.join();
  // Nobody waits for the pool any more, so the loop may stand still meanwhile.
  pool_.join();
  slow_stop_.cancel();
  io_.stop();
}

void Runtime::report_slow_stop() {
  slow_stop_.expires_after(kSlowStop);
  slow_stop_.async_wait([this](const boost::system::error_code& error) {
    if (error) return;
    for (const std::string& name : tasks_.names())
      spdlog::warn("stopping still waits for task '{}'", name);
    report_slow_stop();
  });
}

int Runtime::run() {
  auto work = boost::asio::make_work_guard(io_);
  while (!io_.stopped()) {
    try {
      io_.run();
    } catch (const std::exception& e) {
      fail(std::string("an exception left the I/O loop, a bug: ") + e.what());
    }
  }
  return failed_ ? 1 : 0;
}

}  // namespace branchline
