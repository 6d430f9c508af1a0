#include "branch/api/apply_parser.h"

#include <algorithm>
#include <set>

#include "branch/api/odata_names.h"

namespace branchline {
namespace {

std::unexpected<Error> wrong(const std::string& what) {
  return fail(ErrorKind::invalid, "apply.malformed", "$apply: " + what);
}

std::string trimmed(std::string_view s) {
  while (!s.empty() && s.front() == ' ') s.remove_prefix(1);
  while (!s.empty() && s.back() == ' ') s.remove_suffix(1);
  return std::string(s);
}

// "name(inner)rest": the matching parenthesis outside of quotes.
struct Call {
  std::string name, inner;
  std::string_view rest;
};
Result<Call> take_call(std::string_view text) {
  size_t open = text.find('(');
  if (open == std::string_view::npos) return wrong("expected filter(..), groupby(..) or aggregate(..) at `" + std::string(text.substr(0, 40)) + "`");
  size_t depth = 0;
  bool quoted = false;
  for (size_t i = open; i < text.size(); ++i) {
    if (text[i] == '\'') quoted = !quoted;
    if (quoted) continue;
    if (text[i] == '(') ++depth;
    if (text[i] == ')' && --depth == 0) {
      return Call{trimmed(text.substr(0, open)), std::string(text.substr(open + 1, i - open - 1)), text.substr(i + 1)};
    }
  }
  return wrong("a parenthesis behind `" + std::string(text.substr(0, open)) + "` is not closed");
}

std::vector<std::string> parts_of(std::string_view text) {
  std::vector<std::string> out;
  size_t depth = 0, start = 0;
  for (size_t i = 0; i <= text.size(); ++i) {
    char c = i < text.size() ? text[i] : ',';
    if (c == '(') ++depth;
    if (c == ')' && depth > 0) --depth;
    if (i == text.size() || (c == ',' && depth == 0)) {
      out.push_back(trimmed(text.substr(start, i - start)));
      start = i + 1;
    }
  }
  return out;
}

Result<Aggregate> parse_aggregate(const std::string& text, const Entity& entity) {
  Aggregate a;
  std::vector<std::string> words;
  for (size_t at = 0; at < text.size();) {
    size_t space = std::min(text.find(' ', at), text.size());
    if (space > at) words.push_back(text.substr(at, space - at));
    at = space + 1;
  }
  if (words.size() == 3 && words[0] == "$count" && words[1] == "as") {
    a.method = Aggregate::Method::count;
    a.alias = words[2];
    return a;
  }
  if (words.size() != 5 || words[1] != "with" || words[3] != "as") {
    return wrong("`" + text.substr(0, 60) + "` is not `property with method as name` or `$count as name`");
  }
  BL_ASSIGN(a.column, column_named(entity, words[0]));
  if (a.column.field && a.column.field->is_collection()) return wrong(words[0] + " is a collection");
  a.alias = words[4];
  const std::string& method = words[2];
  if (method == "sum") {
    a.method = Aggregate::Method::sum;
  } else if (method == "min") {
    a.method = Aggregate::Method::min;
  } else if (method == "max") {
    a.method = Aggregate::Method::max;
  } else if (method == "average") {
    a.method = Aggregate::Method::average;
  } else if (method == "countdistinct") {
    a.method = Aggregate::Method::count_distinct;
  } else {
    return wrong("`" + method + "` is none of sum, min, max, average, countdistinct");
  }
  bool numeric = a.column.type == ValueType::integer || a.column.type == ValueType::decimal ||
                 a.column.type == ValueType::money || a.column.type == ValueType::duration;
  if ((a.method == Aggregate::Method::sum || a.method == Aggregate::Method::average) && !numeric) {
    return wrong(method + " needs a number, " + words[0] + " is none");
  }
  return a;
}

Result<void> parse_aggregates(const std::string& inner, const Entity& entity, ApplyPlan& plan) {
  for (const auto& part : parts_of(inner)) {
    BL_ASSIGN(Aggregate a, parse_aggregate(part, entity));
    plan.aggregates.push_back(std::move(a));
  }
  std::set<std::string> names;
  for (const auto& c : plan.group_by) names.insert(c.name);
  for (const auto& a : plan.aggregates) {
    bool word = !a.alias.empty() && std::all_of(a.alias.begin(), a.alias.end(), [](char c) {
      return std::isalnum(static_cast<unsigned char>(c)) || c == '_';
    });
    if (!word) return wrong("`" + a.alias + "` is no name for a result");
    if (!names.insert(a.alias).second) return wrong("the name `" + a.alias + "` is given twice");
  }
  return {};
}

}  // namespace

Result<ApplyPlan> parse_apply(std::string_view text, const Entity& entity, const TerritoryNumber& territory) {
  ApplyPlan plan;
  plan.entity = &entity;
  bool grouped = false, aggregated = false;
  std::string rest = trimmed(text);
  std::string_view at = rest;
  while (!at.empty()) {
    BL_ASSIGN(Call call, take_call(at));
    if (grouped || aggregated) return wrong("nothing may follow groupby or aggregate so far");
    if (call.name == "filter") {
      BL_ASSIGN(Expression e, parse_filter(call.inner, entity, territory));
      if (plan.filter.kind == Expression::Kind::always) {
        plan.filter = std::move(e);
      } else {
        Expression both;
        both.kind = Expression::Kind::all_of;
        both.operands.push_back(std::move(plan.filter));
        both.operands.push_back(std::move(e));
        both.finish();
        plan.filter = std::move(both);
      }
    } else if (call.name == "groupby") {
      grouped = true;
      auto parts = parts_of(call.inner);
      if (parts.empty() || parts.size() > 2 || parts[0].size() < 2 || parts[0].front() != '(' || parts[0].back() != ')') {
        return wrong("groupby is groupby((property,..)) or groupby((property,..),aggregate(..))");
      }
      for (const auto& name : parts_of(std::string_view(parts[0]).substr(1, parts[0].size() - 2))) {
        BL_ASSIGN(Column c, column_named(entity, name));
        if (c.field && c.field->is_collection()) return wrong(name + " is a collection");
        plan.group_by.push_back(std::move(c));
      }
      if (plan.group_by.size() > 8) return wrong("at most 8 properties to group by");
      if (parts.size() == 2) {
        BL_ASSIGN(Call inner, take_call(parts[1]));
        if (inner.name != "aggregate" || !inner.rest.empty()) return wrong("expected aggregate(..) in groupby");
        BL_TRY(parse_aggregates(inner.inner, entity, plan));
      }
    } else if (call.name == "aggregate") {
      aggregated = true;
      BL_TRY(parse_aggregates(call.inner, entity, plan));
    } else {
      return wrong("`" + call.name + "` is none of filter, groupby, aggregate");
    }
    at = call.rest;
    while (!at.empty() && at.front() == ' ') at.remove_prefix(1);
    if (!at.empty()) {
      if (at.front() != '/') return wrong("steps are separated by /");
      at.remove_prefix(1);
      if (at.empty()) return wrong("a step is missing behind /");
    }
  }
  if (!grouped && !aggregated) return wrong("name groupby(..) or aggregate(..)");
  if (aggregated && plan.aggregates.empty()) return wrong("aggregate(..) names nothing");
  return plan;
}

}  // namespace branchline
