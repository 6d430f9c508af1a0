// Records that the merge itself keeps beside those of people, as their children: what offices
// disagree about (`ask`), and who holds how much (`escrow`). Their ids derive from what they are
// about, so that a forecast and the decision speak of the same record.
#pragma once

#include <string>
#include <vector>

#include "common/record/decimal.h"
#include "common/record/mutation.h"
#include "replication/merge/workspace.h"

namespace branchline {

// Where a conflict about a field is kept; of a group, `field` is its first one.
RecordKey conflict_key(const RecordKey& record, FieldId field);

// One holder's part of an escrow field: a server's, and within it that of one data directory, named
// by its first process start (SEMANTICS 31).
struct Share {
  OriginId origin;
  Incarnation chain;
  RecordKey key;
  Decimal amount;
};
RecordKey share_key(const RecordKey& record, FieldId field, OriginId origin, Incarnation chain);
// All shares of a field, in order of origin and chain.
Result<std::vector<Share>> shares_of(Workspace& workspace, const RecordKey& record,
                                     const Field& field);
// What is nobody's share: the field's value less all shares. Zero where that is below zero.
Decimal unallotted(const Decimal& value, const std::vector<Share>& shares);

// Whether `m` takes from its author's share. Such a mutation is atomic (SEMANTICS 8).
bool takes_from_share(const Mutation& m);

}  // namespace branchline
