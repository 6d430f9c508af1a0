#include "replication/merge/merge.h"

#include <set>

#include "common/base/limits.h"
#include "common/base/probe.h"
#include "replication/merge/arrival.h"
#include "replication/merge/companions.h"
#include "replication/merge/effects.h"
#include "replication/merge/merge_context.h"
#include "replication/merge/policy.h"

namespace branchline {
namespace {

// Ties of equal stamps: any order will do that every server computes alike.
bool later(Hlc a, const MutationId& a_id, Hlc b, const MutationId& b_id) {
  return a != b ? a > b : a_id > b_id;
}

bool type_fits(const Field& field, Policy policy, const CellOp& op) {
  if (policy == Policy::escrow && op.kind != CellOpKind::set) {
    if (op.value.type != field.type || decode_decimal(op.value.payload).mantissa() <= 0)
      return false;
    const MutationId& holder = op.key.mutation;
    bool named = holder.origin.value != 0 && holder.incarnation.value != 0;
    return op.kind != CellOpKind::grant || named;
  }
  if (op.kind == CellOpKind::remove) return op.value.is_null();
  if (op.value.is_null()) return op.kind == CellOpKind::set || op.kind == CellOpKind::correct;
  return op.value.type == field.type;
}

}  // namespace

RecordOp& EffectList::cells_of(const RecordKey& key, RecordOpKind kind_if_new) {
  auto [at, fresh] = cells_.try_emplace(key, ops_.size());
  if (fresh) {
    auto& op = ops_.emplace_back();
    op.kind = kind_if_new;
    op.record = key;
  }
  return ops_[at->second];
}

void EffectList::set_state(const RecordKey& key, RecordOpKind kind) {
  auto [at, fresh] = states_.try_emplace(key, ops_.size());
  if (fresh) ops_.emplace_back().record = key;
  ops_[at->second].kind = kind;
}

void EffectList::redirect(const RecordKey& merged, const RecordId& target,
                          const std::vector<FieldId>& taken) {
  set_state(merged, RecordOpKind::redirect);
  RecordOp& op = ops_[states_.at(merged)];
  op.target = target;
  for (FieldId f : taken) op.cells.push_back({f, CellOpKind::put, {}, {}});
}

void EffectList::follow(const RecordKey& key, FieldId field) {
  auto [at, fresh] = follows_.try_emplace(key, ops_.size());
  if (fresh) {
    auto& op = ops_.emplace_back();
    op.kind = RecordOpKind::redirect;
    op.record = key;
  }
  ops_[at->second].cells.push_back({field, CellOpKind::put, {}, {}});
}

void EffectList::note_move(const RecordKey& key) {
  // What comes into being does so where it belongs in the end.
  if (auto at = cells_.find(key);
      at != cells_.end() && ops_[at->second].kind == RecordOpKind::put_new)
    return;
  auto [at, fresh] = moves_.try_emplace(key, ops_.size());
  if (!fresh) return;
  auto& op = ops_.emplace_back();
  op.kind = RecordOpKind::relocate;
  op.record = key;
}

void EffectList::note(const RecordKey& key, FieldId field) {
  RecordOp& op = cells_of(key, RecordOpKind::put_cells);
  for (const auto& c : op.cells) {
    if (c.kind == CellOpKind::put && c.field == field) return;
  }
  op.cells.push_back({field, CellOpKind::put, {}, {}});
}

void EffectList::note_element(const RecordKey& key, FieldId field, CellOpKind kind,
                              const ElementKey& element, const Value& value) {
  cells_of(key, RecordOpKind::put_cells).cells.push_back({field, kind, value, element});
}

Merger::Merger(Workspace& workspace, const Lineage& lineage) : ws_(workspace), lineage_(lineage) {}

Decision Merger::reject(Reason reason) {
  Decision d;
  d.fate = Fate::rejected;
  d.outcomes.push_back({0, FieldId(0), Fate::rejected, reason, {}});
  return d;
}

// Of a record that its office did not hold, the author had seen what the upstream read showed, and
// nothing that the office applied since (SEMANTICS 6). A base of 0 is one of another line, whose
// numbers say nothing here; nobody has read a commit that was not made yet.
Csn Merger::seen_through(const Mutation& m, const RecordOp& op, Csn csn) {
  if (op.seen.value == 0) return m.base;
  bool possible = m.base.value != 0 && (csn.value == 0 || op.seen < csn);
  return possible ? op.seen : Csn(0);
}

Result<Decision> Merger::run(const Mutation& m, Csn csn, const Permit& permit) {
  if (beyond_level(ws_.schema(), m.ops, level_)) {
    BL_PROBE("merge.not_activated");
    return reject(Reason::not_activated);
  }
  if (Reason wrong = check_shape(m); wrong != Reason::none) return reject(wrong);
  BL_ASSIGN(bool hold, guards_hold(m));
  if (!hold) return reject(Reason::guard);

  Context c{m, version_of(m, csn), {}, {}, permit};
  std::optional<RecordOp> led;
  ws_.begin();
  for (size_t i = 0; i < m.ops.size() && !c.rejected; ++i) {
    c.op = static_cast<uint16_t>(i);
    BL_ASSIGN(led, led_to_survivors(c, m.ops[i]));
    const RecordOp& op = led ? *led : m.ops[i];
    c.base = seen_through(m, op, csn);
    switch (op.kind) {
      case RecordOpKind::create:
        BL_TRY(create(c, op));
        break;
      case RecordOpKind::update:
      case RecordOpKind::move:
        BL_TRY(update(c, op));
        break;
      case RecordOpKind::remove:
        BL_TRY(remove(c, op));
        break;
      case RecordOpKind::merge:
        BL_TRY(merge(c, op));
        break;
      default:
        c.reject(FieldId(0), Reason::not_activated);
    }
  }
  bool atomic = m.atomic || takes_from_share(m);
  if (!c.rejected && atomic && c.decision.fate == Fate::overridden) {
    c.reject(FieldId(0), Reason::atomic);
  }
  if (!c.rejected) BL_TRY(finish_effects(c));
  if (c.rejected) {
    ws_.rollback();
    return std::move(c.decision);
  }
  c.decision.effects = std::move(c.effects.list());
  c.decision.journal = ws_.end();
  return std::move(c.decision);
}

// Values and territories as they are in the end, and whether all of it is small enough.
Result<void> Merger::finish_effects(Context& c) {
  bool moves = false;
  for (RecordOp& op : c.effects.list()) {
    // What a survivor takes over is not told by value.
    if (op.kind == RecordOpKind::redirect && !op.target.is_nil()) continue;
    BL_ASSIGN(auto found, ws_.find(op.record));
    for (CellOp& cell : op.cells) {
      if (cell.kind == CellOpKind::put) cell.value = found.record->value(cell.field);
    }
    bool relocate = op.kind == RecordOpKind::relocate;
    moves = moves || relocate;
    if (!relocate && op.kind != RecordOpKind::put_new) continue;
    op.territory = found.record->territory();
    op.also_in = found.record->also_in();
  }
  // What is derived or opened besides is not in the operations: no follower may get it either.
  auto is_beyond = [&](const RecordOp& op) {
    const Entity* entity = ws_.schema().entity(op.record.entity);
    return level_of(op.kind) > level_ || (entity && entity->since > level_);
  };
  const auto& effects = c.effects.list();
  bool beyond = level_ < kFeatureLevel && std::any_of(effects.begin(), effects.end(), is_beyond);
  if (beyond) {
    c.reject(FieldId(0), Reason::not_activated);
    return {};
  }
  bool fits = effect_bytes(c.effects.list()) <= limits::kMaxEffectBytes;
  if (fits && moves) {
    BL_ASSIGN(fits, arrivals_fit(ws_, c.effects.list()));
  }
  if (!fits) c.reject(FieldId(0), moves ? Reason::move_too_large : Reason::too_large);
  return {};
}

Reason Merger::check_shape(const Mutation& m) const {
  std::set<RecordKey> records;
  for (const auto& op : m.ops) {
    const Entity* entity = ws_.schema().entity(op.record.entity);
    if (!entity || op.record.id.is_nil()) return Reason::malformed;
    // One operation per record: the order of two would be a second thing to get wrong.
    if (m.ops.size() > 1 && !records.insert(op.record).second) return Reason::malformed;
    if (op.kind == RecordOpKind::remove && !op.cells.empty()) return Reason::malformed;
    if (op.kind == RecordOpKind::merge) {
      // Of its own: what else a mutation did to either record, or beneath, would be a second thing
      // to tell apart.
      bool alone = m.ops.size() == 1 && entity->mergeable;
      if (!alone || op.target.is_nil() || op.target == op.record.id) return Reason::malformed;
    }
    if (op.kind == RecordOpKind::move) {
      // Everywhere is for what goes to all, and for the tokens of those who work everywhere.
      bool everywhere =
          op.territory == kReferenceTerritory ||
          std::find(op.also_in.begin(), op.also_in.end(), kReferenceTerritory) != op.also_in.end();
      bool nowhere = op.territory == kNoTerritory || std::find(op.also_in.begin(), op.also_in.end(),
                                                               kNoTerritory) != op.also_in.end();
      if (entity->territory == TerritoryRule::reference || nowhere ||
          (everywhere && !entity->credential)) {
        return Reason::malformed;
      }
    }
    std::set<std::pair<FieldId, ElementKey>> plain;
    for (const auto& cell : op.cells) {
      const Field* field = entity->field(cell.field);
      if (!field || field->derived.kind != Derived::Kind::none) return Reason::malformed;
      if (rule_of(cell.kind, active(field->policy, level_)) == Rule::refuse ||
          !type_fits(*field, active(field->policy, level_), cell)) {
        return Reason::malformed;
      }
      // One value per field: which of two would count is nobody's to guess. Grants have one per
      // holder.
      ElementKey holder = cell.kind == CellOpKind::grant ? cell.key : ElementKey{};
      if (!field->is_collection() && !plain.insert({cell.field, holder}).second)
        return Reason::malformed;
    }
  }
  return Reason::none;
}

Result<bool> Merger::guards_hold(const Mutation& m) {
  for (const auto& g : m.guards) {
    BL_ASSIGN(auto found, ws_.resolve(g.record));
    if (found.held == Held::not_held) continue;
    if (!found.record || !found.record->live()) return false;
    if (found.record->value(g.field) != g.expected) return false;
  }
  return true;
}

// --- Create ---

Result<Merger::Home> Merger::home_of(Context& c, const RecordOp& op, const Entity& entity) {
  Home home;
  if (entity.territory == TerritoryRule::reference) {
    home.territory = kReferenceTerritory;
    return home;
  }
  for (FieldId parent_field : entity.parents) {
    for (const auto& cell : op.cells) {
      if (cell.field != parent_field || cell.value.is_null()) continue;
      Lookup l = decode_lookup(cell.value.payload);
      RecordKey parent{l.entity, l.id};
      BL_ASSIGN(auto found, ws_.find(parent));
      if (!found.record) {
        home.refused = Reason::unknown_parent;
        return home;
      }
      if (found.record->state() == RecordState::tombstone) {
        // A child that the deleter had not seen brings the whole deletion back (SEMANTICS 14).
        MutationId deletion = found.record->state_version().id;
        BL_ASSIGN(bool back, bring_back(c, *found.record));
        if (!back) {
          home.refused = Reason::parent_deleted;
          return home;
        }
        BL_PROBE("merge.revived_by_child");
        c.outcome(FieldId(0), Fate::merged, Reason::revived, deletion);
      }
      home.territory = found.record->territory();
      home.also_in = found.record->also_in();
      home.parent = found.record;
      return home;
    }
  }
  home.territory = op.territory;
  home.also_in = op.also_in;
  if (home.territory == kNoTerritory) home.refused = Reason::no_territory;
  return home;
}

Result<void> Merger::create(Context& c, const RecordOp& op) {
  const Entity& entity = *ws_.schema().entity(op.record.entity);
  BL_ASSIGN(auto found, ws_.find(op.record));
  if (found.record) {
    c.outcome(FieldId(0), Fate::merged, Reason::exists, found.record->created_version().id);
    return update(c, op);
  }
  BL_ASSIGN(Home home, home_of(c, op, entity));
  if (home.refused != Reason::none) {
    c.reject(FieldId(0), home.refused);
    return {};
  }
  Record& record = ws_.create(op.record, home.territory, home.also_in, c.version);
  RecordOp& effect = c.effects.cells_of(op.record, RecordOpKind::put_new);
  effect.territory = home.territory;
  effect.also_in = home.also_in;
  if (!c.permitted(entity, home.parent ? *home.parent : record)) return {};
  if (!home.parent && !home.also_in.empty()) {
    Record at_home(op.record, home.territory, {}, c.version);
    if (!c.may_move(at_home, home.territory, home.also_in)) return {};
  }
  return cells(c, record, op, entity, true);
}

// --- Update ---

Result<void> Merger::update(Context& c, const RecordOp& op) {
  const Entity& entity = *ws_.schema().entity(op.record.entity);
  std::vector<RecordKey> through;
  BL_ASSIGN(auto found, ws_.resolve(op.record, &through));
  if (found.held == Held::not_held) return {};  // no forecast (SEMANTICS 12)
  if (!found.record) {
    c.reject(FieldId(0), Reason::unknown_record);
    return {};
  }
  Record& record = *found.record;
  if (!c.permitted(entity, record)) return {};
  if (record.state() == RecordState::tombstone) {
    MutationId deletion = record.state_version().id;
    BL_ASSIGN(bool back, bring_back(c, record));
    if (!back) {
      c.outcome(FieldId(0), Fate::overridden, Reason::deleted, deletion);
      return {};
    }
    BL_PROBE("merge.revived_by_edit");
    c.outcome(FieldId(0), Fate::merged, Reason::revived, deletion);
  }
  if (!through.empty()) return redirected(c, record, through, op, entity);
  if (op.kind == RecordOpKind::move) {
    BL_TRY(move(c, record, op));
    if (c.rejected) return {};
  }
  return cells(c, record, op, entity, false);
}

Result<void> Merger::cells(Context& c, Record& record, const RecordOp& op, const Entity& entity,
                           bool created) {
  std::set<uint16_t> groups_done;
  bool parent_changed = false;
  for (const auto& cell_op : op.cells) {
    const Field& field = *entity.field(cell_op.field);
    if (field.group != 0) {
      if (groups_done.insert(field.group).second) BL_TRY(group(c, record, op, entity, field.group));
      continue;
    }
    if (field.type == ValueType::lookup && !cell_op.value.is_null()) {
      if (field.hierarchy) {
        BL_ASSIGN(bool cycle, closes_cycle(record, cell_op));
        if (cycle) {
          BL_PROBE("merge.cycle");
          c.outcome(field.id, Fate::overridden, Reason::cycle);
          continue;
        }
      }
    }
    bool parent =
        std::find(entity.parents.begin(), entity.parents.end(), field.id) != entity.parents.end();
    if (parent && !created) {
      BL_ASSIGN(Reason refused, parent_refused(cell_op));
      if (refused != Reason::none) {
        c.reject(field.id, refused);
        return {};
      }
      parent_changed = true;
    }
    Value before = record.value(cell_op.field);
    // The record's heap may move while it is changed.
    std::string kept(before.payload);
    before.payload = kept;
    BL_TRY(cell(c, record, cell_op, field));
    if (c.rejected) return {};
    if (entity.has_derived) {
      BL_TRY(feed_parents(c, record, entity, before, record.value(cell_op.field), cell_op.field));
    }
    BL_TRY(mark_duplicate(c, record, entity, field.id));
  }
  if (parent_changed) {
    BL_TRY(follow_parent(c, record, entity));
    if (c.rejected) return {};
  }
  if (entity.has_derived) BL_TRY(derive(c, record, entity));
  return {};
}

Result<void> Merger::cell(Context& c, Record& record, const CellOp& op, const Field& field) {
  switch (rule_of(op.kind, active(field.policy, level_))) {
    case Rule::latest_wins:
      latest(c, record, op);
      return {};
    case Rule::add:
      add(c, record, op);
      return {};
    case Rule::raise:
      extreme(c, record, op, true);
      return {};
    case Rule::lower:
      extreme(c, record, op, false);
      return {};
    case Rule::insert_element: {
      ElementKey key{c.m.id, op.key.index};
      BL_TRY(ws_.put_element(record, op.field, key, Element::make(c.version, op.value)));
      c.effects.note_element(record.key(), op.field, CellOpKind::put_element, key, op.value);
      if (field.policy == Policy::set)
        put(c, record, op.field, {});  // the record shows that it has elements
      return {};
    }
    case Rule::remove_element: {
      BL_ASSIGN(auto old, ws_.element(record.key(), op.field, op.key));
      if (!old) return {};  // removed before: the same result
      BL_TRY(ws_.remove_element(record, op.field, op.key));
      c.effects.note_element(record.key(), op.field, CellOpKind::remove_element, op.key, {});
      if (field.policy == Policy::set) put(c, record, op.field, {});
      return {};
    }
    case Rule::first_stands:
      first(c, record, op);
      return {};
    case Rule::ask_people: {
      const Cell* there = record.find(op.field);
      bool seen = !there || was_seen(record.version(*there), c.m, c.base, lineage_);
      return ask(c, record, {&op}, op.field, seen ? nullptr : &record.version(*there));
    }
    case Rule::spend:
      return spend(c, record, op, field);
    case Rule::grant:
      return grant(c, record, op, field);
    case Rule::give_back:
      return give_back(c, record, op);
    case Rule::set_stock:
      return set_stock(c, record, op, field);
    case Rule::refuse:
      break;
  }
  BL_CHECK(false);  // check_shape() refused it
}

void Merger::latest(Context& c, Record& record, const CellOp& op) {
  const Cell* cell = record.find(op.field);
  if (!cell || was_seen(record.version(*cell), c.m, c.base, lineage_)) {
    put(c, record, op.field, op.value);
    return;
  }
  const Version& there = record.version(*cell);
  MutationId other = there.id;
  if (later(c.m.hlc, c.m.id, there.hlc, there.id)) {
    put(c, record, op.field, op.value);
    BL_PROBE("merge.latest_won");
    c.outcome(op.field, Fate::merged, Reason::newer, other);
  } else {
    BL_PROBE("merge.latest_lost");
    c.outcome(op.field, Fate::overridden, Reason::older, other);
  }
}

void Merger::first(Context& c, Record& record, const CellOp& op) {
  const Cell* cell = record.find(op.field);
  if (!cell || was_seen(record.version(*cell), c.m, c.base, lineage_)) {
    put(c, record, op.field, op.value);
    return;
  }
  MutationId other = record.version(*cell).id;
  bool stands = cell->type != ValueType::null;
  if (stands) {
    BL_PROBE("merge.first_stood");
  } else {
    put(c, record, op.field, op.value);  // somebody cleared it: nothing is there
  }
  c.outcome(op.field, stands ? Fate::overridden : Fate::merged,
            stands ? Reason::first_stands : Reason::newer, other);
}

Result<void> Merger::group(Context& c, Record& record, const RecordOp& op, const Entity& entity,
                           uint16_t group) {
  // The newest version among the members that the author had not seen decides for all of them.
  const Version* unseen = nullptr;
  Policy policy = Policy::latest;
  FieldId name;
  bool anything = false;  // a value that the author had not seen
  for (const Field* f : entity.group_fields(group)) {
    policy = active(f->policy, level_);
    if (name.value == 0) name = f->id;
    const Cell* cell = record.find(f->id);
    if (!cell || was_seen(record.version(*cell), c.m, c.base, lineage_)) continue;
    const Version& v = record.version(*cell);
    anything = anything || cell->type != ValueType::null;
    if (!unseen || later(v.hlc, v.id, unseen->hlc, unseen->id)) unseen = &v;
  }
  std::vector<const CellOp*> ops;
  for (const auto& cell_op : op.cells) {
    if (entity.field(cell_op.field)->group == group) ops.push_back(&cell_op);
  }
  if (policy == Policy::ask) return ask(c, record, ops, name, unseen);
  std::optional<MutationId> other;
  if (unseen) other = unseen->id;
  bool wins =
      !unseen ||
      (policy == Policy::first ? !anything : later(c.m.hlc, c.m.id, unseen->hlc, unseen->id));
  for (const CellOp* cell_op : ops) {
    if (wins) put(c, record, cell_op->field, cell_op->value);
  }
  if (other) {
    BL_PROBE("merge.group_concurrent");
    Reason lost = policy == Policy::first ? Reason::first_stands : Reason::older;
    c.outcome(ops.front()->field, wins ? Fate::merged : Fate::overridden,
              wins ? Reason::newer : lost, *other);
  }
  return {};
}

void Merger::add(Context& c, Record& record, const CellOp& op) {
  const Cell* cell = record.find(op.field);
  std::string sum;
  bool overflow = false;
  if (op.value.type == ValueType::integer) {
    int64_t total = cell && cell->size ? decode_integer(record.value(*cell).payload) : 0;
    overflow = __builtin_add_overflow(total, decode_integer(op.value.payload), &total);
    sum = encode_integer(total);
  } else {
    Decimal old = cell && cell->size ? decode_decimal(record.value(*cell).payload) : Decimal();
    auto total = Decimal::add(old, decode_decimal(op.value.payload));
    overflow = !total;
    if (total) sum = encode_decimal(*total);
  }
  MutationId other = cell ? record.version(*cell).id : MutationId{};
  if (overflow) {
    c.outcome(op.field, Fate::overridden, Reason::overflow, other);
    return;
  }
  bool concurrent = cell && !was_seen(record.version(*cell), c.m, c.base, lineage_);
  put(c, record, op.field, {op.value.type, sum});
  if (concurrent) c.outcome(op.field, Fate::merged, Reason::combined, other);
}

void Merger::extreme(Context& c, Record& record, const CellOp& op, bool greater) {
  const Cell* cell = record.find(op.field);
  if (cell && cell->type != ValueType::null && !op.value.is_null()) {
    int order = compare_ordered(op.value, record.value(*cell));
    if (greater ? order <= 0 : order >= 0) {
      if (order != 0) c.outcome(op.field, Fate::merged, Reason::beyond, record.version(*cell).id);
      return;
    }
  }
  if (op.value.is_null()) {  // nothing lies beyond anything
    if (cell && cell->type != ValueType::null) {
      c.outcome(op.field, Fate::merged, Reason::beyond, record.version(*cell).id);
    }
    return;
  }
  put(c, record, op.field, op.value);
}

void Merger::put(Context& c, Record& record, FieldId field, const Value& value) {
  ws_.set_cell(record, field, c.version, value);
  c.effects.note(record.key(), field);
}

Result<Reason> Merger::parent_refused(const CellOp& op) {
  if (op.value.is_null()) return Reason::none;  // it keeps the territories it has
  Lookup l = decode_lookup(op.value.payload);
  BL_ASSIGN(auto found, ws_.find({l.entity, l.id}));
  if (found.held == Held::not_held) return Reason::none;
  if (!found.record) return Reason::unknown_parent;
  return found.record->state() == RecordState::live ? Reason::none : Reason::parent_deleted;
}

Result<bool> Merger::closes_cycle(const Record& record, const CellOp& op) {
  RecordKey at = record.key();
  Lookup next = decode_lookup(op.value.payload);
  for (size_t depth = 0; depth < limits::kMaxHierarchyDepth; ++depth) {
    if (next.id == at.id) return true;
    BL_ASSIGN(auto found, ws_.resolve({next.entity, next.id}));
    if (!found.record) return false;
    if (found.record->key().id == at.id) return true;
    Value up = found.record->value(op.field);
    if (up.is_null()) return false;
    next = decode_lookup(up.payload);
  }
  return true;  // deeper than the limit counts as one
}

Result<void> Merger::mark_duplicate(Context& c, Record& record, const Entity& entity,
                                    FieldId field) {
  for (const auto& index : entity.indexes) {
    if (!index.unique || index.fields[0] != field) continue;
    Value mine = record.value(field);
    std::string kept(mine.payload);
    BL_ASSIGN(auto holder, ws_.holder_of(entity, index, {mine.type, kept}, record.key().id));
    if (!holder) {
      if (!record.value(system_field::kDuplicateOf).is_null())
        put(c, record, system_field::kDuplicateOf, {});
      continue;
    }
    BL_ASSIGN(auto found, ws_.find(*holder));
    MutationId other = found.record->created_version().id;
    std::string lookup = encode_lookup({holder->entity, holder->id});
    put(c, record, system_field::kDuplicateOf, {ValueType::lookup, lookup});
    c.outcome(field, Fate::merged, Reason::duplicate_key, other);
  }
  return {};
}

}  // namespace branchline
