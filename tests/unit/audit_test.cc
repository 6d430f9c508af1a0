// SEMANTICS 19: the audit recounts from outbox and line, so whatever one entry is taken from a
// store, or changed in what the audit can recount, it says so, and says what. Exempt, because
// nothing else in the store says the same:
//
// - content of deleted records, which no checksum covers (SEMANTICS 27): their rows are counted
// (group index), at the
//   master their elements too (from the line); an office's elements of a deleted record are not.
//   Who brings such a record back without one gets another checksum than the master.
// - stamps, csns and authors of versions, which differ between servers or are in no checksum;
// - reason and csn of an office's own fates (its master's audit compares them with the line), the
// digest of the request
//   that an operation key was used for, pre-images and forecasts of pending work (a wrong one shows
//   as `diverged`);
// - an office's cursor, term and subscription: the master compares them at first contact.
#include <catch2/catch.hpp>
#include <functional>
#include <set>

#include "branch/replica/audit.h"
#include "common/base/check.h"
#include "master/ingest/audit.h"
#include "replication/line/compress.h"
#include "tests/support/small_world.h"

namespace branchline {
namespace {

using Audit = std::function<AuditReport(const StoreView&)>;

// A store with history: every kind of row is there, at the master and at office east, some work
// still pending.
struct Audited {
  SmallWorld world;
  MemStore::Tables master, east;
  Audit audit_master, audit_east;

  Audited() {
    SmallWorld& w = world;
    SmallOffice &e = w["east"], &o = w["west"];
    auto ok = [](const std::string& answer) { BL_CHECK(answer == "ok"); };
    for (int i = 0; i < 24; ++i) {
      std::string n = std::to_string(i);
      ok(e.write(
          "create account a" + n + " @common name=Name" + n + " accountnumber=N" + n + " tags+=t",
          "key" + n));
      ok(e.write("create contact c" + n + " parentcustomerid=a" + n + " firstname=F lastname=L" +
                 n));
    }
    ok(e.write("create salesorder order customerid=a0 name=O"));
    ok(e.write("create salesorderdetail line salesorderid=order quantity=2 priceperunit=3"));
    ok(e.write("create account x @east name=X accountnumber=N0"));
    w.settle();
    for (int i = 0; i < 24; ++i) {
      std::string n = std::to_string(i);
      ok(e.write("update a" + n + " name=East loyaltypoints+=2 annotations+=note"));
      o.clock.ms += 50;
      ok(o.write("update a" + n + " name=West loyaltypoints+=3"));
      if (i % 4 == 0) w.settle();
    }
    w["hq"].credential = o.credential;
    ok(w["hq"].write("update x name=Denied"));
    ok(o.write("delete c3"));
    ok(o.write("delete a5"));
    ok(e.write("atomic update a7 name=Atomic"));
    e.clock.ms += 600'000;
    ok(e.write("update a1 telephone1=1"));
    w.settle();
    w.settle();
    e.crash();  // another process start, with pending work of two starts
    e.start();
    e.connect();
    ok(e.write("update a2 telephone1=2"));
    w.settle();
    ok(e.write("update a2 telephone1=3", "pending-key"));
    BL_CHECK(e.write({"update a4 telephone1=4", "update a6 telephone1=6 tags+=u",
                      "create account p @east name=P"}) == "ok ok ok");
    e.crash();
    e.start();
    e.connect();
    ok(e.write("update a2 telephone1=5"));
    ok(e.write("delete a9"));
    e.clock.ms -= 500'000;
    w.master.crash();
    w.master.start();
    master = w.master.store.tables();
    east = e.store.tables();
    audit_master = [s = w.schema](const StoreView& v) { return audit_line(v, *s).value(); };
    audit_east = [s = w.schema](const StoreView& v) { return audit_replica(v, *s).value(); };
  }
};

Audited& audited() {
  static Audited a;
  return a;
}

// What the audit says of the store with one change. Nothing: it noticed nothing.
std::vector<std::string> verdict(const MemStore::Tables& tables, const Audit& audit) {
  MemStore store;
  store.restore(tables);
  return audit(store).problems;
}

std::string name_of(Table table, const std::string& key) {
  return std::string(table_name(table)) + " " + hex(key);
}

std::string& row(MemStore::Tables& tables, Table table, const std::string& key) {
  return tables[static_cast<size_t>(table)].own().find(key)->second;
}

bool live(const MemStore::Tables& tables, const RecordKey& key, char side) {
  const auto& records = tables[static_cast<size_t>(Table::records)];
  auto bytes = records.find(keys::record(static_cast<keys::Side>(side), key));
  return Record::decode(key, bytes->second).value().live();
}

// Calls `visit` for every row of every table.
void each_row(
    const MemStore::Tables& tables,
    const std::function<void(Table, const std::string& key, const std::string& value)>& visit) {
  for (int t = 0; t < kTableCount; ++t) {
    for (const auto& [key, value] : tables[static_cast<size_t>(t)])
      visit(static_cast<Table>(t), key, value);
  }
}

std::set<Table> kinds_of(const MemStore::Tables& tables) {
  std::set<Table> out;
  each_row(tables, [&](Table t, const std::string&, const std::string&) { out.insert(t); });
  return out;
}

// Changes the decoded state row and expects the audit to see it.
template <typename State>
void state_lies(const MemStore::Tables& tables, const Audit& audit,
                Result<State> (*decode)(std::string_view), std::string (*encode)(const State&),
                const char* what, const std::function<void(State&)>& change) {
  INFO("state: " << what);
  MemStore::Tables changed = tables;
  std::string& bytes = row(changed, Table::meta, keys::meta_state());
  State state = decode(bytes).value();
  change(state);
  bytes = encode(state);
  CHECK_FALSE(verdict(changed, audit).empty());
}

void every_record_cell(const MemStore::Tables& tables, const Audit& audit) {
  size_t cells = 0;
  for (const auto& [key, value] : tables[static_cast<size_t>(Table::records)]) {
    RecordKey record_key = *keys::parse_record(key);
    Record record = Record::decode(record_key, value).value();
    // A tombstone adds nothing to the checksum (SEMANTICS 27): of its content only the row is
    // counted.
    if (!record.live()) continue;
    for (const Cell& cell : record.cells()) {
      for (bool remove : {true, false}) {
        Record changed = Record::decode(record_key, value).value();
        if (remove) {
          changed.remove_cell(cell.field);
        } else {
          std::string other = "another";
          changed.set(cell.field, record.version(cell), {ValueType::text, other});
        }
        MemStore::Tables t = tables;
        row(t, Table::records, key) = changed.encode();
        INFO((remove ? "no cell " : "other cell ") << cell.field.value << " of " << hex(key));
        CHECK_FALSE(verdict(t, audit).empty());
        ++cells;
      }
    }
    if (cells > 200) break;  // of every entity some
  }
  CHECK(cells > 100);
}

}  // namespace

TEST_CASE("SEMANTICS 19: the audit of what was written well is true", "[audit]") {
  Audited& a = audited();
  CHECK(a.world.audit().empty());
  AuditReport line = a.audit_master(a.world.master.store);
  uint64_t decided = 0;
  for (const auto& [origin, ledger] : line.counted) decided += ledger.accepted;
  CHECK(decided > 100);
  // Every kind of table and of fate is there: else the loops below prove little.
  CHECK(kinds_of(a.master) == std::set<Table>{Table::meta, Table::records, Table::elements,
                                              Table::index, Table::fates, Table::line,
                                              Table::keys});
  CHECK(kinds_of(a.east) == std::set<Table>{Table::meta, Table::records, Table::elements,
                                            Table::index, Table::outbox, Table::fates,
                                            Table::keys});
  Ledger all;
  for (auto [origin, ledger] : line.counted) all += ledger;
  CHECK(all.applied > 0);
  CHECK(all.merged > 0);
  CHECK(all.overridden > 0);
  CHECK(all.rejected > 0);
  CHECK(a.world["east"].replica->state().ledger.pending == 6);
}

TEST_CASE("SEMANTICS 19: without any one row of the master's store the audit is false", "[audit]") {
  Audited& a = audited();
  each_row(a.master, [&](Table table, const std::string& key, const std::string&) {
    MemStore::Tables without = a.master;
    without[static_cast<size_t>(table)].own().erase(key);
    INFO(name_of(table, key));
    CHECK_FALSE(verdict(without, a.audit_master).empty());
  });
}

TEST_CASE("SEMANTICS 19: without any one row of an office's store the audit is false", "[audit]") {
  Audited& a = audited();
  each_row(a.east, [&](Table table, const std::string& key, const std::string&) {
    MemStore::Tables without = a.east;
    if (table == Table::elements && !live(a.east, keys::parse_element(key)->record, key[0])) return;
    without[static_cast<size_t>(table)].own().erase(key);
    INFO(name_of(table, key));
    CHECK_FALSE(verdict(without, a.audit_east).empty());
  });
}

TEST_CASE("SEMANTICS 19: with any one row more the audit is false", "[audit]") {
  Audited& a = audited();
  for (bool at_master : {true, false}) {
    const auto& tables = at_master ? a.master : a.east;
    for (Table table : kinds_of(tables)) {
      // Unknown kinds of meta rows are the future's, and an office's fates of another origin are
      // not its own.
      if (table == Table::meta) continue;
      MemStore::Tables more = tables;
      auto& map = more[static_cast<size_t>(table)].own();
      std::string key = map.rbegin()->first;
      key.back() = static_cast<char>(key.back() ^ 0x55);
      map[key] = map.rbegin()->second;
      INFO((at_master ? "master " : "east ") << name_of(table, key));
      CHECK_FALSE(verdict(more, at_master ? a.audit_master : a.audit_east).empty());
    }
  }
}

TEST_CASE("SEMANTICS 19: a changed cell of any live record is found by its territory's checksum",
          "[audit]") {
  Audited& a = audited();
  every_record_cell(a.master, a.audit_master);
  every_record_cell(a.east, a.audit_east);
}

TEST_CASE("SEMANTICS 19: without any one mutation in the outbox the audit is false", "[audit]") {
  Audited& a = audited();
  size_t entries = 0;
  for (const auto& [key, value] : a.east[static_cast<size_t>(Table::outbox)]) {
    if (key[0] == static_cast<char>(keys::kKept)) continue;  // decided before
    OutboxBlock block = decode_outbox_block(*keys::parse_outbox(key), value).value();
    for (size_t i = 0; i < block.entries.size(); ++i) {
      OutboxBlock fewer = decode_outbox_block(*keys::parse_outbox(key), value).value();
      fewer.entries.erase(fewer.entries.begin() + static_cast<long>(i));
      ++entries;
      if (fewer.entries.empty()) continue;  // the whole row: above
      MemStore::Tables t = a.east;
      auto& map = t[static_cast<size_t>(Table::outbox)].own();
      map.erase(key);
      map[keys::outbox(static_cast<keys::Side>(key[0]), fewer.last())] = encode_outbox_block(fewer);
      INFO("outbox entry " << i << " of " << hex(key));
      CHECK_FALSE(verdict(t, a.audit_east).empty());
    }
  }
  CHECK(entries == 6);
}

TEST_CASE("SEMANTICS 19: a changed fate is found", "[audit]") {
  Audited& a = audited();
  for (bool at_master : {true, false}) {
    const auto& tables = at_master ? a.master : a.east;
    for (const auto& [key, value] : tables[static_cast<size_t>(Table::fates)]) {
      MutationId id = *keys::parse_fate(key);
      auto lie = [&](const char* what, const std::function<void(FateEntry&)>& change) {
        FateRow fate = decode_fate_row(id, value).value();
        change(fate.entry);
        MemStore::Tables t = tables;
        row(t, Table::fates, key) = encode_fate_row(fate.entry, fate.content);
        INFO((at_master ? "master " : "east ") << what << " of " << hex(key));
        CHECK_FALSE(verdict(t, at_master ? a.audit_master : a.audit_east).empty());
      };
      lie("outcome",
          [](FateEntry& e) { e.fate = e.fate == Fate::applied ? Fate::merged : Fate::applied; });
      lie("count", [](FateEntry& e) { ++e.count; });
      lie("csn beyond the head", [](FateEntry& e) { e.csn = Csn(e.csn.value + 1'000'000); });
      if (!at_master) continue;  // an office cannot know better; its master does
      lie("csn", [](FateEntry& e) { e.csn = e.csn.next(); });
      lie("reason", [](FateEntry& e) {
        e.outcomes.push_back({0, FieldId(1), Fate::merged, Reason::newer, {}});
      });
      lie("clamping", [](FateEntry& e) { e.clamped = Hlc{e.clamped.value + 1}; });
      lie("as forecast", [](FateEntry& e) { e.as_forecast = !e.as_forecast; });
    }
  }
}

TEST_CASE("SEMANTICS 19: any byte changed in the main line is found", "[audit]") {
  Audited& a = audited();
  for (const auto& [key, value] : a.master[static_cast<size_t>(Table::line)]) {
    // Compressed rows are changed in what they say, so that no decompressor helps.
    auto raw = decompress(value, 1 << 22);
    bool header = key[8] == 0;
    std::string plain = header ? value : raw.value();
    for (size_t at = 0; at < plain.size(); ++at) {
      std::string changed = plain;
      changed[at] = static_cast<char>(changed[at] ^ 0x40);
      MemStore::Tables t;
      t = a.master;
      row(t, Table::line, key) = header ? changed : compress(changed);
      INFO("line " << hex(key) << " byte " << at << " of " << plain.size());
      CHECK_FALSE(verdict(t, a.audit_master).empty());
      at += plain.size() / 6;  // seven places in each row
    }
  }
}

TEST_CASE("SEMANTICS 19: a changed row of a master's streams, servers and starts is found",
          "[audit]") {
  Audited& a = audited();
  each_row(a.master, [&](Table table, const std::string& key, const std::string& value) {
    if (table != Table::meta) return;
    auto lie = [&](const char* what, const std::string& bytes) {
      MemStore::Tables t = a.master;
      row(t, Table::meta, key) = bytes;
      INFO(what << " of " << hex(key));
      CHECK_FALSE(verdict(t, a.audit_master).empty());
    };
    lie("damage", value.substr(0, value.size() - 1));
    if (key.starts_with(keys::meta_stream_prefix())) {
      StreamState s = decode_stream_state(value).value();
      StreamState other = s;
      other.seq = s.seq.next();
      lie("seq", encode_stream_state(other));
      other = s;
      other.last_csn = s.last_csn.next();
      lie("last csn", encode_stream_state(other));
    } else if (key.starts_with(keys::meta_origin_prefix())) {
      OriginState s = decode_origin_state(value).value();
      OriginState other = s;
      other.latest = Incarnation(99);
      lie("latest", encode_origin_state(other));
      for (uint64_t Ledger::* column :
           {&Ledger::accepted, &Ledger::pending, &Ledger::applied, &Ledger::merged,
            &Ledger::overridden, &Ledger::rejected, &Ledger::lost}) {
        other = s;
        ++(other.ledger.*column);
        lie("ledger", encode_origin_state(other));
      }
    }
  });
}

TEST_CASE("SEMANTICS 19: every figure of an office's state row is recounted", "[audit]") {
  Audited& a = audited();
  auto lies = [&](const char* what, const std::function<void(ReplicaState&)>& change) {
    state_lies<ReplicaState>(a.east, a.audit_east, decode_replica_state, encode_replica_state, what,
                             change);
  };
  for (uint64_t Ledger::* column : {&Ledger::accepted, &Ledger::pending, &Ledger::applied,
                                    &Ledger::merged, &Ledger::overridden, &Ledger::rejected}) {
    lies("ledger", [&](ReplicaState& s) { ++(s.ledger.*column); });
  }
  // `lost` is an operator's word, but the columns must add up.
  lies("lost", [](ReplicaState& s) { ++s.ledger.lost; });
  lies("keys", [](ReplicaState& s) { ++s.key_rows; });
  lies("generation", [](ReplicaState& s) { ++s.generation; });
  lies("order", [](ReplicaState& s) { s.order = s.order.next(); });
  lies("seq", [](ReplicaState& s) { s.ends[0].seq = s.ends[0].seq.next(); });
  lies("chain", [](ReplicaState& s) { s.ends[0].chain.bytes[5] ^= 1; });
  lies("retired", [](ReplicaState& s) {
    s.retired.at({s.generation, Lane::interactive}) = {Seq(1), Order(1)};
  });
  lies("retired start", [](ReplicaState& s) { s.retired.erase(s.retired.begin()); });
  lies("cursor", [](ReplicaState& s) { s.cursor.csn = Csn(3); });
  ReplicaState state = decode_replica_state(row(a.east, Table::meta, keys::meta_state())).value();
  for (const auto& [territory, sum] : state.totals.sums) {
    lies("checksum", [&](ReplicaState& s) { ++s.totals.sums[territory].low; });
    lies("no checksum", [&](ReplicaState& s) {
      if (sum != Sum128{}) {
        s.totals.sums.erase(territory);
      } else {
        ++s.totals.sums[territory].high;
      }
    });
  }
  for (const auto& [key, count] : state.totals.counts) {
    lies("count", [&](ReplicaState& s) { ++s.totals.counts[key]; });
  }
}

TEST_CASE("SEMANTICS 19: every figure of the master's state row is recounted", "[audit]") {
  Audited& a = audited();
  auto lies = [&](const char* what, const std::function<void(MasterState&)>& change) {
    state_lies<MasterState>(a.master, a.audit_master, decode_master_state, encode_master_state,
                            what, change);
  };
  lies("line", [](MasterState& s) { s.line = LineId(s.line.value + 1); });
  lies("head", [](MasterState& s) { s.head = s.head.next(); });
  lies("head", [](MasterState& s) { s.head = Csn(s.head.value - 1); });
  lies("chain", [](MasterState& s) { s.chain.bytes[0] ^= 1; });
  lies("salt", [](MasterState& s) { s.salt_key.bytes[0] ^= 1; });
  lies("keys", [](MasterState& s) { ++s.key_rows; });
  lies("starts", [](MasterState& s) { ++s.generation; });
  MasterState state = decode_master_state(row(a.master, Table::meta, keys::meta_state())).value();
  for (const auto& [territory, sum] : state.totals.sums) {
    lies("checksum", [&](MasterState& s) { ++s.totals.sums[territory].low; });
  }
  for (const auto& [key, count] : state.totals.counts) {
    lies("count", [&](MasterState& s) { --s.totals.counts[key]; });
  }
}

TEST_CASE("SEMANTICS 19: a changed operation key, element or index row is found", "[audit]") {
  Audited& a = audited();
  for (bool at_master : {true, false}) {
    const auto& tables = at_master ? a.master : a.east;
    each_row(tables, [&](Table table, const std::string& key, const std::string& value) {
      if (table != Table::keys && table != Table::elements && table != Table::index) return;
      auto lie = [&](const char* what, const std::string& new_key, const std::string& bytes) {
        MemStore::Tables t = tables;
        auto& map = t[static_cast<size_t>(table)].own();
        map.erase(key);
        map[new_key] = bytes;
        INFO((at_master ? "master " : "east ") << what << " of " << name_of(table, key));
        CHECK_FALSE(verdict(t, at_master ? a.audit_master : a.audit_east).empty());
      };
      if (table == Table::index) {
        std::string other = key;
        other[other.size() - 3] = static_cast<char>(other[other.size() - 3] ^ 0x20);
        return lie("record", other, value);
      }
      // The request's digest and the stamp have no second copy; the mutation that a key names has
      // its fate.
      std::string damaged = value;
      size_t at = table == Table::keys ? 1 : value.size() - 1;
      damaged[at] = static_cast<char>(damaged[at] ^ 0x20);
      if (table == Table::elements && !live(tables, keys::parse_element(key)->record, key[0]))
        return;
      lie("value", key, damaged);
    });
  }
}

}  // namespace branchline
