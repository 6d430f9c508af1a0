// `ask`: what stands is not replaced by somebody who had not seen it; people decide. A conflict is
// open as long as it has contenders, elements that hold what was asked for; author, time and office
// are those of the element's version.
#include "common/base/probe.h"
#include "replication/merge/companions.h"
#include "replication/merge/merge_context.h"

namespace branchline {
namespace {

constexpr int64_t kOpen = 0, kResolved = 1;

}  // namespace

Result<Record*> Merger::companion(Context& c, const Record& of, FieldId field,
                                  const RecordKey& key) {
  const Entity& entity = *ws_.schema().entity(key.entity);
  BL_ASSIGN(auto found, ws_.find(key));
  if (found.record) {
    if (!found.record->live()) {
      BL_TRY(ws_.set_state(*found.record, RecordState::live, c.version));
      c.effects.set_state(key, RecordOpKind::revive);
    }
    return found.record;
  }
  // It is held wherever its record is, so nothing in the store means that there is none.
  Record& record = ws_.create(key, of.territory(), of.also_in(), c.version);
  RecordOp& effect = c.effects.cells_of(key, RecordOpKind::put_new);
  effect.territory = of.territory();
  effect.also_in = of.also_in();
  std::string object = encode_lookup({of.key().entity, of.key().id});
  put(c, record, entity.field("objectid")->id, {ValueType::lookup, object});
  const Field* about = ws_.schema().entity(of.key().entity)->field(field);
  put(c, record, entity.field("fieldname")->id, {ValueType::text, about->name});
  return &record;
}

Result<void> Merger::ask(Context& c, Record& record, const std::vector<const CellOp*>& ops,
                         FieldId name, const Version* unseen) {
  bool contends = false;
  if (!unseen) {
    for (const CellOp* op : ops) put(c, record, op->field, op->value);
  } else {
    MutationId other = unseen->id;
    for (const CellOp* op : ops) contends = contends || record.value(op->field) != op->value;
    if (contends) BL_PROBE("merge.asked");
    if (!contends) BL_PROBE("merge.agreed");
    c.outcome(ops.front()->field, contends ? Fate::overridden : Fate::merged,
              contends ? Reason::asked : Reason::agreed, other);
  }

  // Contenders that this author had seen are settled by what he wrote, whatever became of it; his
  // own earlier ones are among them.
  const Entity& entity = *ws_.schema().entity(entity_id::kConflict);
  FieldId contenders = entity.field("contenders")->id;
  RecordKey key = conflict_key(record.key(), name);
  BL_ASSIGN(auto found, ws_.find(key));
  Record* conflict = found.record;
  size_t left = 0;
  bool changed = contends;
  if (conflict) {
    BL_ASSIGN(auto all, ws_.elements(key, contenders));
    for (const auto& [at, element] : all) {
      if (!was_seen(element.version, c.m, c.base, lineage_)) {
        ++left;
        continue;
      }
      changed = true;
      BL_TRY(ws_.remove_element(*conflict, contenders, at.key));
      c.effects.note_element(key, contenders, CellOpKind::remove_element, at.key, {});
    }
  }
  if (contends) {
    BL_ASSIGN(conflict, companion(c, record, name, key));
    std::vector<RowField> row;
    for (const CellOp* op : ops) {
      if (!op->value.is_null()) row.push_back({op->field, op->value});
    }
    std::string_view bytes = c.keep(encode_row(row));
    Value value{ValueType::row, bytes};
    ElementKey at{c.m.id, 0};
    BL_TRY(ws_.put_element(*conflict, contenders, at, Element::make(c.version, value)));
    c.effects.note_element(key, contenders, CellOpKind::put_element, at, value);
    ++left;
  }
  if (!changed) return {};
  put(c, *conflict, contenders, {});  // the record shows that its elements changed
  FieldId state = entity.field("statecode")->id;
  int64_t wanted = left > 0 ? kOpen : kResolved;
  Value now = conflict->value(state);
  if (!now.is_null() && decode_integer(now.payload) == wanted) return {};
  if (wanted == kResolved) BL_PROBE("merge.conflict_resolved");
  put(c, *conflict, state, {ValueType::option, encode_integer(wanted)});
  return {};
}

Result<bool> Merger::has_open_conflicts(const Record& record, const Entity& entity) {
  FieldId contenders = ws_.schema().entity(entity_id::kConflict)->field("contenders")->id;
  for (const Field& field : entity.fields) {
    if (active(field.policy, level_) != Policy::ask) continue;
    RecordKey key = conflict_key(record.key(), field.id);  // of a group, its first field has one
    BL_ASSIGN(auto found, ws_.find(key));
    if (!found.record || !found.record->live()) continue;
    BL_ASSIGN(auto waiting, ws_.elements(key, contenders));
    if (!waiting.empty()) return true;
  }
  return false;
}

}  // namespace branchline
