// SEMANTICS 24 to 26 at real stores: joins that go on where they broke off, other subscriptions,
// offices that were away too long, and a line that is kept only as far as somebody needs it.
#include <catch2/catch.hpp>

#include "branch/replica/audit.h"
#include "common/base/check.h"
#include "master/ingest/audit.h"
#include "master/ingest/topology_commit.h"
#include "tests/support/small_world.h"

namespace branchline {
namespace {

constexpr size_t kSmallChunk = 800;
constexpr int64_t kMonthMs = 30ll * 86'400'000;

Replica::Write writer(SmallOffice& o) {
  return [&o](const Batch& b, Sync s) { return o.store.write(b, s); };
}

// Takes chunks from where `source` stands; how many it took.
size_t take(SmallOffice& o, SnapshotSource& source, size_t most = SIZE_MAX) {
  size_t taken = 0;
  for (; taken < most; ++taken) {
    auto chunk = source.chunk(o.replica->seeded_chunks());
    REQUIRE(chunk);
    if (!*chunk) break;
    REQUIRE(o.replica->seed_chunk(**chunk, writer(o)));
  }
  return taken;
}

struct Filled : SmallWorld {
  explicit Filled(int accounts = 40) {
    SmallOffice& hq = (*this)["hq"];
    for (int i = 0; i < accounts; ++i) {
      std::string n = std::to_string(i), t = i % 3 == 0 ? "common" : i % 3 == 1 ? "east" : "west";
      BL_CHECK(hq.write("create account a" + n + " @" + t + " name=canary-" + t +
                        "-name description=canary-" + t + "-text" + std::string(80, 'x') +
                        " tags+=canary-" + t) == "ok");
    }
    settle();
  }
  bool whole() {
    settle();
    settle();
    auto problems = audit();
    for (const auto& p : problems) UNSCOPED_INFO(p);
    return problems.empty();
  }
  bool holds(SmallOffice& o, const std::string& needle, bool with_fates = false) {
    for (size_t t = 0; t < kTableCount; ++t) {
      if (t == size_t(Table::fates) && !with_fates) continue;
      for (const auto& [key, value] : o.store.tables()[t]) {
        if (value.find(needle) != std::string::npos) return true;
      }
    }
    return false;
  }
  void subscribe(const std::string& name, std::vector<std::string> territories) {
    for (auto& s : topology.servers) {
      if (s.name == name) s.territories = territories;
    }
    master.apply_topology();
  }
  void ask_anew(SmallOffice& o) {
    Introduction intro = o.introduction();
    intro.reseed = true;
    o.registration = master.register_branch(intro);
    REQUIRE(o.registration.join);
    REQUIRE(o.store.write(*o.replica->welcome(o.registration), Sync::yes));
  }
};

}  // namespace

TEST_CASE("SEMANTICS 25: a join goes on at the last good chunk, over a restart too",
          "[snapshot][resume]") {
  Filled w;
  SmallOffice& e = w["east"];
  REQUIRE(e.write("update a0 name=Pending") == "ok");
  w.ask_anew(e);
  auto source = std::shared_ptr<SnapshotSource>(e.open_snapshot(kSmallChunk, 77));
  REQUIRE(e.replica->begin_seed(source->head(), writer(e)));
  REQUIRE(take(e, *source, 3) == 3);
  // The master has sent two more, which never arrive.
  REQUIRE(source->chunk(3));
  REQUIRE(source->chunk(4));
  SnapshotShelf shelf;
  shelf.put(source, 0);

  // Nothing happens to it; it ends in order; it dies, and of the three chunks one was on its disk.
  int how = GENERATE(0, 1, 2);
  uint64_t installed = how == 2 ? 1 : 3;
  if (how == 2) {
    e.crash(2);
    e.start();
  }
  // The office works on meanwhile, and the line goes on.
  REQUIRE(e.write("update a3 name=Meanwhile") == "ok");
  REQUIRE(w["hq"].write("update a0 description=later") == "ok");
  w["hq"].ship();
  if (how == 1) {
    e.crash(e.store.unsynced());
    e.start();
  }
  Introduction intro = e.introduction();
  CHECK(intro.join.snapshot == 77);
  CHECK(intro.join.chunks == installed);
  CHECK(intro.reseed);
  e.registration = w.master.register_branch(intro);
  REQUIRE(e.registration.join);
  REQUIRE(e.store.write(*e.replica->welcome(e.registration), Sync::yes));
  auto kept = shelf.take(e.registration.origin, SnapshotShelf::kKeepUs - 1);
  REQUIRE(kept);
  auto goes_on = kept->resume(intro.join, e.scope(), {}, intro.pending);
  REQUIRE(goes_on);
  REQUIRE(*goes_on);
  CHECK(kept->head().first_chunk == installed);
  REQUIRE(e.replica->begin_seed(kept->head(), writer(e)));
  CHECK(e.replica->seeded_chunks() == installed);
  size_t rest = take(e, *kept);
  CHECK(rest > 3);
  CHECK(installed + rest == kept->end().chunks);  // none came twice
  e.end_join(kept->end());
  CHECK(e.introduction().join.snapshot == 0);
  CHECK_FALSE(e.introduction().reseed);
  CHECK(w.whole());
  CHECK(e.show("a0").find("name=Pending") != std::string::npos);
  CHECK(e.show("a3").find("name=Meanwhile") != std::string::npos);
  CHECK(w.master.show("a3").find("name=Meanwhile") != std::string::npos);
}

TEST_CASE("a snapshot is not gone on with where it is another", "[snapshot][resume]") {
  Filled w;
  SmallOffice& e = w["east"];
  w.ask_anew(e);
  auto source = e.open_snapshot(kSmallChunk, 77);
  REQUIRE(e.replica->begin_seed(source->head(), writer(e)));
  REQUIRE(take(e, *source, 2) == 2);
  Introduction intro = e.introduction();
  JoinProgress join = intro.join;
  FeedScope scope = e.scope();
  std::set<TerritoryId> held;
  SECTION("another number") { join.snapshot = 78; }
  SECTION("none") { join.snapshot = 0; }
  SECTION("chunks that differ") { join.chain.bytes[3] ^= 1; }
  SECTION("chunks that were never sent") { join.chunks = 3; }
  SECTION("other territories") { scope.territories.insert(TerritoryId(4)); }
  SECTION("another office") { scope.origin = OriginId(9); }
  SECTION("a part where all was asked for") { held.insert(TerritoryId(2)); }
  auto goes_on = source->resume(join, scope, held, intro.pending);
  REQUIRE(goes_on);
  CHECK_FALSE(*goes_on);
}

TEST_CASE("a snapshot that broke off is kept for a while, one per branch", "[snapshot][resume]") {
  Filled w;
  SmallOffice &e = w["east"], &o = w["west"];
  SnapshotShelf shelf;
  auto snapshot = [](SmallOffice& office) {
    return std::shared_ptr<SnapshotSource>(office.open_snapshot(kSmallChunk, 5));
  };
  OriginId east = e.registration.origin, west = o.registration.origin;
  shelf.put(snapshot(e), 0);
  shelf.put(snapshot(o), 10);
  CHECK(shelf.lowest() == w.master.feed->head().csn);
  CHECK(shelf.size() == 2);
  shelf.put(snapshot(e), 20);
  CHECK(shelf.size() == 2);
  CHECK(shelf.take(east, 30));
  CHECK_FALSE(shelf.take(east, 30));
  CHECK_FALSE(shelf.take(west, 10 + SnapshotShelf::kKeepUs));
  CHECK(shelf.size() == 0);
  CHECK_FALSE(shelf.lowest());
}

TEST_CASE("SEMANTICS 24: a territory comes at one csn, and only what is missing is sent",
          "[snapshot][subscription]") {
  Filled w;
  SmallOffice& e = w["east"];
  REQUIRE(e.write("update a1 name=Pending loyaltypoints+=3") == "ok");
  REQUIRE(e.write("create contact c1 parentcustomerid=a1 lastname=C") == "ok");
  CHECK_FALSE(w.holds(e, "canary-west"));
  w.subscribe("east", {"common", "east", "west"});
  REQUIRE(w["west"].write("update a2 name=canary-west-later") == "ok");
  w["west"].ship();
  e.registration = w.master.register_branch(e.introduction());
  REQUIRE(e.registration.partial);
  CHECK_FALSE(e.registration.join);
  REQUIRE(e.store.write(*e.replica->welcome(e.registration), Sync::yes));
  auto source = e.open_snapshot(kSmallChunk, 5);
  CHECK(source->head().partial);
  REQUIRE(e.replica->begin_seed(source->head(), writer(e)));
  // The feed has not come there yet: nothing is taken over before.
  take(e, *source);
  auto early = e.replica->copy_kept(writer(e));
  REQUIRE_FALSE(early);
  CHECK(early.error().code == "snapshot.early");
  e.fetch();
  // A third of the accounts is of the west; the others are not sent again.
  CHECK(e.replica->seeded_records() < 20);
  e.end_join(source->end());
  e.registration.partial = false;
  CHECK(w.holds(e, "canary-west-later"));
  CHECK(e.show("a1").find("name=Pending") != std::string::npos);
  CHECK(w.whole());
  CHECK(e.replica->state().ledger.pending == 0);
  // From here on it follows the new territory too.
  REQUIRE(w["west"].write("update a5 name=canary-west-last") == "ok");
  w.settle();
  CHECK(e.show("a5").find("canary-west-last") != std::string::npos);
  CHECK(w.audit().empty());
}

TEST_CASE("SEMANTICS 24: of a territory that came half and was taken back nothing stays",
          "[snapshot][subscription]") {
  Filled w;
  SmallOffice& e = w["east"];
  w.subscribe("east", {"common", "east", "west"});
  e.registration = w.master.register_branch(e.introduction());
  REQUIRE(e.registration.partial);
  REQUIRE(e.store.write(*e.replica->welcome(e.registration), Sync::yes));
  bool resumable = GENERATE(true, false);
  auto source = e.open_snapshot(kSmallChunk, resumable ? 5 : 0);
  REQUIRE(e.replica->begin_seed(source->head(), writer(e)));
  take(e, *source, 4);
  REQUIRE(w.holds(e, "canary-west"));
  if (GENERATE(true, false)) {
    e.crash(e.store.unsynced());
    e.start();
  }
  w.subscribe("east", {"common", "east"});
  e.connect();
  CHECK_FALSE(e.registration.partial);
  CHECK_FALSE(w.holds(e, "canary-west"));
  // Its bytes must go from the files, too.
  CHECK(e.store.tables()[size_t(Table::meta)].count(keys::meta_compact()) == 1);
  CHECK(w.whole());
}

TEST_CASE("SEMANTICS 24: of a territory that is taken away nothing stays, and its work ships",
          "[snapshot][subscription]") {
  Filled w;
  SmallOffice& e = w["east"];
  // Pending on it: an edit, a sum, a note, a record of its own, a child; and one that stays.
  REQUIRE(e.write("update a1 name=mine loyaltypoints+=3 annotations+=note") == "ok");
  REQUIRE(e.write("create account n @east name=New") == "ok");
  REQUIRE(e.write("create contact c parentcustomerid=n lastname=C") == "ok");
  REQUIRE(e.write("update a0 name=stays") == "ok");
  REQUIRE(e.write("delete a4") == "ok");
  bool shipped_before = GENERATE(false, true);
  if (shipped_before) e.ship();
  CHECK(w.holds(e, "canary-east"));
  w.subscribe("east", {"common"});
  bool offline = GENERATE(false, true);
  if (offline) {  // it learns of it late, and works on
    w["hq"].write("update a7 name=canary-east-later");
    w.settle();
    REQUIRE(e.write("update a7 telephone1=77") == "ok");
  }
  e.connect();
  CHECK(e.replica->state().territories == std::vector<TerritoryId>{TerritoryId(2)});
  CHECK_FALSE(w.holds(e, "canary-east"));
  CHECK(e.show("a1") == "not held");
  // Not even what it made itself and the master has not decided.
  CHECK(e.show("n") == "not held");
  CHECK(e.show("c") == "not held");
  CHECK(e.show("a0").find("name=stays") != std::string::npos);
  CHECK(w.whole());
  CHECK(e.replica->state().ledger.pending == 0);
  CHECK(e.replica->state().ledger.rejected == 0);
  CHECK(w.master.show("a1").find("name=mine") != std::string::npos);
  CHECK(w.master.show("a1").find("loyaltypoints=3") != std::string::npos);
  CHECK(w.master.show("n").find("name=New") != std::string::npos);
  CHECK(w.master.show("a4").starts_with("live") == false);
  if (offline) CHECK(w.master.show("a7").find("telephone1=77") != std::string::npos);
  CHECK_FALSE(w.holds(e, "canary-east"));
  // What it does not hold any more it may not speak for any more.
  w.subscribe("east", {"common", "east"});
  e.connect();
  CHECK(w.holds(e, "canary-east"));
  CHECK(w.whole());
}

TEST_CASE("SEMANTICS 12: what is decided again behind a switch forecasts nothing of what went",
          "[snapshot][subscription]") {
  Filled w;
  SmallOffice& e = w["east"];
  REQUIRE(e.write("create account n @east name=New; update a0 name=mine") == "ok");
  w.subscribe("east", {"common"});
  REQUIRE(w["hq"].write("update a0 telephone1=5") == "ok");
  e.connect();
  w["hq"].ship();
  e.fetch();  // a0 changes beneath what is pending
  CHECK(e.replica->state().ledger.pending == 1);
  CHECK(e.show("n") == "not held");
  CHECK(e.show("a0").find("name=mine") != std::string::npos);
  CHECK(w.whole());
  CHECK(w.master.show("n").find("name=New") != std::string::npos);
}

TEST_CASE("SEMANTICS 23, 24: moves meet another subscription", "[snapshot][subscription][move]") {
  Filled w;
  SmallOffice &e = w["east"], &hq = w["hq"];
  e.credential = hq.credential;
  REQUIRE(e.write("create contact c parentcustomerid=a1 lastname=C") == "ok");
  REQUIRE(e.write("create contact d parentcustomerid=a0 lastname=D") == "ok");
  w.settle();
  // Pending here: into what stays from what goes, and the other way; work on both.
  REQUIRE(e.write("move a1 @common") == "ok");
  REQUIRE(e.write("update a1 name=moved") == "ok");
  REQUIRE(e.write("move a0 @east") == "ok");
  REQUIRE(e.write("update a0 telephone1=77") == "ok");
  bool shipped_before = GENERATE(false, true);
  if (shipped_before) e.ship();
  // Of others, not heard of here: out of and into what stays and what comes.
  REQUIRE(hq.write("move a3 @west name=canary-left") == "ok");
  REQUIRE(hq.write("move a2 @common") == "ok");
  REQUIRE(hq.write("move a5 @east") == "ok");
  REQUIRE(hq.write("move a6 @east") == "ok");
  hq.ship();
  bool west_comes = GENERATE(false, true);
  w.subscribe("east", west_comes ? std::vector<std::string>{"common", "west"}
                                 : std::vector<std::string>{"common"});
  e.connect();
  CHECK(e.replica->state().territories.size() == (west_comes ? 2u : 1u));
  CHECK(w.whole());
  CHECK(e.replica->state().ledger.pending == 0);
  CHECK(e.replica->state().ledger.rejected == 0);
  CHECK(e.show("a1").find("name=moved") != std::string::npos);
  CHECK(e.show("c").find("lastname=C") != std::string::npos);
  CHECK(e.show("a2") == w.master.show("a2"));
  CHECK(e.show("a3") == (west_comes ? w.master.show("a3") : "not held"));
  for (const char* gone : {"a0", "d", "a4", "a5", "a6"}) CHECK(e.show(gone) == "not held");
  CHECK(w.master.show("a0").find("telephone1=77") != std::string::npos);
  CHECK(w.holds(e, "canary-left") == west_comes);
}

TEST_CASE("that bytes of what is held no longer must go from the files is written with the switch",
          "[snapshot][subscription][move]") {
  Filled w;
  SmallOffice &e = w["east"], &hq = w["hq"];
  auto due = [&] { return e.store.get(Table::meta, keys::meta_compact()).value(); };
  REQUIRE_FALSE(due());
  SECTION("by another subscription") {
    w.subscribe("east", {"common"});
    e.connect();
    CHECK(due() == compaction_row(e.replica->state().cursor.csn));
  }
  SECTION("by a move") {
    REQUIRE(hq.write("move a3 @east") == "ok");  // which is held here too
    w.settle();
    CHECK_FALSE(due());
    REQUIRE(hq.write("move a3 @west") == "ok");
    w.settle();
    CHECK(due());
    CHECK(e.show("a3") == "not held");
  }
}

TEST_CASE("SEMANTICS 24: both lanes' pending work is taken back newest first, and made again",
          "[snapshot][subscription][lanes]") {
  Filled w;
  SmallOffice& e = w["east"];
  auto write = [&](Lane lane, const std::string& ops) {
    e.lane = lane;
    return e.write(ops);
  };
  // On one record: people's work first, then an import, which people's next edit joins; on others,
  // the other way round. All of it in one order of acceptance.
  REQUIRE(write(Lane::interactive, "update a0 name=First telephone1=1") == "ok");
  REQUIRE(write(Lane::bulk, "update a0 telephone1=2 annotations+=second") == "ok");
  REQUIRE(write(Lane::interactive, "update a0 name=Third") == "ok");
  REQUIRE(write(Lane::bulk, "update a1 name=mine; create account n @common name=New") == "ok");
  REQUIRE(write(Lane::interactive, "update a3 name=People") == "ok");
  REQUIRE(write(Lane::bulk, "delete a3; update a6 loyaltypoints+=2") == "ok");
  REQUIRE(write(Lane::interactive, "update a9 loyaltypoints+=3") == "ok");
  REQUIRE(e.replica->pending_by_lane()[size_t(Lane::interactive)] > 0);
  REQUIRE(e.replica->pending_by_lane()[size_t(Lane::bulk)] > 0);
  std::string a0 = e.show("a0"), a3 = e.show("a3"), n = e.show("n");
  CHECK(a0.find("name=Third") != std::string::npos);
  bool others = GENERATE(false, true);
  if (others) {  // what comes by the feed decides a part of it again, on either side
    REQUIRE(w["hq"].write("update a0 websiteurl=http://x; update a6 name=Theirs") == "ok");
    w["hq"].ship();
  }
  w.subscribe("east", {"common"});
  e.connect();
  CHECK_FALSE(w.holds(e, "canary-east"));
  CHECK(e.show("a1") == "not held");
  if (!others) CHECK(e.show("a0") == a0);
  CHECK(e.show("a3") == a3);
  CHECK(e.show("n") == n);
  // The base below what is pending is the master's: its sums were compared. Once more over what was
  // made again, before anything of it ships.
  w.subscribe("east", {"common", "east"});
  e.connect();
  CHECK(w.holds(e, "canary-east"));
  CHECK(e.show("a3") == a3);
  CHECK(w.whole());
  CHECK(e.replica->state().ledger.pending == 0);
  CHECK(e.replica->state().ledger.rejected == 0);
  CHECK(w.master.show("a0").find("name=Third") != std::string::npos);
  CHECK(w.master.show("a1").find("name=mine") != std::string::npos);
}

TEST_CASE("SEMANTICS 26: either lane's oldest pending work holds the line", "[retention][lanes]") {
  Filled w;
  SmallOffice& e = w["east"];
  Lane first = GENERATE(Lane::interactive, Lane::bulk);
  Csn start = e.replica->state().cursor.csn;
  e.lane = first;
  REQUIRE(e.write("update a1 name=Old") == "ok");
  int64_t oldest = *e.replica->oldest_pending_ms();
  REQUIRE(w["hq"].write("update a0 telephone1=1") == "ok");
  w["hq"].ship();
  e.fetch();
  REQUIRE(e.replica->state().cursor.csn > start);
  e.lane = first == Lane::bulk ? Lane::interactive : Lane::bulk;
  REQUIRE(e.write("update a4 name=New") == "ok");
  CHECK(*e.replica->passed() == start);
  CHECK(*e.replica->oldest_pending_ms() == oldest);
  w.settle();
  CHECK(*e.replica->passed() == e.replica->state().cursor.csn);
}

TEST_CASE("a line that branches of an earlier version follow keeps their subscriptions",
          "[snapshot][subscription][level]") {
  Filled w(6);
  RecordOp op;
  op.record = topology_key();
  op.cells.push_back({w.schema->entity(entity_id::kTopology)->field("featurelevel")->id,
                      CellOpKind::set,
                      {ValueType::null, {}},
                      {}});
  REQUIRE(w.master.commit({op}) == "applied");
  auto planned = [&] {
    auto plan = plan_topology(*w.schema, w.master.ingest->directory(), w.topology);
    return plan ? "planned" : plan.error().code;
  };
  auto before = w.topology;
  w.topology.servers.at(1).territories = {"common"};
  CHECK(planned() == "topology.not_activated");
  w.topology = before;
  w.topology.servers.pop_back();
  CHECK(planned() == "topology.not_activated");
  w.topology = before;
  w.topology.territories.push_back({"north", ""});
  CHECK(planned() == "planned");
  w.topology = before;
  w.settle();
}

TEST_CASE("a branch speaks for a territory that it held only up to the base of that time",
          "[snapshot][subscription]") {
  BranchProgress p;
  TerritoryId t(7), u(8);
  p.grant({u, t});
  p.install({t, u, TerritoryId(9)}, Csn(0));
  CHECK(p.speaks_for(t, Csn(100)));
  CHECK_FALSE(p.speaks_for(TerritoryId(9), Csn(0)));  // it was never to hold that one
  p.install({u}, Csn(50));
  CHECK(p.speaks_for(t, Csn(50)));
  CHECK_FALSE(p.speaks_for(t, Csn(51)));
  CHECK(p.speaks_for(u, Csn(51)));
  p.install({t, u}, Csn(60));
  CHECK(p.speaks_for(t, Csn(1000)));
  CHECK(p.former.empty());
  // A file tells of a subscription that came and went without the link.
  p.grant({TerritoryId(10)});
  p.held({TerritoryId(9), TerritoryId(10), t}, Csn(70));
  CHECK(p.speaks_for(TerritoryId(10), Csn(70)));
  CHECK_FALSE(p.speaks_for(TerritoryId(10), Csn(71)));
  CHECK_FALSE(p.speaks_for(TerritoryId(9), Csn(0)));
  p.held({TerritoryId(10)}, Csn(60));  // an older file
  CHECK(p.speaks_for(TerritoryId(10), Csn(70)));
}

TEST_CASE("what comes below a territory goes to who holds it, and who works there works below",
          "[snapshot][subscription][tree]") {
  Filled w;
  SmallOffice& e = w["east"];
  SmallOffice& west = w["west"];
  auto below = [&](const char* name) {
    return with_below(w.topology.territories, {name, "common"});
  };
  w.topology.territories.push_back({"northeast", "east"});
  w.topology.territories.push_back({"coast", "northeast"});
  w.subscribe("east", below("east"));
  Workspace& view = w.master.ingest->workspace();
  for (const auto& [t, id] : w.master.ingest->directory().territories()) w.names.territory(t, id);
  REQUIRE(w.master.commit(w.names.parse_all("create account n1 @coast name=Coast", view,
                                            w.arena)) == "applied");
  e.connect();
  CHECK(w.whole());
  CHECK(e.show("n1").find("name=Coast") != std::string::npos);
  CHECK(west.show("n1") == "not held");
  // Its people's token came from before there was a coast.
  REQUIRE(e.write("update n1 name=Ours") == "ok");
  w.settle();
  CHECK(e.fate() == "applied");
  CHECK(w.master.show("n1").find("name=Ours") != std::string::npos);
  // A branch of the tree is hung elsewhere: with all below it.
  for (auto& t : w.topology.territories) {
    if (t.name == "northeast") t.parent = "west";
  }
  w.subscribe("west", below("west"));
  w.subscribe("east", below("east"));
  west.connect();
  e.connect();
  CHECK(w.whole());
  CHECK(west.show("n1").find("name=Ours") != std::string::npos);
  CHECK(e.show("n1") == "not held");
  REQUIRE(west.write("update n1 name=Theirs") == "ok");
  w.settle();
  CHECK(west.fate() == "applied");
}

TEST_CASE("who held everything drops what moves to a territory that it has not got yet",
          "[snapshot][subscription][move]") {
  Filled w;
  SmallOffice &e = w["east"], &hq = w["hq"];
  e.credential = hq.credential;
  REQUIRE(hq.replica->state().holds_everything);
  w.topology.territories.push_back({"north", "common"});
  for (auto& s : w.topology.servers) {
    if (s.name == "east" || s.name == "hq") s.territories.push_back("north");
  }
  w.master.apply_topology();
  e.connect();
  REQUIRE(e.write("create account n @north name=Native") == "ok");
  REQUIRE(e.write("merge a3 n") == "ok");
  REQUIRE(e.write("move a0 @north") == "ok");
  e.ship();
  // Head office is still fed what it held: what left is not known here any more, nor that nothing
  // else is there. A record that it never heard of survives a merge.
  REQUIRE(hq.write("create contact c parentcustomerid=a0 lastname=C") == "ok");
  hq.fetch();
  CHECK(hq.show("a0") == "not held");
  CHECK_FALSE(hq.replica->state().holds_everything);
  REQUIRE(e.write("update a0 name=Northern") == "ok");
  e.ship();
  hq.connect();
  CHECK(hq.replica->state().holds_everything);
  w.settle();
  CHECK(hq.show("a0") == w.master.show("a0"));
  CHECK(hq.show("a0").find("name=Northern") != std::string::npos);
  CHECK(hq.show("c").find("lastname=C") != std::string::npos);
  CHECK(hq.show("n") == w.master.show("n"));
  CHECK(w.audit().empty());
}

TEST_CASE("a range that fails behind a new territory's commit leaves what is held as it was",
          "[snapshot][subscription]") {
  Filled w;
  SmallOffice &e = w["east"], &hq = w["hq"];
  // A record is lost behind the program's back, so that its edit cannot be applied.
  Batch lost;
  lost.erase(Table::records, keys::record(hq.replica->state().side, w.names.key("a0")));
  REQUIRE(hq.store.write(lost, Sync::yes));
  hq.crash();
  hq.start();
  hq.connect();
  w.topology.territories.push_back({"north", ""});
  w.master.apply_topology();
  REQUIRE(e.write("update a0 name=Later") == "ok");
  e.ship();
  CHECK_THROWS(hq.fetch());
  CHECK(hq.replica->state().holds_everything);
  CHECK(hq.replica->workspace().find({entity_id::kAccount, RecordId{}})->held == Held::absent);
}

TEST_CASE("a new territory without records costs a branch nothing", "[snapshot][subscription]") {
  Filled w;
  SmallOffice& hq = w["hq"];
  REQUIRE(hq.write("update a0 name=Pending") == "ok");
  keys::Side side = hq.replica->state().side;
  w.topology.territories.push_back({"north", ""});
  w.subscribe("hq", {"common", "east", "west", "north"});
  hq.connect();
  CHECK(hq.replica->state().side == side);
  CHECK(hq.replica->state().territories.size() == 4);
  CHECK(hq.replica->state().holds_everything);
  Workspace& view = w.master.ingest->workspace();
  CHECK(w.master.commit(w.names.parse_all("create account north1 @north name=North", view,
                                          w.arena)) == "applied");
  CHECK(w.whole());
  CHECK(hq.show("north1").find("name=North") != std::string::npos);
}

TEST_CASE("a server is added and removed without a restart, and comes back as itself",
          "[snapshot][subscription]") {
  Filled w;
  SmallOffice& o = w["west"];
  OriginId number = o.registration.origin;
  REQUIRE(o.write("update a2 name=waits") == "ok");
  auto all = w.topology.servers;
  std::erase_if(w.topology.servers, [](const auto& s) { return s.name == "west"; });
  w.master.apply_topology();
  Batch rows;
  auto refused = w.master.ingest->begin_session(o.introduction(), rows);
  REQUIRE_FALSE(refused);
  CHECK(refused.error().code == "session.removed");
  // Its number is nobody else's, over a restart of the master too.
  w.master.crash(w.master.store.unsynced());
  w.master.start();
  ServerSpec other;
  other.name = "other";
  other.upstream = "master";
  other.territories = {"west"};
  w.topology.servers.push_back(other);
  w.master.apply_topology();
  CHECK(w.master.ingest->directory().server("other")->origin != number);
  w.topology.servers = all;
  w.master.apply_topology();
  o.connect();
  CHECK(o.registration.origin == number);
  w["hq"].connect();
  w["east"].connect();
  CHECK(w.whole());
  CHECK(w.master.show("a2").find("name=waits") != std::string::npos);
}

TEST_CASE("SEMANTICS 26: the line is kept for what the slowest live branch has not passed",
          "[retention]") {
  Filled w;
  auto passed = [&](const char* name) { return *w[name].replica->passed(); };
  Csn start = passed("east");
  REQUIRE(w["east"].write("update a1 name=Old") == "ok");  // its base holds `passed` back
  for (int i = 0; i < 5; ++i) {
    REQUIRE(w["hq"].write("update a1 telephone1=" + std::to_string(i)) == "ok");
    w["hq"].ship();
    for (auto& [name, office] : w.offices) office->fetch();
  }
  CHECK(passed("hq") == w.master.feed->head().csn);
  CHECK(passed("east") == start);
  const std::vector<std::string> all{"hq", "east", "west"};
  auto done = w.master.retain(all, kMonthMs);
  CHECK(w.master.ingest->trimmed().csn == start);
  CHECK(done.trimmed > 0);
  CHECK(w.audit().empty());
  // Not beyond what something under way needs.
  w.settle();
  w.settle();
  Csn floor(start.value + 1);
  w.master.retain(all, kMonthMs, floor);
  CHECK(w.master.ingest->trimmed().csn <= floor);
  w.master.retain(all, kMonthMs);
  CHECK(w.master.ingest->trimmed().csn > floor);
  CHECK(w.master.ingest->trimmed().csn < w.master.feed->head().csn);  // the last batch stays
  CHECK(w.audit().empty());
  // Over a restart too, and what was trimmed is gone.
  Csn trimmed = w.master.ingest->trimmed().csn;
  w.master.crash(w.master.store.unsynced());
  w.master.start();
  CHECK(w.master.ingest->trimmed().csn == trimmed);
  auto rows = w.master.store.scan(Table::line, {}, keys::line_prefix(trimmed.next()));
  CHECK_FALSE(rows->valid());
  for (auto& [name, office] : w.offices) office->connect();
  CHECK(w.whole());
}

TEST_CASE("SEMANTICS 26: who is away too long lapses, is seeded anew, and loses nothing",
          "[retention]") {
  Filled w;
  SmallOffice& e = w["east"];
  REQUIRE(e.write("update a1 name=Kept loyaltypoints+=4") == "ok");
  e.ship();  // decided, but the fate never arrives
  REQUIRE(e.write("update a4 name=Unshipped") == "ok");
  for (int i = 0; i < 5; ++i) {
    REQUIRE(w["hq"].write("update a1 telephone1=" + std::to_string(i)) == "ok");
    w["hq"].ship();
    w["hq"].fetch();
    w["west"].fetch();
  }
  w.master.clock.ms += kMonthMs + 1;
  auto done = w.master.retain({"hq", "west"}, kMonthMs);
  CHECK(done.lapsed == std::vector<OriginId>{e.registration.origin});
  CHECK(w.master.ingest->trimmed().csn > e.replica->state().cursor.csn);
  CHECK(w.audit().empty());
  // The feed has no such place any more, once its newest part is not in memory.
  w.master.crash(w.master.store.unsynced());
  w.master.start();
  auto gone = w.master.feed->read(e.replica->state().cursor, e.scope(), 1000);
  REQUIRE_FALSE(gone);
  CHECK(gone.error().code == "line.trimmed");
  e.connect();
  CHECK(e.registration.join);
  CHECK(e.replica->state().ledger.pending == 1);
  CHECK(w.whole());
  CHECK(w.master.show("a4").find("name=Unshipped") != std::string::npos);
  CHECK(w.master.show("a1").find("loyaltypoints=4") != std::string::npos);
  CHECK(e.replica->state().ledger.pending == 0);
  // Live again as soon as it says that it has come past that, not at its next greeting only: what
  // follows is kept for it.
  w.master.retain({"hq", "west", "east"}, kMonthMs);
  CHECK(w.master.ingest->branches().at(e.registration.origin).lapsed_at == Csn(0));
  w["hq"].connect();
  w["west"].connect();
  for (int i = 0; i < 5; ++i) {
    REQUIRE(w["hq"].write("update a1 telephone1=" + std::to_string(i)) == "ok");
    w["hq"].ship();
    w["hq"].fetch();
    w["west"].fetch();
  }
  w.master.retain({"hq", "west"}, kMonthMs);
  CHECK(w.master.ingest->trimmed().csn <= e.replica->state().cursor.csn);
  e.connect();
  CHECK_FALSE(e.registration.join);
  CHECK(w.whole());
  // Once: it is live again.
  e.connect();
  CHECK_FALSE(e.registration.join);
  CHECK(w.master.retain({"hq", "west", "east"}, kMonthMs).lapsed.empty());
}

TEST_CASE("a master that was away itself gives its branches time", "[retention]") {
  Filled w;
  w.master.clock.ms += 2 * kMonthMs;
  RetentionInput input;
  input.now_ms = w.master.clock.wall_ms();
  input.max_offline_ms = kMonthMs;
  input.may_lapse = false;
  Batch rows;
  auto done = w.master.ingest->retain(input, rows);
  REQUIRE(done);
  CHECK(done->lapsed.empty());
  CHECK(done->trimmed == 0);
}

TEST_CASE("SEMANTICS 19: without any one row of a master that trimmed its line the audit is false",
          "[retention][audit]") {
  Filled w(12);
  for (int i = 0; i < 3; ++i) {
    REQUIRE(w["east"].write("update a1 telephone1=" + std::to_string(i)) == "ok");
    REQUIRE(w["west"].write("update a0 name=W" + std::to_string(i) + " annotations+=n") == "ok");
    w.settle();
  }
  w.settle();
  w.master.retain({"hq", "east", "west"}, kMonthMs);
  REQUIRE(w["east"].write("update a1 telephone1=9 tags+=t") == "ok");
  w.settle();
  w.settle();
  REQUIRE(w.master.ingest->trimmed().csn.value > 10);
  REQUIRE(w.audit().empty());
  w.master.crash(w.master.store.unsynced());
  w.master.start();
  MemStore::Tables tables = w.master.store.tables();
  size_t rows = 0;
  for (size_t t = 0; t < kTableCount; ++t) {
    for (const auto& [key, value] : tables[t]) {
      MemStore::Tables less = tables;
      less[t].own().erase(key);
      MemStore store;
      store.restore(less);
      INFO(table_name(static_cast<Table>(t)) << " " << hex(key));
      CHECK_FALSE(audit_line(store, *w.schema)->problems.empty());
      ++rows;
    }
  }
  CHECK(rows > 50);
}

TEST_CASE("what waits for the master is counted as it is stored", "[retention]") {
  Filled w(6);
  SmallOffice& e = w["east"];
  auto stored = [&] {
    uint64_t bytes = 0;
    for (const auto& [key, value] : e.store.tables()[size_t(Table::outbox)]) {
      if (key[0] != char(keys::kKept)) bytes += value.size();  // what is decided does not wait
    }
    return bytes;
  };
  CHECK(e.replica->outbox_bytes() == 0);
  for (int i = 0; i < 4; ++i) {
    REQUIRE(e.write("update a0 telephone1=" + std::to_string(i)) == "ok");
    CHECK(e.replica->outbox_bytes() == stored());
  }
  REQUIRE(w["hq"].write("update a0 name=Other telephone1=5") == "ok");
  w["hq"].ship();
  e.fetch();  // decided again: blocks are written anew
  CHECK(e.replica->outbox_bytes() == stored());
  e.crash(e.store.unsynced());
  e.start();
  CHECK(e.replica->outbox_bytes() == stored());
  e.connect();
  e.take_snapshot();
  CHECK(e.replica->outbox_bytes() == stored());
  CHECK(stored() > 0);
  w.settle();
  w.settle();
  CHECK(e.replica->outbox_bytes() == 0);
  CHECK(stored() == 0);
}

}  // namespace branchline
