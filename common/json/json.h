// JSON as clients send it: numbers keep their text, so that money never meets binary floating
// point; doubled keys and deep nesting are refused with the place.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "common/base/error.h"

namespace branchline {

struct Json {
  enum class Kind { null, boolean, number, string, array, object } kind = Kind::null;
  bool boolean = false;
  std::string text;         // string; number as written
  std::vector<Json> items;  // array
  struct Member;
  std::vector<Member> members;  // object, in order

  Json();
  Json(const Json&);
  Json(Json&&) noexcept;
  Json& operator=(const Json&);
  Json& operator=(Json&&) noexcept;
  ~Json();
  const Json* member(std::string_view name) const;
};

struct Json::Member {
  std::string name;
  Json value;
};

// `invalid` with the offset and what is wrong there.
Result<Json> parse_json(std::string_view text, size_t max_depth = 16);

// Appends a JSON string with quotes.
void append_json_string(std::string& out, std::string_view text);

}  // namespace branchline
