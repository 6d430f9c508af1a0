#include "common/record/record.h"

#include <algorithm>

#include "common/base/check.h"
#include "common/base/limits.h"

namespace branchline {
namespace {

constexpr uint8_t kFormat = 1;
constexpr uint8_t kStateMask = 3;
constexpr uint8_t kHasAlsoIn = 4;
constexpr uint8_t kHasPending = 8;
constexpr uint8_t kKnownFlags = kStateMask | kHasAlsoIn | kHasPending;

Error corrupt(const RecordKey& key, const char* what) {
  return {ErrorKind::corrupt, "record.corrupt",
          "record " + to_string(key.id) + " of entity " + std::to_string(key.entity.value) + ": " +
              what};
}

}  // namespace

void put_version(Writer& w, const Version& v) {
  w.fixed16(v.id.origin.value);
  w.fixed64(v.id.incarnation.value);
  w.u8(static_cast<uint8_t>(v.id.lane));
  w.varint(v.id.seq.value);
  w.svarint(static_cast<int64_t>(v.order.value - v.id.seq.value));
  w.varint(v.csn.value);
  w.fixed64(v.hlc.value);
  w.id(v.author);
}

Version get_version(Reader& r) {
  Version v;
  v.id.origin = OriginId(r.fixed16());
  v.id.incarnation = Incarnation(r.fixed64());
  uint8_t lane = r.u8();
  if (lane >= kLaneCount) r.fail();
  v.id.lane = static_cast<Lane>(lane);
  v.id.seq = Seq(r.varint());
  v.order = Order(v.id.seq.value + static_cast<uint64_t>(r.svarint()));
  v.csn = Csn(r.varint());
  v.hlc = Hlc{r.fixed64()};
  v.author = r.id();
  return v;
}

Record::Record(RecordKey key, TerritoryId territory, std::vector<TerritoryId> also_in,
               const Version& version)
    : key_(key), territory_(territory), also_in_(std::move(also_in)), writers_{version} {}

Result<Record> Record::decode(RecordKey key, std::string flat) {
  Record rec;
  rec.key_ = key;
  rec.heap_ = std::move(flat);
  Reader r(rec.heap_);
  uint8_t format = r.u8();
  uint8_t flags = r.u8();
  if (!r.ok() || format != kFormat) {
    return std::unexpected(corrupt(key, "unknown record format (written by a newer version?)"));
  }
  if ((flags & ~kKnownFlags) || (flags & kStateMask) > 2) {
    return std::unexpected(corrupt(key, "unknown flags"));
  }
  rec.state_ = static_cast<RecordState>(flags & kStateMask);
  rec.territory_ = TerritoryId(static_cast<uint32_t>(r.varint_max(0xffffffff)));
  if (flags & kHasAlsoIn) {
    rec.also_in_.resize(r.varint_max(r.remaining()));
    for (auto& t : rec.also_in_) t = TerritoryId(static_cast<uint32_t>(r.varint_max(0xffffffff)));
  }
  if (rec.state_ == RecordState::redirect) rec.target_ = r.id();
  rec.writers_.resize(r.varint_max(std::min<size_t>(r.remaining(), 0xffff)));
  for (auto& v : rec.writers_) v = get_version(r);
  rec.state_writer_ = static_cast<uint16_t>(r.varint_max(0xffff));
  rec.created_writer_ = static_cast<uint16_t>(r.varint_max(0xffff));
  rec.cells_.resize(r.varint_max(limits::kMaxFieldsPerRecord));
  uint32_t field = 0;
  uint64_t offset = 0;
  for (auto& c : rec.cells_) {
    uint64_t step = r.varint_max(0xffff);
    field += static_cast<uint32_t>(step);
    // Fields rise: find() searches, and one value stands for one field.
    if (step == 0 || field > 0xffff) r.fail();
    c.field = FieldId(static_cast<uint16_t>(field));
    c.writer = static_cast<uint16_t>(r.varint_max(0xffff));
    uint8_t type = r.u8();
    if (type > kLastValueType) r.fail();
    c.type = static_cast<ValueType>(type);
    c.size = static_cast<uint32_t>(r.varint_max(rec.heap_.size()));
    c.offset = static_cast<uint32_t>(offset);
    offset += c.size;
  }
  size_t payloads = rec.heap_.size() - r.remaining();
  r.bytes(offset);
  if (flags & kHasPending) {
    uint32_t packed = r.fixed32();
    rec.pending_ = PendingRef::unpack(packed, Order(r.fixed64()));
    if (rec.pending_.is_none()) r.fail();  // that is said without the flag
  }
  if (!r.done()) return std::unexpected(corrupt(key, "bytes missing or left over"));
  size_t n = rec.writers_.size();
  if (rec.state_writer_ >= n || rec.created_writer_ >= n) {
    return std::unexpected(corrupt(key, "a version is missing"));
  }
  for (auto& c : rec.cells_) {
    if (c.writer >= n) return std::unexpected(corrupt(key, "a version is missing"));
    c.offset += static_cast<uint32_t>(payloads);
  }
  return rec;
}

std::string Record::encode() const {
  std::string out;
  encode_to(out);
  return out;
}

void Record::encode_to(std::string& out) const {
  // Versions that no cell refers to any more are dropped here, not at each edit.
  std::vector<uint16_t> renumbered(writers_.size(), 0xffff);
  uint16_t used = 0;
  std::vector<uint16_t> order;
  order.reserve(writers_.size());
  auto use = [&](uint16_t w) {
    if (renumbered[w] == 0xffff) {
      renumbered[w] = used++;
      order.push_back(w);
    }
  };
  use(state_writer_);
  use(created_writer_);
  size_t payload_bytes = 0;
  for (const auto& c : cells_) {
    use(c.writer);
    payload_bytes += c.size;
  }
  out.reserve(out.size() + 32 + order.size() * 48 + cells_.size() * 6 + payload_bytes);
  Writer w(out);
  w.u8(kFormat);
  uint8_t flags = static_cast<uint8_t>(state_);
  if (!also_in_.empty()) flags |= kHasAlsoIn;
  if (!pending_.is_none()) flags |= kHasPending;
  w.u8(flags);
  w.varint(territory_.value);
  if (!also_in_.empty()) {
    w.varint(also_in_.size());
    for (auto t : also_in_) w.varint(t.value);
  }
  if (state_ == RecordState::redirect) w.id(target_);
  w.varint(order.size());
  for (uint16_t i : order) put_version(w, writers_[i]);
  w.varint(renumbered[state_writer_]);
  w.varint(renumbered[created_writer_]);
  w.varint(cells_.size());
  uint16_t previous = 0;
  for (const auto& c : cells_) {
    w.varint(static_cast<uint64_t>(c.field.value - previous));
    previous = c.field.value;
    w.varint(renumbered[c.writer]);
    w.u8(static_cast<uint8_t>(c.type));
    w.varint(c.size);
  }
  for (const auto& c : cells_) out.append(heap_, c.offset, c.size);
  if (!pending_.is_none()) {
    w.fixed32(pending_.packed_generation());
    w.fixed64(pending_.order.value);
  }
}

uint16_t Record::intern(const Version& version) {
  for (size_t i = writers_.size(); i-- > 0;) {
    // The csn becomes known later than the identity: keep the fuller of the two.
    if (writers_[i].id == version.id) {
      writers_[i] = version;
      return static_cast<uint16_t>(i);
    }
  }
  BL_CHECK(writers_.size() < 0xffff);
  writers_.push_back(version);
  return static_cast<uint16_t>(writers_.size() - 1);
}

void Record::set_state(RecordState state, const Version& version) {
  state_ = state;
  state_writer_ = intern(version);
  if (state != RecordState::redirect) target_ = {};
}

void Record::restore_state(RecordState state, const Version& version, const RecordId& target) {
  set_state(state, version);
  target_ = target;
}

bool Record::in_territory(TerritoryId t) const {
  return territory_ == t || std::find(also_in_.begin(), also_in_.end(), t) != also_in_.end();
}

void Record::set_territories(TerritoryId home, std::vector<TerritoryId> also_in) {
  territory_ = home;
  also_in_ = std::move(also_in);
}

const Cell* Record::find(FieldId field) const {
  auto at = std::lower_bound(cells_.begin(), cells_.end(), field,
                             [](const Cell& c, FieldId f) { return c.field < f; });
  return at != cells_.end() && at->field == field ? &*at : nullptr;
}

Value Record::value(FieldId field) const {
  const Cell* cell = find(field);
  return cell ? value(*cell) : Value{};
}

void Record::set(FieldId field, const Version& version, const Value& value) {
  auto at = std::lower_bound(cells_.begin(), cells_.end(), field,
                             [](const Cell& c, FieldId f) { return c.field < f; });
  if (at == cells_.end() || at->field != field) at = cells_.insert(at, Cell{field, 0, {}, 0, 0});
  at->writer = intern(version);
  at->type = value.type;
  at->offset = static_cast<uint32_t>(heap_.size());
  at->size = static_cast<uint32_t>(value.payload.size());
  heap_.append(value.payload);
}

void Record::remove_cell(FieldId field) {
  auto at = std::lower_bound(cells_.begin(), cells_.end(), field,
                             [](const Cell& c, FieldId f) { return c.field < f; });
  if (at != cells_.end() && at->field == field) cells_.erase(at);
}

void Record::restore_cell(FieldId field, const Cell* old) {
  remove_cell(field);
  if (!old) return;
  auto at = std::lower_bound(cells_.begin(), cells_.end(), field,
                             [](const Cell& c, FieldId f) { return c.field < f; });
  cells_.insert(at, *old);
}

bool Record::bloated() const {
  if (writers_.size() > 2 * cells_.size() + 32) return true;
  size_t payloads = 0;
  for (const auto& c : cells_) payloads += c.size;
  // What was decoded has its versions in the heap too.
  return heap_.size() > 4 * payloads + 64 * writers_.size() + 1024;
}

void Record::compact() {
  if (!bloated()) return;
  auto again = decode(key_, encode());
  BL_CHECK(again.has_value());
  *this = std::move(*again);
}

const Version& Record::last_version() const {
  const Version* last = &state_version();
  for (const auto& c : cells_) {
    if (writers_[c.writer].hlc > last->hlc) last = &writers_[c.writer];
  }
  return *last;
}

// --- Checksums ---

namespace {

void put_key(Writer& w, char kind, const RecordKey& key) {
  w.u8(static_cast<uint8_t>(kind));
  w.fixed16(key.entity.value);
  w.id(key.id);
}

}  // namespace

Sum128 state_term(const Record& record) {
  std::string bytes;
  Writer w(bytes);
  put_key(w, 'r', record.key());
  w.u8(static_cast<uint8_t>(record.state()));
  w.fixed32(record.territory().value);
  for (auto t : record.also_in()) w.fixed32(t.value);
  w.id(record.target());
  put_mutation_id(w, record.state_version().id);
  put_mutation_id(w, record.created_version().id);
  return hash128(bytes);
}

Sum128 cell_term(const RecordKey& key, FieldId field, const Value& value,
                 const MutationId& writer) {
  thread_local std::string bytes;
  bytes.clear();
  Writer w(bytes);
  put_key(w, 'c', key);
  w.fixed16(field.value);
  put_mutation_id(w, writer);
  w.u8(static_cast<uint8_t>(value.type));
  w.bytes(value.payload);
  return hash128(bytes);
}

Sum128 element_term(const RecordKey& key, FieldId field, const ElementKey& element,
                    const Value& value) {
  thread_local std::string bytes;
  bytes.clear();
  Writer w(bytes);
  put_key(w, 'e', key);
  w.fixed16(field.value);
  put_mutation_id(w, element.mutation);
  w.fixed32(element.index);
  w.u8(static_cast<uint8_t>(value.type));
  w.bytes(value.payload);
  return hash128(bytes);
}

Sum128 record_sum(const Record& record) {
  Sum128 sum;
  if (record.state() == RecordState::tombstone) return sum;
  sum = state_term(record);
  for (const auto& c : record.cells()) {
    sum += cell_term(record.key(), c.field, record.value(c), record.version(c).id);
  }
  return sum;
}

}  // namespace branchline
