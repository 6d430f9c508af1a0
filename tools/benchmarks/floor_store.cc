#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <mutex>
#include <thread>
#include <vector>

#include "branch/replica/outbox.h"
#include "common/schema/schema.h"
#include "common/store/rocks_store.h"
#include "tools/benchmarks/data.h"
#include "tools/benchmarks/floors.h"
#include "tools/benchmarks/http_load.h"
#include "tools/benchmarks/process.h"

namespace branchline::bench {
namespace {

constexpr EntityId kContact{2};
constexpr uint16_t kStatusIndex = 4;
constexpr size_t kOptionByte =
    8;  // of an option in an index key: a byte for "not null", then 8 of the number
constexpr size_t kKeyRowBytes = 36;
constexpr uint32_t kFloorGeneration = 1'000'000;

template <typename T>
T must(Result<T> r) {
  if (!r) {
    std::fprintf(stderr, "%s\n", r.error().message.c_str());
    std::_Exit(1);
  }
  return std::move(*r);
}

struct Row {
  std::string key, index_key;
  uint32_t bytes = 0;
};

// The subject's own rows, so that keys and sizes are what it writes.
struct Shapes {
  std::vector<Row> contacts;
  size_t status_at = 0;    // where the status stands in an index key
  size_t block_head = 0;   // bytes of an outbox block beside its entries
  size_t entry_bytes = 0;  // per pending change
  size_t state_bytes = 0;
};

// A branch that joined by snapshot may live on either side of its keyspace.
Shapes read_shapes(const StoreView& store, keys::Side side) {
  Shapes s;
  std::string prefix = keys::record_prefix(side, kContact);
  for (auto rows = scan_prefix(store, Table::records, prefix); rows->valid(); rows->next()) {
    s.contacts.push_back(
        {std::string(rows->key()), {}, static_cast<uint32_t>(rows->value().size())});
  }
  prefix = keys::index_prefix(side, kContact, kStatusIndex);
  s.status_at = prefix.size() + kOptionByte;
  for (auto rows = scan_prefix(store, Table::index, prefix); rows->valid(); rows->next()) {
    std::string key = keys::record(side, {kContact, keys::index_record(rows->key())});
    auto at = std::lower_bound(s.contacts.begin(), s.contacts.end(), key,
                               [](const Row& r, const std::string& k) { return r.key < k; });
    if (at != s.contacts.end() && at->key == key) at->index_key = std::string(rows->key());
  }
  size_t blocks = 0, block_bytes = 0, entries = 0;
  for (auto rows = store.scan(Table::outbox, {}, std::string(1, static_cast<char>(keys::kKept)));
       rows->valid(); rows->next()) {
    auto ref = keys::parse_outbox(rows->key());
    if (ref->generation >= kFloorGeneration) continue;  // of an earlier round of this floor
    auto block = must(decode_outbox_block(*ref, std::string(rows->value())));
    ++blocks;
    block_bytes += rows->value().size();
    entries += block.entries.size();
  }
  s.block_head = 67;  // format, count, two chain hashes
  if (entries > 0)
    s.entry_bytes = (block_bytes - std::min(block_bytes, blocks * s.block_head)) / entries;
  if (auto state = must(store.get(Table::meta, keys::meta_state()))) s.state_bytes = state->size();
  return s;
}

class Writer {
 public:
  Writer(RocksStore& store, Shapes& shapes, const StoreFloor& floor, uint32_t thread)
      : store_(store),
        shapes_(shapes),
        floor_(floor),
        dice_(1000 + thread),
        thread_(thread),
        noise_(4096, ' ') {
    for (auto& c : noise_) c = static_cast<char>(dice_.next());
  }

  void one_batch(uint64_t number) {
    Batch batch;
    for (uint32_t i = 0; i < floor_.group; ++i) {
      Row& row = shapes_.contacts[pick()];
      std::string old = row.index_key;
      char status = static_cast<char>(1 + dice_.below(4));
      bool moved = !old.empty() && old[shapes_.status_at] != status;
      if (moved) row.index_key[shapes_.status_at] = status;
      std::string key =
          "c" + std::to_string(thread_) + "-" + std::to_string(number * floor_.group + i);
      batch.put(Table::records, row.key, noise(row.bytes));
      if (moved) {
        batch.erase(Table::index, old);
        batch.put(Table::index, row.index_key, {});
      }
      batch.put(Table::keys, keys::operation_key(RecordId{}, key), noise(kKeyRowBytes));
    }
    size_t block = shapes_.block_head + shapes_.entry_bytes * floor_.group;
    PendingRef last{kFloorGeneration + thread_, Order((number + 1) * floor_.group)};
    batch.put(Table::outbox, keys::outbox(0, last), noise_block(block));
    batch.put(Table::meta,
              "\xff"
              "floor" +
                  std::to_string(thread_),
              noise(shapes_.state_bytes));
    if (auto ok = store_.write(batch, Sync::yes); !ok) std::_Exit(1);
  }

 private:
  // Threads stay apart, so that rows need no lock.
  size_t pick() {
    size_t share = shapes_.contacts.size() / static_cast<size_t>(floor_.threads);
    return share * thread_ + dice_.below(static_cast<uint32_t>(share));
  }
  std::string_view noise(size_t n) {
    n = std::min<size_t>(n, 2048);
    return std::string_view(noise_).substr(dice_.below(static_cast<uint32_t>(noise_.size() - n)),
                                           n);
  }
  std::string noise_block(size_t n) {
    std::string out;
    while (out.size() < n) out += noise_.substr(0, std::min(noise_.size(), n - out.size()));
    return out;
  }

  RocksStore& store_;
  Shapes& shapes_;
  const StoreFloor& floor_;
  Dice dice_;
  uint32_t thread_;
  std::string noise_;
};

}  // namespace

int run_store_floor(const StoreFloor& floor) {
  RocksOptions options;
  auto store = must(RocksStore::open(floor.store, options));
  Shapes shapes = read_shapes(*store, 0);
  if (shapes.contacts.empty()) shapes = read_shapes(*store, 1);
  if (shapes.contacts.empty() || shapes.entry_bytes == 0) {
    std::fprintf(stderr, "the store holds no contacts or no pending changes\n");
    return 1;
  }
  std::atomic<uint64_t> done{0};
  std::vector<uint32_t> latencies;
  std::mutex mutex;
  auto begin = Clock::now();
  std::clock_t cpu_before = std::clock();
  auto work = [&](uint32_t thread) {
    Writer writer(*store, shapes, floor, thread);
    std::vector<uint32_t> mine;
    uint64_t start =
        static_cast<uint64_t>(std::chrono::system_clock::now().time_since_epoch().count());
    for (uint64_t n = 0;; ++n) {
      if (floor.operations > 0 ? done.load() >= floor.operations
                               : seconds_since(begin) >= floor.seconds)
        break;
      auto at = Clock::now();
      writer.one_batch(start + n);
      mine.push_back(static_cast<uint32_t>(
          std::chrono::duration_cast<std::chrono::nanoseconds>(Clock::now() - at).count()));
      done += floor.group;
    }
    std::lock_guard lock(mutex);
    latencies.insert(latencies.end(), mine.begin(), mine.end());
  };
  std::vector<std::thread> threads;
  for (int i = 0; i < floor.threads; ++i) threads.emplace_back(work, static_cast<uint32_t>(i));
  for (auto& t : threads) t.join();
  double cpu = static_cast<double>(std::clock() - cpu_before) / CLOCKS_PER_SEC;
  LoadResult result;
  result.requests = done;
  result.seconds = seconds_since(begin);
  result.latencies_ns = std::move(latencies);
  std::printf(
      "{\"rate\":%.1f,\"cpu_us\":%.2f,\"p50_us\":%.2f,\"peak_bytes\":%llu,\"entry_bytes\":%zu,"
      "\"record_bytes\":%u}"
      "\n",
      result.rate(), cpu / static_cast<double>(result.requests) * 1e6, result.percentile_us(0.5),
      static_cast<unsigned long long>(peak_bytes_of("self")), shapes.entry_bytes,
      shapes.contacts.front().bytes);
  return 0;
}

}  // namespace branchline::bench
