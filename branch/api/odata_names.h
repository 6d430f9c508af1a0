// How entities, fields and values are called in OData: properties (`_ownerid_value`), and values as
// JSON or literals.
#pragma once

#include <string>
#include <string_view>

#include "branch/crm/expression.h"
#include "common/json/json.h"
#include "common/schema/schema.h"

namespace branchline {

// The column of a property name: a field, `_lookup_value`, the primary key, createdon, modifiedon,
// `_createdby_value`, `_modifiedby_value`, `_territoryid_value`. `invalid` names the unknown
// property and near ones.
Result<Column> column_named(const Entity& entity, std::string_view property);
// The property that shows a field: `name`, `_ownerid_value`.
std::string property_of(const Field& field);

// A JSON value as the canonical bytes of a field's type; `invalid` says what was expected of which
// field.
Result<OwnedValue> value_from_json(const Field& field, const Json& json);
// A text as that of a URL key or a CSV cell.
Result<OwnedValue> value_from_text(const Field& field, const std::string& text);

// The name among `known` that is most like `name`, if any is near: for "did you mean".
std::string nearest_name(std::string_view name, const std::vector<std::string>& known);
// At most 60 characters of what a client sent, cut between characters: for messages.
std::string shortened(std::string_view text);
size_t code_points(std::string_view utf8);

// Appends a value as JSON.
void append_json_value(std::string& out, const Value& value);

}  // namespace branchline
