// System query options of a request, bound to an entity set: $select $filter $orderby $top $skip
// $count $expand $apply and the continuation.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "branch/api/filter_parser.h"
#include "branch/api/odata_url.h"
#include "branch/crm/query.h"
#include "branch/reports/apply.h"

namespace branchline {

struct ExpandOption {
  std::string name;
  // A lookup of the record itself, or a collection of records that look up to it.
  const Field* lookup = nullptr;
  EntityId target;  // lookup: to which entity; a polymorphic lookup names it in the property
  const Entity::Collection* collection = nullptr;
  std::vector<Column> select;  // empty: all
  std::optional<Expression> filter;
  std::vector<OrderBy> order;
  std::optional<uint64_t> top;
  std::vector<std::pair<std::string, std::string>>
      parameters;  // as written, for the link to further rows
};

struct QueryOptions {
  std::vector<Column> select;  // empty: all
  std::vector<ExpandOption> expand;
  Query query;  // entity, filter, order, top, skip, count, continuation
  std::optional<ApplyPlan> apply;
};

// Which options make sense where.
enum class OptionScope {
  set,     // all
  record,  // $select, $expand
};

// `set`: narrows the filter where the set shows a part of the entity. Unknown options are refused
// by name; custom ones (without $) are ignored, as OData says.
Result<QueryOptions> parse_options(const Schema& schema, const Schema::Set& set,
                                   const UrlParts& url, const TerritoryNumber& territory_number,
                                   OptionScope scope = OptionScope::set);

}  // namespace branchline
