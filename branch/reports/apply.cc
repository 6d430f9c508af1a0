#include "branch/reports/apply.h"

#include <algorithm>
#include <map>
#include <set>

#include "common/base/limits.h"
#include "common/schema/index_key.h"

namespace branchline {
namespace {

constexpr size_t kMaxDistinct = 1'000'000;  // over all groups and columns

struct Cell {
  uint64_t count = 0;    // of values that are not null
  __int128 sum = 0;      // at Decimal::kMaxScale
  std::string best_key;  // min, max: comparison key of the best so far
  OwnedValue best;
  std::set<std::string> distinct;
};

struct Group {
  std::vector<OwnedValue> values;
  uint64_t rows = 0;
  std::vector<Cell> cells;
};

Decimal number_of(const Value& v) {
  if (v.type == ValueType::money) return decode_money(v.payload).amount;
  if (v.type == ValueType::decimal) return decode_decimal(v.payload);
  return Decimal(decode_integer(v.payload), 0);
}

__int128 widened(const Decimal& d) {
  __int128 v = d.mantissa();
  for (int s = d.scale(); s < Decimal::kMaxScale; ++s) v *= 10;
  return v;
}

// sum / count with as many decimals as a number keeps, half away from zero. It lies between numbers
// that fit, so it fits with fewer decimals where it does not with all.
std::optional<Decimal> mean(__int128 sum, uint64_t count) {
  __int128 divisor = static_cast<__int128>(count);
  for (int scale = Decimal::kMaxScale; scale >= 0; --scale, divisor *= 10) {
    __int128 quotient = sum / divisor, rest = sum % divisor;
    if (rest < 0 ? -rest >= divisor + rest : rest >= divisor - rest) quotient += sum < 0 ? -1 : 1;
    if (auto fits = Decimal::from_wide(quotient, scale)) return fits;
  }
  return std::nullopt;
}

OwnedValue owned(const Value& v) { return {v.type, std::string(v.payload)}; }

struct Folder {
  const ApplyPlan& plan;
  std::map<std::string, Group> groups;
  size_t distinct = 0;
  std::optional<Error> problem;

  // A territory by its record, as reads show it: the number beneath is no answer.
  Value value_of(const Record& record, const Column& c, std::string& scratch) const {
    if (c.kind != Column::Kind::system || c.id != system_field::kTerritory)
      return column_value(record, c, scratch);
    scratch = encode_lookup({entity_id::kTerritory, plan.territory_id(record.territory())});
    return {ValueType::lookup, scratch};
  }

  bool add(const Record& record) {
    std::string key, scratch;
    for (const auto& c : plan.group_by) {
      key += comparison_key(value_of(record, c, scratch));
      key.push_back('\0');
    }
    auto [at, fresh] = groups.try_emplace(std::move(key));
    Group& g = at->second;
    if (fresh) {
      if (groups.size() > limits::kMaxGroups) {
        problem = Error{ErrorKind::invalid, "apply.groups",
                        "$apply: more than " + std::to_string(limits::kMaxGroups) +
                            " groups; filter, or group by less"};
        return false;
      }
      for (const auto& c : plan.group_by) g.values.push_back(owned(value_of(record, c, scratch)));
      g.cells.resize(plan.aggregates.size());
    }
    ++g.rows;
    for (size_t i = 0; i < plan.aggregates.size(); ++i) {
      const Aggregate& a = plan.aggregates[i];
      if (a.method == Aggregate::Method::count) continue;
      Value v = value_of(record, a.column, scratch);
      if (v.is_null()) continue;
      if (!fold(a, g.cells[i], v)) return false;
    }
    return true;
  }

  bool fold(const Aggregate& a, Cell& cell, const Value& v) {
    ++cell.count;
    switch (a.method) {
      case Aggregate::Method::sum:
      case Aggregate::Method::average:
        cell.sum += widened(number_of(v));
        break;
      case Aggregate::Method::min:
      case Aggregate::Method::max: {
        std::string key = comparison_key(v);
        bool better = cell.count == 1 || (a.method == Aggregate::Method::min ? key < cell.best_key
                                                                             : key > cell.best_key);
        if (better) {
          cell.best_key = std::move(key);
          cell.best = owned(v);
        }
        break;
      }
      case Aggregate::Method::count_distinct:
        if (cell.distinct.insert(comparison_key(v)).second && ++distinct > kMaxDistinct) {
          problem = Error{ErrorKind::invalid, "apply.distinct",
                          "$apply: countdistinct over more than a million values"};
          return false;
        }
        break;
      case Aggregate::Method::count:
        break;
    }
    return true;
  }

  Result<OwnedValue> result_of(const Aggregate& a, const Group& g, const Cell& cell) const {
    switch (a.method) {
      case Aggregate::Method::count:
        return OwnedValue{ValueType::integer, encode_integer(int64_t(g.rows))};
      case Aggregate::Method::count_distinct:
        return OwnedValue{ValueType::integer, encode_integer(int64_t(cell.distinct.size()))};
      case Aggregate::Method::min:
      case Aggregate::Method::max:
        return cell.best;
      case Aggregate::Method::sum: {
        if (cell.count == 0) return OwnedValue{};
        auto sum = Decimal::from_wide(cell.sum, Decimal::kMaxScale);
        if (!sum)
          return fail(ErrorKind::invalid, "apply.range",
                      "$apply: the sum " + a.alias + " leaves the range of numbers");
        return OwnedValue{ValueType::decimal, encode_decimal(*sum)};
      }
      case Aggregate::Method::average: {
        if (cell.count == 0) return OwnedValue{};
        auto average = mean(cell.sum, cell.count);
        if (!average)
          return fail(ErrorKind::invalid, "apply.range",
                      "$apply: the average " + a.alias + " leaves the range of numbers");
        return OwnedValue{ValueType::decimal, encode_decimal(*average)};
      }
    }
    return OwnedValue{};
  }
};

}  // namespace

Result<std::vector<ApplyRow>> run_apply(const ReadContext& context, const ApplyPlan& plan) {
  Folder folder{plan, {}, 0, {}};
  BL_TRY(for_each_match(context, *plan.entity, plan.filter,
                        [&](const Record& r) { return folder.add(r); }));
  if (folder.problem) return std::unexpected(*folder.problem);
  if (plan.group_by.empty() && folder.groups.empty())
    folder.groups[""].cells.resize(plan.aggregates.size());
  std::vector<ApplyRow> rows;
  rows.reserve(folder.groups.size());
  for (auto& [key, g] : folder.groups) {
    ApplyRow& row = rows.emplace_back();
    row.groups = std::move(g.values);
    for (size_t i = 0; i < plan.aggregates.size(); ++i) {
      BL_ASSIGN(OwnedValue v, folder.result_of(plan.aggregates[i], g, g.cells[i]));
      row.values.push_back(std::move(v));
    }
  }
  return rows;
}

}  // namespace branchline
