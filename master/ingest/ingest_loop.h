// The one thread that writes the main line: takes requests, then interactive blocks, then bulk ones
// as far as they are allowed, each in order; writes each batch synced, then tells the I/O thread.
#pragma once

#include <boost/asio/io_context.hpp>
#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>

#include "master/ingest/ingest.h"

namespace branchline {

struct IngestCounters {
  uint64_t batches = 0;
  uint64_t mutations = 0;
  uint64_t sync_us = 0;
  bool reconciling = false;
  uint64_t queued_bytes = 0;
  uint64_t queued_bulk = 0;  // blocks that wait until they are allowed
};

class IngestLoop {
 public:
  // On the I/O thread, after the batch is synced.
  using Published = std::function<void(IngestResult&&)>;

  IngestLoop(boost::asio::io_context& io, Store& store, Ingest& ingest, Published published);
  ~IngestLoop();

  // A block as it came off the wire, decompressed. Any thread.
  void submit(OriginId origin, uint64_t session, std::string block);
  // Runs on the ingest thread between batches; what it returns runs on the I/O thread. `write`
  // writes a batch synced; `publish` hands a result on as if a block had made it.
  struct Tools {
    std::function<void(const Batch&)> write;
    std::function<void(IngestResult&&)> publish;
  };
  using Task = std::move_only_function<std::move_only_function<void()>(Ingest&, const Tools&)>;
  void post(Task task);

  // So many blocks of bulk work may be decided from now on, whatever was allowed before. The owner
  // allows the next when what was decided has left room on the lines down (SEMANTICS 32). Any
  // thread; at first one is allowed.
  void allow_bulk(size_t blocks);

  // Finishes what is queued, ends the thread.
  void stop();
  IngestCounters counters() const;

 private:
  struct Waiting {
    OriginId origin;
    uint64_t session;
    std::string block;
  };
  void work();
  void grant();
  void ingest_blocks(std::vector<Waiting> blocks);
  void note_reconciling();
  void write_or_die(const Batch& batch);
  void publish(IngestResult&& result);

  boost::asio::io_context& io_;
  Store& store_;
  Ingest& ingest_;
  Published published_;
  mutable std::mutex mutex_;
  std::condition_variable wake_;
  bool bulk_due() const { return !bulk_.empty() && (bulk_allowed_ > 0 || stopping_); }
  std::deque<Waiting> blocks_;
  std::deque<Waiting> bulk_;
  size_t bulk_allowed_ = 1;
  std::deque<Task> tasks_;
  bool stopping_ = false;
  IngestCounters counters_;
  std::thread thread_;
};

}  // namespace branchline
