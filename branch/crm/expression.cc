#include "branch/crm/expression.h"

#include <algorithm>

#include "common/schema/index_key.h"
#include "replication/merge/workspace.h"

namespace branchline {
namespace {

bool is_text(ValueType t) {
  return t == ValueType::text || t == ValueType::phone || t == ValueType::email ||
         t == ValueType::url;
}

int compare(const Value& v, const Expression& e) {
  std::string key = comparison_key(v);
  int c = key.compare(e.keys[0]);
  return c < 0 ? -1 : c > 0 ? 1 : 0;
}

bool same(const Value& v, const OwnedValue& wanted, const std::string& key) {
  if (v.is_null() || wanted.type == ValueType::null)
    return v.is_null() == (wanted.type == ValueType::null);
  if (!is_text(v.type) && v.type != ValueType::money && v.type != ValueType::lookup)
    return v.payload == wanted.payload;
  if (v.type == ValueType::lookup) {
    // A bare id was compared: which entity it is in does not matter.
    return v.payload.size() >= 16 && wanted.payload.size() >= 16 &&
           v.payload.substr(v.payload.size() - 16) ==
               std::string_view(wanted.payload).substr(wanted.payload.size() - 16);
  }
  if (v.payload == wanted.payload) return true;
  return comparison_key(v) == key;
}

}  // namespace

Value column_value(const Record& record, const Column& column, std::string& scratch) {
  if (column.kind == Column::Kind::id) {
    scratch = encode_lookup({record.key().entity, record.key().id});
    return {ValueType::lookup, scratch};
  }
  if (column.kind == Column::Kind::system && column.id == system_field::kTerritory) {
    scratch = encode_integer(record.territory().value);
    return {ValueType::integer, scratch};
  }
  return effective_value(record, column.field, column.id, scratch);
}

void Expression::finish() {
  for (auto& o : operands) o.finish();
  keys.clear();
  bool folded = kind == Kind::contains || kind == Kind::starts_with || kind == Kind::ends_with;
  for (const auto& v : values)
    keys.push_back(folded ? fold_case(v.payload) : comparison_key(v.view()));
}

bool holds(const Expression& e, const Record& record) {
  using Kind = Expression::Kind;
  std::string scratch;
  switch (e.kind) {
    case Kind::always:
      return true;
    case Kind::all_of:
      return std::all_of(e.operands.begin(), e.operands.end(),
                         [&](const auto& o) { return holds(o, record); });
    case Kind::any_of:
      return std::any_of(e.operands.begin(), e.operands.end(),
                         [&](const auto& o) { return holds(o, record); });
    case Kind::negate:
      return !holds(e.operands[0], record);
    case Kind::equal: {
      Value v = column_value(record, e.column, scratch);
      for (size_t i = 0; i < e.values.size(); ++i) {
        if (same(v, e.values[i], e.keys[i])) return true;
      }
      return false;
    }
    case Kind::not_equal:
      return !same(column_value(record, e.column, scratch), e.values[0], e.keys[0]);
    case Kind::columns_compare: {
      std::string other_scratch;
      Value a = column_value(record, e.column, scratch),
            b = column_value(record, e.other, other_scratch);
      if (e.op == Kind::equal || e.op == Kind::not_equal) {
        bool equal = a.is_null() || b.is_null() ? a.is_null() && b.is_null()
                                                : comparison_key(a) == comparison_key(b);
        return equal == (e.op == Kind::equal);
      }
      if (a.is_null() || b.is_null()) return false;
      int c = comparison_key(a).compare(comparison_key(b));
      return e.op == Kind::less         ? c < 0
             : e.op == Kind::less_equal ? c <= 0
             : e.op == Kind::greater    ? c > 0
                                        : c >= 0;
    }
    default:
      break;
  }
  Value v = column_value(record, e.column, scratch);
  if (v.is_null() || e.values[0].type == ValueType::null) return false;
  switch (e.kind) {
    case Kind::less:
      return compare(v, e) < 0;
    case Kind::less_equal:
      return compare(v, e) <= 0;
    case Kind::greater:
      return compare(v, e) > 0;
    case Kind::greater_equal:
      return compare(v, e) >= 0;
    case Kind::contains:
      return fold_case(v.payload).find(e.keys[0]) != std::string::npos;
    case Kind::starts_with:
      return fold_case(v.payload).starts_with(e.keys[0]);
    case Kind::ends_with:
      return fold_case(v.payload).ends_with(e.keys[0]);
    default:
      return false;
  }
}

}  // namespace branchline
