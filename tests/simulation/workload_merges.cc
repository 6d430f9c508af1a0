// Duplicates: offices that do not know of each other merge the same records in whatever direction,
// while others annotate, count, delete and move what belongs to them.
#include "common/base/check.h"
#include "tests/simulation/workload.h"

namespace branchline::sim {
namespace {

constexpr size_t kDoubles = 60;
// Merged among each other: the recent ones, so that offices meet.
constexpr size_t kRecent = 6;

std::unexpected<Error> gone() { return fail(ErrorKind::not_found, "sim.gone", "not here"); }

bool live(Workspace& view, const RecordKey& key) {
  auto found = view.find(key);
  return found && found->record && found->record->live();
}

void put(Draft& d, RecordOp& op, FieldId field, CellOpKind kind, ValueType type,
         std::string_view payload) {
  op.cells.push_back({field, kind, {type, d.arena.copy(payload)}, {}});
}

}  // namespace

void Workload::merge_step(SimBranch& b) {
  uint64_t dice = world_.random.below(100);
  if (doubles_.size() < kRecent || (dice < 15 && doubles_.size() < kDoubles))
    return create_double(b);
  if (dice < 35) return note_double(b);
  if (dice < 50) return count_double(b);
  if (dice < 62) return child_of_double(b);
  auto held = territories_of(b);
  if (dice < 85) {
    size_t first = doubles_.size() > kRecent ? doubles_.size() - kRecent : 0;
    const auto& from = doubles_[first + world_.random.below(doubles_.size() - first)];
    const auto& into = doubles_[first + world_.random.below(doubles_.size() - first)];
    bool here = std::find(held.begin(), held.end(), from.second) != held.end();
    if (here && from.second == into.second) merge_two(b, from.first, into.first);
    return;
  }
  if (dice < 93) {  // accounts that may be deleted elsewhere at the same time
    const Account* a = account_at(b, false);
    if (!a) return;
    Account from = *a;
    const Account* into = account_at(b, false);
    if (into && into->territory == from.territory) merge_two(b, from.key, into->key);
    return;
  }
  auto from = known(contacts_, b), into = known(contacts_, b);
  if (from && into) merge_two(b, *from, *into);
}

void Workload::create_double(SimBranch& b) {
  auto held = territories_of(b);
  TerritoryId t = held[world_.random.below(held.size())];
  Intention& in = intentions_.emplace_back();
  RecordKey key{entity_id::kAccount, {}};
  attempt(b, in, [&](Workspace&, RecordIdMaker& ids, int64_t now) -> Result<Draft> {
    Draft d;
    key.id = ids.make(now);
    RecordOp& op = d.ops.emplace_back();
    op.kind = RecordOpKind::create;
    op.record = key;
    op.territory = t;
    put(d, op, field(key.entity, "name"), CellOpKind::set, ValueType::text, text(t));
    if (world_.chance(0.5)) {
      put(d, op, field(key.entity, "telephone1"), CellOpKind::set, ValueType::phone, text(t));
    }
    return d;
  });
  if (!in.acknowledged.empty()) doubles_.emplace_back(key, t);
}

void Workload::merge_two(SimBranch& b, const RecordKey& merged, const RecordKey& target) {
  if (merged == target) return;
  Intention& in = intentions_.emplace_back();
  in.kind = Intention::Kind::merge;
  in.record = merged;
  in.target = target;
  attempt(b, in, [&](Workspace& view, RecordIdMaker&, int64_t) -> Result<Draft> {
    if (!live(view, merged) || !live(view, target)) return gone();
    TerritoryId t = view.find(target)->record->territory();
    if (view.find(merged)->record->territory() != t) return gone();
    Draft d;
    RecordOp& op = d.ops.emplace_back();
    op.kind = RecordOpKind::merge;
    op.record = merged;
    op.target = target.id;
    if (world_.chance(0.3)) {
      const char* chosen = merged.entity == entity_id::kAccount ? "name" : "lastname";
      put(d, op, field(merged.entity, chosen), CellOpKind::set, ValueType::text, text(t));
    }
    return d;
  });
}

void Workload::note_double(SimBranch& b) {
  auto key = known(doubles_, b);
  if (!key) return;
  Intention& in = intentions_.emplace_back();
  in.kind = Intention::Kind::note;
  in.record = *key;
  attempt(b, in, [&](Workspace& view, RecordIdMaker&, int64_t) -> Result<Draft> {
    if (!live(view, *key)) return gone();
    TerritoryId t = view.find(*key)->record->territory();
    in.note = text(t) + "-note";
    Draft d;
    RecordOp& op = d.ops.emplace_back();
    op.record = *key;
    put(d, op, field(key->entity, "annotations"), CellOpKind::append, ValueType::row,
        encode_row({{annotation_field::kText, {ValueType::text, in.note}}}));
    // Values too: a late one finds the survivor's, or the merged record's.
    for (const char* f : {"name", "telephone1"}) {
      if (!world_.chance(0.4)) continue;
      const Field* named = schema_->entity(key->entity)->field(f);
      put(d, op, named->id, CellOpKind::set, named->type, text(t));
    }
    return d;
  });
}

void Workload::count_double(SimBranch& b) {
  auto key = known(doubles_, b);
  if (!key) return;
  Intention& in = intentions_.emplace_back();
  in.kind = Intention::Kind::add;
  in.record = *key;
  in.amount = world_.between(1, 1'000'000);
  in.key = "double-" + std::to_string(next_++);
  attempt(b, in, [&](Workspace& view, RecordIdMaker&, int64_t) -> Result<Draft> {
    if (!live(view, *key)) return gone();
    Draft d;
    RecordOp& op = d.ops.emplace_back();
    op.record = *key;
    put(d, op, field(key->entity, "loyaltypoints"), CellOpKind::add, ValueType::integer,
        encode_integer(in.amount));
    return d;
  });
}

// A new contact of one, or one that moves there; or the account itself gets another parent.
void Workload::child_of_double(SimBranch& b) {
  auto parent = known(doubles_, b);
  if (!parent) return;
  auto other = world_.chance(0.5) ? known(contacts_, b) : known(doubles_, b);
  bool fresh = world_.chance(0.4);
  if (!fresh && !other) return;
  RecordKey child = fresh ? RecordKey{entity_id::kContact, {}} : *other;
  if (child == *parent) return;
  Intention& in = intentions_.emplace_back();
  TerritoryId t;
  attempt(b, in, [&](Workspace& view, RecordIdMaker& ids, int64_t now) -> Result<Draft> {
    if (!live(view, *parent) || (!fresh && !live(view, child))) return gone();
    t = view.find(*parent)->record->territory();
    if (!fresh && view.find(child)->record->territory() != t) return gone();
    Draft d;
    RecordOp& op = d.ops.emplace_back();
    if (fresh) {
      child.id = ids.make(now);
      op.kind = RecordOpKind::create;
      put(d, op, field(child.entity, "lastname"), CellOpKind::set, ValueType::text, text(t));
    }
    op.record = child;
    bool account = child.entity == entity_id::kAccount;
    put(d, op, field(child.entity, account ? "parentaccountid" : "parentcustomerid"),
        CellOpKind::set, ValueType::lookup, encode_lookup({parent->entity, parent->id}));
    return d;
  });
  if (fresh && !in.acknowledged.empty()) contacts_.emplace_back(child, t);
}

// --- What must hold ---

std::string check_merges(const MemStore& master, std::shared_ptr<const Schema> schema,
                         const Workload& workload,
                         const std::function<bool(const MutationId&)>& decided,
                         std::map<std::string, uint64_t>& counts) {
  Workspace::Config config;
  config.scope = IndexScope::authority;
  Workspace ws(master, schema, config);
  std::set<RecordKey> redirects;
  std::vector<RecordKey> rest;
  for (auto c = scan_prefix(master, Table::records, std::string(1, '\0')); c->valid(); c->next()) {
    RecordKey key = *keys::parse_record(c->key());
    auto record = Record::decode(key, std::string(c->value()));
    BL_CHECK(record);
    if (record->state() == RecordState::redirect) {
      redirects.insert(key);
      auto end = ws.resolve(key);
      if (!end || !end->record) return "redirect " + to_string(key.id) + " leads nowhere";
      auto elements = ws.elements(key, FieldId(0));
      if (!elements->empty()) return "an element was left behind at " + to_string(key.id);
    } else if (record->live()) {
      rest.push_back(key);
    }
  }
  counts["merges: redirects"] += redirects.size();
  for (const RecordKey& key : rest) {
    const Record& record = *ws.find(key)->record;
    // A child lives with its parent, where that is (SEMANTICS 14, 23).
    if (auto parent = parent_of(record, *schema->entity(key.entity))) {
      auto above = ws.find(*parent);
      if (above->record && above->record->state() == RecordState::tombstone)
        return "record " + to_string(key.id) + " lives below " + to_string(parent->id) +
               ", which is deleted";
      if (above->record && (above->record->territory() != record.territory() ||
                            above->record->also_in() != record.also_in()))
        return "record " + to_string(key.id) + " is elsewhere than its parent " +
               to_string(parent->id);
    }
    for (const auto& cell : record.cells()) {
      if (cell.type != ValueType::lookup || cell.field == system_field::kDuplicateOf) continue;
      Lookup l = decode_lookup(record.value(cell).payload);
      if (redirects.count({l.entity, l.id}) > 0) {
        return "record " + to_string(key.id) + " belongs to " + to_string(l.id) +
               ", which was merged into another";
      }
    }
  }
  std::map<RecordKey, int64_t> sums;
  for (const auto& in : workload.intentions()) {
    if (in.kind == Intention::Kind::add &&
        master.get(Table::keys, keys::operation_key(in.author, in.key))->has_value()) {
      auto end = ws.resolve(in.record);
      if (end && end->record) sums[end->record->key()] += in.amount;
    }
    if (in.kind != Intention::Kind::merge || in.acknowledged.empty()) continue;
    if (!decided(in.acknowledged[0].id)) continue;
    auto one = ws.resolve(in.record), other = ws.resolve(in.target);
    if (!one || !other || one->record != other->record)
      return "merged and still two: " + to_string(in.record.id) + ", " + to_string(in.target.id);
  }
  FieldId points = schema->entity(entity_id::kAccount)->field("loyaltypoints")->id;
  for (const auto& [key, territory] : workload.doubles()) {
    auto end = ws.resolve(key);
    if (!end || !end->record) continue;  // its creation died with a rolled-back disk
    if (!end->record->live()) return "a record that nobody deleted is gone: " + to_string(key.id);
    Value v = end->record->value(points);
    int64_t value = v.is_null() ? 0 : decode_integer(v.payload);
    if (value != sums[end->record->key()]) {
      return "points of what was merged: " + std::to_string(value) + " where they sum up to " +
             std::to_string(sums[end->record->key()]);
    }
  }
  return {};
}

}  // namespace branchline::sim
