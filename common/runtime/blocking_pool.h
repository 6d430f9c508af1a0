// Threads for what blocks: disk reads, password hashes, name servers. A bounded queue in front of
// them.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/post.hpp>
#include <condition_variable>
#include <deque>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <type_traits>
#include <vector>

#include "common/base/error.h"
#include "common/runtime/event.h"

namespace branchline {

// What run(fn) gives: Result<T> for a function that returns T, and also for one that returns
// Result<T>.
template <typename T>
struct BlockingResult {
  using type = Result<T>;
};
template <typename T>
struct BlockingResult<Result<T>> {
  using type = Result<T>;
};

class BlockingPool {
 public:
  // `io` is the I/O thread, to which run() returns; its context outlives this.
  BlockingPool(boost::asio::any_io_executor io, size_t threads, size_t queue_limit);
  ~BlockingPool();  // join()
  BlockingPool(const BlockingPool&) = delete;
  BlockingPool& operator=(const BlockingPool&) = delete;

  // Runs `fn` on a thread of the pool and comes back to the I/O thread, also when it throws: then
  // the exception is thrown here. Destroying the waiting coroutine does not stop `fn`; what it
  // refers to must live until join(). Call from the I/O thread.
  // Errors: exhausted "pool.full"; shutdown "pool.stopped"; those that `fn` returns.
  template <typename F>
  boost::asio::awaitable<typename BlockingResult<std::invoke_result_t<F&>>::type> run(F fn);

  // Any thread. Nobody waits for `job`; it must not throw.
  // Errors: exhausted "pool.full"; shutdown "pool.stopped".
  Result<void> submit(std::move_only_function<void()> job);

  // Refuses new jobs, finishes those that it has, ends the threads. Blocks; idempotent. Not from a
  // job.
  void join();

  size_t queued() const;

 private:
  void work();

  boost::asio::any_io_executor io_;
  const size_t queue_limit_;
  mutable std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<std::move_only_function<void()>> queue_;
  bool stopped_ = false;
  std::vector<std::thread> threads_;
};

template <typename F>
boost::asio::awaitable<typename BlockingResult<std::invoke_result_t<F&>>::type> BlockingPool::run(
    F fn) {
  using Value = std::invoke_result_t<F&>;
  using Out = typename BlockingResult<Value>::type;
  struct Job {
    Job(const boost::asio::any_io_executor& io, F&& f) : fn(std::move(f)), finished(io) {}
    F fn;
    std::optional<Out> out;
    std::exception_ptr thrown;
    bool done = false;  // I/O thread only
    Event finished;     // I/O thread only
  };
  auto job = std::make_shared<Job>(io_, std::move(fn));
  // The pool's thread gives its share of the job away with the post, so that the job, whose timer
  // belongs to the I/O thread, is never destroyed by the pool.
  Result<void> taken = submit([job, io = io_]() mutable {
    try {
      if constexpr (std::is_void_v<Value>) {
        job->fn();
        job->out.emplace();
      } else {
        job->out.emplace(job->fn());
      }
    } catch (...) {
      job->thrown = std::current_exception();
    }
    boost::asio::post(io, [job = std::move(job)] {
      job->done = true;
      job->finished.notify();
    });
  });
  if (!taken) co_return std::unexpected(std::move(taken).error());
  while (!job->done) co_await job->finished.wait();
  if (job->thrown) std::rethrow_exception(job->thrown);
  co_return std::move(*job->out);
}

}  // namespace branchline
