// $filter: OData's condition language, bound to an entity while it is read. Every error names the
// position.
#pragma once

#include <functional>
#include <string_view>

#include "branch/crm/expression.h"
#include "common/schema/schema.h"

namespace branchline {

// Comparison (eq ne gt ge lt le), and/or/not, parentheses, in (..), contains startswith endswith,
// literals of text, number, boolean, date, instant, guid and null. At most limits::kMaxFilterDepth
// deep and kMaxFilterTerms wide. `territory_number`: the number of the territory with this record
// id, for `_territoryid_value`; 0 if there is none.
using TerritoryNumber = std::function<int64_t(const RecordId&)>;
// Where the text stands, for errors: in which option, behind how many characters of it.
struct FilterPlace {
  std::string_view option = "$filter";
  size_t before = 0;
};
Result<Expression> parse_filter(std::string_view text, const Entity& entity,
                                const TerritoryNumber& territory_number,
                                const FilterPlace& place = {});

}  // namespace branchline
