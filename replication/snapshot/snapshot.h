// Chunks of a snapshot: made at the master, opened at the branch.
#pragma once

#include <functional>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "common/base/hash.h"
#include "common/store/keyspace.h"
#include "common/store/store.h"

namespace branchline {

// One chunk: varint number, then a compressed container of rows: table (1), blob key without its
// side, blob value. Records come in order of key, each followed by its elements.
class SnapshotWriter {
 public:
  // Whether a record of these territories is part of it.
  using Filter = std::function<bool(TerritoryId home, const std::vector<TerritoryId>& also_in)>;

  // `view` is consistent and outlives this.
  SnapshotWriter(std::shared_ptr<const StoreView> view, keys::Side side, Filter filter);

  // The next chunk's payload; nothing at the end. Not thread-safe, but may move between threads.
  Result<std::optional<std::string>> next();
  uint64_t chunks() const { return chunks_; }
  // SHA-256 over the digests of all chunks, once next() gave nothing.
  Digest digest() const { return digest_; }

 private:
  std::shared_ptr<const StoreView> view_;
  keys::Side side_;
  Filter filter_;
  std::unique_ptr<Cursor> records_;
  std::unique_ptr<Cursor> elements_;
  uint64_t chunks_ = 0;
  Sha256 all_;
  Digest digest_;
  bool finished_ = false;
};

class SnapshotReader {
 public:
  using Visit =
      std::function<Result<void>(Table table, std::string_view key, std::string_view value)>;
  // Checks the number and hands out the rows in order; stops at the first error.
  Result<void> open(std::string_view payload, const Visit& visit);
  uint64_t chunks() const { return chunks_; }
  // `corrupt` unless these are what was received.
  Result<void> finish(uint64_t chunks, const Digest& digest);

 private:
  uint64_t chunks_ = 0;
  Sha256 all_;
};

}  // namespace branchline
