// A Store on RocksDB. One thread writes; any thread reads.
#pragma once

#include <memory>
#include <string>

#include "common/store/store.h"

namespace rocksdb {
class Env;
}

namespace branchline {

struct RocksOptions {
  size_t block_cache_bytes = 64 * 1024 * 1024;
  size_t write_buffer_bytes = 16 * 1024 * 1024;
  rocksdb::Env* env = nullptr;  // tests: a file system that fails or forgets; outlives the store
};

class RocksStore : public Store {
 public:
  // Creates the folder where it is missing. `unavailable` with code "store.locked" if another
  // process has it open; `corrupt` if RocksDB refuses what it finds.
  static Result<std::unique_ptr<RocksStore>> open(const std::string& directory,
                                                  const RocksOptions& options);
  ~RocksStore() override;
  // How much of the log was cut off at open(), because a power cut had torn it: not synced, so
  // nothing of it had been acknowledged.
  uint64_t torn_bytes() const;

  Result<std::optional<std::string>> get(Table table, std::string_view key) const override;
  std::unique_ptr<Cursor> scan(Table table, std::string_view begin,
                               std::string_view end) const override;
  std::unique_ptr<Cursor> scan_back(Table table, std::string_view begin,
                                    std::string_view end) const override;
  Result<void> write(const Batch& batch, Sync sync) override;
  Result<void> sync() override;
  Result<bool> compact() override;
  std::shared_ptr<const StoreView> snapshot() const override;
  Result<uint32_t> backup(const BackupRequest& request) override;
  std::optional<std::string> damage() const override;

 private:
  struct Impl;
  explicit RocksStore(std::unique_ptr<Impl> impl);
  std::shared_ptr<Impl> impl_;
};

}  // namespace branchline
