#include "branch/api/apply_parser.h"

#include <algorithm>
#include <set>

#include "branch/api/odata_names.h"
#include "common/base/limits.h"

namespace branchline {
namespace {

constexpr size_t kMaxGroupedProperties = 8;
constexpr size_t kMaxAggregates = 64;

class Parser {
 public:
  Parser(std::string_view text, const Entity& entity, const TerritoryNumber& territory)
      : text_(text), entity_(entity), territory_(territory) {
    plan_.entity = &entity;
  }

  Result<ApplyPlan> run() {
    bool done = false;
    do {
      space();
      size_t begin = at_;
      std::string step = word();
      if (step != "filter" && step != "groupby" && step != "aggregate") {
        return wrong(step.empty()
                         ? "expected filter(..), groupby(..) or aggregate(..)"
                         : "`" + step.substr(0, 40) + "` is none of filter, groupby, aggregate",
                     begin);
      }
      if (done) return wrong("nothing may follow groupby or aggregate so far", begin);
      BL_TRY(expect('('));
      if (step == "filter") {
        BL_TRY(filter());
      } else {
        BL_TRY(step == "groupby" ? groupby() : aggregates());
        done = true;
      }
      BL_TRY(expect(')'));
      space();
      if (at_ < text_.size() && text_[at_] != '/') return wrong("steps are separated by /", at_);
    } while (at_ < text_.size() && ++at_);
    if (!done) return wrong("name groupby(..) or aggregate(..)", text_.size());
    return std::move(plan_);
  }

 private:
  std::unexpected<Error> wrong(const std::string& what, size_t at) const {
    return fail(
        ErrorKind::invalid, "apply.malformed",
        "$apply, position " + std::to_string(code_points(text_.substr(0, at)) + 1) + ": " + what);
  }

  void space() {
    while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\t')) ++at_;
  }
  std::string word() {
    space();
    size_t begin = at_;
    while (at_ < text_.size() && (std::isalnum(static_cast<unsigned char>(text_[at_])) ||
                                  text_[at_] == '_' || text_[at_] == '$'))
      ++at_;
    return std::string(text_.substr(begin, at_ - begin));
  }
  bool take(char c) {
    space();
    if (at_ == text_.size() || text_[at_] != c) return false;
    ++at_;
    return true;
  }
  Result<void> expect(char c) {
    if (take(c)) return {};
    return wrong(
        std::string("expected `") + c + "`, found " +
            (at_ == text_.size() ? "the end" : "`" + std::string(text_.substr(at_, 1)) + "`"),
        at_);
  }

  Result<Column> property() {
    space();
    size_t begin = at_;
    std::string name = word();
    if (name.empty()) return wrong("expected a property", begin);
    auto c = column_named(entity_, name);
    if (!c) return wrong(c.error().message, begin);
    if (c->field && c->field->is_collection()) return wrong(name + " is a collection", begin);
    return c;
  }

  Result<void> filter() {
    size_t begin = at_, depth = 0;
    bool quoted = false;
    for (; at_ < text_.size(); ++at_) {
      if (text_[at_] == '\'') quoted = !quoted;
      if (quoted) continue;
      if (text_[at_] == '(') ++depth;
      if (text_[at_] == ')' && depth-- == 0) break;
    }
    if (at_ == text_.size()) return wrong("the parenthesis of filter is not closed", begin - 1);
    BL_ASSIGN(Expression e, parse_filter(text_.substr(begin, at_ - begin), entity_, territory_,
                                         {"$apply", code_points(text_.substr(0, begin))}));
    if (plan_.filter.kind == Expression::Kind::always) {
      plan_.filter = std::move(e);
      return {};
    }
    if (++filters_ > limits::kMaxFilterDepth) return wrong("too many filter steps", begin);
    Expression both;
    both.kind = Expression::Kind::all_of;
    both.operands.push_back(std::move(plan_.filter));
    both.operands.push_back(std::move(e));
    both.finish();
    plan_.filter = std::move(both);
    return {};
  }

  Result<void> groupby() {
    BL_TRY(expect('('));
    do {
      space();
      size_t begin = at_;
      BL_ASSIGN(Column c, property());
      if (!names_.insert(c.name).second) return wrong(c.name + " is given twice", begin);
      plan_.group_by.push_back(std::move(c));
      if (plan_.group_by.size() > kMaxGroupedProperties)
        return wrong("at most 8 properties to group by", begin);
    } while (take(','));
    BL_TRY(expect(')'));
    if (!take(',')) return {};
    space();
    size_t begin = at_;
    if (word() != "aggregate") return wrong("expected aggregate(..) in groupby", begin);
    BL_TRY(expect('('));
    BL_TRY(aggregates());
    return expect(')');
  }

  Result<void> aggregates() {
    do {
      space();
      if (plan_.aggregates.size() == kMaxAggregates) return wrong("at most 64 results", at_);
      BL_TRY(aggregate());
    } while (take(','));
    return {};
  }

  Result<void> aggregate() {
    size_t begin = at_;
    Aggregate a;
    if (text_.substr(at_).starts_with("$count")) {
      word();
    } else {
      BL_ASSIGN(a.column, property());
      space();
      size_t at = at_;
      if (word() != "with")
        return wrong("expected `property with method as name` or `$count as name`", at);
      space();
      at = at_;
      std::string method = word();
      auto known = method_named(method);
      if (!known)
        return wrong(
            "`" + method.substr(0, 40) + "` is none of sum, min, max, average, countdistinct", at);
      a.method = *known;
      ValueType t = a.column.type;
      bool numeric = t == ValueType::integer || t == ValueType::decimal || t == ValueType::money ||
                     t == ValueType::duration;
      // A territory is shown by its id; the number beneath is nobody's business.
      numeric = numeric && a.column.kind == Column::Kind::field;
      if ((a.method == Aggregate::Method::sum || a.method == Aggregate::Method::average) &&
          !numeric) {
        return wrong(method + " needs a number, " + a.column.name + " is none", begin);
      }
    }
    space();
    size_t at = at_;
    if (word() != "as") return wrong("expected `as` and a name for the result", at);
    space();
    at = at_;
    a.alias = word();
    if (a.alias.empty() || a.alias.find('$') != std::string::npos)
      return wrong("expected a name of letters, digits and _", at);
    if (!names_.insert(a.alias).second)
      return wrong("the name `" + a.alias + "` is given twice", at);
    plan_.aggregates.push_back(std::move(a));
    return {};
  }

  static std::optional<Aggregate::Method> method_named(std::string_view name) {
    if (name == "sum") return Aggregate::Method::sum;
    if (name == "min") return Aggregate::Method::min;
    if (name == "max") return Aggregate::Method::max;
    if (name == "average") return Aggregate::Method::average;
    if (name == "countdistinct") return Aggregate::Method::count_distinct;
    return std::nullopt;
  }

  std::string_view text_;
  const Entity& entity_;
  const TerritoryNumber& territory_;
  size_t at_ = 0;
  size_t filters_ = 0;
  std::set<std::string> names_;
  ApplyPlan plan_;
};

}  // namespace

Result<ApplyPlan> parse_apply(std::string_view text, const Entity& entity,
                              const TerritoryNumber& territory) {
  return Parser(text, entity, territory).run();
}

}  // namespace branchline
