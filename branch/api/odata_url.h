// URLs of the OData service, taken apart: which resource, which options. Percent-decoded; nothing
// is bound to the schema yet.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/error.h"

namespace branchline {

struct UrlParts {
  std::string path;                   // decoded
  std::vector<std::string> segments;  // decoded one by one: a %2F stays inside
  std::vector<std::pair<std::string, std::string>> parameters;  // decoded, in order

  const std::string* parameter(std::string_view name) const;
};
// `invalid` for what is no target, bad percent-encoding or non-UTF-8.
// Origin form ("/path?query") or absolute form, whose authority is dropped.
Result<UrlParts> parse_target(std::string_view target);
// The last segment of an absolute or relative URL without a query, decoded:
// "accounts(accountnumber='A/1')".
Result<std::string> last_segment(std::string_view url);
std::string percent_encode(std::string_view text);

// "accounts(3f...)", "accounts(accountnumber='X1')", "WhoAmI()", "accounts".
struct ResourceSegment {
  std::string name;
  bool parentheses = false;
  std::string id;                                         // the text of a single unnamed key
  std::vector<std::pair<std::string, std::string>> keys;  // named keys, quotes removed
};
Result<ResourceSegment> parse_resource(std::string_view segment);

// "Prefer: return=representation, odata.maxpagesize=50" -> lower-case names and values.
std::map<std::string, std::string> parse_prefer(std::string_view header);

}  // namespace branchline
