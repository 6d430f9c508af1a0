// A Store in memory that crashes as a disk does: what was synced stays, of the rest a prefix. Not
// thread-safe.
#pragma once

#include <array>
#include <deque>
#include <map>
#include <memory>

#include "common/store/store.h"

namespace branchline {

// A map that its copies share until one of them changes: views, cursors and copies of disks cost
// nothing by themselves.
class SharedMap {
 public:
  using Map = std::map<std::string, std::string, std::less<>>;

  const Map& read() const { return *map_; }
  std::shared_ptr<const Map> share() const { return map_; }
  // Of its own, to be changed. What was read before may be another's then.
  Map& own();

  auto begin() const { return map_->begin(); }
  auto end() const { return map_->end(); }
  size_t size() const { return map_->size(); }
  bool empty() const { return map_->empty(); }
  size_t count(std::string_view key) const { return map_->count(key); }
  auto find(std::string_view key) const { return map_->find(key); }
  const std::string& at(const std::string& key) const { return map_->at(key); }
  bool operator==(const SharedMap& other) const { return *map_ == *other.map_; }

 private:
  std::shared_ptr<Map> map_ = std::make_shared<Map>();
};

class MemStore : public Store {
 public:
  using Tables = std::array<SharedMap, kTableCount>;

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
