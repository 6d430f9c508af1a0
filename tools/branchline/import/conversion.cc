#include "tools/branchline/import/conversion.h"

#include <algorithm>
#include <array>

#include "branch/api/odata_names.h"
#include "common/config/mistakes.h"

namespace branchline::import {
namespace {

constexpr std::array<std::string_view, 12> kMonths = {"jan", "feb", "mar", "apr", "may", "jun",
                                                      "jul", "aug", "sep", "oct", "nov", "dec"};

std::unexpected<Error> invalid(std::string message) {
  return fail(ErrorKind::invalid, "value.type", std::move(message));
}

std::string lower(std::string_view text) {
  std::string out(text);
  std::transform(out.begin(), out.end(), out.begin(),
                 [](char c) { return c >= 'A' && c <= 'Z' ? char(c + 32) : c; });
  return out;
}

// Digits at the front of `text`, at most `most` of them.
std::optional<int> take_number(std::string_view& text, size_t least, size_t most) {
  size_t n = 0;
  int value = 0;
  while (n < text.size() && n < most && text[n] >= '0' && text[n] <= '9')
    value = value * 10 + (text[n++] - '0');
  if (n < least) return std::nullopt;
  text.remove_prefix(n);
  return value;
}

std::optional<int> take_month_name(std::string_view& text) {
  for (size_t i = 0; i < kMonths.size(); ++i) {
    if (lower(text.substr(0, 3)) != kMonths[i]) continue;
    text.remove_prefix(3);
    return static_cast<int>(i) + 1;
  }
  return std::nullopt;
}

}  // namespace

std::string_view trimmed(std::string_view text) {
  constexpr std::string_view kSpaces = " \t";
  size_t first = text.find_first_not_of(kSpaces);
  if (first == text.npos) return {};
  return text.substr(first, text.find_last_not_of(kSpaces) - first + 1);
}

Result<DateFormat> DateFormat::parse(std::string_view text) {
  using Kind = Part::Kind;
  struct Token {
    std::string_view text;
    Kind kind;
  };
  static constexpr std::array<Token, 7> kTokens = {{{"YYYY", Kind::year},
                                                    {"YY", Kind::short_year},
                                                    {"MMM", Kind::month_name},
                                                    {"MM", Kind::month},
                                                    {"M", Kind::month},
                                                    {"DD", Kind::day},
                                                    {"D", Kind::day}}};
  DateFormat out;
  out.text_ = text;
  int years = 0, months = 0, days = 0;
  while (!text.empty()) {
    auto token = std::find_if(kTokens.begin(), kTokens.end(),
                              [&](const Token& t) { return text.starts_with(t.text); });
    if (token == kTokens.end()) {
      out.parts_.push_back({Kind::literal, text[0]});
      text.remove_prefix(1);
      continue;
    }
    out.parts_.push_back({token->kind});
    years += token->kind == Kind::year || token->kind == Kind::short_year ? 1 : 0;
    months += token->kind == Kind::month || token->kind == Kind::month_name ? 1 : 0;
    days += token->kind == Kind::day ? 1 : 0;
    text.remove_prefix(token->text.size());
  }
  if (years != 1 || months != 1 || days != 1) {
    return fail(ErrorKind::invalid, "mapping.date",
                "a date format names year, month and day once each, e.g. M/D/YYYY or DD.MM.YYYY");
  }
  return out;
}

std::optional<std::string> DateFormat::iso_date(std::string_view text) const {
  using Kind = Part::Kind;
  int year = 0, month = 0, day = 0;
  for (const Part& part : parts_) {
    std::optional<int> number;
    switch (part.kind) {
      case Kind::year:
        number = take_number(text, 4, 4);
        break;
      case Kind::short_year:
        number = take_number(text, 2, 2);
        if (number) *number += *number < 70 ? 2000 : 1900;
        break;
      case Kind::month_name:
        number = take_month_name(text);
        break;
      case Kind::literal:
        if (text.empty() || text[0] != part.literal) return std::nullopt;
        text.remove_prefix(1);
        continue;
      default:
        number = take_number(text, 1, 2);
    }
    if (!number) return std::nullopt;
    if (part.kind == Kind::year || part.kind == Kind::short_year) {
      year = *number;
    } else {
      (part.kind == Kind::day ? day : month) = *number;
    }
  }
  if (!text.empty() || year < 1 || month < 1 || month > 12 || day < 1 || day > 31)
    return std::nullopt;
  std::string iso = format_date(days_from_civil(year, month, day));
  // The 30th of February comes back as another day.
  CivilDate back = civil_from_days(days_from_civil(year, month, day));
  return back.month == month && back.day == day ? std::optional(iso) : std::nullopt;
}

Result<OwnedValue> convert(const Field& field, const Conversion& how, std::string_view text) {
  text = trimmed(text);
  if (text.empty()) {
    if (how.required || field.required)
      return invalid(field.name + " is required, and there is nothing here");
    return OwnedValue{};
  }
  std::string written(text);
  if (!how.choice.empty()) {
    auto at = how.choice.find(text);
    if (at == how.choice.end()) {
      std::string known;
      for (const auto& [from, to] : how.choice) known += (known.empty() ? "" : ", ") + from;
      return invalid(quoted(text) + " is none of the mapping's choices for " + field.name + ": " +
                     known);
    }
    written = at->second;
  }
  bool number = field.type == ValueType::decimal || field.type == ValueType::money;
  if (number && how.decimal_mark != '.') {
    if (written.find('.') != written.npos)
      return invalid(quoted(text) + " has a point; the mapping says that the decimal mark is " +
                     how.decimal_mark);
    std::replace(written.begin(), written.end(), how.decimal_mark, '.');
  }
  if (field.type == ValueType::boolean) {
    std::string word = lower(written);
    if (word == "yes" || word == "y" || word == "1") written = "true";
    if (word == "no" || word == "n" || word == "0") written = "false";
    if (word == "true" || word == "false") written = word;
  }
  if (how.date) {
    auto iso = how.date->iso_date(written);
    if (!iso) return invalid(quoted(text) + " is no date of the form " + how.date->text());
    written = *iso;
  }
  return value_from_text(field, written);
}

}  // namespace branchline::import
