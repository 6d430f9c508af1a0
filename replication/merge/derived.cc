// Derived fields (SEMANTICS 10): recomputed from the merged record and its children. A sum over
// children is kept by difference, which is exact in decimals and does not read the other children.
#include "replication/merge/merge_context.h"

namespace branchline {
namespace {

Money money_of(const Value& v) {
  return v.type == ValueType::money ? decode_money(v.payload) : Money{};
}

std::string join(const Value& first, const Value& last) {
  std::string out(first.is_null() ? std::string_view() : first.payload);
  if (!out.empty() && !last.is_null() && !last.payload.empty()) out.push_back(' ');
  if (!last.is_null()) out.append(last.payload);
  return out;
}

// quantity x price - discount, in the price's currency; null while there is no price.
std::optional<Money> line_amount(const Value& quantity, const Value& price, const Value& discount) {
  if (price.type != ValueType::money) return std::nullopt;
  Money amount = money_of(price);
  Decimal pieces =
      quantity.type == ValueType::decimal ? decode_decimal(quantity.payload) : Decimal(1, 0);
  auto gross = Decimal::multiply(amount.amount, pieces);
  if (!gross) return std::nullopt;
  auto net = Decimal::subtract(*gross, money_of(discount).amount);
  if (!net) return std::nullopt;
  amount.amount = *net;
  return amount;
}

}  // namespace

Result<void> Merger::derive(Context& c, Record& record, const Entity& entity) {
  for (const auto& field : entity.fields) {
    const Derived& d = field.derived;
    if (d.kind == Derived::Kind::none || d.kind == Derived::Kind::sum_of_children) continue;
    std::string fresh;
    bool null = false;
    if (d.kind == Derived::Kind::join) {
      fresh = join(record.value(d.inputs[0]), record.value(d.inputs[1]));
    } else if (d.kind == Derived::Kind::line_amount) {
      auto amount = line_amount(record.value(d.inputs[0]), record.value(d.inputs[1]),
                                record.value(d.inputs[2]));
      null = !amount;
      if (amount) fresh = encode_money(*amount);
    } else {  // late: promised; the first of the others that is known tells when it was done
      Value promised = record.value(d.inputs[0]);
      Value done = record.value(d.inputs[1]);
      if (done.is_null()) done = record.value(d.inputs[2]);
      null = promised.is_null() || done.is_null();
      if (!null) fresh = encode_boolean(compare_ordered(done, promised) > 0);
    }
    Value old = record.value(field.id);
    Value now = null ? Value{} : Value{field.type, fresh};
    if (old == now && (record.find(field.id) || null)) continue;
    std::string kept(old.payload);
    Value before{old.type, kept};
    put(c, record, field.id, now);
    BL_TRY(feed_parents(c, record, entity, before, now, field.id));
  }
  return {};
}

Result<void> Merger::feed_parents(Context& c, Record& record, const Entity& entity,
                                  const Value& before, const Value& after, FieldId field) {
  for (const auto& feed : entity.feeds) {
    if (feed.field == field && before != after) {
      auto delta = Decimal::subtract(money_of(after).amount, money_of(before).amount);
      if (delta) {
        BL_TRY(add_to_parent(c, record.value(feed.lookup), feed, *delta,
                             money_of(after.is_null() ? before : after)));
      }
    }
    if (feed.lookup == field && before != after) {  // it changed parents
      Money amount = money_of(record.value(feed.field));
      if (amount.amount.is_zero()) continue;
      BL_TRY(add_to_parent(c, before, feed, amount.amount.negated(), amount));
      BL_TRY(add_to_parent(c, after, feed, amount.amount, amount));
    }
  }
  return {};
}

Result<void> Merger::add_to_parent(Context& c, const Value& lookup, const Entity::FeedsParent& feed,
                                   const Decimal& delta, const Money& like) {
  if (lookup.is_null()) return {};
  Lookup l = decode_lookup(lookup.payload);
  if (l.entity != feed.parent) return {};
  BL_ASSIGN(auto found, ws_.find({l.entity, l.id}));
  // Not held: no forecast. Deleted with its children: its sum rests as it is.
  if (!found.record || !found.record->live()) return {};
  Value old = found.record->value(feed.parent_field);
  Money total = old.is_null() ? like : money_of(old);
  auto sum = Decimal::add(old.is_null() ? Decimal() : total.amount, delta);
  if (!sum) {
    c.outcome(feed.field, Fate::overridden, Reason::overflow);
    return {};
  }
  total.amount = *sum;
  std::string bytes = encode_money(total);
  put(c, *found.record, feed.parent_field, {ValueType::money, bytes});
  return {};
}

Result<void> Merger::feed_whole(Context& c, Record& record, const Entity& entity, bool subtract) {
  for (const auto& feed : entity.feeds) {
    Money amount = money_of(record.value(feed.field));
    if (amount.amount.is_zero()) continue;
    Decimal delta = subtract ? amount.amount.negated() : amount.amount;
    BL_TRY(add_to_parent(c, record.value(feed.lookup), feed, delta, amount));
  }
  return {};
}

}  // namespace branchline
