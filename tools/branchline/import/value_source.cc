#include "tools/branchline/import/value_source.h"

#include <algorithm>

namespace branchline::import {
namespace {

std::unexpected<Error> invalid(std::string message) {
  return fail(ErrorKind::invalid, "mapping.source", std::move(message));
}

}  // namespace

Result<Template> Template::parse(std::string_view text,
                                 const std::function<size_t(std::string_view)>& column_of) {
  Template out;
  std::string plain;
  for (size_t i = 0; i < text.size(); ++i) {
    char c = text[i];
    bool twice = i + 1 < text.size() && text[i + 1] == c;
    if ((c == '{' || c == '}') && twice) {
      plain.push_back(c);
      ++i;
    } else if (c == '}') {
      return invalid("a `}` without its `{`; write }} for the character itself");
    } else if (c == '{') {
      size_t end = text.find('}', i);
      if (end == text.npos)
        return invalid("a `{` without its `}`; write {{ for the character itself");
      if (end == i + 1) return invalid("`{}` names no column; write e.g. {Customer ID}");
      if (!plain.empty()) out.parts_.emplace_back(std::move(plain));
      plain.clear();
      std::string_view name = text.substr(i + 1, end - i - 1);
      Take take = Take::all;
      for (auto [suffix, meaning] :
           {std::pair<std::string_view, Take>{"|all but last word", Take::but_last_word},
            {"|last word", Take::last_word}}) {
        if (take != Take::all || !name.ends_with(suffix)) continue;
        name.remove_suffix(suffix.size());
        take = meaning;
      }
      size_t column = column_of(name);
      out.parts_.emplace_back(Column{column, take});
      out.columns_.push_back(column);
      i = end;
    } else {
      plain.push_back(c);
    }
  }
  if (!plain.empty()) out.parts_.emplace_back(std::move(plain));
  return out;
}

std::string Template::fill(const Cell& cell) const {
  std::string out;
  for (const auto& part : parts_) {
    if (const auto* text = std::get_if<std::string>(&part)) {
      out += *text;
    } else {
      auto [column, take] = std::get<Column>(part);
      std::string_view words = cell(column);
      size_t space = words.rfind(' ');
      if (take == Take::last_word && space != words.npos) words.remove_prefix(space + 1);
      if (take == Take::but_last_word)
        words = words.substr(0, space == words.npos ? 0 : words.find_last_not_of(' ', space) + 1);
      out += words;
    }
  }
  return out;
}

bool Template::empty(const Cell& cell) const {
  return !columns_.empty() &&
         std::all_of(columns_.begin(), columns_.end(), [&](size_t c) { return cell(c).empty(); });
}

// sum := product {(+|-) product}; product := factor {(*|/) factor}; factor := - factor | ( sum ) |
// operand
class FormulaParser {
 public:
  FormulaParser(std::string_view text, const std::function<size_t(std::string_view)>& column_of)
      : text_(text), column_of_(column_of) {}

  Result<Formula> parse() {
    BL_TRY(sum());
    skip();
    if (at_ < text_.size()) return invalid(here("an operator (+ - * /)"));
    return std::move(out_);
  }

 private:
  using Kind = Formula::Step::Kind;
  static constexpr int kMaxDepth = 50;

  void skip() {
    while (at_ < text_.size() && text_[at_] == ' ') ++at_;
  }
  bool take(char c) {
    skip();
    if (at_ >= text_.size() || text_[at_] != c) return false;
    ++at_;
    return true;
  }
  std::string here(const std::string& expected) {
    std::string found =
        at_ < text_.size() ? "`" + std::string(text_.substr(at_, 20)) + "`" : "the end";
    return "at character " + std::to_string(at_ + 1) + " " + expected + " is expected, not " +
           found;
  }
  void step(Kind kind) { out_.steps_.push_back({kind, {}, 0}); }

  Result<void> sum() {
    BL_TRY(product());
    for (;;) {
      if (take('+')) {
        BL_TRY(product());
        step(Kind::add);
      } else if (take('-')) {
        BL_TRY(product());
        step(Kind::subtract);
      } else {
        return {};
      }
    }
  }
  Result<void> product() {
    BL_TRY(factor());
    for (;;) {
      if (take('*')) {
        BL_TRY(factor());
        step(Kind::multiply);
      } else if (take('/')) {
        BL_TRY(factor());
        step(Kind::divide);
      } else {
        return {};
      }
    }
  }
  Result<void> factor() {
    if (++depth_ > kMaxDepth) return invalid("the formula nests too deeply; simplify it");
    if (take('-')) {
      BL_TRY(factor());
      step(Kind::negate);
    } else if (take('(')) {
      BL_TRY(sum());
      if (!take(')')) return invalid(here("`)`"));
    } else {
      BL_TRY(operand());
    }
    --depth_;
    return {};
  }
  Result<void> operand() {
    skip();
    for (auto [open, close] : {std::pair{'{', '}'}, std::pair{'[', ']'}}) {
      if (!take(open)) continue;
      size_t end = text_.find(close, at_);
      if (end == text_.npos || end == at_)
        return invalid(here(std::string("a name and `") + close + "`"));
      std::string_view name = text_.substr(at_, end - at_);
      at_ = end + 1;
      if (open == '{') {
        size_t column = column_of_(name);
        out_.columns_.push_back(column);
        out_.steps_.push_back({Kind::column, {}, column});
      } else {
        out_.steps_.push_back({Kind::field, {}, out_.fields_.size()});
        out_.fields_.emplace_back(name);
      }
      return {};
    }
    size_t end = std::min(text_.find_first_not_of("0123456789.", at_), text_.size());
    auto number = Decimal::parse(text_.substr(at_, end - at_));
    if (end == at_ || !number) return invalid(here("a number, {Column}, [field] or `(`"));
    at_ = end;
    out_.steps_.push_back({Kind::number, *number, 0});
    return {};
  }

  std::string_view text_;
  const std::function<size_t(std::string_view)>& column_of_;
  size_t at_ = 0;
  int depth_ = 0;
  Formula out_;
};

Result<Formula> Formula::parse(std::string_view text,
                               const std::function<size_t(std::string_view)>& column_of) {
  return FormulaParser(text, column_of).parse();
}

Result<Decimal> Formula::evaluate(const Inputs& inputs) const {
  std::vector<Decimal> stack;
  for (const Step& s : steps_) {
    using Kind = Step::Kind;
    switch (s.kind) {
      case Kind::number:
        stack.push_back(s.number);
        continue;
      case Kind::column: {
        BL_ASSIGN(auto value, inputs.column(s.index));
        stack.push_back(value);
        continue;
      }
      case Kind::field: {
        BL_ASSIGN(auto value, inputs.field(fields_[s.index]));
        stack.push_back(value);
        continue;
      }
      case Kind::negate:
        stack.back() = *Decimal::subtract(Decimal(), stack.back());
        continue;
      default:
        break;
    }
    Decimal b = stack.back();
    stack.pop_back();
    Decimal& a = stack.back();
    std::optional<Decimal> result;
    switch (s.kind) {
      case Kind::add:
        result = Decimal::add(a, b);
        break;
      case Kind::subtract:
        result = Decimal::subtract(a, b);
        break;
      case Kind::multiply:
        result = Decimal::multiply(a, b);
        break;
      default:
        if (b.is_zero())
          return fail(ErrorKind::invalid, "value.divide", "the formula divides by zero here");
        result = Decimal::divide(a, b, Decimal::kMaxScale);
    }
    if (!result)
      return fail(ErrorKind::invalid, "value.range",
                  "the formula's result is too large or has too many decimals");
    a = *result;
  }
  return stack.back();
}

}  // namespace branchline::import
