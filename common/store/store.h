// Ordered tables of bytes with atomic batches and snapshots; see README.md for the promises.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "common/base/error.h"

namespace branchline {

enum class Table : uint8_t {
  meta = 0,  // one-row state: identity, cursor, ledger, checksums
  records = 1,
  elements = 2,  // of `set` and `append` fields
  index = 3,
  outbox = 4,  // branch: pending mutations with their pre-images
  fates = 5,
  line = 6,  // master: the main line's blocks
  keys = 7,  // operation keys
};
inline constexpr int kTableCount = 8;
const char* table_name(Table table);

// Operations to be applied as one. Keeps its own copy of the bytes.
class Batch {
 public:
  void put(Table table, std::string_view key, std::string_view value);
  void erase(Table table, std::string_view key);
  // All keys in [begin, end).
  void erase_range(Table table, std::string_view begin, std::string_view end);
  bool empty() const { return count_ == 0; }
  size_t count() const { return count_; }
  size_t bytes() const { return rep_.size(); }
  void append(const Batch& other);
  void clear() {
    rep_.clear();
    count_ = 0;
  }

  enum class Op : uint8_t { put, erase, erase_range };
  // Calls `visit(op, table, key, value_or_end)` in order.
  void for_each(
      const std::function<void(Op, Table, std::string_view, std::string_view)>& visit) const;

 private:
  void add(Op op, Table table, std::string_view a, std::string_view b);
  std::string rep_;
  size_t count_ = 0;
};

// Walks keys in order. After use, ask error(): a walk that ended early for a fault is not an end.
class Cursor {
 public:
  virtual ~Cursor() = default;
  virtual bool valid() const = 0;
  virtual void next() = 0;
  virtual std::string_view key() const = 0;    // until next()
  virtual std::string_view value() const = 0;  // until next()
  virtual std::optional<Error> error() const = 0;
};

class StoreView {
 public:
  virtual ~StoreView() = default;
  virtual Result<std::optional<std::string>> get(Table table, std::string_view key) const = 0;
  // Keys in [begin, end); an empty `end` means the table's end.
  virtual std::unique_ptr<Cursor> scan(Table table, std::string_view begin,
                                       std::string_view end) const = 0;
  // The same, from the greatest key downwards.
  virtual std::unique_ptr<Cursor> scan_back(Table table, std::string_view begin,
                                            std::string_view end) const = 0;
};

enum class Sync { no, yes };

// Makes a backup of a live store; see backup.h.
struct BackupRequest {
  std::string directory;                         // absolute
  std::string label;                             // what it is of, for who restores it
  std::function<void(uint64_t bytes)> progress;  // copied so far; may be empty
};

class Store : public StoreView {
 public:
  // Atomic. An error means that this process must not write again.
  virtual Result<void> write(const Batch& batch, Sync sync) = 0;
  // Makes everything written so far durable.
  virtual Result<void> sync() = 0;
  // Rewrites what is stored so that the bytes of erased values are gone. Slow; may run beside
  // writes, on another thread. False where a view that is held still needs some of them: try again
  // later.
  virtual Result<bool> compact() { return true; }
  // Adds a backup to a folder; returns its number. Any thread; writes go on meanwhile.
  virtual Result<uint32_t> backup(const BackupRequest& request) {
    (void)request;
    return fail(ErrorKind::unavailable, "backup.unsupported", "this store makes no backups");
  }
  // What was found damaged first since the start, by whoever read: bytes that are not what was
  // written. Any thread.
  virtual std::optional<std::string> damage() const { return std::nullopt; }
  // A consistent view of now; valid while it is held and the store lives.
  virtual std::shared_ptr<const StoreView> snapshot() const = 0;
};

// Whether an error says that the store itself failed or is damaged, rather than that a request was
// wrong: the owner must stop.
inline bool is_store_fault(const Error& e) {
  return e.kind == ErrorKind::corrupt || e.code == "store.io";
}

// The least key greater than all keys with this prefix; empty where there is none.
std::string prefix_end(std::string_view prefix);
inline std::unique_ptr<Cursor> scan_prefix(const StoreView& view, Table table,
                                           std::string_view prefix) {
  return view.scan(table, prefix, prefix_end(prefix));
}

}  // namespace branchline
