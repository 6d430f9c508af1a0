// Ranges of records, for verification and repair: walked, summed up, sent.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "common/base/hash.h"
#include "common/record/record.h"
#include "common/store/keyspace.h"
#include "common/store/store.h"
#include "replication/session/verification.h"
#include "replication/snapshot/rows.h"

namespace branchline {

// Walks records with their elements, as they are stored, damaged or not.
class RowWalk {
 public:
  // `view` outlives this.
  RowWalk(const StoreView& view, keys::Side side, const KeyRange& range);
  // To the next record; false at the end.
  Result<bool> next();
  const std::string& key() const { return key_; }  // side included
  const std::string& value() const { return value_; }
  using Row = std::pair<std::string, std::string>;
  const std::vector<Row>& elements() const { return rows_; }
  // Keys of elements between the record before and this one (at the end: behind the last): they
  // belong to none.
  const std::vector<std::string>& orphans() const { return orphans_; }

 private:
  std::unique_ptr<Cursor> records_, elements_;
  std::string key_, value_;
  std::vector<Row> rows_;
  std::vector<std::string> orphans_;
};

// A record as it is stored, and what it adds to the checksum of each of its territories.
struct SummedRecord {
  Record record;
  Sum128 sum;  // zero: deleted
  uint64_t elements = 0;
};
// `corrupt` where anything of it cannot be read.
Result<SummedRecord> sum_row(const RowWalk& row);

// Whether a record of these territories counts.
using RangeFilter = std::function<bool(TerritoryId home, const std::vector<TerritoryId>& also_in)>;

// Of each range the sum of all records that count, each once.
Result<std::vector<Sum128>> sum_ranges(const StoreView& view, keys::Side side,
                                       const RangeFilter& counts,
                                       const std::vector<KeyRange>& ranges);
// A container of the rows of all records that count, each followed by its elements. `invalid`
// "verify.too_large" where that is more than a frame should carry.
Result<std::string> rows_of_ranges(const StoreView& view, keys::Side side,
                                   const RangeFilter& counts, const std::vector<KeyRange>& ranges);
// Hands out what such a container holds, in order; keys without side.
Result<void> open_rows(std::string_view container, const RowVisit& visit);

}  // namespace branchline
