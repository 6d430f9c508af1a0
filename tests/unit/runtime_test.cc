#include "common/runtime/runtime.h"

#include <sys/wait.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <csignal>
#include <latch>
#include <stdexcept>
#include <thread>

using namespace branchline;
using boost::asio::awaitable;

namespace {

// Runs one task on a runtime of its own, then stops.
int run_task(Runtime& runtime, std::function<awaitable<void>()> body) {
  REQUIRE(runtime.tasks().spawn("test", [&runtime, body = std::move(body)]() -> awaitable<void> {
    co_await body();
    runtime.request_stop();
  }));
  return runtime.run();
}

}  // namespace

TEST_CASE("blocking work runs elsewhere and comes back") {
  Runtime runtime({.blocking_threads = 2, .blocking_queue = 8});
  auto here = std::this_thread::get_id();
  std::thread::id there, back;
  Result<std::string> value, failed;
  Result<void> nothing = fail(ErrorKind::invalid, "unset", "");
  std::string thrown;
  int code = run_task(runtime, [&]() -> awaitable<void> {
    value = co_await runtime.run_blocking([&] {
      there = std::this_thread::get_id();
      return std::string("value");
    });
    back = std::this_thread::get_id();
    failed = co_await runtime.run_blocking(
        []() -> Result<std::string> { return fail(ErrorKind::not_found, "no.such", "none"); });
    nothing = co_await runtime.run_blocking([] {});
    try {
      co_await runtime.run_blocking([]() -> int { throw std::runtime_error("thrown there"); });
    } catch (const std::exception& e) {
      thrown = e.what();
    }
  });
  CHECK(code == 0);
  CHECK(value == std::string("value"));
  CHECK(there != here);
  CHECK(back == here);
  REQUIRE_FALSE(failed);
  CHECK(failed.error().code == "no.such");
  CHECK(nothing);
  CHECK(thrown == "thrown there");
}

TEST_CASE("a full pool refuses at once, and a stopped one too") {
  boost::asio::io_context io;
  BlockingPool pool(io.get_executor(), 1, 2);
  std::latch started(1), go(1);
  std::atomic<int> ran = 0;
  REQUIRE(pool.submit([&] {
    started.count_down();
    go.wait();
  }));
  started.wait();  // the thread is taken, the queue is empty
  REQUIRE(pool.submit([&] { ++ran; }));
  REQUIRE(pool.submit([&] { ++ran; }));
  CHECK(pool.queued() == 2);
  auto full = pool.submit([&] { ++ran; });
  REQUIRE_FALSE(full);
  CHECK(full.error().kind == ErrorKind::exhausted);
  CHECK(full.error().code == "pool.full");
  go.count_down();
  pool.join();
  CHECK(ran == 2);  // what was taken is finished
  auto stopped = pool.submit([] {});
  REQUIRE_FALSE(stopped);
  CHECK(stopped.error().code == "pool.stopped");
}

TEST_CASE("a stop runs in order: callbacks, tasks, pool") {
  std::vector<std::string> order;
  {
    Runtime runtime({.blocking_threads = 1, .blocking_queue = 8});
    auto closed = std::make_shared<Event>(runtime.io().get_executor());
    bool close = false;
    auto acceptor = runtime.tasks().on_stop([&] { order.push_back("acceptor"); });
    auto session = runtime.tasks().on_stop([&] {
      order.push_back("session");
      close = true;
      closed->notify();
    });
    auto taken_back = runtime.tasks().on_stop([&] { order.push_back("never"); });
    runtime.tasks().spawn("session", [&]() -> awaitable<void> {
      while (!close) co_await closed->wait();
      auto flushed = co_await runtime.run_blocking([] { return 1; });  // the pool still works
      order.push_back(flushed ? "task" : "pool was gone");
      CHECK_FALSE(runtime.tasks().spawn("late", []() -> awaitable<void> { co_return; }));
      auto at_once = runtime.tasks().on_stop([&] { order.push_back("late callback"); });
      CHECK(runtime.pool().submit([&] { order.push_back("last job"); }));
    });
    taken_back = {};
    runtime.request_stop();
    runtime.request_stop();
    CHECK(runtime.run() == 0);
    CHECK(runtime.tasks().running() == 0);
    CHECK_FALSE(runtime.pool().submit([] {}));
  }
  CHECK(order ==
        std::vector<std::string>{"acceptor", "session", "task", "late callback", "last job"});
}

TEST_CASE("an exception in a task stops the server, and nothing hides it") {
  Runtime runtime(Runtime::Options{});
  bool stopped = false;
  auto callback = runtime.tasks().on_stop([&] { stopped = true; });
  runtime.tasks().spawn("broken", []() -> awaitable<void> {
    throw std::logic_error("a bug");
    co_return;
  });
  CHECK(runtime.run() == 1);
  CHECK(stopped);
}

TEST_CASE("an exception in a handler stops the server in order") {
  Runtime runtime(Runtime::Options{});
  bool stopped = false;
  auto callback = runtime.tasks().on_stop([&] { stopped = true; });
  boost::asio::post(runtime.io(), [] { throw std::logic_error("a bug"); });
  CHECK(runtime.run() == 1);
  CHECK(stopped);
}

TEST_CASE("an exception in a stop callback does not stop the stop") {
  Runtime runtime(Runtime::Options{});
  bool second = false;
  auto one = runtime.tasks().on_stop([] { throw std::logic_error("a bug"); });
  auto two = runtime.tasks().on_stop([&] { second = true; });
  runtime.request_stop();
  CHECK(runtime.run() == 1);
  CHECK(second);
}

TEST_CASE("a stop may be asked for by any thread, while the pool works") {
  Runtime runtime({.blocking_threads = 4, .blocking_queue = 1000});
  std::atomic<int> done = 0;
  for (int i = 0; i < 200; ++i) {
    runtime.tasks().spawn("job", [&]() -> awaitable<void> {
      auto result = co_await runtime.run_blocking([&] { return ++done; });
      if (result && *result == 100) std::thread([&] { runtime.request_stop(); }).join();
    });
  }
  CHECK(runtime.run() == 0);
  CHECK(done == 200);
}

TEST_CASE("the first signal asks for a stop") {
  Runtime runtime(Runtime::Options{});
  bool asked = false;
  auto callback = runtime.tasks().on_stop([&] { asked = true; });
  runtime.stop_on_signals();
  boost::asio::post(runtime.io(), [] { ::raise(SIGTERM); });
  CHECK(runtime.run() == 0);
  CHECK(asked);
}

TEST_CASE("the second signal ends the process at once, though the I/O thread hangs") {
  pid_t child = ::fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    ::alarm(20);  // should nothing else end it
    Runtime runtime(Runtime::Options{});
    runtime.stop_on_signals();
    boost::asio::post(runtime.io(), [] {
      ::raise(SIGTERM);
      ::raise(SIGINT);
      for (;;) ::pause();
    });
    runtime.run();
    _exit(7);
  }
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  REQUIRE(WIFEXITED(status));
  CHECK(WEXITSTATUS(status) == 1);
}
