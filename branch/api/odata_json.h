// Records as OData JSON, written straight into the answer.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "branch/api/odata_options.h"
#include "branch/crm/reader.h"

namespace branchline {

struct JsonOptions {
  bool annotations =
      false;  // formatted values and the lookups' entities (Prefer: odata.include-annotations)
  std::function<RecordId(TerritoryId)> territory_id;
  std::string root;  // of the service, for links to what an expansion leaves out
};

// Appends {"@odata.etag":..., ...} with the chosen columns (all where `select` is empty) and
// expansions. `context`: put in front, for a single record; empty: none.
Result<void> append_record(std::string& out, const ReadContext& read, const Entity& entity,
                           const Record& record, const std::vector<Column>& select,
                           const std::vector<ExpandOption>& expand, const JsonOptions& options,
                           std::string_view context);

}  // namespace branchline
