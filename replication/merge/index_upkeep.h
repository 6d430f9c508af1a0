// Text keys in Table::index are ICU's sort keys, and another ICU makes other ones (KEYSPACE.md,
// Index values). Each side of a store says which collation made its rows; a server that sorts by
// another one writes them anew from the records when it opens, before it answers anything. The same
// where a newer schema defines other indexes.
#pragma once

#include <functional>
#include <string>

#include "common/schema/index_key.h"
#include "common/schema/schema.h"
#include "common/store/keyspace.h"
#include "common/store/store.h"
#include "replication/merge/workspace.h"

namespace branchline {

// How far a rebuild is.
struct IndexRebuild {
  enum class Stage { begun, going, done };
  Stage stage = Stage::begun;
  std::string found;      // index_version() of the rows; empty: the store does not say
  std::string wanted;     // that of this program
  uint64_t expected = 0;  // live records, as the server has counted them
  uint64_t records = 0;   // walked so far, deleted ones among them
};
// A line for the log.
std::string describe(const IndexRebuild& rebuild);

struct IndexUpkeep {
  std::string collation = collation_version();
  std::function<void(const IndexRebuild&)> progress;  // may be empty
  // Records per unsynced batch; a batch ends earlier where it holds a mebibyte.
  size_t batch_records = 4096;
};

// What the rows of Table::index depend on besides the records: the collation, and a digest of the
// schema's indexes in this scope.
std::string index_version(const Schema& schema, IndexScope scope,
                          const std::string& collation = collation_version());

// Sees to it that the index rows of `side` are of `upkeep.collation` and `schema`. Reads one row
// where they are; puts that row into `start` where the side holds nothing yet; else rebuilds,
// writing to `store` itself. The row that says what they are of goes first and comes back last,
// synced: a rebuild that breaks off, in whichever program, is begun anew. The other side is left
// alone: it has a row of its own. Errors: those of the store, and of a record that is damaged.
Result<void> keep_index(Store& store, const Schema& schema, keys::Side side, IndexScope scope,
                        uint64_t expected_records, const IndexUpkeep& upkeep, Batch& start);

}  // namespace branchline
