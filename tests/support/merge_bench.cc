#include "tests/support/merge_bench.h"

#include <stdexcept>

#include "replication/merge/effects.h"
#include "replication/merge/index_upkeep.h"
#include "replication/merge/record_audit.h"
#include "replication/merge/undo.h"

namespace branchline {
namespace {

Workspace::Config config_of(bool holds_everything) {
  Workspace::Config config;
  config.scope = IndexScope::all;
  config.holds_everything = holds_everything;
  return config;
}

[[noreturn]] void breach(const std::string& what) {
  throw std::runtime_error("merge bench: " + what);
}

std::string bytes_of(const std::vector<RecordOp>& effects) {
  std::string out;
  put_forecast(out, Hlc{}, effects);
  return out;
}

}  // namespace

MergeBench::MergeBench(Options options)
    : ws(store, schema, config_of(options.holds_everything)),
      options_(options),
      follower_(follower_store_, schema, config_of(options.holds_everything)) {
  Batch start;
  (void)keep_index(store, *schema, 0, IndexScope::all, 0, {}, start);
  (void)store.write(start, Sync::yes);
  names.territory("common", TerritoryId(2));
  names.territory("east", TerritoryId(3));
  names.territory("west", TerritoryId(4));
}

MergeBench::Author MergeBench::author(uint16_t origin, uint64_t incarnation) {
  Author a;
  a.origin = OriginId(origin);
  a.incarnation = Incarnation(incarnation == 0 ? origin * 100u : incarnation);
  if (!lineage.knows(a.origin, a.incarnation)) lineage.add(a.origin, a.incarnation, {});
  return a;
}

std::string MergeBench::row_of(const RecordKey& key) {
  auto found = ws.find(key);
  if (!found->record) return "";
  Record copy = *Record::decode(key, found->record->encode());
  copy.set_pending({});
  std::string out = copy.encode();
  auto elements = ws.elements(key, FieldId(0));
  for (const auto& [k, e] : *elements) {
    out += keys::element(0, key, k.field, k.key) + encode_element(e);
  }
  return out;
}

// Decides and takes it back: everything is as before. The journal's bytes say what the effects say.
void MergeBench::check_undo(const Mutation& m) {
  std::map<RecordKey, std::string> before;
  for (const auto& [name, key] : names.all()) before[key] = row_of(key);
  for (const auto& key : companions_) before[key] = row_of(key);
  auto first = merger.run(m, Csn(0), permit);
  if (!first) breach(first.error().message);
  if (first->fate == Fate::rejected) {
    for (const auto& [key, row] : before) {
      if (row_of(key) != row) breach("a rejected mutation left something behind");
    }
    return;
  }
  std::string effects = bytes_of(first->effects);
  std::string undo;
  Writer w(undo);
  put_undo(w, ws, first->journal);
  Arena kept;
  auto again = effects_of(ws, undo, kept);
  if (!again) breach(again.error().message);
  size_t cells = 0, cells_again = 0;
  for (const auto& op : first->effects) cells += op.cells.size();
  for (const auto& op : *again) cells_again += op.cells.size();
  if (cells != cells_again) breach("the pre-images do not tell what the effects were");
  Deltas sums = first->journal.deltas;
  ws.begin();
  if (auto ok = apply_undo(ws, undo); !ok) breach(ok.error().message);
  sums.merge(ws.end().deltas);
  for (const auto& [t, s] : sums.sums) {
    if (s != Sum128{})
      breach("undoing does not take back the checksum of territory " + std::to_string(t.value));
  }
  for (const auto& c : sums.counts) {
    if (c.delta != 0) breach("undoing does not take back the counts");
  }
  for (const auto& [key, row] : before) {
    if (row_of(key) != row) breach("undoing does not give the record before");
  }
  // What was told apart from the effects gives the same state when it is put back.
  ws.begin();
  if (auto ok = apply_effects(ws, *again, version_of(m, Csn(0))); !ok) breach(ok.error().message);
  std::string redo;
  Writer rw(redo);
  Journal journal = ws.end();
  put_undo(rw, ws, journal);
  ws.begin();
  if (auto ok = apply_undo(ws, redo); !ok) breach(ok.error().message);
  ws.end();
  for (const auto& [key, row] : before) {
    if (row_of(key) != row) breach("undoing what was put back does not give the record before");
  }
  auto second = merger.run(m, Csn(0), permit);
  if (!second || bytes_of(second->effects) != effects) breach("deciding twice gives two answers");
  std::string third;
  Writer tw(third);
  put_undo(tw, ws, second->journal);
  ws.begin();
  if (auto ok = apply_undo(ws, third); !ok) breach(ok.error().message);
  ws.end();
}

void MergeBench::check_follower(const Mutation& m) {
  follower_.begin();
  if (auto ok = apply_effects(follower_, decision.effects, version_of(m, head)); !ok) {
    breach(ok.error().message);
  }
  follower_.end();
  std::map<RecordKey, std::string> all;
  for (const auto& [name, key] : names.all()) all[key] = name;
  for (const auto& key : companions_) all.try_emplace(key, "kept by the merge");
  for (const auto& [key, name] : all) {
    auto found = follower_.find(key);
    std::string row;
    if (found->record) {
      row = found->record->encode();
      auto elements = follower_.elements(key, FieldId(0));
      for (const auto& [k, e] : *elements)
        row += keys::element(0, key, k.field, k.key) + encode_element(e);
    }
    if (row != row_of(key)) breach("a follower's record `" + name + "` differs");
  }
  Batch batch;
  follower_.flush(batch);
  (void)follower_store_.write(batch, Sync::yes);
}

void MergeBench::check_sums() {
  auto audit = audit_records(store, *schema, 0, IndexScope::all);
  if (!audit) breach(audit.error().message);
  if (!audit->problems.empty()) breach(audit->problems.front());
  Deltas left = totals_;
  for (const auto& [t, s] : audit->totals.sums) left.add_sum(t, s, true);
  for (const auto& c : audit->totals.counts) left.add_count(c.entity, c.territory, -c.delta);
  for (const auto& [t, s] : left.sums) {
    if (s != Sum128{})
      breach("the checksum of territory " + std::to_string(t.value) + " is not what is stored");
  }
  for (const auto& c : left.counts) {
    if (c.delta != 0) breach("the counts are not what is stored");
  }
}

std::string MergeBench::run(Author& by, const std::string& ops) {
  Mutation m;
  m.order = Order(++by.order);
  m.id = {by.origin, by.incarnation, Lane::interactive, Seq(by.order)};
  m.line = LineId(1);
  m.base = by.base;
  m.hlc = Hlc::at_ms(by.clock_ms++);
  m.atomic = std::exchange(atomic, false);
  m.guards = std::exchange(guards, {});
  m.ops = names.parse_all(ops, ws, arena);
  for (auto& op : m.ops) op.seen = seen;
  seen = Csn(0);
  last = m.id;
  check_undo(m);
  auto decided = merger.run(m, head.next(), permit);
  if (!decided) breach(decided.error().message);
  head = head.next();
  decision = std::move(*decided);
  for (auto& op : decision.effects) {
    for (auto& c : op.cells) c.value.payload = arena.copy(c.value.payload);
  }
  if (decision.fate == Fate::rejected && !decision.effects.empty())
    breach("a rejection with effects");
  for (const auto& op : decision.effects) companions_.insert(op.record);
  totals_.merge(decision.journal.deltas);
  check_follower(m);
  if (options_.flush) {
    Batch batch;
    ws.flush(batch);
    (void)store.write(batch, Sync::yes);
    check_sums();
  }
  return names.verdict(decision.fate, decision.outcomes, m.ops);
}

}  // namespace branchline
