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

// The ranges that conditions on one field leave of an index part; `whole` says whether any
// condition was used.
struct Part {
  std::vector<KeyRange> ranges;
  bool equalities = false;  // each range is one value
  bool used = false;
};

// The values that a condition names, as an index holds them: an id alone may be in any of its
// lookup's entities. Nothing where the index cannot answer: a null that it leaves out, an id with
// no entity.
std::optional<std::vector<std::string>> keys_of(const Expression& c, bool nulls) {
  std::vector<std::string> out;
  for (const auto& v : c.values) {
    if (v.type == ValueType::null && !nulls) return std::nullopt;
    if (v.type != ValueType::lookup || decode_lookup(v.payload).entity.value != 0) {
      out.push_back(value_bytes(v.view()));
      continue;
    }
    if (!c.column.field || c.column.field->targets.empty()) return std::nullopt;
    for (EntityId target : c.column.field->targets) {
      std::string lookup = encode_lookup({target, decode_lookup(v.payload).id});
      out.push_back(value_bytes({ValueType::lookup, lookup}));
    }
  }
  return out;
}

Part part_of(const std::vector<const Expression*>& conditions, FieldId field,
             const std::string& prefix, bool nulls) {
  Part part;
  for (const auto* c : conditions) {
    if (c->kind != Kind::equal || !on_column(*c, field) || c->values.size() > 64) continue;
    auto values = keys_of(*c, nulls);
    if (!values) continue;
    for (const auto& v : *values) {
      std::string key = prefix + v;
      part.ranges.push_back({key, prefix_end(key)});
    }
    part.equalities = part.used = true;
    std::sort(part.ranges.begin(), part.ranges.end(),
              [](const auto& a, const auto& b) { return a.begin < b.begin; });
    part.ranges.erase(std::unique(part.ranges.begin(), part.ranges.end(),
                                  [](const auto& a, const auto& b) { return a.begin == b.begin; }),
                      part.ranges.end());
    return part;
  }
  KeyRange range{prefix, prefix_end(prefix)};
  for (const auto* c : conditions) {
    if (!on_column(*c, field) || c->values.empty() || c->values[0].type == ValueType::null)
      continue;
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
    // Nulls of unique and parent keys are not in their indexes.
    bool complete = !index.unique && !index.parent;
    Part first = part_of(conditions, index.fields[0], prefix, complete);
    Plan plan;
    plan.kind = Plan::Kind::index;
    plan.index = &index;
    plan.ranges = first.ranges;
    size_t fixed = 0;
    int score = first.used ? (first.equalities ? (index.unique || index.parent ? 80 : 60) : 20) : 0;
    if (first.equalities && first.ranges.size() == 1) {
      fixed = 1;
      if (index.fields.size() > 1) {
        Part second = part_of(conditions, index.fields[1], first.ranges[0].begin, complete);
        if (second.used) {
          plan.ranges = second.ranges;
          score += 10;
          if (second.equalities && second.ranges.size() == 1) fixed = 2;
        }
      }
    }
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
