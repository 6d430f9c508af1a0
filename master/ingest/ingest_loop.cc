#include "master/ingest/ingest_loop.h"

#include <boost/asio/post.hpp>

#include <chrono>

#include "common/store/store_fault.h"

namespace branchline {
namespace {

// Blocks decided and synced as one batch: more would only make the first of them wait.
constexpr size_t kMaxBlocksPerBatch = 4;
constexpr size_t kMaxBytesPerBatch = 512 * 1024;

}  // namespace

IngestLoop::IngestLoop(boost::asio::io_context& io, Store& store, Ingest& ingest,
                       Published published)
    : io_(io), store_(store), ingest_(ingest), published_(std::move(published)) {
  counters_.reconciling = ingest_.reconciling().open();
  thread_ = std::thread([this] { work(); });
}

IngestLoop::~IngestLoop() { stop(); }

void IngestLoop::stop() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_one();
  if (thread_.joinable()) thread_.join();
}

IngestCounters IngestLoop::counters() const {
  std::lock_guard lock(mutex_);
  return counters_;
}

void IngestLoop::submit(OriginId origin, uint64_t session, std::string block) {
  {
    std::lock_guard lock(mutex_);
    counters_.queued_bytes += block.size();
    auto& queue = peek_lane(block) == Lane::bulk ? bulk_ : blocks_;
    queue.push_back({origin, session, std::move(block)});
    counters_.queued_bulk = bulk_.size();
  }
  wake_.notify_one();
}

void IngestLoop::allow_bulk(size_t blocks) {
  {
    std::lock_guard lock(mutex_);
    bulk_allowed_ = blocks;
    if (!bulk_due()) return;
  }
  wake_.notify_one();
}

void IngestLoop::post(Task task) {
  {
    std::lock_guard lock(mutex_);
    tasks_.push_back(std::move(task));
  }
  wake_.notify_one();
}

void IngestLoop::work() {
  for (;;) {
    std::vector<Waiting> blocks;
    Task task;
    {
      std::unique_lock lock(mutex_);
      bool grants = ingest_.grants_due();
      wake_.wait(lock, [&] {
        return stopping_ || grants || !blocks_.empty() || !tasks_.empty() || bulk_due();
      });
      if (blocks_.empty() && tasks_.empty() && !bulk_due()) {
        if (stopping_) return;
        lock.unlock();
        grant();
        continue;
      }
      // Requests first: a greeting must see what its branch's earlier connection had sent decided
      // or dropped, and dropped is what begin_session() makes of it.
      if (!tasks_.empty()) {
        task = std::move(tasks_.front());
        tasks_.pop_front();
      } else {
        size_t bytes = 0;
        auto take = [&](std::deque<Waiting>& queue, auto allowed) {
          while (!queue.empty() && blocks.size() < kMaxBlocksPerBatch &&
                 bytes < kMaxBytesPerBatch && allowed()) {
            bytes += queue.front().block.size();
            blocks.push_back(std::move(queue.front()));
            queue.pop_front();
          }
        };
        take(blocks_, [] { return true; });
        if (blocks.empty()) {
          take(bulk_, [this] { return stopping_ || (bulk_allowed_ > 0 && bulk_allowed_-- > 0); });
        }
        counters_.queued_bytes -= bytes;
        counters_.queued_bulk = bulk_.size();
      }
    }
    if (!task) {
      ingest_blocks(std::move(blocks));
      note_reconciling();
      grant();  // also while blocks come without a pause
      continue;
    }
    Tools tools;
    tools.write = [this](const Batch& b) { write_or_die(b); };
    tools.publish = [this](IngestResult&& r) { publish(std::move(r)); };
    auto done = task(ingest_, tools);
    // A greeting may be what others' work waited for.
    if (ingest_.held_ready()) ingest_blocks({});
    note_reconciling();
    if (done) boost::asio::post(io_, std::move(done));
  }
}

void IngestLoop::grant() {
  if (!ingest_.grants_due()) return;
  auto step = ingest_.grant_step();
  if (!step) end_for_store_fault(step.error());
  if (!*step) return;
  write_or_die((*step)->result.batch);
  publish(std::move((*step)->result));
}

void IngestLoop::write_or_die(const Batch& batch) {
  if (batch.empty()) return;
  auto begin = std::chrono::steady_clock::now();
  if (auto ok = store_.write(batch, Sync::yes); !ok) end_for_store_fault(ok.error());
  auto spent = std::chrono::duration_cast<std::chrono::microseconds>(
      std::chrono::steady_clock::now() - begin);
  std::lock_guard lock(mutex_);
  counters_.sync_us += static_cast<uint64_t>(spent.count());
}

void IngestLoop::ingest_blocks(std::vector<Waiting> blocks) {
  std::vector<IncomingBlock> decoded;
  IngestResult refused;
  for (auto& w : blocks) {
    auto block = decode_mutation_block(std::move(w.block));
    if (!block) {
      refused.broken.push_back({w.origin, w.session, block.error()});
      continue;
    }
    decoded.push_back({w.origin, w.session, std::move(*block)});
  }
  while (!decoded.empty() || ingest_.held_ready()) {
    auto result = ingest_.ingest(std::move(decoded));
    if (!result) end_for_store_fault(result.error());
    write_or_die(result->batch);
    decoded = std::move(result->rest);
    publish(std::move(*result));
  }
  if (!refused.broken.empty()) publish(std::move(refused));
}

void IngestLoop::note_reconciling() {
  std::lock_guard lock(mutex_);
  counters_.reconciling = ingest_.reconciling().open();
}

void IngestLoop::publish(IngestResult&& result) {
  {
    std::lock_guard lock(mutex_);
    if (result.line) {
      ++counters_.batches;
      counters_.mutations += result.line->header.to.value - result.line->header.from.value;
    }
  }
  result.batch.clear();
  boost::asio::post(io_, [this, r = std::move(result)]() mutable { published_(std::move(r)); });
}

}  // namespace branchline
