// The built-in schema and what might come next.
#pragma once

#include <string>

namespace branchline {

// A schema that extends the built-in one: account has the fields nickname and badges (a set), an
// index by its employees, and websiteurl goes to whoever sets it first; gadgets are children of
// accounts. All of it is of feature level 2.
std::string next_schema_text();

}  // namespace branchline
