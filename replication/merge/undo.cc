#include "replication/merge/undo.h"

#include <algorithm>
#include <map>

namespace branchline {
namespace {

constexpr uint8_t kCreated = 1;
constexpr uint8_t kStateChanged = 2;
constexpr uint8_t kRedirected = 4;
constexpr uint8_t kFollowed = 8;
constexpr uint8_t kRelocated = 16;
constexpr uint8_t kKnownFlags = 31;

Error corrupt() {
  return {ErrorKind::corrupt, "undo.corrupt", "a pending mutation's pre-image is damaged"};
}

struct CellBefore {
  FieldId field;
  std::optional<std::pair<Version, Value>> value;
};
struct ElementBefore {
  FieldId field;
  ElementKey key;
  std::optional<Element> element;
};
struct RecordBefore {
  UndoRecord record;
  uint8_t flags = 0;
  RecordState state = RecordState::live;
  Version state_version;
  RecordId target;
  std::vector<FieldId> taken;
  std::vector<std::pair<FieldId, ElementKey>> moved;
  std::vector<FieldId> followed;
  TerritoryId territory;
  std::vector<TerritoryId> also_in;
  std::vector<CellBefore> cells;
  std::vector<ElementBefore> elements;
};

void put_fields(Writer& w, const std::vector<FieldId>& fields) {
  w.varint(fields.size());
  for (FieldId f : fields) w.varint(f.value);
}

std::vector<FieldId> get_fields(Reader& r) {
  std::vector<FieldId> fields(r.varint_max(r.remaining()));
  for (auto& f : fields) f = FieldId(static_cast<uint16_t>(r.varint_max(0xffff)));
  return fields;
}

bool names(const std::vector<FieldId>& fields, FieldId field) {
  return std::find(fields.begin(), fields.end(), field) != fields.end();
}

RecordBefore get_record(Reader& r) {
  RecordBefore b;
  b.record.key.entity = EntityId(static_cast<uint16_t>(r.varint_max(0xffff)));
  b.record.key.id = r.id();
  auto packed = static_cast<uint32_t>(r.varint_max(0xffffffff));
  b.record.previous = PendingRef::unpack(packed, Order(r.varint()));
  b.flags = r.u8();
  if (b.flags & ~kKnownFlags) r.fail();
  if ((b.flags & kRedirected) && !(b.flags & kStateChanged)) r.fail();
  if (b.flags & kStateChanged) {
    uint8_t state = r.u8();
    if (state > 2) r.fail();
    b.state = static_cast<RecordState>(state);
    b.state_version = get_version(r);
    b.target = r.id();
  }
  if (b.flags & kRedirected) {
    b.taken = get_fields(r);
    b.moved.resize(r.varint_max(r.remaining()));
    for (auto& [field, key] : b.moved) {
      field = FieldId(static_cast<uint16_t>(r.varint_max(0xffff)));
      key.mutation = get_mutation_id(r);
      key.index = static_cast<uint32_t>(r.varint_max(0xffffffff));
      if (!r.ok()) return b;
    }
  }
  if (b.flags & kFollowed) b.followed = get_fields(r);
  if (b.flags & kRelocated) {
    b.territory = TerritoryId(static_cast<uint32_t>(r.varint_max(0xffffffff)));
    b.also_in.resize(r.varint_max(r.remaining()));
    for (auto& t : b.also_in) t = TerritoryId(static_cast<uint32_t>(r.varint_max(0xffffffff)));
  }
  b.cells.resize(r.varint_max(r.remaining()));
  for (auto& c : b.cells) {
    c.field = FieldId(static_cast<uint16_t>(r.varint_max(0xffff)));
    if (r.flag()) {
      Version v = get_version(r);
      auto type = static_cast<ValueType>(r.u8());
      c.value.emplace(v, Value{type, r.blob()});
      if (!valid(c.value->second)) r.fail();
    }
    if (!r.ok()) return b;
  }
  b.elements.resize(r.varint_max(r.remaining()));
  for (auto& e : b.elements) {
    e.field = FieldId(static_cast<uint16_t>(r.varint_max(0xffff)));
    e.key.mutation = get_mutation_id(r);
    e.key.index = static_cast<uint32_t>(r.varint_max(0xffffffff));
    std::string_view bytes = r.blob();
    if (!bytes.empty()) {
      auto element = decode_element(bytes);
      if (!element) {
        r.fail();
        return b;
      }
      e.element = std::move(*element);
    }
    if (!r.ok()) return b;
  }
  return b;
}

Result<std::vector<RecordBefore>> get_undo(std::string_view undo) {
  Reader r(undo);
  std::vector<RecordBefore> all(r.varint_max(undo.size()));
  for (auto& b : all) {
    b = get_record(r);
    if (!r.ok()) break;
  }
  if (!r.done()) return std::unexpected(corrupt());
  return all;
}

}  // namespace

void put_undo(Writer& w, Workspace& ws, const Journal& journal) {
  w.varint(journal.records.size());
  for (const auto& b : journal.records) {
    auto found = ws.find(b.key);
    const Record* record = found ? found->record : nullptr;
    w.varint(b.key.entity.value);
    w.id(b.key.id);
    w.varint(b.pending.packed_generation());
    w.varint(b.pending.order.value);
    uint8_t flags = 0;
    if (b.created) flags |= kCreated;
    if (b.state_changed) flags |= kStateChanged;
    if (b.redirected) flags |= kRedirected;
    if (!b.followed.empty()) flags |= kFollowed;
    bool relocated = b.relocated && !b.created;
    if (relocated) flags |= kRelocated;
    w.u8(flags);
    if (b.state_changed) {
      w.u8(static_cast<uint8_t>(b.state));
      put_version(w, b.state_version);
      w.id(b.target);
    }
    if (b.redirected) {
      put_fields(w, b.taken);
      w.varint(b.moved.size());
      for (const auto& [field, key] : b.moved) {
        w.varint(field.value);
        put_mutation_id(w, key.mutation);
        w.varint(key.index);
      }
    }
    if (!b.followed.empty()) put_fields(w, b.followed);
    if (relocated) {
      w.varint(b.territory.value);
      w.varint(b.also_in.size());
      for (auto t : b.also_in) w.varint(t.value);
    }
    w.varint(b.cells.size());
    for (const auto& c : b.cells) {
      w.varint(c.field.value);
      w.u8(c.existed ? 1 : 0);
      if (!c.existed) continue;
      put_version(w, record->version(c.cell));
      Value v = record->value(c.cell);
      w.u8(static_cast<uint8_t>(v.type));
      w.blob(v.payload);
    }
    w.varint(b.elements.size());
    for (const auto& e : b.elements) {
      w.varint(e.field.value);
      put_mutation_id(w, e.key.mutation);
      w.varint(e.key.index);
      w.blob(e.element ? encode_element(*e.element) : std::string());
    }
  }
}

Result<std::vector<UndoRecord>> undo_records(std::string_view undo) {
  BL_ASSIGN(auto all, get_undo(undo));
  std::vector<UndoRecord> out;
  out.reserve(all.size());
  for (const auto& b : all) out.push_back(b.record);
  return out;
}

Result<std::vector<RecordOp>> effects_of(Workspace& ws, std::string_view undo, Arena& arena) {
  BL_ASSIGN(auto all, get_undo(undo));
  std::vector<RecordOp> out;
  auto keep = [&](const Value& v) { return Value{v.type, arena.copy(v.payload)}; };
  // What a survivor took over is the redirect's to tell, not its own.
  std::map<RecordKey, const std::vector<FieldId>*> taken_by;
  for (const auto& b : all) {
    if (!(b.flags & kRedirected)) continue;
    BL_ASSIGN(auto found, ws.find(b.record.key));
    if (!found.record) return std::unexpected(corrupt());
    taken_by[{b.record.key.entity, found.record->target()}] = &b.taken;
  }
  for (const auto& b : all) {
    BL_ASSIGN(auto found, ws.find(b.record.key));
    if (!found.record) return std::unexpected(corrupt());
    const Record& record = *found.record;
    RecordOp op;
    op.kind = RecordOpKind::put_cells;
    op.record = b.record.key;
    if (b.flags & kCreated) {
      op.kind = RecordOpKind::put_new;
      op.territory = record.territory();
      op.also_in = record.also_in();
      for (const auto& c : record.cells())
        op.cells.push_back({c.field, CellOpKind::put, keep(record.value(c)), {}});
    } else {
      auto taken = taken_by.find(b.record.key);
      RecordOp follow;
      follow.kind = RecordOpKind::redirect;
      follow.record = b.record.key;
      for (const auto& c : b.cells) {
        if (taken != taken_by.end() && names(*taken->second, c.field)) continue;
        auto& cells = names(b.followed, c.field) ? follow.cells : op.cells;
        cells.push_back({c.field, CellOpKind::put, keep(record.value(c.field)), {}});
      }
      if (!follow.cells.empty()) out.push_back(std::move(follow));
    }
    for (const auto& e : b.elements) {
      BL_ASSIGN(auto element, ws.element(b.record.key, e.field, e.key));
      CellOp cell{
          e.field, element ? CellOpKind::put_element : CellOpKind::remove_element, {}, e.key};
      if (element) cell.value = keep(element->value());
      op.cells.push_back(cell);
    }
    if (b.flags & kRelocated) {
      RecordOp move;
      move.kind = RecordOpKind::relocate;
      move.record = b.record.key;
      move.territory = record.territory();
      move.also_in = record.also_in();
      out.push_back(std::move(move));
    }
    bool changes_cells = op.kind == RecordOpKind::put_new || !op.cells.empty();
    if (changes_cells) out.push_back(std::move(op));
    if (b.flags & kStateChanged) {
      RecordOp state;
      state.kind = record.live() ? RecordOpKind::revive : RecordOpKind::tombstone;
      state.record = b.record.key;
      if (b.flags & kRedirected) {
        state.kind = RecordOpKind::redirect;
        state.target = record.target();
        for (FieldId f : b.taken) state.cells.push_back({f, CellOpKind::put, {}, {}});
      }
      out.push_back(std::move(state));
    }
  }
  return out;
}

Result<void> apply_undo(Workspace& ws, std::string_view undo) {
  BL_ASSIGN(auto all, get_undo(undo));
  for (auto b = all.rbegin(); b != all.rend(); ++b) {
    BL_ASSIGN(auto found, ws.find(b->record.key));
    if (!found.record) return std::unexpected(corrupt());
    Record& record = *found.record;
    if (b->flags & kRedirected) {
      RecordKey survivor{b->record.key.entity, record.target()};
      BL_TRY(ws.return_elements(b->record.key, survivor, b->moved));
    }
    for (auto e = b->elements.rbegin(); e != b->elements.rend(); ++e) {
      if (e->element) {
        BL_TRY(ws.put_element(record, e->field, e->key, *e->element));
      } else {
        BL_TRY(ws.remove_element(record, e->field, e->key));
      }
    }
    if (b->flags & kCreated) {
      BL_TRY(ws.uncreate(record));
      continue;
    }
    for (const auto& c : b->cells) ws.restore_cell(record, c.field, c.value);
    if (b->flags & kStateChanged)
      BL_TRY(ws.restore_state(record, b->state, b->state_version, b->target));
    if (b->flags & kRelocated) BL_TRY(ws.set_territories(record, b->territory, b->also_in));
    ws.set_pending(record, b->record.previous);
  }
  return {};
}

}  // namespace branchline
