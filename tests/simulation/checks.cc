#include "tests/simulation/checks.h"

#include <algorithm>

#include "branch/replica/audit.h"
#include "common/base/check.h"
#include "master/ingest/audit.h"

namespace branchline::sim {

std::string Checks::all() {
  copies();
  check_acknowledged();
  check_order();
  check_notes();
  check_badges();
  check_counters();
  check_canaries();
  check_policies();
  auto accepted = [this](const MutationId& id) {
    auto fate = fate_of(id);
    return fate && *fate != Fate::rejected;
  };
  std::string merges = check_merges(run_.master.disk, run_.master.schema, run_.workload, accepted,
                                    run_.world.counts);
  if (!merges.empty()) wrong(merges);
  if (auto problem = run_.moves.check(run_.master); !problem.empty()) wrong(problem);
  return failure_;
}

std::string Checks::copies() {
  check_audits();
  check_equal();
  return failure_;
}

bool Checks::forgotten() const {
  return !run_.master.ingest->reconciling().past.empty() &&
         (!run_.rolled_back.empty() || run_.identity.copied());
}

void Checks::check_audits() {
  auto report = audit_line(run_.master.disk, *run_.master.schema);
  if (!report) return wrong("audit of the master: " + report.error().message);
  for (const auto& p : report->problems) wrong("audit of the master: " + p);
  for (auto& b : run_.branches) {
    auto r = audit_replica(b->disk, *b->schema);
    if (!r) return wrong("audit of " + b->name + ": " + r.error().message);
    for (const auto& p : r->problems) wrong("audit of " + b->name + ": " + p);
  }
  for (const auto& [origin, ledger] : report->counted) {
    count("fates: applied") += ledger.applied;
    count("fates: merged") += ledger.merged;
    count("fates: overridden") += ledger.overridden;
    count("fates: rejected") += ledger.rejected;
  }
}

// What a server says of its records, in a form that must be the same everywhere.
std::map<std::string, std::string> Checks::contents(const MemStore& disk, keys::Side side,
                                                    const std::set<TerritoryId>& held) const {
  std::map<std::string, std::string> out;
  std::set<std::string> kept;
  std::string prefix(1, static_cast<char>(side));
  for (auto c = scan_prefix(disk, Table::records, prefix); c->valid(); c->next()) {
    auto key = keys::parse_record(c->key());
    auto record = Record::decode(*key, std::string(c->value()));
    BL_CHECK(record);
    bool mine = held.count(record->territory()) > 0;
    for (auto t : record->also_in()) mine = mine || held.count(t) > 0;
    if (!mine) continue;
    std::string text;
    Writer w(text);
    w.u8(static_cast<uint8_t>(record->state()));
    w.varint(record->territory().value);
    for (auto t : record->also_in()) w.varint(t.value);
    put_mutation_id(w, record->state_version().id);
    w.fixed64(record->state_version().hlc.value);
    put_mutation_id(w, record->created_version().id);
    for (const auto& cell : record->cells()) {
      w.varint(cell.field.value);
      put_mutation_id(w, record->version(cell).id);
      w.fixed64(record->version(cell).hlc.value);
      w.u8(static_cast<uint8_t>(cell.type));
      w.blob(record->value(cell).payload);
    }
    std::string k(c->key().substr(1));
    kept.insert(k);
    out["r" + k] = text;
  }
  for (auto c = scan_prefix(disk, Table::elements, prefix); c->valid(); c->next()) {
    std::string k(c->key().substr(1));
    if (!kept.count(k.substr(0, 18))) continue;
    auto e = decode_element(c->value());
    BL_CHECK(e);
    out["e" + k] = e->type_and_payload;
  }
  return out;
}

void Checks::check_equal() {
  for (auto& b : run_.branches) {
    const auto& state = b->replica->state();
    std::set<TerritoryId> held(state.territories.begin(), state.territories.end());
    held.insert(kReferenceTerritory);
    auto mine = contents(b->disk, state.side, held);
    auto truth = contents(run_.master.disk, 0, held);
    std::set<TerritoryId> everything = held;
    for (const auto& [name, t] : run_.master.ingest->directory().territories())
      everything.insert(t);
    if (contents(b->disk, state.side, everything).size() != mine.size())
      wrong(b->name + " holds records of other territories");
    for (const auto& [key, text] : truth) {
      auto at = mine.find(key);
      if (at == mine.end()) return wrong(b->name + " lacks " + hex(key));
      // Checksums are over what lives (SEMANTICS 27): what is deleted is compared when it is
      // revived.
      bool deleted = text[0] == char(RecordState::tombstone) && at->second[0] == text[0];
      if (at->second != text && deleted && key[0] == 'r' && run_.flipped.count(key.substr(1)) > 0) {
        ++count("seen: damage in a deleted record");
        continue;
      }
      if (at->second != text) {
        run_.world.say("here:   " + hex(at->second));
        run_.world.say("master: " + hex(text));
        return wrong(b->name + " differs from the master in " + hex(key));
      }
    }
    if (mine.size() != truth.size()) wrong(b->name + " holds more than the master");
  }
}

std::optional<FateEntry> Checks::entry_of(const MutationId& id) const {
  MutationId after = id;
  after.seq = id.seq.next();
  auto c =
      run_.master.disk.scan_back(Table::fates, keys::fate_prefix(stream_of(id)), keys::fate(after));
  if (!c->valid()) return std::nullopt;
  auto first = keys::parse_fate(c->key());
  auto row = decode_fate_row(*first, c->value());
  if (!row || id.seq.value >= first->seq.value + row->entry.count) return std::nullopt;
  return row->entry;
}
std::optional<Fate> Checks::fate_of(const MutationId& id) const {
  auto entry = entry_of(id);
  return entry ? std::optional(entry->fate) : std::nullopt;
}

void Checks::check_policies() {
  auto decided = [this](const MutationId& id) -> std::optional<PolicyWorkload::Decided> {
    auto entry = entry_of(id);
    if (!entry) return std::nullopt;
    return PolicyWorkload::Decided{entry->fate, entry->outcomes};
  };
  auto set_back = [this](const std::string& branch) {
    return run_.rolled_back.count(branch) > 0 || run_.identity.copied(branch);
  };
  PolicyWorkload::Excused excused;
  // A restored master has forgotten what it had granted since: it takes that from what nobody
  // holds. The bound stands, for nothing is granted until all have come (SEMANTICS 31).
  bool restored = !run_.master.ingest->reconciling().past.empty();
  excused.from_reserve = [=](const std::string& branch) { return restored || set_back(branch); };
  // There is nothing to take it from where it has granted the same again, as a master does that
  // was not told that it was restored; or where another office spent its share twice.
  bool short_of = restored && (run_.identity.restored_untold() || !run_.rolled_back.empty() ||
                               run_.identity.copied());
  excused.refused = [=](const std::string& branch) { return short_of || set_back(branch); };
  std::string what = run_.policies.check(run_.master, decided, excused);
  if (!what.empty()) wrong(what);
}

// Accepted at a disk that was later set back to before, and never shipped: physics (SEMANTICS
// 22).
bool Checks::excused(const Intention::Attempt& a) const {
  auto at = run_.rolled_back.find(a.branch);
  if (at == run_.rolled_back.end()) return false;
  return std::any_of(at->second.begin(), at->second.end(),
                     [&](const auto& r) { return a.at >= r.first && a.at <= r.second; });
}

void Checks::check_acknowledged() {
  for (const auto& in : run_.workload.intentions()) {
    for (const auto& a : in.acknowledged) {
      if (fate_of(a.id)) continue;
      if (excused(a)) {
        ++count("lost with a rolled-back disk (excused)");
        continue;
      }
      wrong("acknowledged at " + a.branch + " and lost: seq " + std::to_string(a.id.seq.value) +
            " of " + to_hex(a.id.incarnation.value));
    }
  }
}

// What offices created, as far as one of them knows it still: all that was decided is kept.
std::map<RecordKey, MutationId> Checks::creations() const {
  std::map<RecordKey, MutationId> out;
  for (const auto& b : run_.branches) {
    std::string prefix(1, char(keys::kKept));
    for (auto c = scan_prefix(b->disk, Table::outbox, prefix); c->valid(); c->next()) {
      auto kept = decode_kept_block(keys::parse_outbox(c->key()).value(), c->value());
      BL_CHECK(kept);
      for (const auto& e : kept->block.entries) {
        for (const auto& op : e.mutation.ops) {
          if (op.kind == RecordOpKind::create) out.emplace(op.record, e.mutation.id);
        }
      }
    }
  }
  return out;
}

// The records that an operation names, and that were unknown when it was decided.
std::vector<RecordKey> Checks::named_by(const SimBranch& office, const MutationId& id,
                                        const branchline::Outcome& o) const {
  MutationId after = id;
  after.seq = id.seq.next();
  auto c = office.disk.scan_back(Table::fates, keys::fate_prefix(stream_of(id)), keys::fate(after));
  if (!c->valid()) return {};
  auto row = decode_fate_row(*keys::parse_fate(c->key()), c->value());
  BL_CHECK(row);
  Reader r(row->content);
  auto m = get_mutation(r);
  if (!m || m->id != id) return {};
  const RecordOp& op = m->ops[o.op];
  if (o.reason == Reason::unknown_record && op.target.is_nil()) return {op.record};
  if (o.reason == Reason::unknown_record) return {op.record, {op.record.entity, op.target}};
  std::vector<RecordKey> out;
  const Entity* entity = run_.master.schema->entity(op.record.entity);
  if (!entity) return {};  // of a schema that the master has not come to
  const auto& parents = entity->parents;
  for (const auto& cell : op.cells) {
    bool parent = std::find(parents.begin(), parents.end(), cell.field) != parents.end();
    if (!parent || cell.value.is_null()) continue;
    Lookup l = decode_lookup(cell.value.payload);
    out.push_back({l.entity, l.id});
  }
  return out;
}

// Whether nobody could have shown that record: no office has its creation any more, or it was
// refused itself, or comes from a disk that was set back, which may bring it at any time.
bool Checks::is_gone(const RecordKey& key, const std::map<RecordKey, MutationId>& created) const {
  auto at = created.find(key);
  if (at == created.end()) return true;
  const ServerEntry* by = run_.master.ingest->directory().server(at->second.origin);
  if (!by || run_.rolled_back.count(by->name) || run_.identity.copied(by->name)) return true;
  auto fate = entry_of(at->second);
  return fate && fate->fate == Fate::rejected;
}

std::string Checks::tell(const std::vector<RecordKey>& named,
                         const std::map<RecordKey, MutationId>& created) const {
  std::string out = ", which names";
  for (const auto& key : named) {
    out += " entity " + std::to_string(key.entity.value);
    auto at = created.find(key);
    if (at == created.end()) continue;
    auto fate = entry_of(at->second);
    out += " created by " + std::to_string(at->second.origin.value) + " as seq " +
           std::to_string(at->second.seq.value) + " of " + to_hex(at->second.incarnation.value) +
           " " + std::string(to_string(at->second.lane)) + ", " +
           (fate ? std::string(to_string(fate->fate)) + " at csn " + std::to_string(fate->csn.value)
                 : "without a fate");
  }
  return out;
}

// What an office had when it wrote reaches the master before what it wrote, whichever lanes both
// took: only a disk that forgot may name what the master does not know (SEMANTICS 32). Where the
// master was restored and an office's disk was set back, the two together may have forgotten what
// a third office had seen (SEMANTICS 22): then nobody can have it any more, and else none of it
// is excused.
void Checks::check_order() {
  std::map<RecordKey, MutationId> created;
  if (forgotten()) created = creations();
  for (auto c = scan_prefix(run_.master.disk, Table::fates, {}); c->valid(); c->next()) {
    auto first = keys::parse_fate(c->key());
    auto row = decode_fate_row(*first, c->value());
    BL_CHECK(row);
    const ServerEntry* server = run_.master.ingest->directory().server(first->origin);
    if (!server || run_.rolled_back.count(server->name)) continue;
    auto branch = std::find_if(run_.branches.begin(), run_.branches.end(),
                               [&](const auto& b) { return b->name == server->name; });
    for (const auto& o : row->entry.outcomes) {
      bool unknown = o.reason == Reason::unknown_record || o.reason == Reason::unknown_parent;
      if (!unknown) continue;
      auto named = named_by(**branch, *first, o);
      bool gone = std::any_of(named.begin(), named.end(),
                              [&](const RecordKey& key) { return is_gone(key, created); });
      if (forgotten() && gone) ++count("seen: what two disks forgot");
      // Where a copy of it wrote this, nothing here tells what it named.
      bool untold = named.empty() && run_.identity.copied(server->name);
      if (!forgotten() || !(gone || untold)) {
        wrong("the " + std::string(to_string(first->lane)) + " lane of " + server->name +
              " overtook what it leans on: seq " + std::to_string(first->seq.value) + " of " +
              to_hex(first->incarnation.value) + ", decided at csn " +
              std::to_string(row->entry.csn.value) + (forgotten() ? tell(named, created) : ""));
      }
    }
  }
}

void Checks::check_notes() {
  std::map<std::string, uint64_t> seen;
  for (auto c = scan_prefix(run_.master.disk, Table::elements, std::string(1, '\0')); c->valid();
       c->next()) {
    auto e = decode_element(c->value());
    if (e->value().type != ValueType::row) continue;
    for (const auto& f : decode_row(e->value().payload)) {
      if (f.field == annotation_field::kText) ++seen[std::string(f.value.payload)];
    }
  }
  for (const auto& in : run_.workload.intentions()) {
    if (in.kind != Intention::Kind::note) continue;
    uint64_t n = seen[in.note];
    bool told = !in.acknowledged.empty() && fate_of(in.acknowledged[0].id) &&
                *fate_of(in.acknowledged[0].id) != Fate::rejected;
    if (n > 1) wrong("a note stands " + std::to_string(n) + " times");
    if (told && n != 1) wrong("an acknowledged note is missing");
  }
}

// Refused because of what master and another office forgot together, which came back too late or
// never: a record, or its move to where this office works (SEMANTICS 22).
bool Checks::leans_on_forgotten(const MutationId& id) const {
  auto entry = entry_of(id);
  return forgotten() && entry &&
         std::any_of(entry->outcomes.begin(), entry->outcomes.end(), [](const auto& o) {
           return o.reason == Reason::unknown_record || o.reason == Reason::unknown_parent ||
                  o.reason == Reason::denied;
         });
}

void Checks::check_badges() {
  FieldId badges = run_.next_schema->entity(entity_id::kAccount)->field("badges")->id;
  std::set<std::string> there;
  for (auto c = scan_prefix(run_.master.disk, Table::elements, std::string(1, '\0')); c->valid();
       c->next()) {
    auto key = keys::parse_element(c->key());
    if (key->field == badges)
      there.insert(std::string(decode_element(c->value())->value().payload));
  }
  for (const auto& in : run_.workload.intentions()) {
    if (in.kind != Intention::Kind::badge || in.acknowledged.empty()) continue;
    auto fate = fate_of(in.acknowledged[0].id);
    if (!fate) continue;
    const auto& first = in.acknowledged[0];
    if (*fate == Fate::rejected && leans_on_forgotten(first.id)) {
      ++count("badges that lean on what two disks forgot (excused)");
      continue;
    }
    if (*fate == Fate::rejected) {
      auto entry = entry_of(first.id);
      std::string why = entry->outcomes.empty()
                            ? "no reason"
                            : std::string(to_string(entry->outcomes.back().reason));
      return wrong("a badge of " + first.branch + " was rejected: " + why);
    }
    if (!there.count(in.note)) return wrong("an acknowledged badge is missing");
    ++count("checked: a badge");
  }
}

void Checks::check_counters() {
  std::map<RecordKey, int64_t> expected;
  for (const auto& in : run_.workload.intentions()) {
    if (in.kind != Intention::Kind::add) continue;
    bool done =
        run_.master.disk.get(Table::keys, keys::operation_key(in.author, in.key))->has_value();
    if (done) expected[in.record] += in.amount;
    bool lost =
        !done && std::any_of(in.acknowledged.begin(), in.acknowledged.end(), [&](const auto& a) {
          return !excused(a) && fate_of(a.id) != Fate::rejected;
        });
    if (lost) wrong("an acknowledged addition was not done");
  }
  FieldId points = run_.schema->entity(entity_id::kAccount)->field("loyaltypoints")->id;
  for (const auto& key : run_.workload.counters()) {
    auto flat = run_.master.disk.get(Table::records, keys::record(0, key));
    if (!*flat) continue;  // its creation died with a rolled-back disk
    auto record = Record::decode(key, **flat);
    Value v = record->value(points);
    int64_t value = v.is_null() ? 0 : decode_integer(v.payload);
    if (value != expected[key]) {
      wrong("counter: " + std::to_string(value) + " where the operations sum up to " +
            std::to_string(expected[key]));
    }
  }
}

void Checks::check_canaries() {
  for (auto& b : run_.branches) {
    const auto& held = b->replica->state().territories;
    for (const auto& [name, t] : run_.master.ingest->directory().territories()) {
      if (std::find(held.begin(), held.end(), t) != held.end()) continue;
      std::string canary = "canary-" + std::to_string(t.value) + "-";
      for (size_t i = 0; i < kTableCount; ++i) {
        // What it did itself while it held the territory stays with its fate (SEMANTICS 24).
        if (i == size_t(Table::fates) && run_.snapshots.held_once(b->name, name)) continue;
        for (const auto& [key, value] : b->disk.tables()[i]) {
          bool kept = i == size_t(Table::outbox) && key[0] == char(keys::kKept) &&
                      run_.snapshots.held_once(b->name, name);
          if (kept && !MovesWorkload::has_effects(key, value)) continue;
          if (value.find(canary) != std::string::npos || key.find(canary) != std::string::npos) {
            return wrong(b->name + " holds a value of territory " + name);
          }
        }
      }
    }
  }
}

}  // namespace branchline::sim
