// The one thread that writes a replica: groups what clients want into synced batches, takes in the
// feed between groups, and tells the I/O thread. Owns the order of everything that changes the
// store.
#pragma once

#include <atomic>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>
#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>

#include "branch/replica/replica.h"

namespace branchline {

struct CommitterCounters {
  uint64_t groups = 0;
  uint64_t mutations = 0;
  uint64_t sync_us = 0;  // spent in synced writes
};

// What other threads may know of the replica, as of its last batch.
struct ReplicaStatus {
  bool joined = false;
  keys::Side side = 0;
  OriginId self;
  LineCursor cursor;
  Ledger ledger;
  std::vector<TerritoryId> territories;
  bool holds_everything = false;
  Incarnation incarnation;
  uint64_t outbox_bytes = 0;
  uint64_t seeded = 0, seed_expected = 0;      // records, while a snapshot is taken in
  std::array<uint64_t, kLaneCount> pending{};  // by lane
  PendingRef hurried;
  PendingRef offered_again;
};

// What a client of this moment may have seen here (SEMANTICS 36).
struct Standing {
  OriginId self;
  LineCursor cursor;
  Incarnation incarnation;
  std::array<Seq, kLaneCount> last;             // of this incarnation, by lane
  std::vector<std::pair<Stream, Seq>> pending;  // through which seq, where not all is decided
};

class Committer {
 public:
  struct Events {
    // All on the I/O thread.
    std::function<void(const Changes&)> changed;  // after a batch that changed records
    std::function<void()> outbox;                 // there is more to ship, synced
  };
  // `store` and `replica` outlive this; from now on only its thread touches the replica.
  Committer(boost::asio::io_context& io, Store& store, Replica& replica, Events events);
  ~Committer();

  // I/O thread: waits until the command is durable or refused. `shutdown` after stop().
  boost::asio::awaitable<Result<Accepted>> submit(std::shared_ptr<Command> command);

  // Any thread: runs `task` on the writing thread, between groups. `write` writes a batch to the
  // store; a failed write never returns. `done` then runs on the I/O thread.
  using Write = Replica::Write;
  using Task = std::move_only_function<std::move_only_function<void()>(Replica&, const Write&)>;
  void post(Task task);
  // I/O thread: the same, awaited.
  template <typename T>
  boost::asio::awaitable<T> run(std::move_only_function<T(Replica&, const Write&)> task);
  // The same for a question that changes nothing: answered before what waits already.
  template <typename T>
  boost::asio::awaitable<T> ask(std::move_only_function<T(const Replica&)> question);

  // Refuses new commands (503), finishes what is queued, ends the thread. Blocks.
  void stop();
  CommitterCounters counters() const;
  ReplicaStatus status() const;
  Standing standing() const;
  bool joined() const { return joined_.load(); }
  keys::Side side() const { return side_.load(); }
  // Refuse writes with 507 while the disk is nearly full (checked by the server).
  void set_disk_full(bool full) { disk_full_.store(full); }
  // Refuse writes with 507 while the outbox takes more than so many bytes.
  void set_outbox_quota(uint64_t bytes) { outbox_quota_.store(bytes); }
  uint64_t outbox_quota() const { return outbox_quota_.load(); }

 private:
  struct Waiting {
    std::shared_ptr<Command> command;
    std::move_only_function<void(Result<Accepted>)> done;
  };
  void put(Task task, bool first);
  template <typename T>
  boost::asio::awaitable<T> awaited(std::move_only_function<T(Replica&, const Write&)> task,
                                    bool first);
  void work();
  void commit_group(std::vector<Waiting> group);
  void give_back(std::vector<Waiting>& group, size_t taken);
  void run_task(Task task);
  void publish();
  void write_or_die(const Batch& batch, Sync sync);

  boost::asio::io_context& io_;
  Store& store_;
  Replica& replica_;
  Events events_;
  mutable std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<Waiting> commands_;
  std::deque<Task> tasks_;
  std::atomic<size_t> queued_{0};
  std::atomic<bool> disk_full_{false};
  std::atomic<uint64_t> outbox_quota_{UINT64_MAX};
  std::atomic<uint64_t> outbox_bytes_{0};
  bool stopping_ = false;
  CommitterCounters counters_;
  ReplicaStatus status_;
  Standing standing_;
  std::atomic<bool> joined_{false};
  std::atomic<keys::Side> side_{0};
  std::thread thread_;
};

// --- Template ---

}  // namespace branchline

#include <boost/asio/async_result.hpp>
#include <boost/asio/use_awaitable.hpp>

namespace branchline {

template <typename T>
boost::asio::awaitable<T> Committer::awaited(
    std::move_only_function<T(Replica&, const Write&)> task, bool first) {
  auto start = [this, first, task = std::move(task)](auto handler) mutable {
    auto shared = std::make_shared<decltype(handler)>(std::move(handler));
    put(
        [task = std::move(task), shared](Replica& replica, const Write& write) mutable {
          auto result = std::make_shared<T>(task(replica, write));
          return std::move_only_function<void()>(
              [shared, result] { (std::move(*shared))(std::move(*result)); });
        },
        first);
  };
  co_return co_await boost::asio::async_initiate<const boost::asio::use_awaitable_t<>, void(T)>(
      std::move(start), boost::asio::use_awaitable);
}

template <typename T>
boost::asio::awaitable<T> Committer::run(std::move_only_function<T(Replica&, const Write&)> task) {
  return awaited<T>(std::move(task), false);
}

template <typename T>
boost::asio::awaitable<T> Committer::ask(std::move_only_function<T(const Replica&)> question) {
  return awaited<T>([question = std::move(question)](
                        Replica& replica, const Write&) mutable { return question(replica); },
                    true);
}

}  // namespace branchline
