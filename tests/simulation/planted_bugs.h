// Stores that lie as broken servers would: what a run must find.
#pragma once

#include <string>

#include "common/store/keyspace.h"
#include "common/store/mem_store.h"

namespace branchline::sim {

enum class Bug { none, dedupe_off, cursor_outside_batch, sync_off };

class LyingStore : public Store {
 public:
  LyingStore(MemStore& real, Bug bug) : real_(real), bug_(bug) {}

  Result<std::optional<std::string>> get(Table t, std::string_view k) const override {
    return real_.get(t, k);
  }
  std::unique_ptr<Cursor> scan(Table t, std::string_view b, std::string_view e) const override {
    return real_.scan(t, b, e);
  }
  std::unique_ptr<Cursor> scan_back(Table t, std::string_view b,
                                    std::string_view e) const override {
    return real_.scan_back(t, b, e);
  }
  std::shared_ptr<const StoreView> snapshot() const override { return real_.snapshot(); }
  Result<void> sync() override { return bug_ == Bug::sync_off ? Result<void>{} : real_.sync(); }

  Result<void> write(const Batch& batch, Sync sync) override {
    switch (bug_) {
      case Bug::none:
        return real_.write(batch, sync);
      case Bug::sync_off:
        return real_.write(batch, Sync::no);
      case Bug::dedupe_off: {  // high-water marks are not kept
        Batch kept = without(
            batch,
            [](Table t, std::string_view key) {
              return t == Table::meta && key.starts_with(keys::meta_stream_prefix());
            },
            nullptr);
        return real_.write(kept, sync);
      }
      case Bug::cursor_outside_batch: {  // the state row follows in a write of its own
        Batch state;
        Batch rest = without(
            batch,
            [](Table t, std::string_view key) {
              return t == Table::meta && key == keys::meta_state();
            },
            &state);
        if (auto ok = real_.write(rest, sync); !ok) return ok;
        return real_.write(state, Sync::no);
      }
    }
    return {};
  }

 private:
  template <typename Which>
  static Batch without(const Batch& batch, Which which, Batch* taken) {
    Batch kept;
    batch.for_each([&](Batch::Op op, Table t, std::string_view key, std::string_view value) {
      if (op == Batch::Op::put && which(t, key)) {
        if (taken) taken->put(t, key, value);
      } else if (op == Batch::Op::put) {
        kept.put(t, key, value);
      } else if (op == Batch::Op::erase) {
        kept.erase(t, key);
      } else {
        kept.erase_range(t, key, value);
      }
    });
    return kept;
  }
  MemStore& real_;
  Bug bug_;
};

}  // namespace branchline::sim
