// A store between a server and its disk that does what broken servers would. Products contain none
// of this.
#pragma once

#include <cstdlib>
#include <functional>
#include <memory>
#include <string>

#include "common/store/keyspace.h"
#include "common/store/rocks_store.h"

namespace branchline {

struct Lies {
  bool never_sync = false;         // acknowledges before its data are safe
  bool forget_high_water = false;  // a master that does not know what it has decided
  uint64_t lose_every_block = 0;   // a branch that loses every nth block of pending work
  std::string abort_at;  // ends the process when a record is read whose id holds these bytes
};

class LyingStore : public Store {
 public:
  // `owned` is destroyed after the store on it (an Env).
  LyingStore(std::unique_ptr<Store> real, Lies lies, std::shared_ptr<void> owned)
      : owned_(std::move(owned)), real_(std::move(real)), lies_(std::move(lies)) {}

  Result<std::optional<std::string>> get(Table t, std::string_view key) const override {
    if (t == Table::records && !lies_.abort_at.empty() &&
        key.find(lies_.abort_at) != std::string_view::npos)
      std::abort();
    return real_->get(t, key);
  }
  std::unique_ptr<Cursor> scan(Table t, std::string_view b, std::string_view e) const override {
    return real_->scan(t, b, e);
  }
  std::unique_ptr<Cursor> scan_back(Table t, std::string_view b,
                                    std::string_view e) const override {
    return real_->scan_back(t, b, e);
  }
  std::shared_ptr<const StoreView> snapshot() const override { return real_->snapshot(); }
  Result<void> sync() override { return lies_.never_sync ? Result<void>{} : real_->sync(); }

  Result<void> write(const Batch& batch, Sync sync) override {
    if (lies_.never_sync) sync = Sync::no;
    if (!lies_.forget_high_water && lies_.lose_every_block == 0) return real_->write(batch, sync);
    Batch kept;
    batch.for_each([&](Batch::Op op, Table t, std::string_view key, std::string_view value) {
      if (op == Batch::Op::put) {
        if (lies_.forget_high_water && t == Table::meta &&
            key.starts_with(keys::meta_stream_prefix()))
          return;
        if (lies_.lose_every_block > 0 && t == Table::outbox &&
            ++blocks_ % lies_.lose_every_block == 0)
          return;
        kept.put(t, key, value);
      } else if (op == Batch::Op::erase) {
        kept.erase(t, key);
      } else {
        kept.erase_range(t, key, value);
      }
    });
    return real_->write(kept, sync);
  }

 private:
  std::shared_ptr<void> owned_;
  std::unique_ptr<Store> real_;
  Lies lies_;
  uint64_t blocks_ = 0;
};

}  // namespace branchline
