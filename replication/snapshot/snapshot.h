// Chunks of a snapshot: made at the master, opened at the branch.
#pragma once

#include <functional>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "common/base/hash.h"
#include "common/base/limits.h"
#include "common/store/keyspace.h"
#include "common/store/store.h"
#include "replication/snapshot/rows.h"

namespace branchline {

// One chunk: varint number, then a compressed container of rows: table (1), blob key without its
// side, blob value. Records come in order of key, each followed by its elements.
class SnapshotWriter {
 public:
  // Whether a record of these territories is part of it.
  using Filter = std::function<bool(TerritoryId home, const std::vector<TerritoryId>& also_in)>;

  // `view` is consistent and outlives this.
  // `chunk_bytes`: of rows, about, before compression.
  SnapshotWriter(std::shared_ptr<const StoreView> view, keys::Side side, Filter filter,
                 size_t chunk_bytes = limits::kSnapshotChunkBytes);

  // The next chunk's payload; nothing at the end. Not thread-safe, but may move between threads.
  Result<std::optional<std::string>> next();
  // Goes back to where chunk `number` begins; it is the next one then. False where it was not
  // reached yet. The chunks from there on come again as they were.
  bool rewind(uint64_t number);
  uint64_t chunks() const { return made_.size(); }
  // Hash chain over the chunks before `number`, which was reached.
  Digest chain_before(uint64_t number) const;
  // SHA-256 over the digests of all chunks, once next() gave nothing.
  Digest digest() const;

 private:
  struct Made {
    std::string begin;  // the first key that was looked at
    Digest digest;      // of its rows
    Digest chain;       // through this chunk
  };
  void seek(const std::string& begin);

  std::shared_ptr<const StoreView> view_;
  keys::Side side_;
  Filter filter_;
  size_t chunk_bytes_;
  std::unique_ptr<Cursor> records_;
  std::unique_ptr<Cursor> elements_;
  std::vector<Made> made_;
  bool finished_ = false;
};

// A chain over chunks: `digest` is of a chunk's decompressed rows, `before` zeros at the first.
Digest chunk_chain(const Digest& before, const Digest& digest);

class SnapshotReader {
 public:
  using Visit = RowVisit;
  SnapshotReader() = default;
  // Goes on behind chunks that were received earlier; from then on only the chain can be compared.
  SnapshotReader(uint64_t chunks, const Digest& chain)
      : chunks_(chunks), chain_(chain), resumed_(true) {}

  // Checks the number and hands out the rows in order; stops at the first error.
  Result<void> open(std::string_view payload, const Visit& visit);
  uint64_t chunks() const { return chunks_; }
  const Digest& chain() const { return chain_; }
  // `corrupt` unless these are what was received. A `chain` of zeros is none: an older master's.
  Result<void> finish(uint64_t chunks, const Digest& digest, const Digest& chain);

 private:
  uint64_t chunks_ = 0;
  Digest chain_;
  bool resumed_ = false;
  Sha256 all_;
};

}  // namespace branchline
