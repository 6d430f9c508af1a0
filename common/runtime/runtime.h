// The shell around a server's parts: one I/O thread, a pool for what blocks, and the order in which
// it all ends.
//
//   int main() {
//     Runtime runtime({.blocking_threads = 4, .blocking_queue = 256});
//     Store store = ...;                        // after the runtime: closed before it
//     runtime.stop_on_signals();
//     ... make parts, runtime.tasks().spawn("accept", ...), runtime.tasks().on_stop(...)
//     return runtime.run();                     // this thread is the I/O thread
//   }
//
// A stop, by signal, request_stop() or fail(): the stop callbacks run in the order of registration
// (stop accepting, close sessions); then the tasks are joined; then the pool; run() returns; the
// owner closes the store; the context is destroyed last. Any other order lets a pool's job, or a
// task, find its ground gone.
#pragma once

#include <atomic>
#include <boost/asio/io_context.hpp>
#include <functional>
#include <memory>
#include <string_view>

#include "common/runtime/blocking_pool.h"
#include "common/runtime/stop_signals.h"
#include "common/runtime/task_group.h"

namespace branchline {

class Runtime {
 public:
  struct Options {
    size_t blocking_threads = 2;
    size_t blocking_queue = 256;
  };
  explicit Runtime(const Options& options);
  ~Runtime();
  Runtime(const Runtime&) = delete;
  Runtime& operator=(const Runtime&) = delete;

  boost::asio::io_context& io() { return io_; }
  TaskGroup& tasks() { return tasks_; }
  BlockingPool& pool() { return pool_; }
  // See BlockingPool::run().
  template <typename F>
  auto run_blocking(F fn) {
    return pool_.run(std::move(fn));
  }

  // SIGINT and SIGTERM stop this server; the second one ends the process at once. Once, before
  // run().
  void stop_on_signals();

  // Any thread; idempotent.
  void request_stop();
  // Any thread. A bug or a broken disk: logs, stops in order, and run() returns 1. What task
  // exceptions do.
  void fail(std::string_view why);

  // The calling thread becomes the I/O thread until the stop is complete; once. Returns the
  // process's exit code: 0, or 1 after fail(). An exception that leaves a handler of the loop
  // counts as fail().
  int run();

 private:
  void begin_stop();
  boost::asio::awaitable<void> finish_stop();
  void report_slow_stop();

  boost::asio::io_context io_;  // first in, last out
  BlockingPool pool_;
  TaskGroup tasks_;
  std::unique_ptr<StopSignals> signals_;
  boost::asio::steady_timer slow_stop_;
  std::atomic<bool> failed_{false};
  bool stopping_ = false;
};

}  // namespace branchline
