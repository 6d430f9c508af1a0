// Answers look-ups from a view of the master's store. Pure; any thread.
#pragma once

#include "common/access/access.h"
#include "common/store/store.h"
#include "replication/session/lookup.h"

namespace branchline {

struct LookedUp {
  LookupAnswer answer;
  // Whose token it was, where it is good: with it the office may speak for its holder (SEMANTICS
  // 28).
  RecordId credential;
  bool may_write = false;
};

// Errors go into the answer: `denied` "token.*", `invalid` "lookup.too_large", "lookup.malformed",
// and faults of the store.
LookedUp answer_lookup(const StoreView& view, const Schema& schema, const LookupRequest& question,
                       int64_t now_ms);

}  // namespace branchline
