// SEMANTICS 24 at real stores: subscriptions that change, with work pending.
#include <catch2/catch.hpp>

#include "master/ingest/topology_commit.h"
#include "tests/support/filled_world.h"

namespace branchline {
namespace {

constexpr size_t kSmallChunk = 800;

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

}  // namespace
}  // namespace branchline
