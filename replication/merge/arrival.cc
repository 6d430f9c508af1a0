#include "replication/merge/arrival.h"

#include <algorithm>
#include <set>

#include "common/base/limits.h"

namespace branchline {
namespace {

constexpr uint8_t kFormat = 1;
constexpr uint8_t kFirst = 1;    // with the record's row
constexpr uint8_t kFurther = 2;  // further elements of the record before
constexpr size_t kMinElementBytes = 1 + 19 + 1 + 1;

Error corrupt(const RecordKey& key) {
  return {ErrorKind::corrupt, "arrival.corrupt",
          "the image of record " + to_string(key.id) + " of entity " +
              std::to_string(key.entity.value) + " is damaged"};
}

std::string row_of(const Record& record) {
  Record copy = record;
  copy.set_pending({});
  return copy.encode();
}

}  // namespace

std::vector<TerritoryId> territories_of(TerritoryId home, const std::vector<TerritoryId>& also_in) {
  std::vector<TerritoryId> out{home};
  out.insert(out.end(), also_in.begin(), also_in.end());
  return out;
}

std::vector<TerritoryId> territories_of(const Record& record) {
  return territories_of(record.territory(), record.also_in());
}

std::vector<TerritoryId> without(std::vector<TerritoryId> all,
                                 const std::vector<TerritoryId>& taken) {
  std::erase_if(
      all, [&](TerritoryId t) { return std::find(taken.begin(), taken.end(), t) != taken.end(); });
  return all;
}

std::string move_history(const Record& record, TerritoryId home,
                         const std::vector<TerritoryId>& also_in) {
  auto now = territories_of(home, also_in);
  std::vector<TerritoryId> left = territories_of(record);
  for (TerritoryId t : decode_move_history(record.value(system_field::kMovedFrom).payload)) {
    if (std::find(left.begin(), left.end(), t) == left.end()) left.push_back(t);
  }
  left = without(std::move(left), now);
  if (left.size() > limits::kMaxMoveHistory) left.resize(limits::kMaxMoveHistory);
  std::string out;
  for (TerritoryId t : left) out += (out.empty() ? "" : " ") + std::to_string(t.value);
  return out;
}

std::vector<TerritoryId> decode_move_history(std::string_view text) {
  std::vector<TerritoryId> out;
  uint32_t number = 0;
  for (char c : text) {
    if (c >= '0' && c <= '9') {
      number = number * 10 + static_cast<uint32_t>(c - '0');
      continue;
    }
    if (number != 0) out.emplace_back(number);
    number = 0;
  }
  if (number != 0) out.emplace_back(number);
  return out;
}

Result<std::vector<Arrival>> arrivals_of(Workspace& ws, const Journal& journal,
                                         const std::vector<RecordOp>& effects) {
  std::vector<Arrival> out;
  std::set<RecordKey> ends;
  for (const auto& op : effects) {
    if (op.kind != RecordOpKind::redirect || op.target.is_nil()) continue;
    RecordKey target{op.record.entity, op.target};
    BL_ASSIGN(auto merged, ws.find(op.record));
    BL_ASSIGN(auto survivor, ws.find(target));
    if (!merged.record || !survivor.record) continue;  // no more than a forecast
    auto from = territories_before(journal, *merged.record);
    auto into = territories_before(journal, *survivor.record);
    // Where both were, the redirect says what goes over.
    auto both = without(into, without(into, from));
    for (const auto* end : {merged.record, survivor.record}) {
      ends.insert(end->key());
      auto where = without(territories_of(*end), both);
      if (!where.empty()) out.push_back({end->key(), std::move(where)});
    }
  }
  for (const auto& op : effects) {
    if (op.kind != RecordOpKind::relocate || ends.count(op.record) > 0) continue;
    BL_ASSIGN(auto found, ws.find(op.record));
    auto entered =
        without(territories_of(*found.record), territories_before(journal, *found.record));
    if (!entered.empty()) out.push_back({op.record, std::move(entered)});
  }
  return out;
}

Result<bool> arrivals_fit(Workspace& ws, const std::vector<RecordOp>& effects) {
  size_t bytes = 0;
  std::string row;
  BL_ASSIGN(auto arrivals, arrivals_of(ws, ws.journal(), effects));
  for (const auto& arrival : arrivals) {
    BL_ASSIGN(auto found, ws.find(arrival.record));
    row.clear();
    found.record->encode_to(row);
    if (row.size() > limits::kMaxArrivalRowBytes) return false;
    size_t one = row.size();
    BL_ASSIGN(auto elements, ws.elements(arrival.record, FieldId(0)));
    for (const auto& [key, e] : elements) one += kMinElementBytes + e.type_and_payload.size() + 48;
    bytes += one * arrival.where.size();
    if (bytes > limits::kMaxMoveBytes) return false;
  }
  return true;
}

Result<std::vector<RecordOp>> images_of(Workspace& ws, const RecordKey& key, size_t part_bytes,
                                        Arena& arena) {
  BL_ASSIGN(auto found, ws.find(key));
  BL_ASSIGN(auto elements, ws.elements(key, FieldId(0)));
  std::vector<RecordOp> out;
  size_t next = 0;
  do {
    std::string image, some;
    Writer w(image), e(some);
    w.u8(kFormat);
    w.u8(out.empty() ? kFirst : kFurther);
    if (out.empty()) w.blob(row_of(*found.record));
    size_t count = 0;
    while (next < elements.size() && (count == 0 || image.size() + some.size() < part_bytes)) {
      const auto& [at, element] = elements[next++];
      e.varint(at.field.value);
      put_mutation_id(e, at.key.mutation);
      e.varint(at.key.index);
      e.blob(encode_element(element));
      ++count;
    }
    w.varint(count);
    w.bytes(some);
    RecordOp& op = out.emplace_back();
    op.kind = RecordOpKind::arrive;
    op.record = key;
    op.image = arena.adopt(std::move(image));
  } while (next < elements.size());
  return out;
}

Result<std::optional<Record>> arrived_record(const RecordOp& op) {
  Reader r(op.image);
  uint8_t format = r.u8(), part = r.u8();
  if (!r.ok() || format != kFormat || (part != kFirst && part != kFurther))
    return std::unexpected(corrupt(op.record));
  if (part == kFurther) return std::optional<Record>();
  auto record = Record::decode(op.record, std::string(r.blob()));
  if (!r.ok() || !record) return std::unexpected(corrupt(op.record));
  return std::optional<Record>(std::move(*record));
}

Result<void> apply_arrival(Workspace& ws, const RecordOp& op) {
  Reader r(op.image);
  uint8_t format = r.u8(), part = r.u8();
  if (!r.ok() || format != kFormat || (part != kFirst && part != kFurther))
    return std::unexpected(corrupt(op.record));
  BL_ASSIGN(auto found, ws.find(op.record));
  Record* record = found.record;
  if (part == kFirst) {
    auto fresh = Record::decode(op.record, std::string(r.blob()));
    if (!r.ok() || !fresh) return std::unexpected(corrupt(op.record));
    if (record) BL_TRY(ws.drop(*record));
    BL_ASSIGN(record, ws.install(std::move(*fresh)));
  }
  if (!record) return std::unexpected(corrupt(op.record));
  uint64_t count = r.varint_max(r.remaining() / kMinElementBytes);
  for (uint64_t i = 0; i < count && r.ok(); ++i) {
    FieldId field(static_cast<uint16_t>(r.varint_max(0xffff)));
    ElementKey key;
    key.mutation = get_mutation_id(r);
    key.index = static_cast<uint32_t>(r.varint_max(0xffffffff));
    auto element = decode_element(r.blob());
    if (!r.ok() || !element) return std::unexpected(corrupt(op.record));
    BL_TRY(ws.put_element(*record, field, key, *element));
  }
  if (!r.done()) return std::unexpected(corrupt(op.record));
  return {};
}

}  // namespace branchline
