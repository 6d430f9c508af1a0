// Text keys in the indexes belong to an ICU. A store whose rows another one made finds nothing by
// text, and lets a unique key be taken twice, until they are made anew; so that happens when a
// server opens, whole or not at all.
#include <catch2/catch.hpp>

#include "branch/replica/audit.h"
#include "master/ingest/audit.h"
#include "tests/support/small_world.h"

namespace branchline {
namespace {

using Rows = std::map<std::string, std::string, std::less<>>;
constexpr const char* kOlder = "ICU 63.1, root collator 153.88, secondary, 64 bytes";

const Rows& rows_of(const MemStore& store, Table table) {
  return store.tables()[static_cast<size_t>(table)].read();
}
Rows of_side(const MemStore& store, Table table, keys::Side side) {
  Rows out;
  for (const auto& [key, value] : rows_of(store, table))
    if (key[0] == static_cast<char>(side)) out.emplace(key, value);
  return out;
}
std::optional<std::string> collation_of(const MemStore& store, keys::Side side) {
  return store.get(Table::meta, keys::meta_collation(side)).value();
}

std::string made_by(const SmallWorld& w, IndexScope scope = IndexScope::all,
                    const std::string& collation = collation_version()) {
  return index_version(*w.schema, scope, collation);
}

// As a server left it that sorts in another way: index rows with other bytes of values, and a row
// that says whose they are (nullptr: a version that did not write it).
void sort_otherwise(MemStore& store, keys::Side side, const char* collation = kOlder) {
  Batch batch;
  size_t changed = 0;
  for (const auto& [key, value] : of_side(store, Table::index, side)) {
    std::string other = key;
    // Between side, entity and index before and the id behind.
    for (size_t i = 5; i + 16 < other.size(); ++i) other[i] = static_cast<char>(other[i] ^ 0x40);
    batch.erase(Table::index, key);
    batch.put(Table::index, other, {});
    ++changed;
  }
  REQUIRE(changed > 10);
  if (collation) {
    std::string now = collation_of(store, side).value();
    batch.put(Table::meta, keys::meta_collation(side),
              collation + now.substr(now.find(", indexes ")));
  } else {
    batch.erase(Table::meta, keys::meta_collation(side));
  }
  REQUIRE(store.write(batch, Sync::yes));
}

// Counts writes; fails from a given one on, as a process that ended there.
class CountingStore : public Store {
 public:
  explicit CountingStore(MemStore& real, size_t most = ~size_t{0}) : real_(real), most_(most) {}
  Result<std::optional<std::string>> get(Table t, std::string_view key) const override {
    return real_.get(t, key);
  }
  std::unique_ptr<Cursor> scan(Table t, std::string_view b, std::string_view e) const override {
    return real_.scan(t, b, e);
  }
  std::unique_ptr<Cursor> scan_back(Table t, std::string_view b,
                                    std::string_view e) const override {
    return real_.scan_back(t, b, e);
  }
  Result<void> write(const Batch& batch, Sync sync) override {
    if (writes == most_) return fail(ErrorKind::unavailable, "store.io", "ended here");
    ++writes;
    synced += sync == Sync::yes ? 1 : 0;
    largest = std::max(largest, batch.count());
    return real_.write(batch, sync);
  }
  Result<void> sync() override { return real_.sync(); }
  std::shared_ptr<const StoreView> snapshot() const override { return real_.snapshot(); }

  size_t writes = 0, synced = 0, largest = 0;

 private:
  MemStore& real_;
  size_t most_;
};

struct Company : SmallWorld {
  SmallOffice& east = (*this)["east"];

  Company() {
    for (int i = 0; i < 20; ++i) {
      std::string n = std::to_string(i);
      REQUIRE(east.write("create account a" + n + " @common name=Größe" + n + " accountnumber=N" +
                         n) == "ok");
      REQUIRE(east.write("create contact c" + n + " parentcustomerid=a" + n + " lastname=F" + n) ==
              "ok");
    }
    settle();
    REQUIRE(east.write("delete a7") == "ok");
    settle();
    REQUIRE(east.write("update a3 accountnumber=P3") == "ok");  // pending
    REQUIRE(audit().empty());
  }
  keys::Side side() const { return offices.at("east")->replica->state().side; }

  std::string holder(Workspace& view, const std::string& number) {
    const Entity& account = *schema->entity("account");
    const Index& index = account.indexes.front();
    REQUIRE(index.unique);
    auto held = view.holder_of(account, index, {ValueType::text, number}, {});
    REQUIRE(held);
    return *held ? names.name_of(**held) : "nobody";
  }
};

Result<void> open_office(Store& store, Company& w, const IndexUpkeep& upkeep,
                         Batch* rows = nullptr) {
  Batch start;
  auto replica = Replica::open(store, w.schema, w.east.clock, w.random, start, upkeep);
  if (rows) *rows = start;
  return replica ? Result<void>{} : Result<void>(std::unexpected(replica.error()));
}

}  // namespace

TEST_CASE("an office whose index rows are of another collation finds by text again", "[index]") {
  Company w;
  const char* found = GENERATE(true, false) ? kOlder : nullptr;
  keys::Side side = w.side();
  Rows right = of_side(w.east.store, Table::index, side);
  w.east.crash();
  sort_otherwise(w.east.store, side, found);
  REQUIRE_FALSE(of_side(w.east.store, Table::index, side) == right);

  SECTION("were it not rebuilt, a number would be free that is taken") {
    IndexUpkeep none;
    none.collation = found ? found : "";
    if (!found) return;
    REQUIRE(open_office(w.east.store, w, none));
    Workspace view(w.east.store, w.schema, {side, IndexScope::all, false, 1000});
    CHECK(w.holder(view, "N5") == "nobody");
  }
  SECTION("opened, it is as it was before") {
    w.east.start();
    CHECK(of_side(w.east.store, Table::index, side) == right);
    CHECK(collation_of(w.east.store, side) == made_by(w));
    CHECK(w.holder(w.east.replica->workspace(), "N5") == "a5");
    CHECK(w.holder(w.east.replica->workspace(), "P3") == "a3");
    CHECK(w.holder(w.east.replica->workspace(), "N3") == "nobody");
    w.east.connect();
    REQUIRE(w.east.write("create account b @common name=B accountnumber=n5") == "ok");
    CHECK(w.east.show("b").find("duplicateof=a5") != std::string::npos);
    w.settle();
    CHECK(w.audit().empty());
  }
}

TEST_CASE("a master whose index rows are of another collation sees a second claim again",
          "[index]") {
  Company w;
  w.settle();
  const char* found = GENERATE(true, false) ? kOlder : nullptr;
  Rows right = of_side(w.master.store, Table::index, 0);
  w.master.crash();
  sort_otherwise(w.master.store, 0, found);
  w.master.start();
  CHECK(of_side(w.master.store, Table::index, 0) == right);
  CHECK(collation_of(w.master.store, 0) == made_by(w, IndexScope::authority));
  CHECK(w.holder(w.master.ingest->workspace(), "N5") == "a5");
  auto ops = w.names.parse_all("create account b @common name=B accountnumber=n5",
                               w.master.ingest->workspace(), w.arena);
  CHECK(w.master.commit(ops) == "merged: accountnumber duplicate_key");
  CHECK(audit_line(w.master.store, *w.schema)->problems.empty());
}

TEST_CASE("nothing is written where the collation is the same", "[index]") {
  Company w;
  w.settle();
  w.east.crash();
  w.master.crash();
  IndexUpkeep upkeep;
  upkeep.progress = [](const IndexRebuild& r) { FAIL(describe(r)); };
  CountingStore east(w.east.store), master(w.master.store);
  Batch rows;
  REQUIRE(open_office(east, w, upkeep, &rows));
  CHECK(east.writes == 0);
  auto only_others = [](Batch::Op, Table table, std::string_view key, std::string_view) {
    CHECK(table == Table::meta);
    CHECK(key[0] != keys::meta_collation(0)[0]);
  };
  rows.for_each(only_others);
  rows.clear();
  REQUIRE(Ingest::open(master, w.schema, w.master.clock, w.random, nullptr, rows, upkeep));
  CHECK(master.writes == 0);
  rows.for_each(only_others);
}

TEST_CASE("an empty store is told its collation with its first batch", "[index]") {
  SmallWorld world;
  IndexUpkeep upkeep;
  upkeep.progress = [](const IndexRebuild& r) { FAIL(describe(r)); };
  FixedClock clock(kWorldMs);
  for (bool master : {true, false}) {
    MemStore store;
    CountingStore counted(store);
    Batch rows;
    if (master) {
      REQUIRE(Ingest::open(counted, world.schema, clock, world.random, nullptr, rows, upkeep));
    } else {
      REQUIRE(Replica::open(counted, world.schema, clock, world.random, rows, upkeep));
    }
    CHECK(counted.writes == 0);
    REQUIRE(store.write(rows, Sync::yes));
    CHECK(collation_of(store, 0) ==
          made_by(world, master ? IndexScope::authority : IndexScope::all));
  }
}

TEST_CASE("a rebuild is written in batches, its row last and synced, and tells how far it is",
          "[index]") {
  Company w;
  keys::Side side = w.side();
  size_t records = of_side(w.east.store, Table::records, side).size();
  uint64_t live = live_records(w.east.replica->state().totals);
  REQUIRE(records > live);
  w.east.crash();
  sort_otherwise(w.east.store, side);
  IndexUpkeep upkeep;
  upkeep.batch_records = 4;
  std::vector<std::string> told;
  upkeep.progress = [&](const IndexRebuild& r) { told.push_back(describe(r)); };
  CountingStore counted(w.east.store);
  REQUIRE(open_office(counted, w, upkeep));
  CHECK(counted.writes == records / 4 + 1);
  CHECK(counted.synced == 1);
  CHECK(counted.largest <= 4 * 8 + 2);
  CHECK(w.east.store.unsynced() == 0);
  REQUIRE(told.size() == records / 4 + 2);
  CHECK(told.front() == "rebuilding the indexes of " + std::to_string(live) +
                            " records: they are of " + made_by(w, IndexScope::all, kOlder) +
                            ", this program makes " + made_by(w));
  CHECK(told[1] == "rebuilding the indexes: 4 of " + std::to_string(live) + " records");
  CHECK(told.back() == "the indexes are rebuilt: " + std::to_string(records) +
                           " records, deleted ones among them");
}

TEST_CASE("a rebuild that breaks off anywhere is begun anew, by whichever version", "[index]") {
  Company w;
  keys::Side side = w.side();
  Rows right = of_side(w.east.store, Table::index, side);
  w.east.crash();
  sort_otherwise(w.east.store, side);
  auto before = w.east.store.durable();
  size_t ended = 0;
  for (size_t most = 0;; ++most) {
    bool whole = false;
    for (size_t keep = 0; keep <= most && !whole; ++keep) {
      w.east.store.restore(before);
      IndexUpkeep upkeep;
      upkeep.batch_records = 8;
      CountingStore failing(w.east.store, most);
      auto opened = open_office(failing, w, upkeep);
      whole = opened.has_value();
      if (whole) break;
      CHECK(opened.error().code == "store.io");
      INFO("ended after " << most << " batches, of which " << keep << " were kept");
      w.east.store.crash(keep);
      if (keep > 0) CHECK_FALSE(collation_of(w.east.store, side));
      // The program of before may be the next: to it the rows are not its own either.
      IndexUpkeep again;
      if (keep > 0 && keep % 2 == 0) again.collation = kOlder;
      CountingStore counted(w.east.store);
      REQUIRE(open_office(counted, w, again));
      CHECK(counted.writes > 0);
      CHECK(of_side(w.east.store, Table::index, side) == right);
      CHECK(collation_of(w.east.store, side) == made_by(w, IndexScope::all, again.collation));
      ++ended;
    }
    if (whole) break;
  }
  CHECK(ended > 20);
}

TEST_CASE("the other side of an office keeps its rows, and its own collation", "[index]") {
  Company w;
  w.east.ship();
  FeedScope scope;
  scope.origin = w.east.registration.origin;
  scope.territories = {w.east.registration.territories.begin(),
                       w.east.registration.territories.end()};
  scope.territories.insert(kReferenceTerritory);
  auto begin = [&](Replica& replica, SnapshotSource& source) {
    auto put = [&](const Batch& b, Sync s) { return w.east.store.write(b, s); };
    REQUIRE(replica.begin_seed(source.head(), put));
    for (;;) {
      auto chunk = source.next();
      REQUIRE(chunk);
      if (!*chunk) break;
      REQUIRE(replica.seed_chunk(**chunk, put));
    }
  };
  auto source = [&] {
    return std::move(
        *SnapshotSource::open(w.master.store.snapshot(), scope, w.east.introduction().pending));
  };
  keys::Side live = w.side(), other = static_cast<keys::Side>(1 - live);

  SECTION("a snapshot that was under way") {
    begin(*w.east.replica, *source());
    Rows seeded = of_side(w.east.store, Table::index, other);
    REQUIRE(seeded.size() > 10);
    w.east.crash(w.east.store.unsynced());
    sort_otherwise(w.east.store, live);
    w.east.start();
    CHECK(of_side(w.east.store, Table::index, other) == seeded);
    CHECK(collation_of(w.east.store, other) == made_by(w));
    w.east.connect();
    w.east.take_snapshot();
    CHECK(w.side() == other);
    CHECK_FALSE(collation_of(w.east.store, live));
    w.settle();
    CHECK(w.audit().empty());
  }
  SECTION("a side that another version has filled and made the live one") {
    w.east.crash();
    IndexUpkeep older;
    older.collation = kOlder;
    Batch rows;
    auto replica =
        Replica::open(w.east.store, w.schema, w.east.clock, w.random, rows, older).value();
    REQUIRE(w.east.store.write(rows, Sync::yes));
    auto snapshot = std::move(*SnapshotSource::open(w.master.store.snapshot(), scope,
                                                    replica->introduction("east", "")->pending));
    begin(*replica, *snapshot);
    auto put = [&](const Batch& b, Sync s) { return w.east.store.write(b, s); };
    auto switched = replica->end_seed(snapshot->end(), put);
    REQUIRE(switched);
    REQUIRE(w.east.store.write(switched->batch, Sync::yes));
    CHECK(collation_of(w.east.store, other) == made_by(w, IndexScope::all, kOlder));
    CHECK_FALSE(collation_of(w.east.store, live));
    CountingStore counted(w.east.store);
    REQUIRE(open_office(counted, w, {}));
    CHECK(counted.writes > 0);
    CHECK(collation_of(w.east.store, other) == made_by(w));
  }
}

TEST_CASE("a collation that is not this program's is told by the audit", "[index]") {
  Company w;
  Batch batch;
  batch.put(Table::meta, keys::meta_collation(w.side()), kOlder);
  REQUIRE(w.east.store.write(batch, Sync::yes));
  auto problems = w.audit();
  REQUIRE(problems.size() == 1);
  CHECK(problems[0] == std::string("east: the indexes are of '") + kOlder +
                           "', this server makes '" + made_by(w) +
                           "': start it again, and it rebuilds them");
}

}  // namespace branchline
