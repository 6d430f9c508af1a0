#include "common/runtime/task_group.h"

#include <spdlog/spdlog.h>

#include <boost/asio/co_spawn.hpp>
#include <exception>
#include <map>

#include "common/runtime/event.h"

namespace branchline {

struct TaskGroup::State {
  State(boost::asio::any_io_executor e, FatalHandler f)
      : executor(std::move(e)), on_fatal(std::move(f)), changed(executor) {}

  boost::asio::any_io_executor executor;
  FatalHandler on_fatal;
  Event changed;
  uint64_t next_id = 0;
  std::map<uint64_t, std::string> tasks;
  std::map<uint64_t, std::function<void()>> stop_callbacks;
  bool stopping = false;

  void ended(uint64_t id, const std::exception_ptr& exception) {
    auto task = tasks.extract(id);
    changed.notify();
    if (!exception) return;
    std::string what = "an exception of unknown type";
    try {
      std::rethrow_exception(exception);
    } catch (const std::exception& e) {
      what = e.what();
    } catch (...) {
    }
    spdlog::critical("task '{}' ended by an exception, a bug: {}", task.mapped(), what);
    if (on_fatal) on_fatal(task.mapped(), what);
  }
};

TaskGroup::TaskGroup(boost::asio::any_io_executor executor, FatalHandler on_fatal)
    : state_(std::make_shared<State>(std::move(executor), std::move(on_fatal))) {}

// A task that is still there when the context is destroyed must not call back into a server half
// gone.
TaskGroup::~TaskGroup() {
  state_->on_fatal = nullptr;
  state_->stop_callbacks.clear();
}

bool TaskGroup::spawn(std::string name, std::function<boost::asio::awaitable<void>()> body) {
  if (state_->stopping) return false;
  uint64_t id = state_->next_id++;
  state_->tasks.emplace(id, std::move(name));
  boost::asio::co_spawn(
      state_->executor, std::move(body),
      [state = state_, id](const std::exception_ptr& exception) { state->ended(id, exception); });
  return true;
}

TaskGroup::StopHandle TaskGroup::on_stop(std::function<void()> callback) {
  if (state_->stopping) {
    callback();
    return {};
  }
  uint64_t id = state_->next_id++;
  state_->stop_callbacks.emplace(id, std::move(callback));
  return {state_, id};
}

void TaskGroup::StopHandle::release() {
  if (auto state = state_.lock()) state->stop_callbacks.erase(id_);
  state_.reset();
}

void TaskGroup::stop() {
  state_->stopping = true;
  // One by one from the front: a callback may end others' handles.
  while (!state_->stop_callbacks.empty()) {
    auto first = state_->stop_callbacks.extract(state_->stop_callbacks.begin());
    first.mapped()();
  }
}

bool TaskGroup::stopping() const { return state_->stopping; }

boost::asio::awaitable<void> TaskGroup::join() {
  auto state = state_;
  while (!state->tasks.empty()) co_await state->changed.wait();
}

size_t TaskGroup::running() const { return state_->tasks.size(); }

std::vector<std::string> TaskGroup::names() const {
  std::vector<std::string> out;
  for (const auto& [id, name] : state_->tasks) out.push_back(name);
  return out;
}

}  // namespace branchline
