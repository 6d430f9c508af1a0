#include "common/store/rocks_store.h"

#include <rocksdb/cache.h>
#include <rocksdb/db.h>
#include <rocksdb/env.h>
#include <rocksdb/filter_policy.h>
#include <rocksdb/options.h>
#include <rocksdb/table.h>
#include <rocksdb/write_batch.h>

#include <array>
#include <filesystem>
#include <mutex>

#include "common/base/check.h"
#include "common/store/backup.h"
#include "common/store/torn_log.h"

namespace branchline {
namespace {

rocksdb::Slice slice(std::string_view v) { return {v.data(), v.size()}; }
std::string_view view(const rocksdb::Slice& s) { return {s.data(), s.size()}; }

Error error_of(const rocksdb::Status& status, const char* doing) {
  ErrorKind kind = status.IsCorruption() ? ErrorKind::corrupt
                   : status.IsNoSpace()  ? ErrorKind::exhausted
                                         : ErrorKind::unavailable;
  return {kind, "store.io", std::string(doing) + ": " + status.ToString()};
}

// What readers found damaged first.
class Damage {
 public:
  Error seen(const rocksdb::Status& status, const char* doing) {
    Error e = error_of(status, doing);
    if (e.kind == ErrorKind::corrupt) {
      std::lock_guard lock(mutex_);
      if (!first_) first_ = e.message;
    }
    return e;
  }
  std::optional<std::string> first() const {
    std::lock_guard lock(mutex_);
    return first_;
  }

 private:
  mutable std::mutex mutex_;
  std::optional<std::string> first_;
};

}  // namespace

struct RocksStore::Impl {
  mutable Damage damage;  // cursors and views write to it
  std::unique_ptr<rocksdb::DB> db;
  std::array<rocksdb::ColumnFamilyHandle*, kTableCount> tables{};
  uint64_t torn_bytes = 0;

  rocksdb::ColumnFamilyHandle* handle(Table t) const { return tables[static_cast<size_t>(t)]; }

  ~Impl() {
    for (auto* h : tables) {
      if (h) db->DestroyColumnFamilyHandle(h);
    }
    if (db) db->Close();
  }
};

namespace {

// Holds the bounds that the iterator's options point to.
class RocksCursor : public Cursor {
 public:
  RocksCursor(Damage& damage, rocksdb::DB* db, rocksdb::ColumnFamilyHandle* table,
              const rocksdb::Snapshot* snapshot, std::string_view begin, std::string_view end,
              bool back)
      : damage_(damage), begin_(begin), end_(end), lower_(begin_), upper_(end_), back_(back) {
    rocksdb::ReadOptions options;
    options.snapshot = snapshot;
    options.iterate_lower_bound = &lower_;
    if (!end_.empty()) options.iterate_upper_bound = &upper_;
    options.auto_prefix_mode = false;
    options.total_order_seek = true;
    it_.reset(db->NewIterator(options, table));
    if (!end_.empty() && begin_ >= end_) {
      empty_ = true;
    } else if (back_) {
      it_->SeekToLast();
    } else {
      it_->SeekToFirst();
    }
  }
  bool valid() const override { return !empty_ && it_->Valid(); }
  void next() override { back_ ? it_->Prev() : it_->Next(); }
  std::string_view key() const override { return view(it_->key()); }
  std::string_view value() const override { return view(it_->value()); }
  std::optional<Error> error() const override {
    if (empty_ || it_->status().ok()) return std::nullopt;
    return damage_.seen(it_->status(), "reading");
  }

 private:
  Damage& damage_;
  std::string begin_, end_;
  rocksdb::Slice lower_, upper_;
  bool back_;
  bool empty_ = false;
  std::unique_ptr<rocksdb::Iterator> it_;
};

}  // namespace

namespace {

Result<std::optional<std::string>> rocks_get(Damage& damage, rocksdb::DB* db,
                                             rocksdb::ColumnFamilyHandle* table,
                                             const rocksdb::Snapshot* snapshot,
                                             std::string_view key) {
  rocksdb::ReadOptions options;
  options.snapshot = snapshot;
  std::string value;
  rocksdb::Status status = db->Get(options, table, slice(key), &value);
  if (status.IsNotFound()) return std::optional<std::string>();
  if (!status.ok()) return std::unexpected(damage.seen(status, "reading"));
  return std::optional<std::string>(std::move(value));
}

template <typename Impl>
class RocksSnapshot : public StoreView {
 public:
  explicit RocksSnapshot(std::shared_ptr<Impl> impl)
      : impl_(std::move(impl)), snapshot_(impl_->db->GetSnapshot()) {}
  ~RocksSnapshot() override { impl_->db->ReleaseSnapshot(snapshot_); }
  Result<std::optional<std::string>> get(Table t, std::string_view key) const override {
    return rocks_get(impl_->damage, impl_->db.get(), impl_->handle(t), snapshot_, key);
  }
  std::unique_ptr<Cursor> scan(Table t, std::string_view begin,
                               std::string_view end) const override {
    return std::make_unique<RocksCursor>(impl_->damage, impl_->db.get(), impl_->handle(t),
                                         snapshot_, begin, end, false);
  }
  std::unique_ptr<Cursor> scan_back(Table t, std::string_view begin,
                                    std::string_view end) const override {
    return std::make_unique<RocksCursor>(impl_->damage, impl_->db.get(), impl_->handle(t),
                                         snapshot_, begin, end, true);
  }

 private:
  std::shared_ptr<Impl> impl_;
  const rocksdb::Snapshot* snapshot_;
};

rocksdb::ColumnFamilyOptions table_options(Table table, const RocksOptions& options,
                                           const std::shared_ptr<rocksdb::Cache>& cache) {
  rocksdb::ColumnFamilyOptions cf;
  cf.write_buffer_size = options.write_buffer_bytes;
  cf.max_write_buffer_number = 3;
  cf.compression = rocksdb::kLZ4Compression;
  cf.level_compaction_dynamic_level_bytes = true;
  cf.target_file_size_base = 32 * 1024 * 1024;
  rocksdb::BlockBasedTableOptions block;
  block.block_cache = cache;
  block.block_size = 8 * 1024;
  block.format_version = 5;
  // Index and filter blocks count against the cache, so that memory stays bounded as data grows.
  block.cache_index_and_filter_blocks = true;
  block.pin_l0_filter_and_index_blocks_in_cache = true;
  bool point_reads = table == Table::records || table == Table::keys;
  if (point_reads) {
    block.filter_policy.reset(rocksdb::NewBloomFilterPolicy(10, false));
    // Most gets ask for what is not in the memtable (a record written long ago, an operation key
    // that is new).
    cf.memtable_prefix_bloom_size_ratio = 0.02;
    cf.memtable_whole_key_filtering = true;
  }
  cf.table_factory.reset(rocksdb::NewBlockBasedTableFactory(block));
  return cf;
}

rocksdb::DBOptions database_options(const RocksOptions& options) {
  rocksdb::DBOptions db;
  if (options.env) db.env = options.env;
  db.create_if_missing = true;
  db.create_missing_column_families = true;
  // The default mode silently dropped acknowledged writes behind one flipped bit; this one refuses
  // flips and accepts a torn tail, which is what a crash leaves
  // (docs/decisions/0003-durability.md).
  db.wal_recovery_mode = rocksdb::WALRecoveryMode::kTolerateCorruptedTailRecords;
  db.allow_concurrent_memtable_write = false;
  db.enable_pipelined_write = false;
  db.paranoid_checks = true;
  db.max_total_wal_size = 128 * 1024 * 1024;
  db.max_background_jobs = 2;
  db.max_open_files = 512;
  db.keep_log_file_num = 3;
  db.max_log_file_size = 4 * 1024 * 1024;
  db.stats_dump_period_sec = 0;
  db.bytes_per_sync = 1024 * 1024;
  return db;
}

}  // namespace

RocksStore::RocksStore(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
RocksStore::~RocksStore() = default;

Result<std::unique_ptr<RocksStore>> RocksStore::open(const std::string& directory,
                                                     const RocksOptions& options) {
  std::error_code ec;
  if (!options.env) std::filesystem::create_directories(directory, ec);
  if (ec) {
    return fail(ErrorKind::unavailable, "store.directory",
                "cannot create the data directory " + directory + ": " + ec.message());
  }
  BL_ASSIGN(uint64_t torn,
            cut_torn_log(options.env ? *options.env : *rocksdb::Env::Default(), directory));
  auto cache = rocksdb::NewLRUCache(options.block_cache_bytes);
  std::vector<rocksdb::ColumnFamilyDescriptor> families;
  families.emplace_back(rocksdb::kDefaultColumnFamilyName, rocksdb::ColumnFamilyOptions());
  for (int i = 0; i < kTableCount; ++i) {
    auto table = static_cast<Table>(i);
    families.emplace_back(table_name(table), table_options(table, options, cache));
  }
  rocksdb::DB* db = nullptr;
  std::vector<rocksdb::ColumnFamilyHandle*> handles;
  rocksdb::Status status =
      rocksdb::DB::Open(database_options(options), directory, families, &handles, &db);
  if (!status.ok()) {
    if (status.IsIOError() && status.ToString().find("lock") != std::string::npos) {
      return fail(ErrorKind::unavailable, "store.locked",
                  "the data directory " + directory +
                      " is in use by another process; stop that one first, or name another --data");
    }
    Error e = error_of(status, "opening the store");
    e.message += " (in " + directory + ")";
    return std::unexpected(e);
  }
  auto impl = std::make_unique<Impl>();
  impl->db.reset(db);
  impl->torn_bytes = torn;
  db->DestroyColumnFamilyHandle(handles[0]);
  for (int i = 0; i < kTableCount; ++i) impl->tables[size_t(i)] = handles[size_t(i + 1)];
  return std::unique_ptr<RocksStore>(new RocksStore(std::move(impl)));
}

uint64_t RocksStore::torn_bytes() const { return impl_->torn_bytes; }
std::optional<std::string> RocksStore::damage() const { return impl_->damage.first(); }

Result<std::optional<std::string>> RocksStore::get(Table table, std::string_view key) const {
  return rocks_get(impl_->damage, impl_->db.get(), impl_->handle(table), nullptr, key);
}

std::unique_ptr<Cursor> RocksStore::scan(Table t, std::string_view begin,
                                         std::string_view end) const {
  return std::make_unique<RocksCursor>(impl_->damage, impl_->db.get(), impl_->handle(t), nullptr,
                                       begin, end, false);
}
std::unique_ptr<Cursor> RocksStore::scan_back(Table t, std::string_view begin,
                                              std::string_view end) const {
  return std::make_unique<RocksCursor>(impl_->damage, impl_->db.get(), impl_->handle(t), nullptr,
                                       begin, end, true);
}

Result<void> RocksStore::write(const Batch& batch, Sync sync_mode) {
  rocksdb::WriteBatch rocks(batch.bytes() + 64);
  batch.for_each([&](Batch::Op op, Table table, std::string_view key, std::string_view value) {
    auto* handle = impl_->handle(table);
    switch (op) {
      case Batch::Op::put:
        rocks.Put(handle, slice(key), slice(value));
        break;
      case Batch::Op::erase:
        rocks.Delete(handle, slice(key));
        break;
      case Batch::Op::erase_range:
        rocks.DeleteRange(handle, slice(key), slice(value));
        break;
    }
  });
  rocksdb::WriteOptions options;
  options.sync = sync_mode == Sync::yes;
  rocksdb::Status status = impl_->db->Write(options, &rocks);
  if (!status.ok()) return std::unexpected(impl_->damage.seen(status, "writing"));
  return {};
}

Result<void> RocksStore::sync() {
  rocksdb::Status status = impl_->db->SyncWAL();
  if (!status.ok()) return std::unexpected(impl_->damage.seen(status, "syncing"));
  return {};
}

Result<bool> RocksStore::compact() {
  // All tables are flushed together: only then no log is needed any more that holds the values.
  std::vector<rocksdb::ColumnFamilyHandle*> all(impl_->tables.begin(), impl_->tables.end());
  uint64_t erased = impl_->db->GetLatestSequenceNumber();
  rocksdb::Status status = impl_->db->Flush(rocksdb::FlushOptions(), all);
  if (!status.ok()) return std::unexpected(impl_->damage.seen(status, "flushing"));
  // A compaction keeps what a snapshot can see; one of now sees the values no more. Readers come
  // and go all the time, so it counts how old theirs are.
  uint64_t oldest = 0;
  bool told = impl_->db->GetIntProperty(rocksdb::DB::Properties::kOldestSnapshotSequence, &oldest);
  rocksdb::CompactRangeOptions options;
  options.exclusive_manual_compaction = false;
  options.bottommost_level_compaction = rocksdb::BottommostLevelCompaction::kForce;
  for (auto* handle : all) {
    status = impl_->db->CompactRange(options, handle, nullptr, nullptr);
    if (!status.ok()) return std::unexpected(impl_->damage.seen(status, "compacting"));
  }
  return told && (oldest == 0 || oldest >= erased);
}

Result<uint32_t> RocksStore::backup(const BackupRequest& request) {
  return add_backup(*impl_->db, request);
}

std::shared_ptr<const StoreView> RocksStore::snapshot() const {
  return std::make_shared<RocksSnapshot<Impl>>(impl_);
}

}  // namespace branchline
