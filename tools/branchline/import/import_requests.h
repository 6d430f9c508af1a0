// The requests of an import, as text: pure, so that tests can look at them.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "common/json/json.h"
#include "tools/branchline/import/import_plan.h"

namespace branchline::import {

// The id of a record that has no unique field: the same for the same mapping name, entity set and
// key, at every office.
RecordId derived_id(const std::string& mapping, const std::string& set, const std::string& key);

// "accounts(accountnumber='CG-12520%2FSouth')", to stand in a URL after the API's root.
std::string address_of(const std::string& mapping, const PlannedRecord& record);
// The same of the record that a lookup names; in a binding ("/accounts(accountnumber='..')") or in
// a URL.
std::string binding_of(const std::string& mapping, const PlannedCell& lookup);
std::string lookup_address(const std::string& mapping, const PlannedCell& lookup);

// What is wrong with the address of a branch, which is http://host:port; nothing: it is one.
std::optional<std::string> base_url_problem(std::string_view url);

// The body that creates the record and its children in one mutation.
std::string create_body(const std::string& mapping, const PlannedMutation& mutation);
// The body that creates a child of a record that is there.
std::string create_child_body(const std::string& mapping, const PlannedChild& child,
                              const std::string& parent_set, const std::string& parent_id);
std::string update_body(const std::string& mapping, const std::vector<const PlannedCell*>& cells);

// Idempotency-Key. It depends on the mapping's name, the record's key, what is asked for and the
// record's state before (its ETag; empty: none), not on the file or the time: a repeated run
// repeats the key where it repeats the request.
std::string operation_key(const std::string& mapping, const std::string& set,
                          const std::string& key, const std::string& body, const std::string& etag);

// Which cells differ from the record as the server gave it. `lookup_id` gives the id of the record
// that a lookup names.
using LookupId = std::function<Result<std::string>(const PlannedCell&)>;
Result<std::vector<const PlannedCell*>> differences(const PlannedRecord& record, const Json& there,
                                                    const LookupId& lookup_id);

// The child among an expanded collection that this is; null: none.
const Json* find_child(const std::string& mapping, const PlannedChild& child,
                       const Json& collection);

// "name" of {"name": "text"}; empty where there is none.
std::string text_member(const Json& object, std::string_view name);

}  // namespace branchline::import
