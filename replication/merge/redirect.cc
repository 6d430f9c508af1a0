// Merging duplicates (SEMANTICS 16): one record becomes a redirect to the other, and whatever is
// aimed at it later, from wherever, finds the survivor. Redirects lead to records that are none at
// that moment, so they form trees, never rings: of two merges in opposite directions the second
// finds one record and does nothing.
#include <set>

#include "common/base/limits.h"
#include "common/base/probe.h"
#include "replication/merge/merge_context.h"
#include "replication/merge/policy.h"

namespace branchline {
namespace {

// Whether the field shows something: a default counts, as whoever chose the survivor saw it.
bool shows_value(const Record& record, const Field& field) {
  return !record.value(field.id).is_null() ||
         (!record.find(field.id) && !field.default_value.empty());
}

// Whether the survivor's value is the merged record's: it shows none of its own, or has the cell
// that came over (a redirect keeps its cells).
bool stems_from(const Record& survivor, const Record& merged, const Field& field) {
  if (!shows_value(survivor, field)) return true;
  const Cell* mine = survivor.find(field.id);
  const Cell* theirs = merged.find(field.id);
  return mine && theirs && survivor.version(*mine).id == merged.version(*theirs).id &&
         survivor.value(*mine) == merged.value(*theirs);
}

bool is_chosen(const RecordOp& op, FieldId field) {
  return std::any_of(op.cells.begin(), op.cells.end(),
                     [&](const CellOp& c) { return c.field == field; });
}

// The sum of two values of a `sum` field; nothing where it leaves the range.
std::optional<std::string> sum_of(const Value& a, const Value& b) {
  if (a.type == ValueType::integer) {
    int64_t total = 0;
    if (__builtin_add_overflow(decode_integer(a.payload), decode_integer(b.payload), &total))
      return std::nullopt;
    return encode_integer(total);
  }
  auto total = Decimal::add(decode_decimal(a.payload), decode_decimal(b.payload));
  if (!total) return std::nullopt;
  return encode_decimal(*total);
}

}  // namespace

// --- Lookups ---

Result<std::optional<RecordOp>> Merger::led_to_survivors(Context& c, const RecordOp& op) {
  std::optional<RecordOp> out;
  for (size_t i = 0; i < op.cells.size(); ++i) {
    const Value& v = op.cells[i].value;
    if (v.type != ValueType::lookup) continue;
    Lookup l = decode_lookup(v.payload);
    const Entity* target = ws_.schema().entity(l.entity);
    if (!target || !target->mergeable) continue;
    std::vector<RecordKey> through;
    BL_ASSIGN(auto found, ws_.resolve({l.entity, l.id}, &through));
    if (through.empty() || !found.record) continue;
    BL_PROBE("merge.lookup_led_to_survivor");
    if (!out) out = op;
    out->cells[i].value.payload =
        c.decision.arena.copy(encode_lookup({l.entity, found.record->key().id}));
  }
  return out;
}

Result<void> Merger::lead_to_survivors(Context& c, Record& record) {
  std::vector<std::pair<FieldId, std::string>> led;
  for (const auto& cell : record.cells()) {
    if (cell.type != ValueType::lookup) continue;
    Lookup l = decode_lookup(record.value(cell).payload);
    const Entity* target = ws_.schema().entity(l.entity);
    if (!target || !target->mergeable) continue;
    std::vector<RecordKey> through;
    BL_ASSIGN(auto found, ws_.resolve({l.entity, l.id}, &through));
    if (through.empty() || !found.record) continue;
    led.emplace_back(cell.field, encode_lookup({l.entity, found.record->key().id}));
  }
  for (const auto& [field, lookup] : led) {
    BL_PROBE("merge.revived_under_survivor");
    put(c, record, field, {ValueType::lookup, lookup});
  }
  return {};
}

// --- Edits of what was merged ---

Result<void> Merger::redirected(Context& c, Record& survivor, const std::vector<RecordKey>& through,
                                const RecordOp& op, const Entity& entity) {
  std::vector<Record*> merged;
  for (const RecordKey& key : through) {
    BL_ASSIGN(auto found, ws_.find(key));
    merged.push_back(found.record);
  }
  BL_PROBE("merge.redirected_edit");
  c.outcome(FieldId(0), Fate::merged, Reason::redirected, merged.front()->state_version().id);
  RecordOp led = op;
  led.kind = RecordOpKind::update;
  led.record = survivor.key();
  led.cells.clear();
  if (op.kind == RecordOpKind::move) {
    // Where the survivor is was chosen with the merge, and for what belonged to both.
    c.outcome(system_field::kTerritory, Fate::overridden, Reason::survivor_stays,
              merged.front()->state_version().id);
  }
  auto stems = [&](const Record& from, const Field& field) {
    if (field.group == 0) return stems_from(survivor, from, field);
    // A group stands or falls as one (SEMANTICS 9).
    auto members = entity.group_fields(field.group);
    bool shown = std::any_of(members.begin(), members.end(),
                             [&](const Field* f) { return shows_value(survivor, *f); });
    return !shown || std::all_of(members.begin(), members.end(), [&](const Field* f) {
      return (!survivor.find(f->id) && !from.find(f->id)) || stems_from(survivor, from, *f);
    });
  };
  std::set<uint16_t> groups_told;
  // Where an edit takes effect, the redirects on its way get the value too: the next edit of the
  // same chain then finds that the survivor's value is still theirs.
  std::vector<std::pair<Record*, FieldId>> along;
  for (const CellOp& cell : op.cells) {
    const Field& field = *entity.field(cell.field);
    if (!replaces(rule_of(cell.kind, active(field.policy, level_)))) {
      led.cells.push_back(cell);
      continue;
    }
    if (stems(*merged.front(), field)) {
      led.cells.push_back(cell);
      for (Record* r : merged) {
        if (stems(*r, field)) along.emplace_back(r, field.id);
      }
      continue;
    }
    BL_PROBE("merge.survivor_stays");
    if (field.group != 0 && !groups_told.insert(field.group).second) continue;
    const Cell* stays = survivor.find(field.id);
    c.outcome(field.id, Fate::overridden, Reason::survivor_stays,
              stays ? survivor.version(*stays).id : survivor.created_version().id);
  }
  BL_TRY(cells(c, survivor, led, entity, false));
  if (c.rejected) return {};
  for (const auto& [record, field] : along) {
    const Cell* cell = survivor.find(field);
    if (!cell || survivor.version(*cell).id != c.m.id) continue;  // a newer one stands
    put(c, *record, field, survivor.value(*cell));
  }
  return {};
}

// --- Merging ---

Result<bool> Merger::merges_seen(Context& c, const Record& record, MutationId& unseen) {
  if (!record.find(system_field::kMergedFrom)) return true;
  BL_ASSIGN(auto merges, ws_.elements(record.key(), system_field::kMergedFrom));
  for (const auto& [key, element] : merges) {
    if (was_seen(element.version, c.m, c.base, lineage_)) continue;
    unseen = element.version.id;
    return false;
  }
  return true;
}

Result<bool> Merger::leads_to(const Value& lookup, FieldId field, const RecordKey& wanted) {
  std::set<RecordKey> known;
  Value next = lookup;
  while (!next.is_null()) {
    Lookup l = decode_lookup(next.payload);
    BL_ASSIGN(auto found, ws_.resolve({l.entity, l.id}));
    if (!found.record) return false;
    if (found.record->key() == wanted) return true;
    if (!known.insert(found.record->key()).second) return false;
    next = found.record->value(field);
  }
  return false;
}

Result<void> Merger::merge(Context& c, const RecordOp& op) {
  const Entity& entity = *ws_.schema().entity(op.record.entity);
  std::vector<RecordKey> through;
  BL_ASSIGN(auto from, ws_.resolve(op.record, &through));
  BL_ASSIGN(auto into, ws_.resolve({op.record.entity, op.target}, &through));
  if (from.held == Held::not_held || into.held == Held::not_held) return {};  // no forecast
  if (!from.record || !into.record) {
    c.reject(FieldId(0), Reason::unknown_record);
    return {};
  }
  Record& merged = *from.record;
  Record& survivor = *into.record;
  if (!c.permitted(entity, merged) || !c.permitted(entity, survivor)) return {};
  if (&merged == &survivor) {
    BL_PROBE("merge.ends_are_one");
    BL_ASSIGN(auto redirect, ws_.find(through.front()));
    // Values that were chosen for it count no more than in any late edit: the first merge stands.
    c.outcome(FieldId(0), op.cells.empty() ? Fate::merged : Fate::overridden, Reason::redirected,
              redirect.record->state_version().id);
    return {};
  }
  if (!through.empty()) {
    BL_PROBE("merge.ends_resolved");
    BL_ASSIGN(auto redirect, ws_.find(through.front()));
    c.outcome(FieldId(0), Fate::merged, Reason::redirected, redirect.record->state_version().id);
  }
  for (Record* end : {&survivor, &merged}) {
    if (end->state() != RecordState::tombstone) continue;
    BL_PROBE("merge.revived_by_merge");
    MutationId deletion = end->state_version().id;
    BL_TRY(bring_back(c, *end, true));
    c.outcome(FieldId(0), Fate::merged, Reason::revived, deletion);
  }
  BL_ASSIGN(bool open, has_open_conflicts(merged, entity));
  if (open) {
    c.reject(FieldId(0), Reason::open_conflict);
    return {};
  }
  RecordOp choice = op;
  choice.kind = RecordOpKind::update;
  choice.record = survivor.key();
  BL_TRY(cells(c, survivor, choice, entity, false));
  if (c.rejected) return {};
  return take_over(c, merged, survivor, choice, entity);
}

// Where the merged record is above the survivor, the survivor takes its place: whoever was between
// them would otherwise be its own ancestor.
Result<void> Merger::outlive_in_hierarchy(Context& c, Record& merged, Record& survivor,
                                          const RecordOp& op, const Entity& entity) {
  for (const Field& field : entity.fields) {
    if (!field.hierarchy) continue;
    BL_ASSIGN(bool above, leads_to(survivor.value(field.id), field.id, merged.key()));
    if (!above) continue;
    BL_PROBE("merge.cycle_opened");
    if (is_chosen(op, field.id)) c.outcome(field.id, Fate::overridden, Reason::cycle);
    std::string kept(merged.value(field.id).payload);
    Value up{merged.value(field.id).type, kept};
    put(c, survivor, field.id, up);
  }
  return {};
}

Result<void> Merger::take_over(Context& c, Record& merged, Record& survivor, const RecordOp& op,
                               const Entity& entity) {
  BL_TRY(outlive_in_hierarchy(c, merged, survivor, op, entity));
  // It leaves the sums that it fed; what it feeds them from now on is the survivor's to feed.
  BL_TRY(feed_whole(c, merged, entity, true));

  std::vector<FieldId> taken;
  struct Total {
    FieldId field;
    ValueType type;
    std::string value;
  };
  std::vector<Total> totals;
  std::map<uint16_t, bool> groups;  // whether the survivor lacks all of it
  for (const Cell& cell : merged.cells()) {
    if (cell.field.value < system_field::kFirstOwn) continue;
    const Field* field = entity.field(cell.field);
    if (!field) {  // a newer schema's: nothing here can judge it
      if (!survivor.find(cell.field)) taken.push_back(cell.field);
      continue;
    }
    if (field->derived.kind != Derived::Kind::none) continue;
    if (field->group != 0) {
      auto [at, fresh] = groups.try_emplace(field->group, true);
      if (fresh) {
        for (const Field* f : entity.group_fields(field->group)) {
          if (shows_value(survivor, *f) || is_chosen(op, f->id)) at->second = false;
        }
      }
      if (at->second) taken.push_back(cell.field);
      continue;
    }
    if (field->is_collection()) {  // the mark that there are elements
      if (!survivor.find(cell.field)) taken.push_back(cell.field);
      continue;
    }
    Value theirs = merged.value(cell);
    if (theirs.is_null()) continue;
    Value mine = survivor.value(cell.field);
    Policy policy = active(field->policy, level_);
    if (policy == Policy::sum && !mine.is_null()) {
      auto total = sum_of(mine, theirs);
      if (total) {
        totals.push_back({cell.field, mine.type, std::move(*total)});
      } else {
        c.outcome(cell.field, Fate::overridden, Reason::overflow, merged.version(cell).id);
      }
      continue;
    }
    if (is_chosen(op, cell.field)) continue;
    bool further = false;
    if (!mine.is_null() && (policy == Policy::max || policy == Policy::min)) {
      int order = compare_ordered(theirs, mine);
      further = policy == Policy::max ? order > 0 : order < 0;
    }
    if (shows_value(survivor, *field) && !further) continue;
    if (field->type == ValueType::lookup) {
      Lookup l = decode_lookup(theirs.payload);
      BL_ASSIGN(auto end, ws_.resolve({l.entity, l.id}));
      if (end.record == &survivor || end.record == &merged) continue;
      if (field->hierarchy) {
        BL_ASSIGN(bool below, leads_to(theirs, cell.field, survivor.key()));
        if (below) continue;
      }
    }
    taken.push_back(cell.field);
  }

  std::map<FieldId, std::pair<ValueType, std::string>> before;
  for (FieldId f : taken) {
    Value v = survivor.value(f);
    before[f] = {v.type, std::string(v.payload)};
  }
  BL_TRY(ws_.redirect(merged, survivor, taken, c.version));
  c.effects.redirect(merged.key(), survivor.key().id, taken);
  for (const auto& t : totals) put(c, survivor, t.field, {t.type, t.value});
  std::string lookup = encode_lookup({merged.key().entity, merged.key().id});
  Value mark{ValueType::lookup, c.decision.arena.copy(lookup)};
  ElementKey key{c.m.id, 0};
  BL_TRY(ws_.put_element(survivor, system_field::kMergedFrom, key, Element::make(c.version, mark)));
  c.effects.note_element(survivor.key(), system_field::kMergedFrom, CellOpKind::put_element, key,
                         mark);
  put(c, survivor, system_field::kMergedFrom, {});
  BL_TRY(bring_together(c, survivor, entity, merged));
  if (c.rejected) return {};
  if (entity.has_derived) {
    for (const auto& [field, value] : before) {
      BL_TRY(feed_parents(c, survivor, entity, {value.first, value.second}, survivor.value(field),
                          field));
    }
  }
  BL_TRY(reparent(c, merged, survivor, entity));
  if (c.rejected) return {};
  if (entity.has_derived) BL_TRY(derive(c, survivor, entity));
  bool marked = !survivor.value(system_field::kDuplicateOf).is_null();
  for (const auto& index : entity.indexes) {
    if (index.unique && (marked || before.count(index.fields[0]) > 0))
      BL_TRY(mark_duplicate(c, survivor, entity, index.fields[0]));
  }
  return {};
}

// Everything that looks up to the merged record looks up to the survivor from now on. That is no
// edit of theirs: the lookups keep their versions, so that a child that was moved elsewhere
// meanwhile is decided as if nothing had happened to it.
Result<void> Merger::reparent(Context& c, const Record& merged, Record& survivor,
                              const Entity& entity) {
  std::string lookup = encode_lookup({survivor.key().entity, survivor.key().id});
  std::string old = encode_lookup({merged.key().entity, merged.key().id});
  Value now{ValueType::lookup, lookup}, was{ValueType::lookup, old};
  size_t count = 0;
  for (const auto& link : entity.referrers) {
    BL_ASSIGN(auto children, ws_.children(link.child, link.field, merged.key()));
    count += children.size();
    if (count > limits::kMaxCascade) {
      c.reject(FieldId(0), Reason::too_large);
      return {};
    }
    const Entity& child_entity = *ws_.schema().entity(link.child);
    for (const auto& key : children) {
      BL_ASSIGN(auto found, ws_.find(key));
      if (found.record == &survivor) {
        put(c, survivor, link.field, now);
        continue;
      }
      ws_.follow(*found.record, link.field, now);
      c.effects.follow(key, link.field);
      if (child_entity.has_derived || !child_entity.feeds.empty())
        BL_TRY(feed_parents(c, *found.record, child_entity, was, now, link.field));
    }
  }
  return {};
}

}  // namespace branchline
