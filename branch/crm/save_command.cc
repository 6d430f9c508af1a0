#include "branch/crm/save_command.h"

#include <algorithm>
#include <set>

#include "branch/crm/etag.h"
#include "common/base/limits.h"
#include "common/schema/index_key.h"
#include "replication/merge/feature_level.h"

namespace branchline {
namespace {

std::unexpected<Error> invalid(std::string code, std::string message) {
  return fail(ErrorKind::invalid, std::move(code), std::move(message));
}

std::unexpected<Error> not_found(const Entity& entity) {
  return fail(ErrorKind::not_found, "record.not_found",
              "there is no " + entity.label + " with this id here");
}

// Whoever names it learns where it went; an edit of one record is never done to another unasked.
std::unexpected<Error> merged_away(const Entity& entity, const RecordKey& survivor) {
  return fail(ErrorKind::conflict, "record.merged",
              "this " + entity.label + " was merged into " + to_string(survivor.id) +
                  ": read that one, and repeat the change there");
}

std::unexpected<Error> denied(const Entity& entity) {
  return fail(ErrorKind::denied, "access.write",
              "this token may not write " + entity.label_plural +
                  (entity.id == entity_id::kConflict
                       ? ": to resolve one, write the field that it is about, in the record that "
                         "it is about"
                   : entity.master_only ? " (they are made at the master)"
                                        : ""));
}

std::unexpected<Error> of_all_territories(const Entity& entity) {
  return invalid("territory.all",
                 entity.label_plural + " belong to all territories, not to one; leave it out");
}

}  // namespace

SaveCommand::SaveCommand(std::shared_ptr<const Schema> schema, const Principal& principal,
                         std::shared_ptr<const OfficeFacts> office, Mode mode, RecordInput input,
                         Precondition precondition)
    : schema_(std::move(schema)),
      principal_(principal),
      office_(std::move(office)),
      mode_(mode),
      input_(std::move(input)),
      precondition_(std::move(precondition)) {
  author = principal.user;
  credential = principal.credential;
}

RecordKey SaveCommand::record() const {
  if (!record_.id.is_nil()) return record_;
  // A replay never ran prepare().
  RecordKey key{input_.entity->id, input_.address.id.value_or(RecordId{})};
  if (key.id.is_nil() && !operation_key.empty()) key.id = keyed_record_id(author, operation_key, 0);
  return key;
}

Result<Draft> SaveCommand::prepare(Workspace& view, RecordIdMaker& ids, int64_t now_ms) {
  const Entity& entity = *input_.entity;
  if (!may_write_entity(principal_, entity)) return denied(entity);
  Draft draft;
  if (upstream_) {
    BL_ASSIGN(auto here, view.find({entity.id, upstream_->id}));
    if (!here.record) return prepare_upstream();
  }
  draft.atomic = atomic_;
  BL_ASSIGN(auto id, resolve(view));
  const Record* record = nullptr;
  if (id) {
    BL_ASSIGN(auto found, view.find({entity.id, *id}));
    if (found.record && !may_read(principal_, entity, *found.record)) return not_found(entity);
    if (found.record && found.record->live()) record = found.record;
    if (found.record && found.record->state() == RecordState::redirect) {
      BL_ASSIGN(auto survivor, view.resolve({entity.id, *id}));
      bool there = survivor.record && survivor.record->live() &&
                   may_read(principal_, entity, *survivor.record);
      if (!there) return not_found(entity);
      return merged_away(entity, survivor.record->key());
    }
  }
  if (record && input_.subtype) {
    Value type = record->value(input_.subtype->field);
    if (type.is_null() || decode_integer(type.payload) != input_.subtype->value) record = nullptr;
  }
  BL_TRY(check_precondition(record));
  if (mode_ == Mode::create || (mode_ == Mode::upsert && !record)) {
    if (record) {
      return fail(ErrorKind::conflict, "record.exists",
                  "a " + entity.label + " with this id exists already");
    }
    if (guard_) {
      return fail(ErrorKind::conflict, "write.guard",
                  "there is no such " + entity.label + " yet, so no value to guard");
    }
    BL_TRY(create(view, ids, now_ms, input_, id, std::nullopt, {}, draft));
    record_ = draft.ops.front().record;
    created_ = true;
    return draft;
  }
  if (!record) return not_found(entity);
  record_ = record->key();
  if (guard_) BL_TRY(add_guards(*record, *guard_, draft));
  if (mode_ == Mode::remove) {
    BL_TRY(remove(view, *record, draft));
  } else if (mode_ == Mode::merge) {
    BL_TRY(merge(view, *record, draft));
  } else {
    BL_TRY(update(view, *record, draft));
  }
  return draft;
}

// Rule 6: the operation names the commit that its author read, and is decided at the master alone.
Result<Draft> SaveCommand::prepare_upstream() {
  const Entity& entity = *input_.entity;
  Workspace::Config config;
  config.side = upstream_->side;
  config.holds_everything = false;
  Workspace elsewhere(*upstream_->view, schema_, config);
  RecordKey key{entity.id, upstream_->id};
  BL_ASSIGN(auto found, elsewhere.find(key));
  if (!found.record || !found.record->live() || !may_read(principal_, entity, *found.record))
    return not_found(entity);
  BL_TRY(check_precondition(found.record));
  record_ = key;
  Draft draft;
  draft.atomic = atomic_;
  if (guard_) BL_TRY(add_guards(*found.record, *guard_, draft));
  if (mode_ == Mode::remove) {
    BL_TRY(remove(elsewhere, *found.record, draft));
  } else {
    BL_TRY(update(elsewhere, *found.record, draft));
  }
  for (auto& op : draft.ops) op.seen = upstream_->seen;
  return draft;
}

Result<std::optional<RecordId>> SaveCommand::resolve(Workspace& view) {
  const RecordAddress& address = input_.address;
  if (address.id) return address.id;
  if (!address.key) return std::optional<RecordId>();
  BL_ASSIGN(auto holder,
            view.holder_of(*input_.entity, *address.key, address.key_value.view(), {}));
  if (!holder) return std::optional<RecordId>();
  return std::optional(holder->id);
}

Result<void> SaveCommand::check_precondition(const Record* record) const {
  if (precondition_.must_not_exist && record) {
    return fail(ErrorKind::conflict, "precondition.exists",
                "the record exists, and If-None-Match: * forbids to change it");
  }
  if (precondition_.must_exist && !record) return not_found(*input_.entity);
  if (precondition_.etags.empty()) return {};
  if (!record) return not_found(*input_.entity);
  uint64_t now = etag_of(*record, *input_.entity);
  if (std::find(precondition_.etags.begin(), precondition_.etags.end(), now) ==
      precondition_.etags.end()) {
    return fail(ErrorKind::conflict, "precondition.etag",
                "the record was changed since it was read; read it again, then repeat the change");
  }
  return {};
}

Result<void> SaveCommand::add_guards(const Record& record, const Expression& guard,
                                     Draft& draft) const {
  if (guard.kind == Expression::Kind::all_of) {
    for (const auto& o : guard.operands) BL_TRY(add_guards(record, o, draft));
    return {};
  }
  if (!holds(guard, record)) {
    return fail(ErrorKind::conflict, "write.guard",
                guard.column.name + " has another value than Branchline-Guard expects");
  }
  Value now = record.value(guard.column.id);
  draft.guards.push_back(
      {record.key(), guard.column.id, {now.type, draft.arena.copy(now.payload)}});
  return {};
}

Result<TerritoryId> SaveCommand::choose_territory(const Entity& entity,
                                                  const std::string& name) const {
  if (entity.territory == TerritoryRule::reference) {
    if (!name.empty()) return of_all_territories(entity);
    return kReferenceTerritory;
  }
  if (!name.empty()) {
    BL_ASSIGN(TerritoryId t, territory_named(name));
    bool here = std::find(office_->held.begin(), office_->held.end(), t) != office_->held.end();
    if (!here)
      return invalid("territory.elsewhere", "this office does not hold territory `" + name + "`");
    if (!principal_.works_in(t)) {
      return fail(ErrorKind::denied, "access.territory",
                  "this token may not work in territory `" + name + "`");
    }
    return t;
  }
  std::vector<TerritoryId> possible;
  for (TerritoryId t : office_->held) {
    if (principal_.works_in(t)) possible.push_back(t);
  }
  if (possible.size() == 1) return possible.front();
  if (possible.empty())
    return fail(ErrorKind::denied, "access.territory",
                "this token may not work in this office's territories");
  std::string names;
  for (const auto& [n, t] : office_->territories) {
    if (std::find(possible.begin(), possible.end(), t) != possible.end())
      names += (names.empty() ? "" : ", ") + n;
  }
  return invalid("territory.missing",
                 "this office has several territories; name one by \"territoryid@odata.bind\" or "
                 "\"Branchline.territory\": " +
                     names);
}

Result<TerritoryId> SaveCommand::territory_named(const std::string& name) const {
  auto at = office_->territories.find(name);
  if (at == office_->territories.end())
    return invalid("territory.unknown", "there is no territory `" + name + "`");
  return at->second;
}

bool SaveCommand::names_territories() const {
  return !input_.territory.empty() || input_.also_in || !input_.also_in_add.empty() ||
         !input_.also_in_remove.empty();
}

Result<void> SaveCommand::check_move(const Record& record, TerritoryId home,
                                     const std::vector<TerritoryId>& also_in) const {
  auto name_of = [&](TerritoryId t) {
    for (const auto& [name, number] : office_->territories) {
      if (number == t) return "`" + name + "`";
    }
    return std::to_string(t.value);
  };
  if (may_move(principal_, {record.territory()}, record, home, also_in)) return {};
  std::string names;
  std::vector<TerritoryId> needed{record.territory(), home};
  needed.insert(needed.end(), also_in.begin(), also_in.end());
  for (TerritoryId t : needed) {
    if (principal_.works_in(t) || names.find(name_of(t)) != std::string::npos) continue;
    names += (names.empty() ? "" : ", ") + name_of(t);
  }
  return fail(
      ErrorKind::denied, "access.territory",
      "who moves a record must work in its home territory and in each that it newly enters; "
      "this token may not work in " +
          names);
}

Result<void> SaveCommand::add_move(const Record& record, RecordOp& op) const {
  if (!names_territories()) return {};
  TerritoryId home = record.territory();
  if (!input_.territory.empty()) {
    BL_ASSIGN(home, territory_named(input_.territory));
  }
  std::set<TerritoryId> also_in(record.also_in().begin(), record.also_in().end());
  if (input_.also_in) {
    also_in.clear();
    for (const auto& name : *input_.also_in) {
      BL_ASSIGN(TerritoryId t, territory_named(name));
      also_in.insert(t);
    }
  }
  for (const auto& name : input_.also_in_add) {
    BL_ASSIGN(TerritoryId t, territory_named(name));
    also_in.insert(t);
  }
  for (const auto& name : input_.also_in_remove) {
    BL_ASSIGN(TerritoryId t, territory_named(name));
    if (t == home)
      return invalid("territory.home", "`" + name +
                                           "` is the record's home territory: give it another home "
                                           "by territoryid, then take this one away");
    also_in.erase(t);
  }
  also_in.erase(home);
  std::vector<TerritoryId> wanted(also_in.begin(), also_in.end());
  if (home == record.territory() && wanted == record.also_in()) return {};
  if (parent_of(record, *input_.entity)) {
    return invalid("territory.child",
                   "a record that belongs to another has that one's territories; move that one");
  }
  BL_TRY(check_move(record, home, wanted));
  op.kind = RecordOpKind::move;
  op.territory = home;
  op.also_in = std::move(wanted);
  return {};
}

Result<void> SaveCommand::create(Workspace& view, RecordIdMaker& ids, int64_t now_ms,
                                 const RecordInput& input, std::optional<RecordId> id,
                                 std::optional<Lookup> parent, FieldId parent_field, Draft& draft) {
  const Entity& entity = *input.entity;
  if (!may_write_entity(principal_, entity)) return denied(entity);
  if (draft.ops.size() >= limits::kMaxOperationsPerMutation) {
    return invalid("write.too_many", "more than " +
                                         std::to_string(limits::kMaxOperationsPerMutation) +
                                         " records in one request");
  }
  size_t place = draft.ops.size();
  if (!id)
    id = operation_key.empty() ? ids.make(now_ms)
                               : keyed_record_id(author, operation_key, uint32_t(place));
  RecordKey key{entity.id, *id};
  BL_ASSIGN(auto existing, view.find(key));
  if (existing.record && existing.record->live()) {
    return fail(ErrorKind::conflict, "record.exists",
                "a " + entity.label + " with this id exists already");
  }
  if (existing.record && existing.record->state() == RecordState::redirect) {
    BL_ASSIGN(auto survivor, view.resolve(key));
    return merged_away(entity, survivor.record ? survivor.record->key() : key);
  }
  if (existing.record) {  // the master would decide for the deletion: say so while someone listens
    return fail(ErrorKind::conflict, "record.deleted",
                "the " + entity.label + " " + to_string(key.id) +
                    " was deleted, and its id cannot be used again; create it under a new id");
  }
  draft.ops.emplace_back();
  RecordOp op;
  op.kind = RecordOpKind::create;
  op.record = key;
  auto fields = input.fields;
  if (parent) {
    FieldInput f;
    f.field = entity.field(parent_field);
    f.value = {ValueType::lookup, encode_lookup(*parent)};
    fields.push_back(std::move(f));
  }
  auto given = [&](FieldId field) {
    return std::any_of(fields.begin(), fields.end(),
                       [&](const FieldInput& f) { return f.field->id == field; });
  };
  if (input.subtype && !given(input.subtype->field)) {
    FieldInput f;
    f.field = entity.field(input.subtype->field);
    f.value = {ValueType::option, encode_integer(input.subtype->value)};
    fields.push_back(std::move(f));
  }
  const Field* owner = entity.field("ownerid");
  if (owner && !given(owner->id)) {
    FieldInput f;
    f.field = owner;
    f.value = {ValueType::lookup, encode_lookup({entity_id::kUser, author})};
    fields.push_back(std::move(f));
  }
  // A unique key that the record is addressed by is part of it.
  if (input.address.key && !given(input.address.key->fields[0])) {
    FieldInput f;
    f.field = entity.field(input.address.key->fields[0]);
    f.value = input.address.key_value;
    fields.push_back(std::move(f));
  }
  BL_TRY(check_values(view, entity, fields, key.id, draft));
  BL_TRY(add_cells(view, entity, nullptr, fields, op, draft));
  BL_TRY(check_required(entity, op, nullptr));
  bool has_parent = std::any_of(entity.parents.begin(), entity.parents.end(), [&](FieldId p) {
    return std::any_of(op.cells.begin(), op.cells.end(),
                       [&](const CellOp& c) { return c.field == p && !c.value.is_null(); });
  });
  if (!has_parent) {
    BL_ASSIGN(op.territory, choose_territory(entity, input.territory));
    std::set<TerritoryId> also_in;
    if (input.also_in && entity.territory == TerritoryRule::reference)
      return of_all_territories(entity);
    for (const auto& name : input.also_in.value_or(std::vector<std::string>())) {
      BL_ASSIGN(TerritoryId t, territory_named(name));
      if (!principal_.works_in(t)) {
        return fail(ErrorKind::denied, "access.territory",
                    "this token may not work in territory `" + name + "`");
      }
      if (t != op.territory) also_in.insert(t);
    }
    op.also_in.assign(also_in.begin(), also_in.end());
  } else if (!input.territory.empty() || input.also_in) {
    return invalid("territory.child",
                   "a record that belongs to another has that one's territory; leave it out");
  }
  draft.ops[place] = std::move(op);
  for (const auto& child : input.children) {
    for (const auto& r : child.records) {
      BL_TRY(create(view, ids, now_ms, r, r.address.id, Lookup{key.entity, key.id}, child.lookup,
                    draft));
    }
  }
  return {};
}

Result<void> SaveCommand::update(Workspace& view, const Record& record, Draft& draft) {
  const Entity& entity = *input_.entity;
  if (!may_write(principal_, entity, record)) return denied(entity);
  if (entity.territory == TerritoryRule::reference &&
      (input_.no_territory || names_territories())) {
    return of_all_territories(entity);
  }
  if (input_.no_territory) {
    return invalid("territory.required",
                   "every record has a territory; name the one that it shall move to");
  }
  if (!input_.children.empty()) {
    return invalid("write.deep_update",
                   "records in a collection can be created with their parent, not with its update");
  }
  BL_TRY(check_values(view, entity, input_.fields, record.key().id, draft));
  RecordOp op;
  op.kind = RecordOpKind::update;
  op.record = record.key();
  BL_TRY(add_move(record, op));
  BL_TRY(add_cells(view, entity, &record, input_.fields, op, draft));
  BL_TRY(check_required(entity, op, &record));
  if (op.kind == RecordOpKind::move || !op.cells.empty()) draft.ops.push_back(std::move(op));
  return {};
}

Result<void> SaveCommand::remove(Workspace&, const Record& record, Draft& draft) {
  if (!may_write(principal_, *input_.entity, record)) return denied(*input_.entity);
  RecordOp& op = draft.ops.emplace_back();
  op.kind = RecordOpKind::remove;
  op.record = record.key();
  return {};
}

Result<void> SaveCommand::merge(Workspace& view, const Record& survivor, Draft& draft) {
  const Entity& entity = *input_.entity;
  if (!entity.mergeable) return invalid("merge.entity", entity.label_plural + " cannot be merged");
  RecordKey key{entity.id, subordinate};
  if (subordinate == survivor.key().id)
    return invalid("merge.itself", "Target and Subordinate are the same " + entity.label);
  BL_ASSIGN(auto found, view.resolve(key));
  if (!found.record || !found.record->live() || !may_read(principal_, entity, *found.record))
    return not_found(entity);
  const Record& merged = *found.record;
  if (merged.key() != key) return merged_away(entity, merged.key());
  if (!may_write(principal_, entity, merged)) return denied(entity);
  if (names_territories()) {
    return invalid("merge.territory",
                   "a merge unites the territories of both: move the record that stays afterwards, "
                   "and leave them out of UpdateContent");
  }
  for (const auto& field : entity.fields) {
    bool above = field.hierarchy || std::find(entity.parents.begin(), entity.parents.end(),
                                              field.id) != entity.parents.end();
    if (same_parents && above && merged.value(field.id) != survivor.value(field.id)) {
      return fail(ErrorKind::conflict, "merge.parents",
                  "the two have another " + field.name +
                      ", and PerformParentingChecks asks that it be the same");
    }
  }
  for (const auto& f : input_.fields) {
    if (f.field->policy != Policy::sum && !f.field->is_collection()) continue;
    return invalid("merge.combined", f.field->name +
                                         ": sums are added and lists united by a merge; leave it "
                                         "out of UpdateContent");
  }
  BL_TRY(update(view, survivor, draft));
  if (draft.ops.empty()) draft.ops.emplace_back();
  RecordOp& op = draft.ops.back();
  op.kind = RecordOpKind::merge;
  op.record = key;
  op.target = survivor.key().id;
  return {};
}

// Lookups must be here and visible; unique keys must be free here.
Result<void> SaveCommand::check_values(Workspace& view, const Entity& entity,
                                       const std::vector<FieldInput>& fields, const RecordId& self,
                                       const Draft& draft) const {
  for (const auto& f : fields) {
    if (f.value.type == ValueType::lookup) {
      Lookup l = decode_lookup(f.value.payload);
      bool in_draft = std::any_of(draft.ops.begin(), draft.ops.end(), [&](const RecordOp& op) {
        return op.record == RecordKey{l.entity, l.id};
      });
      if (in_draft) continue;
      BL_ASSIGN(auto found, view.resolve({l.entity, l.id}));
      const Entity& target = *schema_->entity(l.entity);
      if (!found.record || !found.record->live() || !may_read(principal_, target, *found.record)) {
        return invalid("lookup.unknown", f.field->name + ": there is no " + target.label + " " +
                                             to_string(l.id) + " here");
      }
    }
    if (f.value.type == ValueType::null) continue;
    for (const auto& index : entity.indexes) {
      if (!index.unique || index.fields[0] != f.field->id) continue;
      BL_ASSIGN(auto holder, view.holder_of(entity, index, f.value.view(), self));
      if (!holder || (mode_ == Mode::merge && holder->id == subordinate)) continue;
      BL_ASSIGN(auto taken, view.find({entity.id, holder->id}));
      // A record that the caller may not see is not there for him: the master marks the second
      // claim.
      if (taken.record && may_read(principal_, entity, *taken.record)) {
        return fail(ErrorKind::conflict, "key.taken",
                    "another " + entity.label + " has this " + f.field->name +
                        " already: " + to_string(holder->id));
      }
    }
  }
  return {};
}

Result<void> SaveCommand::check_required(const Entity& entity, const RecordOp& op,
                                         const Record* record) const {
  for (const auto& field : entity.fields) {
    if (!field.required) continue;
    auto cell = std::find_if(op.cells.begin(), op.cells.end(),
                             [&](const CellOp& c) { return c.field == field.id; });
    bool absent =
        cell == op.cells.end() ? !record : cell->value.is_null() || cell->value.payload.empty();
    if (absent) return invalid("field.required", field.name + " is required");
  }
  return {};
}

void SaveCommand::add_group(const Entity& entity, const Record* record, uint16_t group,
                            RecordOp& op, Draft& draft) {
  // Groups merge as one (SEMANTICS 9): what the author leaves alone is said as it was seen.
  for (const Field* f : entity.group_fields(group)) {
    bool there = std::any_of(op.cells.begin(), op.cells.end(),
                             [&](const CellOp& c) { return c.field == f->id; });
    if (there) continue;
    Value seen;
    if (record && record->find(f->id)) {
      seen = record->value(f->id);
    } else if (!f->default_value.empty()) {
      seen = {f->type, f->default_value};
    }
    op.cells.push_back({f->id, CellOpKind::set, {seen.type, draft.arena.copy(seen.payload)}, {}});
  }
}

Result<void> SaveCommand::add_cells(Workspace& view, const Entity& entity, const Record* record,
                                    const std::vector<FieldInput>& fields, RecordOp& op,
                                    Draft& draft) {
  // On a line that has not raised its feature level yet, a stock is a plain value.
  BL_ASSIGN(uint32_t level, committed_level(view));
  std::set<uint16_t> groups;
  auto put = [&](FieldId field, CellOpKind kind, ValueType type,
                 std::string_view payload) -> CellOp& {
    return op.cells.emplace_back(CellOp{field, kind, {type, draft.arena.copy(payload)}, {}});
  };
  for (const auto& f : fields) {
    const Field& field = *f.field;
    Policy policy = active(field.policy, level);
    if (field.group != 0) groups.insert(field.group);
    auto put_difference = [&](const Decimal& d) {
      if (d.is_zero()) return;
      bool spent = policy == Policy::escrow && d.mantissa() < 0;
      put(field.id, spent ? CellOpKind::spend : CellOpKind::add, ValueType::decimal,
          encode_decimal(spent ? d.negated() : d));
    };
    switch (f.kind) {
      case FieldInput::Kind::add:
        if (policy == Policy::escrow) {
          put_difference(decode_decimal(f.value.payload));
        } else {
          put(field.id, CellOpKind::add, f.value.type, f.value.payload);
        }
        break;
      case FieldInput::Kind::give_back:
        put(field.id, CellOpKind::give_back, f.value.type, f.value.payload);
        break;
      case FieldInput::Kind::correct:
        put(field.id, CellOpKind::correct, f.value.type, f.value.payload);
        break;
      case FieldInput::Kind::append:
        put(field.id, CellOpKind::append, f.value.type, f.value.payload).key.index =
            element_index_++;
        break;
      case FieldInput::Kind::set: {
        if (policy != Policy::sum && policy != Policy::escrow) {
          if (!record && f.value.type == ValueType::null) break;  // never written is null already
          put(field.id, CellOpKind::set, f.value.type, f.value.payload);
          break;
        }
        // The difference from what the author saw (here: the view).
        Value seen = record ? record->value(field.id) : Value{};
        if (field.type == ValueType::integer) {
          int64_t before = seen.is_null() ? 0 : decode_integer(seen.payload), difference = 0;
          int64_t wanted = f.value.type == ValueType::null ? 0 : decode_integer(f.value.payload);
          if (__builtin_sub_overflow(wanted, before, &difference)) {
            return invalid("value.range", field.name + " would leave the range of integers");
          }
          if (difference != 0)
            put(field.id, CellOpKind::add, ValueType::integer, encode_integer(difference));
        } else {
          Decimal wanted =
              f.value.type == ValueType::null ? Decimal() : decode_decimal(f.value.payload);
          auto difference =
              Decimal::subtract(wanted, seen.is_null() ? Decimal() : decode_decimal(seen.payload));
          if (!difference)
            return invalid("value.range", field.name + " would leave the range of decimals");
          put_difference(*difference);
        }
        break;
      }
      case FieldInput::Kind::elements: {
        std::vector<std::pair<keys::ParsedElement, Element>> there;
        if (record) {
          BL_ASSIGN(there, view.elements(record->key(), field.id));
        }
        std::set<std::string> wanted;
        for (const auto& e : f.elements) wanted.insert(e.payload);
        std::set<std::string> held;
        for (const auto& [key, element] : there) {
          std::string payload(element.value().payload);
          held.insert(payload);
          if (!wanted.count(payload))
            op.cells.push_back({field.id, CellOpKind::remove, {}, key.key});
        }
        if (wanted.size() > limits::kMaxElementsPerField) {
          return invalid("value.too_many", field.name + " holds at most " +
                                               std::to_string(limits::kMaxElementsPerField) +
                                               " values");
        }
        for (const auto& w : wanted) {
          if (!held.count(w))
            put(field.id, CellOpKind::insert, field.element, w).key.index = element_index_++;
        }
        break;
      }
    }
  }
  for (uint16_t g : groups) add_group(entity, record, g, op, draft);
  return {};
}

RemoveElementCommand::RemoveElementCommand(std::shared_ptr<const Schema> schema,
                                           const Principal& principal, RecordKey record,
                                           FieldId field, ElementKey key)
    : schema_(std::move(schema)), principal_(principal), record_(record), field_(field), key_(key) {
  author = principal.user;
  credential = principal.credential;
}

Result<Draft> RemoveElementCommand::prepare(Workspace& view, RecordIdMaker&, int64_t) {
  if (record_.id.is_nil()) {
    return fail(ErrorKind::not_found, "record.not_found", "there is no Note with this id here");
  }
  const Entity& entity = *schema_->entity(record_.entity);
  BL_ASSIGN(auto found, view.find(record_));
  if (!found.record || !found.record->live() || !may_read(principal_, entity, *found.record))
    return not_found(entity);
  if (!may_write(principal_, entity, *found.record)) return denied(entity);
  BL_ASSIGN(auto element, view.element(record_, field_, key_));
  if (!element)
    return fail(ErrorKind::not_found, "element.not_found", "this note does not exist any more");
  Draft draft;
  RecordOp& op = draft.ops.emplace_back();
  op.kind = RecordOpKind::update;
  op.record = record_;
  op.cells.push_back({field_, CellOpKind::remove, {}, key_});
  return draft;
}

}  // namespace branchline
