#include "branch/crm/plan.h"

#include <algorithm>

#include "common/schema/index_key.h"

namespace branchline {
namespace {

using Kind = Expression::Kind;

// Conditions that all have to hold.
void conjuncts(const Expression& e, std::vector<const Expression*>& out) {
  if (e.kind == Kind::all_of) {
    for (const auto& o : e.operands) conjuncts(o, out);
  } else {
    out.push_back(&e);
  }
}

bool on_column(const Expression& e, FieldId field) {
  return e.column.kind != Column::Kind::id && e.column.id == field;
}

std::string value_bytes(const Value& v) {
  std::string out;
  put_index_value(out, v);
  return out;
}

// The ranges that conditions on one field leave of an index part; `whole` says whether any condition was used.
struct Part {
  std::vector<KeyRange> ranges;
  bool equalities = false;  // each range is one value
  bool used = false;
};

Part part_of(const std::vector<const Expression*>& conditions, FieldId field, const std::string& prefix) {
  Part part;
  for (const auto* c : conditions) {
    if (c->kind != Kind::equal || !on_column(*c, field) || c->values.size() > 64) continue;
    bool lookup_id = !c->values.empty() && c->values[0].type == ValueType::lookup &&
                     decode_lookup(c->values[0].payload).entity.value == 0;
    if (lookup_id) continue;  // an id without its entity: no place in the index
    for (const auto& v : c->values) {
      std::string key = prefix + value_bytes(v.view());
      part.ranges.push_back({key, prefix_end(key)});
    }
    part.equalities = part.used = true;
    std::sort(part.ranges.begin(), part.ranges.end(), [](const auto& a, const auto& b) { return a.begin < b.begin; });
    part.ranges.erase(std::unique(part.ranges.begin(), part.ranges.end(),
                                  [](const auto& a, const auto& b) { return a.begin == b.begin; }),
                      part.ranges.end());
    return part;
  }
  KeyRange range{prefix, prefix_end(prefix)};
  for (const auto* c : conditions) {
    if (!on_column(*c, field) || c->values.empty() || c->values[0].type == ValueType::null) continue;
    std::string key = prefix + value_bytes(c->values[0].view());
    // Truncated and folded keys make bounds a little wide; every record is checked again.
    if (c->kind == Kind::greater || c->kind == Kind::greater_equal) {
      range.begin = std::max(range.begin, key);
      part.used = true;
    } else if (c->kind == Kind::less || c->kind == Kind::less_equal) {
      range.end = std::min(range.end, prefix_end(key));
      range.begin = std::max(range.begin, prefix + '\1');  // nulls are less than nothing
      part.used = true;
    }
  }
  part.ranges.push_back(std::move(range));
  return part;
}

// Texts longer than kMaxTextKeyBytes of collation key are ordered by their beginning (docs/api.md).
bool order_matches(const Query& q, const Index& index, size_t fixed) {
  if (q.order.size() > index.fields.size() - fixed) return false;
  for (size_t i = 0; i < q.order.size(); ++i) {
    const OrderBy& o = q.order[i];
    if (o.column.kind == Column::Kind::id || o.column.id != index.fields[fixed + i]) return false;
    if (o.descending != q.order[0].descending) return false;
  }
  return true;
}

}  // namespace

Plan make_plan(const ReadContext& context, const Query& q) {
  Plan best;
  best.text = "scan of " + q.entity->set_name;
  if (q.entity->virtual_set) {
    best.kind = Plan::Kind::virtual_set;
    best.text = q.entity->set_name;
    return best;
  }
  std::vector<const Expression*> conditions;
  conjuncts(q.filter, conditions);
  for (const auto* c : conditions) {
    if (c->kind != Kind::equal || c->column.kind != Column::Kind::id) continue;
    best.kind = Plan::Kind::ids;
    for (const auto& v : c->values) {
      if (v.type == ValueType::lookup) best.ids.push_back(decode_lookup(v.payload).id);
    }
    std::sort(best.ids.begin(), best.ids.end());
    best.ids.erase(std::unique(best.ids.begin(), best.ids.end()), best.ids.end());
    best.ordered = q.order.empty();
    best.text = "by id";
    return best;
  }
  int best_score = 0;
  for (const auto& index : q.entity->indexes) {
    std::string prefix = keys::index_prefix(context.side, q.entity->id, index.id);
    Part first = part_of(conditions, index.fields[0], prefix);
    Plan plan;
    plan.kind = Plan::Kind::index;
    plan.index = &index;
    plan.ranges = first.ranges;
    size_t fixed = 0;
    int score = first.used ? (first.equalities ? (index.unique || index.parent ? 80 : 60) : 20) : 0;
    if (first.equalities && first.ranges.size() == 1) {
      fixed = 1;
      if (index.fields.size() > 1) {
        Part second = part_of(conditions, index.fields[1], first.ranges[0].begin);
        if (second.used) {
          plan.ranges = second.ranges;
          score += 10;
          if (second.equalities && second.ranges.size() == 1) fixed = 2;
        }
      }
    }
    // Nulls of unique and parent keys are not in their indexes.
    bool complete = !index.unique && !index.parent;
    bool ordered = !q.order.empty() && (first.used || complete) && plan.ranges.size() == 1 &&
                   order_matches(q, index, fixed);
    if (ordered) score += 30;
    if (!first.used && !ordered) continue;
    plan.ordered = ordered || q.order.empty();
    plan.descending = ordered && q.order[0].descending;
    plan.text = "index";
    for (FieldId f : index.fields) {
      const Field* field = q.entity->field(f);
      plan.text += " " + (field ? field->name : std::string("createdon"));
    }
    if (score > best_score) {
      best_score = score;
      best = std::move(plan);
    }
  }
  if (best.kind == Plan::Kind::records) best.ordered = q.order.empty();
  return best;
}

}  // namespace branchline
