#include "replication/merge/companions.h"

#include <algorithm>

namespace branchline {
namespace {

RecordKey derived_key(EntityId entity, std::string_view what, const RecordKey& record,
                      FieldId field, std::string_view more) {
  std::string name(what);
  Writer w(name);
  w.fixed16(record.entity.value);
  w.id(record.id);
  w.fixed16(field.value);
  w.bytes(more);
  return {entity, keyed_record_id({}, name, 0)};
}

}  // namespace

RecordKey conflict_key(const RecordKey& record, FieldId field) {
  return derived_key(entity_id::kConflict, "conflict:", record, field, {});
}

RecordKey share_key(const RecordKey& record, FieldId field, OriginId origin, Incarnation chain) {
  std::string holder;
  Writer w(holder);
  w.fixed16(origin.value);
  w.fixed64(chain.value);
  return derived_key(entity_id::kEscrowShare, "share:", record, field, holder);
}

Result<std::vector<Share>> shares_of(Workspace& ws, const RecordKey& record, const Field& field) {
  const Entity& entity = *ws.schema().entity(entity_id::kEscrowShare);
  BL_ASSIGN(auto keys, ws.children(entity_id::kEscrowShare, entity.field("objectid")->id, record));
  std::vector<Share> out;
  for (const auto& key : keys) {
    BL_ASSIGN(auto found, ws.find(key));
    if (!found.record || found.record->value(entity.field("fieldname")->id).payload != field.name)
      continue;
    Share& s = out.emplace_back();
    s.key = key;
    Value server = found.record->value(entity.field("servernumber")->id);
    if (!server.is_null())
      s.origin = OriginId(static_cast<uint16_t>(decode_integer(server.payload)));
    Value chain = found.record->value(entity.field("chain")->id);
    s.chain = Incarnation(parse_hex64(chain.payload).value_or(0));
    Value amount = found.record->value(entity.field("share")->id);
    if (!amount.is_null()) s.amount = decode_decimal(amount.payload);
  }
  std::sort(out.begin(), out.end(), [](const Share& a, const Share& b) {
    return std::tie(a.origin, a.chain) < std::tie(b.origin, b.chain);
  });
  return out;
}

Decimal unallotted(const Decimal& value, const std::vector<Share>& shares) {
  Decimal left = value;
  for (const auto& s : shares) {
    auto less = Decimal::subtract(left, s.amount);
    if (!less) return {};
    left = *less;
  }
  return Decimal::compare(left, {}) < 0 ? Decimal() : left;
}

bool takes_from_share(const Mutation& m) {
  return std::any_of(m.ops.begin(), m.ops.end(), [](const RecordOp& op) {
    return std::any_of(op.cells.begin(), op.cells.end(), [](const CellOp& c) {
      return c.kind == CellOpKind::spend || c.kind == CellOpKind::give_back;
    });
  });
}

}  // namespace branchline
