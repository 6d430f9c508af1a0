#include "replication/line/columns.h"

#include "common/base/limits.h"

namespace branchline {
namespace {

// Codes in the id column: 0 raw, 1 derived, then 2 + index into the node table.
constexpr uint64_t kRawId = 0;
constexpr uint64_t kDerivedId = 1;
constexpr uint64_t kFirstNode = 2;
constexpr size_t kMaxNodes = 4096;
constexpr size_t kMinShapeCell = 3;  // bytes of a cell in a shape: field, kind, type

constexpr uint8_t kHasTerritory = 1;
constexpr uint8_t kHasAlsoIn = 2;
constexpr uint8_t kHasTarget = 4;
constexpr uint8_t kHasSeen = 8;
constexpr uint8_t kHasImage = 16;
constexpr uint8_t kKnownFlags = 31;

struct StructuredId {
  uint64_t ms;
  uint64_t counter;
  uint64_t node;
};

uint64_t big_endian(const RecordId& id, size_t at, size_t width) {
  uint64_t v = 0;
  for (size_t i = 0; i < width; ++i) v = v << 8 | id.bytes[at + i];
  return v;
}

// Only ids of RecordIdMaker's layout (version 8, RFC variant).
std::optional<StructuredId> take_apart(const RecordId& id) {
  if (id.bytes[6] >> 4 != 8 || id.bytes[8] >> 6 != 2) return std::nullopt;
  return StructuredId{big_endian(id, 0, 6), big_endian(id, 6, 2) & 0xfff, big_endian(id, 8, 8)};
}

RecordId put_together(const StructuredId& s) {
  RecordId id;
  for (size_t i = 0; i < 6; ++i) id.bytes[i] = static_cast<uint8_t>(s.ms >> (40 - 8 * i));
  id.bytes[6] = static_cast<uint8_t>(0x80 | s.counter >> 8);
  id.bytes[7] = static_cast<uint8_t>(s.counter);
  for (size_t i = 0; i < 8; ++i) id.bytes[8 + i] = static_cast<uint8_t>(s.node >> (56 - 8 * i));
  return id;
}

enum class Kind { none, integer, difference, self_delimiting, lookup, bytes };

// How a type's payloads stand in a column.
Kind kind_of(ValueType type) {
  switch (type) {
    case ValueType::null:
      return Kind::none;
    case ValueType::option:
      return Kind::integer;
    case ValueType::integer:
    case ValueType::date:
    case ValueType::instant:
    case ValueType::duration:
      return Kind::difference;
    case ValueType::decimal:
    case ValueType::money:
    case ValueType::boolean:
      return Kind::self_delimiting;
    case ValueType::lookup:
      return Kind::lookup;
    default:
      return Kind::bytes;
  }
}

// Wraps around instead of overflowing: any two integers have a difference.
int64_t difference(int64_t a, int64_t b) {
  return static_cast<int64_t>(static_cast<uint64_t>(a) - static_cast<uint64_t>(b));
}
int64_t sum(int64_t a, int64_t b) {
  return static_cast<int64_t>(static_cast<uint64_t>(a) + static_cast<uint64_t>(b));
}

}  // namespace

void ColumnSet::join(std::string& out) const {
  Writer w(out);
  for (const auto& c : columns_) w.blob(*c);
}

IdColumnWriter::IdColumnWriter(ColumnSet& set)
    : nodes_(set.add()),
      codes_(set.add()),
      times_(set.add()),
      counters_(set.add()),
      raw_(set.add()) {}

void IdColumnWriter::put(const RecordId& id, const RecordId& derived) {
  Writer codes(codes_);
  if (!derived.is_nil() && id == derived) return codes.varint(kDerivedId);
  auto parts = take_apart(id);
  if (parts) {
    auto at = places_.find(parts->node);
    if (at == places_.end() && places_.size() < kMaxNodes) {
      at = places_.emplace(parts->node, places_.size()).first;
      Writer(nodes_).fixed64(parts->node);
    }
    if (at != places_.end()) {
      codes.varint(kFirstNode + at->second);
      Writer(times_).svarint(difference(int64_t(parts->ms), int64_t(last_ms_)));
      Writer(counters_).varint(parts->counter);
      last_ms_ = parts->ms;
      return;
    }
  }
  codes.varint(kRawId);
  Writer(raw_).id(id);
}

IdColumnReader::IdColumnReader(ColumnSplitter& split)
    : nodes_(split.next()),
      codes_(split.next()),
      times_(split.next()),
      counters_(split.next()),
      raw_(split.next()) {
  while (nodes_.remaining() >= 8 && table_.size() < kMaxNodes) table_.push_back(nodes_.fixed64());
  if (nodes_.remaining() != 0) nodes_.fail();
}

RecordId IdColumnReader::get(const KeyedId& keyed) {
  uint64_t code = codes_.varint();
  if (code == kRawId) return raw_.id();
  if (code == kDerivedId) {
    if (keyed.operation_key.empty()) codes_.fail();
    return keyed_record_id(keyed.author, keyed.operation_key, keyed.index);
  }
  if (code - kFirstNode >= table_.size()) {
    codes_.fail();
    return {};
  }
  StructuredId s;
  s.node = table_[code - kFirstNode];
  last_ms_ = static_cast<uint64_t>(sum(int64_t(last_ms_), times_.svarint())) & 0xffffffffffffull;
  s.ms = last_ms_;
  s.counter = counters_.varint_max(0xfff);
  return put_together(s);
}

bool IdColumnReader::done() const {
  return nodes_.done() && codes_.done() && times_.done() && counters_.done() && raw_.done();
}

bool IdColumnReader::ok() const {
  return nodes_.ok() && codes_.ok() && times_.ok() && counters_.ok() && raw_.ok();
}

OpColumnWriter::OpColumnWriter(ColumnSet& set)
    : set_(set),
      shapes_(set.add()),
      indexes_(set.add()),
      extras_(set.add()),
      elements_(set.add()),
      ids_(set) {}

void OpColumnWriter::put(const RecordOp& op, const MutationId& mutation, const RecordId& derived) {
  scratch_.clear();
  Writer shape(scratch_);
  shape.u8(static_cast<uint8_t>(op.kind));
  shape.varint(op.record.entity.value);
  uint8_t flags = 0;
  if (op.territory != kNoTerritory) flags |= kHasTerritory;
  if (!op.also_in.empty()) flags |= kHasAlsoIn;
  if (!op.target.is_nil()) flags |= kHasTarget;
  if (op.seen.value != 0) flags |= kHasSeen;
  if (op.kind == RecordOpKind::arrive) flags |= kHasImage;
  shape.u8(flags);
  shape.varint(op.cells.size());
  for (const auto& c : op.cells) {
    shape.varint(c.field.value);
    shape.u8(static_cast<uint8_t>(c.kind));
    shape.u8(static_cast<uint8_t>(c.value.type));
  }
  auto [at, fresh] = by_shape_.try_emplace(scratch_);
  Shape& s = at->second;
  if (fresh) {
    s.index = in_order_.size();
    for (size_t i = 0; i < op.cells.size(); ++i) {
      s.values.push_back(std::make_unique<std::string>());
      s.lengths.push_back(std::make_unique<std::string>());
    }
    s.last.resize(op.cells.size());
    in_order_.push_back(&s);
    shapes_.append(scratch_);
  }
  Writer(indexes_).varint(s.index);
  ids_.put(op.record.id, derived);
  Writer extras(extras_);
  if (flags & kHasTerritory) extras.varint(op.territory.value);
  if (flags & kHasAlsoIn) {
    extras.varint(op.also_in.size());
    for (auto t : op.also_in) extras.varint(t.value);
  }
  if (flags & kHasTarget) ids_.put(op.target, {});
  if (flags & kHasSeen) extras.varint(op.seen.value);
  if (flags & kHasImage) extras.blob(op.image);
  for (size_t i = 0; i < op.cells.size(); ++i) {
    const CellOp& c = op.cells[i];
    if (names_element(c.kind)) {
      bool own = c.key.mutation == mutation;
      Writer e(elements_);
      e.u8(own ? 1 : 0);
      if (!own) put_mutation_id(e, c.key.mutation);
    }
    if (counts_element(c.kind)) Writer(elements_).varint(c.key.index);
    Writer values(*s.values[i]);
    switch (kind_of(c.value.type)) {
      case Kind::none:
        break;
      case Kind::integer:
      case Kind::self_delimiting:
        values.bytes(c.value.payload);
        break;
      case Kind::difference: {
        int64_t v = decode_integer(c.value.payload);
        values.svarint(difference(v, s.last[i]));
        s.last[i] = v;
        break;
      }
      case Kind::lookup: {
        Lookup l = decode_lookup(c.value.payload);
        values.varint(l.entity.value);
        ids_.put(l.id, {});
        break;
      }
      case Kind::bytes:
        Writer(*s.lengths[i]).varint(c.value.payload.size());
        values.bytes(c.value.payload);
        break;
    }
  }
}

void OpColumnWriter::finish() {
  for (Shape* s : in_order_) {
    for (size_t i = 0; i < s->values.size(); ++i) {
      set_.add() = std::move(*s->lengths[i]);
      set_.add() = std::move(*s->values[i]);
    }
  }
}

OpColumnReader::OpColumnReader(ColumnSplitter& split, Arena& arena)
    : arena_(arena),
      shapes_(split.next()),
      indexes_(split.next()),
      extras_(split.next()),
      elements_(split.next()),
      ids_(split) {
  while (shapes_.ok() && shapes_.remaining() > 0) {
    Shape s;
    s.kind = static_cast<RecordOpKind>(shapes_.u8());
    if (!is_operation(s.kind) && !is_effect(s.kind)) shapes_.fail();
    s.entity = EntityId(static_cast<uint16_t>(shapes_.varint_max(0xffff)));
    s.flags = shapes_.u8();
    bool image = s.kind == RecordOpKind::arrive;
    if (s.flags & ~kKnownFlags || image != bool(s.flags & kHasImage)) shapes_.fail();
    s.cells.resize(shapes_.varint_max(shapes_.remaining() / kMinShapeCell));
    for (auto& c : s.cells) {
      c.field = FieldId(static_cast<uint16_t>(shapes_.varint_max(0xffff)));
      uint8_t kind = shapes_.u8(), type = shapes_.u8();
      if (!is_cell_op(kind) || type > kLastValueType) shapes_.fail();
      c.kind = static_cast<CellOpKind>(kind);
      c.value.type = static_cast<ValueType>(type);
    }
    if (!shapes_.ok()) break;
    table_.push_back(std::move(s));
  }
  ok_ = shapes_.ok();
  for (auto& s : table_) {
    s.last.resize(s.cells.size());
    for (size_t i = 0; i < s.cells.size() && ok_; ++i) {
      s.lengths.push_back(split.next());
      s.values.push_back(split.next());
      ok_ = split.ok();
    }
  }
}

Value OpColumnReader::value(Shape& shape, size_t i) {
  Value v;
  v.type = shape.cells[i].value.type;
  Reader& r = shape.values[i];
  switch (kind_of(v.type)) {
    case Kind::none:
      return v;
    case Kind::integer:
      v.payload = arena_.copy(encode_integer(r.svarint()));
      break;
    case Kind::difference:
      shape.last[i] = sum(shape.last[i], r.svarint());
      v.payload = arena_.copy(encode_integer(shape.last[i]));
      break;
    case Kind::self_delimiting: {
      std::string_view before = r.rest();
      if (v.type == ValueType::boolean) {
        r.u8();
      } else {
        r.svarint();
        r.u8();
        if (v.type == ValueType::money) {
          r.bytes(3);
          r.svarint();
        }
      }
      if (r.ok()) v.payload = before.substr(0, before.size() - r.remaining());
      break;
    }
    case Kind::lookup: {
      Lookup l;
      l.entity = EntityId(static_cast<uint16_t>(r.varint_max(0xffff)));
      l.id = ids_.get({});
      v.payload = arena_.copy(encode_lookup(l));
      break;
    }
    case Kind::bytes:
      v.payload = r.bytes(shape.lengths[i].varint_max(limits::kMaxValueBytes));
      break;
  }
  if (!r.ok() || !shape.lengths[i].ok() || !valid(v)) ok_ = false;
  return v;
}

RecordOp OpColumnReader::get(const MutationId& mutation, const KeyedId& keyed) {
  RecordOp op;
  uint64_t index = indexes_.varint();
  if (!ok_ || !indexes_.ok() || index >= table_.size()) {
    ok_ = false;
    return op;
  }
  Shape& s = table_[index];
  // A shape is named again for a byte: without this, a small block would ask for any amount of
  // memory. Operations without cells (a cascade's tombstones) are not counted: the id of each costs
  // bytes.
  cells_ += s.cells.size();
  if (cells_ > limits::kMaxBlockCells) {
    ok_ = false;
    return op;
  }
  op.kind = s.kind;
  op.record = {s.entity, ids_.get(keyed)};
  if (s.flags & kHasTerritory) op.territory = TerritoryId(uint32_t(extras_.varint_max(0xffffffff)));
  if (s.flags & kHasAlsoIn) {
    op.also_in.resize(extras_.varint_max(extras_.remaining()));
    for (auto& t : op.also_in) t = TerritoryId(uint32_t(extras_.varint_max(0xffffffff)));
  }
  if (s.flags & kHasTarget) op.target = ids_.get({});
  if (s.flags & kHasSeen) op.seen = Csn(extras_.varint());
  if (s.flags & kHasImage) op.image = extras_.blob();
  op.cells = s.cells;
  for (size_t i = 0; i < op.cells.size() && ok_; ++i) {
    CellOp& c = op.cells[i];
    if (names_element(c.kind))
      c.key.mutation = elements_.flag() ? mutation : get_mutation_id(elements_);
    if (counts_element(c.kind))
      c.key.index = static_cast<uint32_t>(elements_.varint_max(0xffffffff));
    c.value = value(s, i);
  }
  ok_ = ok_ && ids_.ok() && extras_.ok() && elements_.ok();
  return op;
}

bool OpColumnReader::done() const {
  bool all =
      ok_ && shapes_.done() && indexes_.done() && extras_.done() && elements_.done() && ids_.done();
  for (const auto& s : table_) {
    for (size_t i = 0; i < s.values.size(); ++i)
      all = all && s.values[i].done() && s.lengths[i].done();
  }
  return all;
}

void HlcColumnWriter::put(Hlc hlc) {
  int64_t ms = difference(hlc.ms(), last_.ms());
  Writer(ms_).svarint(ms);
  int64_t counter = static_cast<int64_t>(hlc.value & 0xffff);
  // Within a millisecond stamps count up by one: that costs a zero.
  if (ms == 0) counter -= static_cast<int64_t>(last_.value & 0xffff) + 1;
  Writer(counters_).svarint(counter);
  last_ = hlc;
}

Hlc HlcColumnReader::get() {
  int64_t ms = ms_.svarint();
  int64_t counter = counters_.svarint();
  if (ms == 0) counter = sum(counter, static_cast<int64_t>(last_.value & 0xffff) + 1);
  if (counter < 0 || counter > 0xffff) counters_.fail();
  last_ = Hlc::at_ms(sum(last_.ms(), ms), static_cast<uint16_t>(counter));
  return last_;
}

}  // namespace branchline
