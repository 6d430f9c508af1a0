#include "common/record/operation.h"

#include "common/base/limits.h"

namespace branchline {
namespace {

constexpr uint8_t kHasTerritory = 1;
constexpr uint8_t kHasAlsoIn = 2;
constexpr uint8_t kHasTarget = 4;
constexpr uint8_t kHasSeen = 8;
constexpr uint8_t kHasImage = 16;
constexpr uint8_t kKnownFlags = 31;
constexpr size_t kMinCellBytes = 4;  // field, kind, type, length

}  // namespace

bool is_operation(RecordOpKind kind) {
  return kind >= RecordOpKind::create && kind <= RecordOpKind::move;
}
bool is_effect(RecordOpKind kind) {
  return kind >= RecordOpKind::put_new && kind <= RecordOpKind::arrive;
}
bool is_cell_op(uint8_t kind) {
  return (kind >= static_cast<uint8_t>(CellOpKind::set) &&
          kind <= static_cast<uint8_t>(CellOpKind::give_back)) ||
         (kind >= static_cast<uint8_t>(CellOpKind::put) &&
          kind <= static_cast<uint8_t>(CellOpKind::remove_element));
}
bool names_element(CellOpKind kind) {
  return kind == CellOpKind::remove || kind == CellOpKind::grant || kind == CellOpKind::give_back ||
         kind == CellOpKind::put_element || kind == CellOpKind::remove_element;
}
bool counts_element(CellOpKind kind) {
  return kind == CellOpKind::insert || kind == CellOpKind::append || names_element(kind);
}

void put_record_op(Writer& w, const RecordOp& op) {
  w.u8(static_cast<uint8_t>(op.kind));
  w.varint(op.record.entity.value);
  w.id(op.record.id);
  uint8_t flags = 0;
  if (op.territory != kNoTerritory) flags |= kHasTerritory;
  if (!op.also_in.empty()) flags |= kHasAlsoIn;
  if (!op.target.is_nil()) flags |= kHasTarget;
  if (op.seen.value != 0) flags |= kHasSeen;
  if (op.kind == RecordOpKind::arrive) flags |= kHasImage;
  w.u8(flags);
  if (flags & kHasTerritory) w.varint(op.territory.value);
  if (flags & kHasAlsoIn) {
    w.varint(op.also_in.size());
    for (auto t : op.also_in) w.varint(t.value);
  }
  if (flags & kHasTarget) w.id(op.target);
  if (flags & kHasSeen) w.varint(op.seen.value);
  if (flags & kHasImage) w.blob(op.image);
  w.varint(op.cells.size());
  for (const auto& c : op.cells) {
    w.varint(c.field.value);
    w.u8(static_cast<uint8_t>(c.kind));
    w.u8(static_cast<uint8_t>(c.value.type));
    if (names_element(c.kind)) put_mutation_id(w, c.key.mutation);
    if (counts_element(c.kind)) w.varint(c.key.index);
    w.blob(c.value.payload);
  }
}

RecordOp get_record_op(Reader& r) {
  RecordOp op;
  op.kind = static_cast<RecordOpKind>(r.u8());
  if (!is_operation(op.kind) && !is_effect(op.kind)) r.fail();
  op.record.entity = EntityId(static_cast<uint16_t>(r.varint_max(0xffff)));
  op.record.id = r.id();
  uint8_t flags = r.u8();
  bool image = op.kind == RecordOpKind::arrive;
  if (flags & ~kKnownFlags || image != bool(flags & kHasImage)) r.fail();
  if (flags & kHasTerritory) op.territory = TerritoryId(uint32_t(r.varint_max(0xffffffff)));
  if (flags & kHasAlsoIn) {
    op.also_in.resize(r.varint_max(r.remaining()));
    for (auto& t : op.also_in) t = TerritoryId(static_cast<uint32_t>(r.varint_max(0xffffffff)));
  }
  if (flags & kHasTarget) op.target = r.id();
  if (flags & kHasSeen) op.seen = Csn(r.varint());
  if (flags & kHasImage) op.image = r.blob();
  op.cells.resize(r.varint_max(r.remaining() / kMinCellBytes));
  for (auto& c : op.cells) {
    c.field = FieldId(static_cast<uint16_t>(r.varint_max(0xffff)));
    uint8_t kind = r.u8();
    if (!is_cell_op(kind)) r.fail();
    c.kind = static_cast<CellOpKind>(kind);
    c.value.type = static_cast<ValueType>(r.u8());
    if (names_element(c.kind)) c.key.mutation = get_mutation_id(r);
    if (counts_element(c.kind)) c.key.index = static_cast<uint32_t>(r.varint_max(0xffffffff));
    c.value.payload = r.blob();
    if (c.value.payload.size() > limits::kMaxValueBytes || !valid(c.value)) r.fail();
    if (!r.ok()) break;
  }
  return op;
}

}  // namespace branchline
