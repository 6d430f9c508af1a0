// Which keys a query has to look at; private to queries.
#pragma once

#include "branch/crm/query.h"

namespace branchline {

// One range of an index, or of the records themselves.
struct KeyRange {
  std::string begin, end;
};

struct Plan {
  enum class Kind {
    ids,      // records named by id
    index,    // ranges of one index
    records,  // all records of the entity
    virtual_set,
  } kind = Kind::records;
  std::vector<RecordId> ids;
  const Index* index = nullptr;
  std::vector<KeyRange> ranges;  // in ascending order of keys, apart from one another
  bool ordered = false;          // its order is the one the query wants
  bool descending = false;
  std::string text;
};

Plan make_plan(const ReadContext& context, const Query& query);

}  // namespace branchline
