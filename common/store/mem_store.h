// A Store in memory that crashes as a disk does: what was synced stays, of the rest a prefix. Not
// thread-safe.
#pragma once

#include <array>
#include <deque>
#include <map>

#include "common/store/store.h"

namespace branchline {

class MemStore : public Store {
 public:
  using Tables = std::array<std::map<std::string, std::string, std::less<>>, kTableCount>;

  Result<std::optional<std::string>> get(Table table, std::string_view key) const override;
  std::unique_ptr<Cursor> scan(Table table, std::string_view begin,
                               std::string_view end) const override;
  std::unique_ptr<Cursor> scan_back(Table table, std::string_view begin,
                                    std::string_view end) const override;
  Result<void> write(const Batch& batch, Sync sync) override;
  Result<void> sync() override;
  std::shared_ptr<const StoreView> snapshot() const override;

  // As after a power cut: the first `keep` of the unsynced batches survive, the others are gone.
  void crash(size_t keep = 0);
  size_t unsynced() const { return pending_.size(); }

  // A copy of the durable state and its return, for rolled-back disks.
  Tables durable() const { return durable_; }
  void restore(Tables tables);
  const Tables& tables() const { return now_; }

 private:
  Tables now_;
  Tables durable_;
  std::deque<Batch> pending_;
};

}  // namespace branchline
