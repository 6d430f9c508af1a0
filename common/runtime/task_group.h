// The coroutines of a server: counted, named, ended in order.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace branchline {

// I/O thread only (or before it runs).
class TaskGroup {
 public:
  // Called when a task ends with an exception, which is always a bug: the server must not go on
  // without it.
  using FatalHandler = std::function<void(std::string_view task, std::string_view what)>;

  TaskGroup(boost::asio::any_io_executor executor, FatalHandler on_fatal);
  ~TaskGroup();
  TaskGroup(const TaskGroup&) = delete;
  TaskGroup& operator=(const TaskGroup&) = delete;

  // Starts `body` at the next turn of the loop. A function, not an awaitable: it is kept as long as
  // its coroutine runs, so a lambda's captures are safe. False, and nothing started, after stop().
  bool spawn(std::string name, std::function<boost::asio::awaitable<void>()> body);

  // Asks something to end: close an acceptor, a session, a timer. Called once by stop(), in the
  // order of registration (acceptors before the sessions that they make); at once if stop() has
  // been called. Destroying the handle takes the callback back.
  class [[nodiscard]] StopHandle;
  StopHandle on_stop(std::function<void()> callback);

  // Calls the callbacks. Idempotent.
  void stop();
  bool stopping() const;
  // Returns when no task is left. Not from a task of this group.
  boost::asio::awaitable<void> join();

  size_t running() const;
  // Names of the tasks that run, for the log of a stop that takes long.
  std::vector<std::string> names() const;

 private:
  struct State;
  std::shared_ptr<State> state_;
};

class TaskGroup::StopHandle {
 public:
  StopHandle() = default;
  StopHandle(std::weak_ptr<State> state, uint64_t id) : state_(std::move(state)), id_(id) {}
  ~StopHandle() { release(); }
  StopHandle(StopHandle&& other) noexcept : state_(std::move(other.state_)), id_(other.id_) {
    other.state_.reset();
  }
  StopHandle& operator=(StopHandle&& other) noexcept {
    if (this != &other) {
      release();
      state_ = std::move(other.state_);
      id_ = other.id_;
      other.state_.reset();
    }
    return *this;
  }
  void release();

 private:
  std::weak_ptr<State> state_;
  uint64_t id_ = 0;
};

}  // namespace branchline
