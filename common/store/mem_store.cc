#include "common/store/mem_store.h"

#include <iterator>

#include "common/base/check.h"

namespace branchline {
namespace {

// Over the map as it is now, whoever writes meanwhile.
class MapCursor : public Cursor {
 public:
  MapCursor(const SharedMap& map, std::string_view begin, std::string_view end, bool back)
      : map_(map.share()), back_(back) {
    first_ = at_ = map_->lower_bound(begin);
    last_ = end.empty() ? map_->end() : map_->lower_bound(end);
    if (!end.empty() && begin >= end) last_ = first_;
    left_ = first_ != last_;
    if (back_ && left_) at_ = std::prev(last_);
  }
  bool valid() const override { return left_; }
  void next() override {
    if (back_) {
      left_ = at_ != first_;
      if (left_) --at_;
    } else {
      left_ = ++at_ != last_;
    }
  }
  std::string_view key() const override { return at_->first; }
  std::string_view value() const override { return at_->second; }
  std::optional<Error> error() const override { return std::nullopt; }

 private:
  std::shared_ptr<const SharedMap::Map> map_;
  bool back_;
  SharedMap::Map::const_iterator first_, last_, at_;
  bool left_ = false;
};

std::optional<std::string> find(const MemStore::Tables& tables, Table table, std::string_view key) {
  const SharedMap& map = tables[static_cast<size_t>(table)];
  auto at = map.find(key);
  if (at == map.end()) return std::nullopt;
  return at->second;
}

std::unique_ptr<Cursor> walk(const MemStore::Tables& tables, Table table, std::string_view begin,
                             std::string_view end, bool back) {
  return std::make_unique<MapCursor>(tables[static_cast<size_t>(table)], begin, end, back);
}

class MemSnapshot : public StoreView {
 public:
  explicit MemSnapshot(MemStore::Tables tables) : tables_(std::move(tables)) {}
  Result<std::optional<std::string>> get(Table table, std::string_view key) const override {
    return find(tables_, table, key);
  }
  std::unique_ptr<Cursor> scan(Table t, std::string_view begin,
                               std::string_view end) const override {
    return walk(tables_, t, begin, end, false);
  }
  std::unique_ptr<Cursor> scan_back(Table t, std::string_view begin,
                                    std::string_view end) const override {
    return walk(tables_, t, begin, end, true);
  }

 private:
  MemStore::Tables tables_;
};

void apply_to(MemStore::Tables& tables, const Batch& batch) {
  batch.for_each([&](Batch::Op op, Table table, std::string_view key, std::string_view value) {
    SharedMap::Map& map = tables[static_cast<size_t>(table)].own();
    switch (op) {
      case Batch::Op::put:
        map.insert_or_assign(std::string(key), std::string(value));
        break;
      case Batch::Op::erase:
        if (auto at = map.find(key); at != map.end()) map.erase(at);
        break;
      case Batch::Op::erase_range:
        if (key < value) map.erase(map.lower_bound(key), map.lower_bound(value));
        break;
    }
  });
}

}  // namespace

SharedMap::Map& SharedMap::own() {
  if (map_.use_count() > 1) map_ = std::make_shared<Map>(*map_);
  return *map_;
}

Result<std::optional<std::string>> MemStore::get(Table table, std::string_view key) const {
  return find(now_, table, key);
}
std::unique_ptr<Cursor> MemStore::scan(Table t, std::string_view begin,
                                       std::string_view end) const {
  return walk(now_, t, begin, end, false);
}
std::unique_ptr<Cursor> MemStore::scan_back(Table t, std::string_view begin,
                                            std::string_view end) const {
  return walk(now_, t, begin, end, true);
}

Result<void> MemStore::write(const Batch& batch, Sync sync_mode) {
  apply_to(now_, batch);
  pending_.push_back(batch);
  return sync_mode == Sync::yes ? sync() : Result<void>{};
}

Result<void> MemStore::sync() {
  for (const auto& b : pending_) apply_to(durable_, b);
  pending_.clear();
  return {};
}

std::shared_ptr<const StoreView> MemStore::snapshot() const {
  return std::make_shared<MemSnapshot>(now_);
}

void MemStore::crash(size_t keep) {
  BL_CHECK(keep <= pending_.size());
  for (size_t i = 0; i < keep; ++i) apply_to(durable_, pending_[i]);
  pending_.clear();
  now_ = durable_;
}

void MemStore::restore(Tables tables) {
  durable_ = std::move(tables);
  now_ = durable_;
  pending_.clear();
}

}  // namespace branchline
