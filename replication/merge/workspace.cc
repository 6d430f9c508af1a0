#include "replication/merge/workspace.h"

#include <algorithm>

#include "common/base/check.h"
#include "common/base/limits.h"
#include "common/schema/index_key.h"

namespace branchline {
namespace {

std::string unique_prefix(keys::Side side, const Entity& entity, const Index& index,
                          const Value& value) {
  std::string prefix = keys::index_prefix(side, entity.id, index.id);
  put_index_value(prefix, value);
  return prefix;
}

}  // namespace

Value effective_value(const Record& record, const Field* field, FieldId id, std::string& scratch) {
  if (const Cell* cell = record.find(id)) return record.value(*cell);
  if (field) {
    if (!field->default_value.empty()) return {field->type, field->default_value};
    return {};
  }
  if (id == system_field::kCreatedOn) {
    scratch = encode_integer(record.created_version().hlc.ms());
    return {ValueType::instant, scratch};
  }
  if (id == system_field::kModifiedOn) {
    scratch = encode_integer(record.last_version().hlc.ms());
    return {ValueType::instant, scratch};
  }
  if (id == system_field::kCreatedBy || id == system_field::kModifiedBy) {
    const Version& v =
        id == system_field::kCreatedBy ? record.created_version() : record.last_version();
    if (v.author.is_nil()) return {};
    scratch = encode_lookup({entity_id::kUser, v.author});
    return {ValueType::lookup, scratch};
  }
  return {};
}

std::optional<RecordKey> parent_of(const Record& record, const Entity& entity) {
  for (FieldId field : entity.parents) {
    Value v = record.value(field);
    if (v.is_null()) continue;
    Lookup l = decode_lookup(v.payload);
    return RecordKey{l.entity, l.id};
  }
  return std::nullopt;
}

std::vector<std::string> index_keys(const Record& record, const Entity* entity, keys::Side side,
                                    IndexScope scope) {
  std::vector<std::string> out;
  if (record.state() == RecordState::tombstone) {
    out.push_back(keys::group_member(side, record.state_version().id, record.key()));
    auto parent = entity ? parent_of(record, *entity) : std::nullopt;
    if (parent) out.push_back(keys::deleted_child(side, *parent, record.key()));
    return out;
  }
  if (!record.live() || !entity) return out;
  std::string scratch;
  for (const auto& index : entity->indexes) {
    if (!in_scope(index, scope)) continue;
    std::string key = keys::index_prefix(side, entity->id, index.id);
    bool null = true;
    for (FieldId f : index.fields) {
      Value v = effective_value(record, entity->field(f), f, scratch);
      null = null && v.is_null();
      put_index_value(key, v);
    }
    // Keys and parents are looked up by value only; a null has no place there.
    if (null && (index.unique || index.parent)) continue;
    key.append(record.key().id.view());
    out.push_back(std::move(key));
  }
  return out;
}

void Deltas::add_sum(TerritoryId t, const Sum128& s, bool subtract) {
  for (auto& [territory, sum] : sums) {
    if (territory == t) {
      subtract ? sum -= s : sum += s;
      return;
    }
  }
  Sum128 sum;
  subtract ? sum -= s : sum += s;
  sums.emplace_back(t, sum);
}

void Deltas::add_count(EntityId e, TerritoryId t, int64_t delta) {
  for (auto& c : counts) {
    if (c.entity == e && c.territory == t) {
      c.delta += delta;
      return;
    }
  }
  counts.push_back({e, t, delta});
}

void Deltas::merge(const Deltas& other) {
  for (const auto& [t, s] : other.sums) add_sum(t, s, false);
  for (const auto& c : other.counts) add_count(c.entity, c.territory, c.delta);
}

std::vector<TerritoryId> territories_before(const Journal& journal, const Record& record) {
  auto at = journal.places.find(record.key());
  const Journal::RecordBefore* b =
      at == journal.places.end() ? nullptr : &journal.records[at->second];
  if (b && b->created) return {};
  bool relocated = b && b->relocated;
  std::vector<TerritoryId> out{relocated ? b->territory : record.territory()};
  const auto& also_in = relocated ? b->also_in : record.also_in();
  out.insert(out.end(), also_in.begin(), also_in.end());
  return out;
}

Workspace::Workspace(const StoreView& store, std::shared_ptr<const Schema> schema, Config config)
    : store_(store), schema_(std::move(schema)), config_(config) {}

// --- Reading ---

Result<Workspace::Found> Workspace::find(const RecordKey& key) {
  auto at = entries_.find(key);
  auto missing = [&] {
    const Entity* entity = schema_->entity(key.entity);
    bool everywhere =
        config_.holds_everything || (entity && entity->territory == TerritoryRule::reference);
    return Found{everywhere ? Held::absent : Held::not_held, nullptr};
  };
  if (at == entries_.end()) {
    BL_ASSIGN(auto flat, store_.get(Table::records, keys::record(config_.side, key)));
    Entry entry;
    if (flat) {
      BL_ASSIGN(auto record, Record::decode(key, std::move(*flat)));
      entry.record = std::make_unique<Record>(std::move(record));
      entry.stored = true;
    } else {
      // Absence is not cached: a create follows at once, or the answer is not asked for again.
      return missing();
    }
    at = entries_.emplace(key, std::move(entry)).first;
  }
  if (!at->second.record) return missing();
  return Found{Held::value, at->second.record.get()};
}

Result<Workspace::Found> Workspace::resolve(const RecordKey& key, std::vector<RecordKey>* through) {
  BL_ASSIGN(auto found, find(key));
  for (size_t hops = 0; found.record && found.record->state() == RecordState::redirect; ++hops) {
    if (hops == limits::kMaxRedirectHops) {
      return fail(ErrorKind::corrupt, "record.redirects",
                  "record " + to_string(key.id) +
                      " is merged into another without end: the store "
                      "is damaged; `audit` tells more");
    }
    if (through) through->push_back(found.record->key());
    BL_ASSIGN(found, find({key.entity, found.record->target()}));
  }
  return found;
}

Result<std::vector<RecordKey>> Workspace::with_index_prefix(EntityId entity,
                                                            const std::string& prefix) {
  std::vector<RecordKey> out;
  bool group = entity.value == 0;  // group rows carry the entity
  auto cursor = scan_prefix(store_, Table::index, prefix);
  for (; cursor->valid(); cursor->next()) {
    RecordKey key{entity, keys::index_record(cursor->key())};
    if (group) {
      std::string_view k = cursor->key();
      key.entity = EntityId(Reader(k.substr(k.size() - 18)).fixed16());
    }
    auto at = entries_.find(key);
    if (at != entries_.end() && at->second.index_touched) continue;  // judged below
    out.push_back(key);
  }
  if (auto error = cursor->error()) return std::unexpected(*error);
  list_touched();
  for (auto at = touched_index_.lower_bound(prefix);
       at != touched_index_.end() && at->first.starts_with(prefix); ++at) {
    out.push_back(at->second);
  }
  std::sort(out.begin(), out.end());
  out.erase(std::unique(out.begin(), out.end()), out.end());
  return out;
}

void Workspace::unlist(Entry& entry, const RecordKey& key) {
  if (entry.unlisted) return;
  entry.unlisted = true;
  unlisted_.push_back(key);
}

void Workspace::list_touched() {
  for (const RecordKey& key : unlisted_) {
    Entry& entry = entries_.at(key);
    entry.unlisted = false;
    for (const auto& k : entry.listed_keys) touched_index_.erase(k);
    entry.listed_keys.clear();
    if (!entry.record) continue;
    entry.listed_keys =
        index_keys(*entry.record, schema_->entity(key.entity), config_.side, config_.scope);
    for (const auto& k : entry.listed_keys) touched_index_.emplace(k, key);
  }
  unlisted_.clear();
}

Result<std::vector<RecordKey>> Workspace::children(EntityId child, FieldId field,
                                                   const RecordKey& parent) {
  const Entity* entity = schema_->entity(child);
  for (const auto& index : entity->indexes) {
    if (!index.parent || index.fields[0] != field) continue;
    std::string lookup = encode_lookup({parent.entity, parent.id});
    std::string prefix = keys::index_prefix(config_.side, child, index.id);
    put_index_value(prefix, {ValueType::lookup, lookup});
    return with_index_prefix(child, prefix);
  }
  return std::vector<RecordKey>{};
}

Result<std::vector<RecordKey>> Workspace::deleted_children(const RecordKey& parent) {
  return with_index_prefix(EntityId(0), keys::deleted_child_prefix(config_.side, parent));
}

Result<std::optional<RecordKey>> Workspace::holder_of(const Entity& entity, const Index& index,
                                                      const Value& value, const RecordId& except) {
  if (value.is_null()) return std::optional<RecordKey>();
  std::string prefix = unique_prefix(config_.side, entity, index, value);
  std::vector<RecordKey> candidates;
  auto cursor = scan_prefix(store_, Table::index, prefix);
  for (; cursor->valid(); cursor->next()) {
    candidates.push_back({entity.id, keys::index_record(cursor->key())});
  }
  if (auto error = cursor->error()) return std::unexpected(*error);
  if (auto at = claims_.find(prefix); at != claims_.end()) {
    candidates.insert(candidates.end(), at->second.begin(), at->second.end());
  }
  std::string wanted = comparison_key(value);
  std::optional<RecordKey> holder;
  for (const auto& key : candidates) {
    if (key.id == except) continue;
    BL_ASSIGN(auto found, find(key));
    if (!found.record || !found.record->live()) continue;
    if (comparison_key(found.record->value(index.fields[0])) != wanted) continue;
    // Several may hold it (second claims are kept): name the same one at every server.
    if (!holder || key.id < holder->id) holder = key;
  }
  return holder;
}

Result<std::optional<Element>> Workspace::element(const RecordKey& record, FieldId field,
                                                  const ElementKey& key) {
  std::string k = keys::element(config_.side, record, field, key);
  if (auto at = element_writes_.find(k); at != element_writes_.end()) return at->second;
  BL_ASSIGN(auto bytes, store_.get(Table::elements, k));
  if (!bytes) return std::optional<Element>();
  BL_ASSIGN(auto element, decode_element(*bytes));
  return std::optional<Element>(std::move(element));
}

Result<std::vector<std::pair<keys::ParsedElement, Element>>> Workspace::elements(
    const RecordKey& record, FieldId field) {
  std::string prefix = field.value == 0 ? keys::element_prefix(config_.side, record)
                                        : keys::element_prefix(config_.side, record, field);
  std::map<std::string, Element> found;
  auto cursor = scan_prefix(store_, Table::elements, prefix);
  for (; cursor->valid(); cursor->next()) {
    BL_ASSIGN(auto element, decode_element(cursor->value()));
    found.emplace(std::string(cursor->key()), std::move(element));
  }
  if (auto error = cursor->error()) return std::unexpected(*error);
  for (auto at = element_writes_.lower_bound(prefix);
       at != element_writes_.end() && at->first.starts_with(prefix); ++at) {
    if (at->second) {
      found.insert_or_assign(at->first, *at->second);
    } else {
      found.erase(at->first);
    }
  }
  std::vector<std::pair<keys::ParsedElement, Element>> out;
  for (auto& [key, element] : found) {
    auto parsed = keys::parse_element(key);
    if (!parsed) return fail(ErrorKind::corrupt, "element.key", "an element's key is damaged");
    out.emplace_back(*parsed, std::move(element));
  }
  return out;
}

// --- Changing ---

void Workspace::begin() {
  BL_CHECK(!journalling_);
  // Now that no journal holds cells of them: thousands of pending mutations on one record, undone
  // and redone in one go, would leave as many values and versions behind.
  for (const RecordKey& key : bloated_) {
    auto at = entries_.find(key);
    if (at != entries_.end() && at->second.record) at->second.record->compact();
  }
  bloated_.clear();
  journal_ = {};
  journalling_ = true;
}

Journal Workspace::end() {
  BL_CHECK(journalling_);
  journalling_ = false;
  return std::move(journal_);
}

void Workspace::rollback() {
  BL_CHECK(journalling_);
  journalling_ = false;
  for (auto at = journal_.records.rbegin(); at != journal_.records.rend(); ++at) {
    Entry& entry = entries_.at(at->key);
    if (entry.index_touched) unlist(entry, at->key);
    for (auto e = at->elements.rbegin(); e != at->elements.rend(); ++e) {
      std::string key = keys::element(config_.side, at->key, e->field, e->key);
      // The store's row may be older than what an earlier mutation of this batch wrote: write it
      // back.
      element_writes_[key] = std::move(e->element);
    }
    for (const auto& [field, key] : at->moved) {
      RecordKey survivor{at->key.entity, entry.record->target()};
      std::string to = keys::element(config_.side, survivor, field, key);
      element_writes_[keys::element(config_.side, at->key, field, key)] =
          std::move(element_writes_.at(to));
      element_writes_[to] = std::nullopt;
    }
    if (at->created) {
      entry.record.reset();
      continue;
    }
    Record& record = *entry.record;
    if (at->state_changed) record.restore_state(at->state, at->state_version, at->target);
    if (at->relocated) record.set_territories(at->territory, at->also_in);
    for (const auto& c : at->cells) record.restore_cell(c.field, c.existed ? &c.cell : nullptr);
    record.set_pending(at->pending);
  }
  journal_ = {};
}

Workspace::Entry& Workspace::entry_of(const Record& record) { return entries_.at(record.key()); }

bool Workspace::indexed(EntityId entity, FieldId field) const {
  const Entity* known = schema_->entity(entity);
  if (!known) return false;
  for (const auto& index : known->indexes) {
    if (!in_scope(index, config_.scope)) continue;
    if (std::find(index.fields.begin(), index.fields.end(), field) != index.fields.end())
      return true;
  }
  return false;
}

void Workspace::touch(Entry& entry, const RecordKey& key, bool index) {
  if (!entry.dirty) {
    entry.dirty = true;
    dirty_.push_back(key);
  }
  if (index) unlist(entry, key);
  if (index && !entry.index_touched) {
    entry.index_touched = true;
    if (entry.stored && entry.record) {
      entry.old_index_keys =
          index_keys(*entry.record, schema_->entity(key.entity), config_.side, config_.scope);
    }
  }
}

Journal::RecordBefore& Workspace::before(const Record& record) {
  BL_CHECK(journalling_);
  auto [place, fresh] = journal_.places.try_emplace(record.key(), journal_.records.size());
  if (!fresh) return journal_.records[place->second];
  if (record.bloated()) bloated_.push_back(record.key());
  auto& b = journal_.records.emplace_back();
  b.key = record.key();
  b.pending = record.pending();
  return b;
}

void Workspace::add_term(const Record& record, const Sum128& term, bool subtract) {
  journal_.deltas.add_sum(record.territory(), term, subtract);
  for (TerritoryId t : record.also_in()) journal_.deltas.add_sum(t, term, subtract);
}

Result<void> Workspace::add_whole(const Record& record, bool subtract) {
  if (record.state() == RecordState::tombstone) return {};
  add_term(record, record_sum(record), subtract);
  BL_ASSIGN(auto all, elements(record.key(), FieldId(0)));
  for (const auto& [key, element] : all) {
    add_term(record, element_term(record.key(), key.field, key.key, element.value()), subtract);
  }
  if (record.live()) {
    int64_t one = subtract ? -1 : 1;
    journal_.deltas.add_count(record.key().entity, record.territory(), one);
  }
  return {};
}

void Workspace::note_claims(const Record& record, FieldId field, const Value& value) {
  const Entity* entity = schema_->entity(record.key().entity);
  if (value.is_null() || !entity) return;
  for (const auto& index : entity->indexes) {
    if (index.unique && index.fields[0] == field) {
      claims_[unique_prefix(config_.side, *entity, index, value)].push_back(record.key());
    }
  }
}

Record& Workspace::create(const RecordKey& key, TerritoryId home, std::vector<TerritoryId> also_in,
                          const Version& version) {
  Entry& entry = entries_[key];
  BL_CHECK(!entry.record);
  touch(entry, key, true);
  entry.record = std::make_unique<Record>(key, home, std::move(also_in), version);
  auto& b = before(*entry.record);
  b.created = true;
  b.pending = {};
  add_term(*entry.record, state_term(*entry.record), false);
  journal_.deltas.add_count(key.entity, home, 1);
  return *entry.record;
}

void Workspace::set_cell(Record& record, FieldId field, const Version& version,
                         const Value& value) {
  Entry& entry = entry_of(record);
  bool index = indexed(record.key().entity, field);
  touch(entry, record.key(), index);
  auto& b = before(record);
  const Cell* cell = record.find(field);
  bool known =
      std::any_of(b.cells.begin(), b.cells.end(), [&](const auto& c) { return c.field == field; });
  if (!known && !b.created) b.cells.push_back({field, cell != nullptr, cell ? *cell : Cell{}});
  bool counts = record.state() != RecordState::tombstone;
  if (counts && cell) {
    add_term(record, cell_term(record.key(), field, record.value(*cell), record.version(*cell).id),
             true);
  }
  record.set(field, version, value);
  if (counts) add_term(record, cell_term(record.key(), field, value, version.id), false);
  if (index) note_claims(record, field, value);
}

Result<void> Workspace::set_state(Record& record, RecordState state, const Version& version) {
  return restore_state(record, state, version, {});
}

Result<void> Workspace::restore_state(Record& record, RecordState state, const Version& version,
                                      const RecordId& target) {
  touch(entry_of(record), record.key(), true);
  auto& b = before(record);
  if (!b.state_changed) {
    b.state_changed = true;
    b.state = record.state();
    b.state_version = record.state_version();
    b.target = record.target();
  }
  BL_TRY(add_whole(record, true));
  record.restore_state(state, version, target);
  BL_TRY(add_whole(record, false));
  note_all_claims(record);
  return {};
}

void Workspace::note_all_claims(const Record& record) {
  if (!record.live()) return;
  for (const auto& c : record.cells()) {
    if (indexed(record.key().entity, c.field)) note_claims(record, c.field, record.value(c));
  }
}

Result<void> Workspace::set_territories(Record& record, TerritoryId home,
                                        std::vector<TerritoryId> also_in) {
  touch(entry_of(record), record.key(), false);
  auto& b = before(record);
  if (!b.relocated) {
    b.relocated = true;
    b.territory = record.territory();
    b.also_in = record.also_in();
  }
  BL_TRY(add_whole(record, true));
  record.set_territories(home, std::move(also_in));
  return add_whole(record, false);
}

Result<void> Workspace::put_element(Record& record, FieldId field, const ElementKey& key,
                                    const Element& value) {
  BL_ASSIGN(auto old, element(record.key(), field, key));
  if (record.state() != RecordState::tombstone) {
    if (old) add_term(record, element_term(record.key(), field, key, old->value()), true);
    add_term(record, element_term(record.key(), field, key, value.value()), false);
  }
  before(record).elements.push_back({field, key, std::move(old)});
  element_writes_[keys::element(config_.side, record.key(), field, key)] = value;
  return {};
}

Result<void> Workspace::remove_element(Record& record, FieldId field, const ElementKey& key) {
  BL_ASSIGN(auto old, element(record.key(), field, key));
  if (!old) return {};
  if (record.state() != RecordState::tombstone) {
    add_term(record, element_term(record.key(), field, key, old->value()), true);
  }
  before(record).elements.push_back({field, key, std::move(old)});
  element_writes_[keys::element(config_.side, record.key(), field, key)] = std::nullopt;
  return {};
}

// --- Redirects ---

// Not journalled: the caller notes what it moved. The element is among the writes afterwards.
void Workspace::move_element(const RecordKey& from, const RecordKey& to, FieldId field,
                             const ElementKey& key) {
  std::string old_key = keys::element(config_.side, from, field, key);
  auto& there = element_writes_[keys::element(config_.side, to, field, key)];
  there = std::move(element_writes_.at(old_key));
  element_writes_[old_key] = std::nullopt;
  for (const auto& [at, subtract] : {std::pair(from, true), std::pair(to, false)}) {
    const Record& record = *entries_.at(at).record;
    if (record.state() == RecordState::tombstone) continue;
    add_term(record, element_term(at, field, key, there->value()), subtract);
  }
}

Result<void> Workspace::redirect(Record& merged, Record& survivor,
                                 const std::vector<FieldId>& taken, const Version& version) {
  for (FieldId field : taken) {
    const Cell* cell = merged.find(field);
    if (!cell) {
      return fail(ErrorKind::corrupt, "effects.diverged",
                  "record " + to_string(merged.key().id) + " lacks field " +
                      std::to_string(field.value) + ", which goes to the one it is merged into");
    }
    set_cell(survivor, field, merged.version(*cell), merged.value(*cell));
  }
  BL_ASSIGN(auto all, elements(merged.key(), FieldId(0)));
  std::vector<std::pair<FieldId, ElementKey>> moved;
  for (auto& [parsed, e] : all) {
    // One key, one element: what the survivor has under it already stays, and this stays here.
    BL_ASSIGN(auto there, element(survivor.key(), parsed.field, parsed.key));
    if (there) continue;
    element_writes_[keys::element(config_.side, merged.key(), parsed.field, parsed.key)] =
        std::move(e);
    move_element(merged.key(), survivor.key(), parsed.field, parsed.key);
    moved.emplace_back(parsed.field, parsed.key);
  }
  BL_TRY(restore_state(merged, RecordState::redirect, version, survivor.key().id));
  auto& b = before(merged);
  b.redirected = true;
  b.taken = taken;
  b.moved = std::move(moved);
  return {};
}

Result<void> Workspace::redirect_away(Record& merged, const RecordId& target,
                                      const Version& version) {
  BL_ASSIGN(auto all, elements(merged.key(), FieldId(0)));
  for (const auto& [at, element] : all) BL_TRY(remove_element(merged, at.field, at.key));
  return restore_state(merged, RecordState::redirect, version, target);
}

Result<void> Workspace::return_elements(const RecordKey& merged, const RecordKey& survivor,
                                        const std::vector<std::pair<FieldId, ElementKey>>& moved) {
  for (const auto& [field, key] : moved) {
    BL_ASSIGN(auto there, element(survivor, field, key));
    if (!there) {
      return fail(ErrorKind::corrupt, "undo.corrupt",
                  "an element that went to the survivor of a merge is not there any more");
    }
    BL_ASSIGN(auto to, find(merged));
    BL_ASSIGN(auto from, find(survivor));
    if (!to.record || !from.record)
      return fail(ErrorKind::corrupt, "undo.corrupt", "a record of a merge is not here any more");
    BL_TRY(put_element(*to.record, field, key, *there));
    BL_TRY(remove_element(*from.record, field, key));
  }
  return {};
}

void Workspace::follow(Record& record, FieldId field, const Value& value) {
  const Cell* cell = record.find(field);
  BL_CHECK(cell);
  Version kept = record.version(*cell);
  set_cell(record, field, kept, value);
  before(record).followed.push_back(field);
}

void Workspace::set_pending(Record& record, PendingRef ref) {
  if (record.pending() == ref) return;
  touch(entry_of(record), record.key(), false);
  if (journalling_) before(record);
  record.set_pending(ref);
}

void Workspace::restore_cell(Record& record, FieldId field,
                             const std::optional<std::pair<Version, Value>>& value_before) {
  if (value_before) {
    set_cell(record, field, value_before->first, value_before->second);
    return;
  }
  const Cell* cell = record.find(field);
  if (!cell) return;
  touch(entry_of(record), record.key(), indexed(record.key().entity, field));
  auto& b = before(record);
  bool known =
      std::any_of(b.cells.begin(), b.cells.end(), [&](const auto& c) { return c.field == field; });
  if (!known && !b.created) b.cells.push_back({field, true, *cell});
  if (record.state() != RecordState::tombstone) {
    add_term(record, cell_term(record.key(), field, record.value(*cell), record.version(*cell).id),
             true);
  }
  record.remove_cell(field);
}

Result<void> Workspace::uncreate(Record& record) {
  Entry& entry = entry_of(record);
  touch(entry, record.key(), true);
  BL_TRY(add_whole(record, true));
  entry.record.reset();
  return {};
}

Result<void> Workspace::drop(Record& record) {
  RecordKey key = record.key();
  Entry& entry = entry_of(record);
  touch(entry, key, true);
  BL_TRY(add_whole(record, true));
  BL_ASSIGN(auto all, elements(key, FieldId(0)));
  for (const auto& [at, element] : all) {
    element_writes_[keys::element(config_.side, key, at.field, at.key)] = std::nullopt;
  }
  entry.record.reset();
  return {};
}

Result<void> Workspace::wipe(const RecordKey& key) {
  BL_ASSIGN(auto flat, store_.get(Table::records, keys::record(config_.side, key)));
  Entry& entry = entries_[key];
  BL_CHECK(!entry.dirty);
  entry.record.reset();
  entry.stored = flat.has_value();
  touch(entry, key, true);
  entry.old_index_keys.clear();
  auto record =
      flat ? Record::decode(key, std::move(*flat)) : Result<Record>(std::unexpected(Error{}));
  bool sound = record && std::all_of(record->cells().begin(), record->cells().end(),
                                     [&](const Cell& c) { return valid(record->value(c)); });
  if (sound) {
    for (auto& k : index_keys(*record, schema_->entity(key.entity), config_.side, config_.scope)) {
      // One that is missing must be written again.
      BL_ASSIGN(auto there, store_.get(Table::index, k));
      if (there) entry.old_index_keys.push_back(std::move(k));
    }
  }
  auto elements = scan_prefix(store_, Table::elements, keys::element_prefix(config_.side, key));
  for (; elements->valid(); elements->next())
    element_writes_[std::string(elements->key())] = std::nullopt;
  if (auto e = elements->error()) return std::unexpected(*e);
  return {};
}

Result<Record*> Workspace::install(Record record) {
  RecordKey key = record.key();
  Entry& entry = entries_[key];
  BL_CHECK(!entry.record);
  touch(entry, key, true);
  entry.record = std::make_unique<Record>(std::move(record));
  BL_TRY(add_whole(*entry.record, false));
  note_all_claims(*entry.record);
  return entry.record.get();
}

// --- Writing ---

void Workspace::flush(Batch& batch) {
  BL_CHECK(!journalling_);
  for (const RecordKey& key : dirty_) {
    Entry& entry = entries_.at(key);
    std::string row = keys::record(config_.side, key);
    if (entry.record) {
      std::string flat;
      entry.record->encode_to(flat);
      batch.put(Table::records, row, flat);
      entry.record->compact();
    } else if (entry.stored) {
      batch.erase(Table::records, row);
    }
    if (entry.index_touched) {
      std::vector<std::string> fresh;
      if (entry.record) {
        fresh = index_keys(*entry.record, schema_->entity(key.entity), config_.side, config_.scope);
      }
      for (const auto& k : entry.old_index_keys) {
        if (std::find(fresh.begin(), fresh.end(), k) == fresh.end()) batch.erase(Table::index, k);
      }
      for (const auto& k : fresh) {
        bool kept = std::find(entry.old_index_keys.begin(), entry.old_index_keys.end(), k) !=
                    entry.old_index_keys.end();
        if (!kept) batch.put(Table::index, k, {});
      }
    }
    if (!entry.record) {
      entries_.erase(key);
      continue;
    }
    entry.dirty = false;
    entry.index_touched = false;
    entry.stored = true;
    entry.old_index_keys.clear();
    entry.unlisted = false;
    entry.listed_keys.clear();
  }
  touched_index_.clear();
  unlisted_.clear();
  dirty_.clear();
  for (const auto& [key, element] : element_writes_) {
    if (element) {
      batch.put(Table::elements, key, encode_element(*element));
    } else {
      batch.erase(Table::elements, key);
    }
  }
  element_writes_.clear();
  claims_.clear();
}

void Workspace::evict() {
  if (entries_.size() <= config_.max_cached) return;
  BL_CHECK(dirty_.empty());
  // Random replacement: hash order. Half goes, so that this is rare.
  size_t keep = config_.max_cached / 2;
  for (auto at = entries_.begin(); at != entries_.end() && entries_.size() > keep;)
    at = entries_.erase(at);
}

void Workspace::discard() {
  entries_.clear();
  touched_index_.clear();
  unlisted_.clear();
  dirty_.clear();
  element_writes_.clear();
  claims_.clear();
  bloated_.clear();
  journal_ = {};
  journalling_ = false;
}

void Workspace::reset(keys::Side side, bool holds_everything) {
  BL_CHECK(!dirty());
  entries_.clear();
  config_.side = side;
  config_.holds_everything = holds_everything;
}

}  // namespace branchline
