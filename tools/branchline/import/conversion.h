// Text of a CSV cell to the canonical value of a field.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "branch/crm/input.h"
#include "common/base/error.h"

namespace branchline::import {

// How dates are written: YYYY or YY (1970 to 2069), MM or M, MMM (Jan), DD or D, all else as it
// stands. Digits may be more than asked for: "M/D/YYYY" takes 01/02/2017 as well.
class DateFormat {
 public:
  // `invalid` unless year, month and day stand in it once each.
  static Result<DateFormat> parse(std::string_view text);
  // "2017-01-02"; nothing where the text is no such date.
  std::optional<std::string> iso_date(std::string_view text) const;
  const std::string& text() const { return text_; }

 private:
  struct Part {
    enum class Kind { year, short_year, month, month_name, day, literal } kind;
    char literal = 0;
  };
  std::vector<Part> parts_;
  std::string text_;
};

struct Conversion {
  std::optional<DateFormat> date;
  std::map<std::string, std::string, std::less<>> choice;  // what the file says -> what is stored
  char decimal_mark = '.';
  bool required = false;
};

// Without spaces and tabs at its ends.
std::string_view trimmed(std::string_view text);

// Null for an empty cell, unless it is required. `invalid` says what the value is not.
Result<OwnedValue> convert(const Field& field, const Conversion& how, std::string_view text);

}  // namespace branchline::import
