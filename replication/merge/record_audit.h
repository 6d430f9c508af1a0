// Counts again what a store says of its records: sums, counts, indexes. For audits; reads
// everything.
#pragma once

#include <string>
#include <vector>

#include "common/store/keyspace.h"
#include "common/store/store.h"
#include "replication/merge/workspace.h"

namespace branchline {

struct RecordAudit {
  Deltas totals;  // sums of what is stored (at a branch: of the view), counts of live records
  uint64_t records = 0;
  uint64_t elements = 0;
  std::vector<std::string> problems;  // at most 20
};
// A store's fault is an error, a wrong content a problem.
Result<RecordAudit> audit_records(const StoreView& view, const Schema& schema, keys::Side side,
                                  IndexScope scope);

}  // namespace branchline
