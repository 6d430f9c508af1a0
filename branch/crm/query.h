// Queries over one entity: filter, order, pages. An index is used where one fits; what does not fit
// is scanned in bounded memory. Pages continue at a place (a key), not at a number, so that they
// neither skip nor repeat records that stay while others come and go.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "branch/crm/expression.h"
#include "branch/crm/reader.h"

namespace branchline {

struct OrderBy {
  Column column;
  bool descending = false;
};

struct Query {
  const Entity* entity = nullptr;
  Expression filter;           // finished
  std::vector<OrderBy> order;  // then by id
  uint64_t skip = 0;
  std::optional<uint64_t> top;  // over all pages
  uint64_t page_size = 0;       // 0: limits::kMaxPageSize
  bool count = false;           // of all that match, regardless of skip, top and pages
  std::string continue_at;      // from a page before
};

struct QueryResult {
  std::vector<Record> records;
  std::optional<uint64_t> count;
  std::string continue_at;  // empty: this was the last page
  std::string plan;         // what was done, for people and tests: "index name", "scan", ...
};

// `invalid` where sorting would take more than limits::kMaxSortedRows rows, and for a continuation
// that is not one.
Result<QueryResult> run_query(const ReadContext& context, const Query& query);

// Every matching record, in no particular order, until `visit` returns false.
Result<void> for_each_match(const ReadContext& context, const Entity& entity,
                            const Expression& filter,
                            const std::function<bool(const Record&)>& visit);

}  // namespace branchline
