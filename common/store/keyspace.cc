#include "common/store/keyspace.h"

#include "common/base/bytes.h"
#include "common/store/store.h"

namespace branchline::keys {
namespace {

constexpr size_t kMutationBytes = 19;

std::string start(Side side, const RecordKey& record) {
  std::string key;
  key.reserve(64);
  Writer w(key);
  w.u8(side);
  w.fixed16(record.entity.value);
  w.id(record.id);
  return key;
}

std::string meta(char kind) { return std::string(1, kind); }

}  // namespace

std::string record(Side side, const RecordKey& key) { return start(side, key); }

std::string record_prefix(Side side, EntityId entity) {
  std::string key;
  Writer w(key);
  w.u8(side);
  w.fixed16(entity.value);
  return key;
}

std::optional<RecordKey> parse_record(std::string_view key) {
  Reader r(key);
  r.u8();
  RecordKey out;
  out.entity = EntityId(r.fixed16());
  out.id = r.id();
  if (!r.done()) return std::nullopt;
  return out;
}

std::string element_prefix(Side side, const RecordKey& record) { return start(side, record); }

std::string element_prefix(Side side, const RecordKey& record, FieldId field) {
  std::string key = start(side, record);
  Writer(key).fixed16(field.value);
  return key;
}

std::string element(Side side, const RecordKey& record, FieldId field,
                    const ElementKey& element_key) {
  std::string key = element_prefix(side, record, field);
  Writer w(key);
  put_mutation_id(w, element_key.mutation);
  w.fixed32(element_key.index);
  return key;
}

std::optional<ParsedElement> parse_element(std::string_view key) {
  Reader r(key);
  r.u8();
  ParsedElement out;
  out.record.entity = EntityId(r.fixed16());
  out.record.id = r.id();
  out.field = FieldId(r.fixed16());
  out.key.mutation = get_mutation_id(r);
  out.key.index = r.fixed32();
  if (!r.done()) return std::nullopt;
  return out;
}

std::string index_prefix(Side side, EntityId entity, uint16_t index) {
  std::string key;
  key.reserve(64);
  Writer w(key);
  w.u8(side);
  w.fixed16(entity.value);
  w.fixed16(index);
  return key;
}

RecordId index_record(std::string_view key) {
  return key.size() >= 16 ? RecordId::from_bytes(key.substr(key.size() - 16)) : RecordId{};
}

std::string group_prefix(Side side, const MutationId& deletion) {
  std::string key = index_prefix(side, EntityId(0), 0xffff);
  Writer w(key);
  put_mutation_id(w, deletion);
  return key;
}

std::string group_member(Side side, const MutationId& deletion, const RecordKey& record) {
  std::string key = group_prefix(side, deletion);
  Writer w(key);
  w.fixed16(record.entity.value);
  w.id(record.id);
  return key;
}

std::string deleted_child_prefix(Side side, const RecordKey& parent) {
  std::string key = index_prefix(side, EntityId(0), 0xfffe);
  Writer w(key);
  w.fixed16(parent.entity.value);
  w.id(parent.id);
  return key;
}

std::string deleted_child(Side side, const RecordKey& parent, const RecordKey& record) {
  std::string key = deleted_child_prefix(side, parent);
  Writer w(key);
  w.fixed16(record.entity.value);
  w.id(record.id);
  return key;
}

std::string outbox(Side side, PendingRef last) {
  std::string key;
  Writer w(key);
  w.u8(side);
  w.fixed32(last.packed_generation());
  w.fixed64(last.order.value);
  return key;
}

std::string outbox_end(Side side, Lane lane) {
  std::string side_only(1, static_cast<char>(side));
  if (lane == Lane::bulk) return prefix_end(side_only);
  return outbox(side, PendingRef{0, Order(0), Lane::bulk});
}

std::optional<PendingRef> parse_outbox(std::string_view key) {
  Reader r(key);
  r.u8();
  uint32_t packed = r.fixed32();
  PendingRef out = PendingRef::unpack(packed, Order(r.fixed64()));
  if (!r.done()) return std::nullopt;
  return out;
}

std::string fate_prefix(OriginId origin) {
  std::string key;
  Writer(key).fixed16(origin.value);
  return key;
}

std::string fate_prefix(const Stream& stream) {
  std::string key = fate_prefix(stream.origin);
  Writer w(key);
  w.fixed64(stream.incarnation.value);
  w.u8(static_cast<uint8_t>(stream.lane));
  return key;
}

std::string fate(const MutationId& first) {
  std::string key;
  Writer w(key);
  put_mutation_id(w, first);
  return key;
}

std::optional<MutationId> parse_fate(std::string_view key) {
  if (key.size() != kMutationBytes) return std::nullopt;
  Reader r(key);
  MutationId id = get_mutation_id(r);
  if (!r.done()) return std::nullopt;
  return id;
}

std::string line_prefix(Csn last) {
  std::string key;
  Writer(key).fixed64(last.value);
  return key;
}

std::string line_batch(Csn last) {
  std::string key = line_prefix(last);
  Writer(key).u8(static_cast<uint8_t>(LineRow::batch));
  return key;
}

std::string line_effects(Csn last, TerritoryId territory, OriginId origin, bool echo) {
  std::string key = line_prefix(last);
  Writer w(key);
  w.u8(static_cast<uint8_t>(LineRow::effects));
  w.fixed32(territory.value);
  w.fixed16(origin.value);
  w.u8(echo ? 1 : 0);
  return key;
}

std::string line_fates(Csn last, OriginId origin) {
  std::string key = line_prefix(last);
  Writer w(key);
  w.u8(static_cast<uint8_t>(LineRow::fates));
  w.fixed16(origin.value);
  return key;
}

std::string line_arrivals(Csn last, TerritoryId territory, OriginId origin, bool echo,
                          uint32_t part) {
  std::string key = line_prefix(last);
  Writer w(key);
  w.u8(static_cast<uint8_t>(LineRow::arrivals));
  w.fixed32(territory.value);
  w.fixed16(origin.value);
  w.u8(echo ? 1 : 0);
  w.fixed32(part);
  return key;
}

std::string line_rejected(Csn last) {
  std::string key = line_prefix(last);
  Writer(key).u8(static_cast<uint8_t>(LineRow::rejected));
  return key;
}

std::string operation_key(const RecordId& author, std::string_view operation) {
  std::string key(author.view());
  key.append(operation);
  return key;
}

std::string meta_identity() { return meta('i'); }
std::string meta_state() { return meta('s'); }
std::string meta_shown_prefix() { return meta('u'); }
std::string meta_shown(OriginId origin, const RecordId& credential) {
  std::string key = meta_shown_prefix();
  Writer w(key);
  w.fixed16(origin.value);
  w.id(credential);
  return key;
}
std::string meta_lookup_counts() { return meta('u'); }
std::string meta_join() { return meta('j'); }
std::string meta_compact() { return meta('j') + "c"; }
std::string meta_trim() { return meta('t'); }
std::string meta_trim_prefix() { return meta('t'); }
std::string meta_trimmed_fates_prefix() { return meta('t') + "s"; }
std::string meta_trimmed_fates(const Stream& stream) {
  return meta_trimmed_fates_prefix() + meta_stream(stream).substr(1);
}
std::string meta_branch_prefix() { return meta('t') + "b"; }
std::string meta_branch(OriginId origin) {
  return meta_branch_prefix() + meta_origin(origin).substr(1);
}
std::string meta_reconciling() { return meta('r'); }
std::string meta_restored() { return meta('b'); }
std::string meta_collation(Side side) {
  std::string key = meta('c');
  Writer(key).u8(side);
  return key;
}

std::string meta_line_use(std::string_view peer) { return meta('l') + std::string(peer); }
std::string meta_peer(std::string_view server) { return meta('x') + std::string(server); }

std::string meta_incarnation_prefix() { return meta('g'); }
std::string meta_known_incarnation_prefix() { return meta('n'); }
std::string meta_known_incarnation(OriginId origin, Incarnation incarnation) {
  std::string key = meta_known_incarnation_prefix();
  Writer w(key);
  w.fixed16(origin.value);
  w.fixed64(incarnation.value);
  return key;
}
std::string meta_incarnation(uint32_t generation) {
  std::string key = meta_incarnation_prefix();
  Writer(key).fixed32(generation);
  return key;
}

std::string meta_stream_prefix() { return meta('h'); }
std::string meta_stream(const Stream& stream) {
  std::string key = meta_stream_prefix();
  Writer w(key);
  w.fixed16(stream.origin.value);
  w.fixed64(stream.incarnation.value);
  w.u8(static_cast<uint8_t>(stream.lane));
  return key;
}

std::string meta_origin_prefix() { return meta('o'); }
std::string meta_origin(OriginId origin) {
  std::string key = meta_origin_prefix();
  Writer(key).fixed16(origin.value);
  return key;
}

std::string meta_program_prefix() { return meta('f'); }
std::string meta_program(OriginId origin) {
  std::string key = meta_program_prefix();
  Writer(key).fixed16(origin.value);
  return key;
}

}  // namespace branchline::keys
