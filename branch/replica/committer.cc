#include "branch/replica/committer.h"

#include <boost/asio/post.hpp>

#include <algorithm>
#include <chrono>

#include "common/base/check.h"
#include "common/base/limits.h"
#include "common/store/store_fault.h"

namespace branchline {
namespace {

// A short wait for the next command in busy times saves a sleep and a wake-up, which cost more than
// this.
constexpr auto kSpin = std::chrono::microseconds(20);

}  // namespace

Committer::Committer(boost::asio::io_context& io, Store& store, Replica& replica, Events events)
    : io_(io), store_(store), replica_(replica), events_(std::move(events)) {
  publish();
  thread_ = std::thread([this] { work(); });
}

Committer::~Committer() { stop(); }

void Committer::stop() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_one();
  if (thread_.joinable()) thread_.join();
}

CommitterCounters Committer::counters() const {
  std::lock_guard lock(mutex_);
  return counters_;
}

boost::asio::awaitable<Result<Accepted>> Committer::submit(std::shared_ptr<Command> command) {
  if (disk_full_.load()) {
    co_return fail(ErrorKind::exhausted, "disk.full",
                   "this server's disk is nearly full; writes are refused until there is room "
                   "(reading goes on)");
  }
  if (outbox_bytes_.load() >= outbox_quota_.load()) {
    co_return fail(ErrorKind::exhausted, "outbox.full",
                   "this office holds " + std::to_string(outbox_bytes_.load() >> 20) +
                       " MiB of changes that the master has not taken, as much as it may; writes "
                       "are refused until the link has taken some (reading goes on, nothing is "
                       "lost)");
  }
  auto start = [this, command = std::move(command)](auto handler) mutable {
    bool refused = false, wake = false;
    {
      std::lock_guard lock(mutex_);
      refused = stopping_;
      if (!refused) {
        wake = queued_.fetch_add(1) == 0;
        commands_.push_back(
            {std::move(command),
             [h = std::move(handler)](Result<Accepted> r) mutable { std::move(h)(std::move(r)); }});
      }
    }
    if (refused) {
      std::move(handler)(Result<Accepted>(
          fail(ErrorKind::shutdown, "server.stopping", "this server is stopping")));
      return;
    }
    if (wake) wake_.notify_one();
  };
  co_return co_await boost::asio::async_initiate<const boost::asio::use_awaitable_t<>,
                                                 void(Result<Accepted>)>(
      std::move(start), boost::asio::use_awaitable);
}

void Committer::post(Task task) { put(std::move(task), false); }

void Committer::put(Task task, bool first) {
  bool wake;
  {
    std::lock_guard lock(mutex_);
    tasks_.insert(first ? tasks_.begin() : tasks_.end(), std::move(task));
    wake = queued_.fetch_add(1) == 0;
  }
  if (wake) wake_.notify_one();
}

void Committer::work() {
  bool task_turn = false;
  for (;;) {
    if (queued_.load() == 0) {
      auto until = std::chrono::steady_clock::now() + kSpin;
      while (queued_.load() == 0 && std::chrono::steady_clock::now() < until) {
      }
    }
    std::vector<Waiting> group;
    Task task;
    {
      std::unique_lock lock(mutex_);
      wake_.wait(lock, [this] { return stopping_ || !commands_.empty() || !tasks_.empty(); });
      if (commands_.empty() && tasks_.empty()) return;  // stopping, and all is done
      // Clients and the feed take turns, so that neither starves.
      if (!tasks_.empty() && (task_turn || commands_.empty())) {
        task = std::move(tasks_.front());
        tasks_.pop_front();
        queued_.fetch_sub(1);
        task_turn = false;
      } else {
        size_t n = std::min(commands_.size(), limits::kMaxGroupMutations);
        for (size_t i = 0; i < n; ++i) {
          group.push_back(std::move(commands_.front()));
          commands_.pop_front();
        }
        queued_.fetch_sub(n);
        task_turn = true;
      }
    }
    if (task) {
      run_task(std::move(task));
    } else {
      commit_group(std::move(group));
    }
  }
}

void Committer::write_or_die(const Batch& batch, Sync sync) {
  if (batch.empty()) return;
  auto begin = std::chrono::steady_clock::now();
  auto ok = store_.write(batch, sync);
  if (!ok) end_for_store_fault(ok.error());
  if (sync == Sync::yes) {
    auto spent = std::chrono::duration_cast<std::chrono::microseconds>(
        std::chrono::steady_clock::now() - begin);
    std::lock_guard lock(mutex_);
    counters_.sync_us += static_cast<uint64_t>(spent.count());
  }
}

void Committer::publish() {
  const ReplicaState& s = replica_.state();
  side_.store(s.side);
  joined_.store(s.joined());
  outbox_bytes_.store(replica_.outbox_bytes());
  std::lock_guard lock(mutex_);
  status_.self = s.self;
  status_.cursor = s.cursor;
  status_.ledger = s.ledger;
  status_.holds_everything = s.holds_everything;
  status_.incarnation = s.incarnation;
  status_.outbox_bytes = replica_.outbox_bytes();
  status_.seeded = replica_.seeded_records();
  status_.seed_expected = replica_.seed_expected();
  status_.pending = replica_.pending_by_lane();
  status_.hurried = s.hurried;
  status_.offered_again = replica_.history().offered_again;
  if (status_.territories != s.territories) status_.territories = s.territories;
  standing_ = {s.self, s.cursor, s.incarnation, {}, replica_.pending_streams()};
  for (size_t l = 0; l < kLaneCount; ++l) standing_.last[l] = s.ends[l].seq;
}

Standing Committer::standing() const {
  std::lock_guard lock(mutex_);
  return standing_;
}

ReplicaStatus Committer::status() const {
  std::lock_guard lock(mutex_);
  ReplicaStatus out = status_;
  out.joined = joined_.load();
  out.side = side_.load();
  return out;
}

void Committer::commit_group(std::vector<Waiting> group) {
  std::vector<Command*> commands;
  commands.reserve(group.size());
  for (auto& w : group) commands.push_back(w.command.get());
  auto result = replica_.accept(commands);
  if (!result) end_for_store_fault(result.error());
  if (result->results.size() < group.size()) give_back(group, result->results.size());
  bool wrote = !result->batch.empty();
  bool shipped = std::any_of(result->results.begin(), result->results.end(),
                             [](const auto& r) { return r && !r->id.is_none() && !r->replayed; });
  write_or_die(result->batch, Sync::yes);
  {
    std::lock_guard lock(mutex_);
    counters_.groups += wrote ? 1 : 0;
    for (const auto& r : result->results)
      counters_.mutations += r && !r->id.is_none() && !r->replayed ? 1 : 0;
  }
  // One hand-over per group.
  publish();
  boost::asio::post(io_,
                    [this, shipped, group = std::move(group), results = std::move(result->results),
                     changes = std::move(result->changes)]() mutable {
                      for (size_t i = 0; i < group.size(); ++i)
                        group[i].done(std::move(results[i]));
                      if (shipped && events_.outbox) events_.outbox();
                      // Keys alone, of requests that changed nothing, are nobody's news; nor is
                      // what concerns records that are not here.
                      if (!changes.records.empty() && events_.changed) events_.changed(changes);
                    });
}

// What the group had no room for comes first in the next one.
void Committer::give_back(std::vector<Waiting>& group, size_t taken) {
  std::lock_guard lock(mutex_);
  queued_.fetch_add(group.size() - taken);
  while (group.size() > taken) {
    commands_.push_front(std::move(group.back()));
    group.pop_back();
  }
}

void Committer::run_task(Task task) {
  Write write = [this](const Batch& batch, Sync sync) -> Result<void> {
    write_or_die(batch, sync);
    return {};
  };
  auto done = task(replica_, write);
  publish();
  if (done) boost::asio::post(io_, std::move(done));
}

}  // namespace branchline
