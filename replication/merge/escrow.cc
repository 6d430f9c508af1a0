// `escrow`: a bounded counter (SEMANTICS 31). The field holds what there is; each server holds a
// share of it that it may spend while it is cut off; the rest is the master's. At every csn no
// share is below zero and all shares together are no more than what there is.
//
// Why an office's promise holds: only its own mutations take from its share, and at an office the
// view's share is that of the base less all that is pending here, even where a forecast says that
// one of these would be rejected (hold()). So the master never finds less than the office counted
// on.
#include "common/base/probe.h"
#include "replication/merge/companions.h"
#include "replication/merge/merge_context.h"

namespace branchline {
namespace {

Decimal number(const Value& v) {
  return v.type == ValueType::decimal ? decode_decimal(v.payload) : Decimal();
}

bool less(const Decimal& a, const Decimal& b) { return Decimal::compare(a, b) < 0; }

}  // namespace

RecordKey Merger::share_at(const RecordKey& record, const CellOp& op, const MutationId& by) const {
  OriginId origin = op.key.mutation.origin;
  Incarnation chain = op.key.mutation.incarnation;
  if (op.kind == CellOpKind::spend || origin.value == 0) {
    origin = by.origin;
    chain = lineage_.chain_of(by.origin, by.incarnation);
  }
  return share_key(record, op.field, origin, chain);
}

Result<void> Merger::exceeded(Context& c, const CellOp& op, const Decimal& left) {
  c.decision.share_left = left;
  c.reject(op.field, Reason::share_exceeded);
  return {};
}

// No office drafts it once the line divides stocks, but one may have drafted it before and ship it
// now: what people wrote then must not be lost with the rest of their change.
Result<void> Merger::set_stock(Context& c, Record& record, const CellOp& op, const Field& field) {
  BL_ASSIGN(auto shares, shares_of(ws_, record.key(), field));
  Decimal promised;
  for (const auto& s : shares) {
    if (auto sum = Decimal::add(promised, s.amount)) promised = *sum;
  }
  if (less(number(op.value), promised)) {
    BL_PROBE("merge.stock_below_shares");
    c.outcome(op.field, Fate::overridden, Reason::share_exceeded);
    return {};
  }
  latest(c, record, op);
  return {};
}

Result<void> Merger::spend(Context& c, Record& record, const CellOp& op, const Field& field) {
  FieldId amount_field = ws_.schema().entity(entity_id::kEscrowShare)->field("share")->id;
  Decimal amount = number(op.value);
  Decimal stock = number(record.value(op.field));
  auto rest = Decimal::subtract(stock, amount);
  if (!rest) return exceeded(c, op, {});
  RecordKey key = share_at(record.key(), op, c.m.id);
  BL_ASSIGN(auto share, ws_.find(key));
  bool holds = share.record && share.record->live();
  Decimal left = holds ? number(share.record->value(amount_field)) : Decimal();
  Decimal from_share = less(left, amount) ? left : amount;
  if (less(left, amount)) {
    // An office counts on its share only. At the master this is its own sale, or one of an office
    // that had forgotten what it spent: what nobody else was promised may cover it.
    if (c.forecast()) return exceeded(c, op, left);
    BL_ASSIGN(auto shares, shares_of(ws_, record.key(), field));
    auto beyond = Decimal::subtract(amount, left);
    if (!beyond || less(unallotted(stock, shares), *beyond)) return exceeded(c, op, left);
    if (c.m.id.origin != kMasterOrigin) {
      BL_PROBE("merge.spent_from_reserve");
      c.outcome(op.field, Fate::merged, Reason::from_reserve);
    }
  }
  if (!from_share.is_zero()) {
    std::string bytes = encode_decimal(*Decimal::subtract(left, from_share));
    put(c, *share.record, amount_field, {ValueType::decimal, bytes});
  }
  bool concurrent = false;
  MutationId other;
  if (const Cell* cell = record.find(op.field);
      cell && !was_seen(record.version(*cell), c.m, c.base, lineage_)) {
    concurrent = true;
    other = record.version(*cell).id;
  }
  std::string bytes = encode_decimal(*rest);
  put(c, record, op.field, {ValueType::decimal, bytes});
  if (concurrent) c.outcome(op.field, Fate::merged, Reason::combined, other);
  return {};
}

Result<void> Merger::grant(Context& c, Record& record, const CellOp& op, const Field& field) {
  if (c.m.id.origin != kMasterOrigin) {
    c.reject(op.field, Reason::not_holder);
    return {};
  }
  BL_ASSIGN(auto shares, shares_of(ws_, record.key(), field));
  Decimal free = unallotted(number(record.value(op.field)), shares);
  if (less(free, number(op.value))) return exceeded(c, op, free);
  RecordKey key = share_at(record.key(), op, c.m.id);
  BL_ASSIGN(Record * share, companion(c, record, op.field, key));
  const Entity& entity = *ws_.schema().entity(entity_id::kEscrowShare);
  if (share->value(entity.field("servernumber")->id).is_null()) {
    std::string server = encode_integer(op.key.mutation.origin.value);
    put(c, *share, entity.field("servernumber")->id, {ValueType::integer, server});
    std::string chain = to_hex(op.key.mutation.incarnation.value);
    put(c, *share, entity.field("chain")->id, {ValueType::text, chain});
  }
  FieldId amount_field = entity.field("share")->id;
  auto sum = Decimal::add(number(share->value(amount_field)), number(op.value));
  if (!sum) return exceeded(c, op, free);
  std::string bytes = encode_decimal(*sum);
  put(c, *share, amount_field, {ValueType::decimal, bytes});
  return {};
}

Result<void> Merger::give_back(Context& c, Record& record, const CellOp& op) {
  RecordKey key = share_at(record.key(), op, c.m.id);
  bool own = key == share_at(record.key(), {op.field, CellOpKind::spend, {}, {}}, c.m.id);
  if (!own && c.m.id.origin != kMasterOrigin) {
    c.reject(op.field, Reason::not_holder);
    return {};
  }
  FieldId amount_field = ws_.schema().entity(entity_id::kEscrowShare)->field("share")->id;
  BL_ASSIGN(auto share, ws_.find(key));
  bool holds = share.record && share.record->live();
  Decimal left = holds ? number(share.record->value(amount_field)) : Decimal();
  Decimal amount = number(op.value);
  if (less(left, amount)) return exceeded(c, op, left);
  std::string bytes = encode_decimal(*Decimal::subtract(left, amount));
  put(c, *share.record, amount_field, {ValueType::decimal, bytes});
  return {};
}

Result<Journal> Merger::hold(const Mutation& m) {
  FieldId amount_field = ws_.schema().entity(entity_id::kEscrowShare)->field("share")->id;
  ws_.begin();
  for (const auto& op : m.ops) {
    for (const auto& cell : op.cells) {
      if (cell.kind != CellOpKind::spend && cell.kind != CellOpKind::give_back) continue;
      BL_ASSIGN(auto share, ws_.find(share_at(op.record, cell, m.id)));
      if (!share.record) continue;
      auto left = Decimal::subtract(number(share.record->value(amount_field)), number(cell.value));
      if (!left) continue;
      BL_PROBE("merge.share_held");
      std::string bytes = encode_decimal(*left);
      ws_.set_cell(*share.record, amount_field, version_of(m, Csn(0)), {ValueType::decimal, bytes});
    }
  }
  return ws_.end();
}

}  // namespace branchline
