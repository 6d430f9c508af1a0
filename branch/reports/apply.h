// $apply: grouping and aggregation in one pass.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "branch/crm/query.h"

namespace branchline {

struct Aggregate {
  enum class Method { count, sum, min, max, average, count_distinct } method = Method::count;
  Column column;  // not for count
  std::string alias;
};

struct ApplyPlan {
  // The record of a territory: what clients know it by.
  using TerritoryRecord = std::function<RecordId(TerritoryId)>;
  const Entity* entity = nullptr;
  Expression filter;
  std::vector<Column> group_by;  // empty: one row over all
  std::vector<Aggregate> aggregates;
  TerritoryRecord territory_id;  // needed where a column is the territory
};

struct ApplyRow {
  std::vector<OwnedValue> groups;
  std::vector<OwnedValue> values;
};

// Rows in order of their groups. `invalid` beyond limits::kMaxGroups groups or a sum out of range.
Result<std::vector<ApplyRow>> run_apply(const ReadContext& context, const ApplyPlan& plan);

}  // namespace branchline
