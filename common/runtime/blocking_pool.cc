#include "common/runtime/blocking_pool.h"

#include "common/base/check.h"

namespace branchline {

BlockingPool::BlockingPool(boost::asio::any_io_executor io, size_t threads, size_t queue_limit)
    : io_(std::move(io)), queue_limit_(queue_limit) {
  BL_CHECK(threads > 0 && queue_limit > 0);
  for (size_t i = 0; i < threads; ++i) threads_.emplace_back([this] { work(); });
}

BlockingPool::~BlockingPool() { join(); }

Result<void> BlockingPool::submit(std::move_only_function<void()> job) {
  {
    std::lock_guard lock(mutex_);
    if (stopped_) return fail(ErrorKind::shutdown, "pool.stopped", "this server is stopping");
    if (queue_.size() >= queue_limit_) {
      return fail(
          ErrorKind::exhausted, "pool.full",
          std::to_string(queue_.size()) + " jobs wait for a thread already; try again later");
    }
    queue_.push_back(std::move(job));
  }
  wake_.notify_one();
  return {};
}

void BlockingPool::join() {
  {
    std::lock_guard lock(mutex_);
    stopped_ = true;
  }
  wake_.notify_all();
  for (std::thread& thread : threads_) thread.join();
  threads_.clear();
}

size_t BlockingPool::queued() const {
  std::lock_guard lock(mutex_);
  return queue_.size();
}

void BlockingPool::work() {
  for (;;) {
    std::move_only_function<void()> job;
    {
      std::unique_lock lock(mutex_);
      wake_.wait(lock, [this] { return stopped_ || !queue_.empty(); });
      if (queue_.empty()) return;
      job = std::move(queue_.front());
      queue_.pop_front();
    }
    job();
  }
}

}  // namespace branchline
