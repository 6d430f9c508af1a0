// $apply: filter(..)/groupby((..),aggregate(..)) and aggregate(..), bound to an entity.
#pragma once

#include "branch/api/filter_parser.h"
#include "branch/reports/apply.h"

namespace branchline {

Result<ApplyPlan> parse_apply(std::string_view text, const Entity& entity,
                              const TerritoryNumber& territory_number);

}  // namespace branchline
