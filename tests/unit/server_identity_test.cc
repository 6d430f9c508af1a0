// SEMANTICS 1, 30: restarts and copies of a branch, and disks that were rolled back.
#include <catch2/catch.hpp>

#include "master/ingest/audit.h"
#include "tests/support/desk.h"

namespace branchline {
namespace {

TEST_CASE("SEMANTICS 30: a restart continues, however often, also with work not yet shipped",
          "[identity]") {
  Desk w;
  for (int i = 0; i < 3; ++i) {
    REQUIRE(w.east.write("update a loyaltypoints+=1") == "ok");
    w.restart(w.east);
  }
  CHECK(w.greet(w.east) == "taken");
  CHECK(w.greet(w.east) == "taken");  // the same process again
  w.east.connect();
  w.settle();
  CHECK(w.points() == "13");
}

TEST_CASE("SEMANTICS 30: a restart waits while the connection of the process before is alive",
          "[identity]") {
  Desk w;
  CHECK(w.greet(w.east, true) == "taken");  // its own connection, half open
  w.restart(w.east);
  CHECK(w.greet(w.east, true) == "session.other_alive");
  CHECK(w.greet(w.east) == "taken");
}

TEST_CASE("SEMANTICS 30: of two live copies the one that was not here is refused, and told why",
          "[identity]") {
  Desk w;
  auto disk = w.copy_of(w.east);
  REQUIRE(w.east.write("update a loyaltypoints+=5") == "ok");
  w.settle();
  auto copy = w.clone(w.east, disk);
  REQUIRE(copy->write("update a loyaltypoints+=100") == "ok");
  CHECK(w.greet(*copy, true) == "session.copy");
  // It keeps its data and goes on serving.
  REQUIRE(copy->write("update a loyaltypoints+=100") == "ok");
  CHECK(copy->replica->state().ledger.pending == 2);
  auto origin = w.master.ingest->directory().server("east")->origin;
  CHECK(w.master.ingest->origins().at(origin).refused == copy->replica->state().incarnation);
  CHECK(w.greet(w.east) == "taken");
  CHECK(w.points() == "15");
}

TEST_CASE(
    "SEMANTICS 30: who was taken over from is refused when it returns, and both may alternate",
    "[identity]") {
  Desk w;
  auto disk = w.copy_of(w.east);
  REQUIRE(w.east.write("update a loyaltypoints+=5") == "ok");
  w.settle();
  auto copy = w.clone(w.east, disk);
  // Nobody else is connected: as if the disk had been rolled back.
  CHECK(w.greet(*copy) == "rolled back");
  copy->connect();
  copy->fetch();
  REQUIRE(copy->write("update a loyaltypoints+=100") == "ok");
  copy->ship();
  CHECK(w.points() == "115");
  REQUIRE(w.east.write("update a loyaltypoints+=7") == "ok");
  CHECK(w.greet(w.east) == "session.copy");
  w.restart(w.east);
  CHECK(w.greet(w.east) == "session.copy");
  CHECK(w.greet(*copy) == "taken");
  CHECK(w.greet(w.east) == "session.copy");
  SECTION("a copy of the copy") {
    auto again = w.clone(*copy, w.copy_of(*copy));
    CHECK(w.greet(*again, true) == "session.other_alive");
    CHECK(w.greet(*copy) == "taken");
    // Once it has taken over, the one it was copied from is the one that is refused.
    CHECK(w.greet(*again) == "taken");
    CHECK(w.greet(*copy) == "session.copy");
    REQUIRE(copy->write("update a loyaltypoints+=100") == "ok");
    w.restart(*copy);
    CHECK(w.greet(*copy) == "session.copy");
  }
  SECTION("an operator lets the refused one take over, with all that it holds") {
    auto origin = w.master.ingest->directory().server("east")->origin;
    Batch rows;
    REQUIRE(w.master.ingest->release(origin, rows));
    REQUIRE(w.master.store.write(rows, Sync::yes));
    w.master.crash();  // the decision is on disk
    w.master.start();
    w.hq.connect();
    w.west.connect();
    w.east.connect();
    CHECK(w.greet(*copy) == "session.copy");
    w.settle();
    CHECK(w.points() == "122");
    CHECK(w.problems() == std::vector<std::string>{});
  }
}

TEST_CASE("SEMANTICS 30: two starts of one cold copy: the second is refused while the first lives",
          "[identity]") {
  Desk w;
  auto disk = w.copy_of(w.east);
  w.restart(w.east);
  auto copy = w.clone(w.east, disk);
  CHECK(w.greet(w.east) == "taken");
  CHECK(w.greet(*copy, true) == "session.copy");
  CHECK(w.greet(*copy) == "taken");
  CHECK(w.greet(w.east) == "session.copy");
}

TEST_CASE("SEMANTICS 1: a disk that was rolled back is taken, and what it forgot comes back",
          "[identity]") {
  Desk w;
  auto disk = w.copy_of(w.east);
  REQUIRE(w.east.write("update a loyaltypoints+=5") == "ok");
  w.settle();
  w.east.crash();
  w.east.store.restore(disk);
  w.east.start();
  REQUIRE(w.east.write("update a loyaltypoints+=100") == "ok");
  CHECK(w.greet(w.east) == "rolled back");
  w.east.connect();
  w.settle();
  CHECK(w.points() == "115");
  CHECK(w.problems() == std::vector<std::string>{});
}

TEST_CASE("SEMANTICS 1: a disk from before a snapshot gets the effects of what was forecast on it",
          "[identity]") {
  Desk w;
  w.hq.clock.ms += 1000;
  REQUIRE(w.hq.write("update a name=Later") == "ok");
  w.hq.ship();
  REQUIRE(w.east.write("update a name=Sooner") == "ok");
  auto disk = w.copy_of(w.east);  // here its edit is forecast to stand
  // On the snapshot it is forecast to lose, and that is what ships.
  Introduction intro = w.east.introduction();
  intro.reseed = true;
  w.east.registration = w.master.register_branch(intro);
  REQUIRE(w.east.store.write(*w.east.replica->welcome(w.east.registration), Sync::yes));
  w.east.take_snapshot();
  CHECK(w.east.show("a").find("name=Later") != std::string::npos);
  w.east.ship();
  w.east.crash();
  w.east.store.restore(disk);
  w.east.start();
  CHECK(w.greet(w.east) == "taken");  // it holds all that it shipped
  w.east.connect();
  w.settle();
  CHECK(w.east.show("a").find("name=Later") != std::string::npos);
  CHECK(w.problems() == std::vector<std::string>{});
}

TEST_CASE("A branch that was written off may join with an empty disk and not with its old one",
          "[identity]") {
  Desk w;
  REQUIRE(w.east.write("update a loyaltypoints+=5") == "ok");
  REQUIRE(w.east.write("update a loyaltypoints+=5") == "ok");
  CHECK(w.greet(w.east) == "taken");  // announces two that never arrive
  auto origin = w.master.ingest->directory().server("east")->origin;
  Batch rows;
  auto lost = w.master.ingest->write_off_disk(origin, rows);
  REQUIRE(lost);
  CHECK(*lost == 2);
  CHECK_FALSE(w.master.ingest->write_off_disk(origin, rows));
  REQUIRE(w.master.store.write(rows, Sync::yes));
  const Ledger& ledger = w.master.ingest->origins().at(origin).ledger;
  CHECK(ledger.lost == 2);
  CHECK(ledger.balances());
  auto report = audit_line(w.master.store, *w.schema);
  REQUIRE(report);
  CHECK(report->problems == std::vector<std::string>{});
  CHECK(w.greet(w.east) == "session.written_off");
  w.restart(w.east);
  CHECK(w.greet(w.east) == "session.written_off");
  SmallOffice fresh(w, "east");
  fresh.start();
  CHECK(w.greet(fresh) != "session.written_off");
  fresh.connect();
  CHECK(fresh.show("a") == w.master.show("a"));
  CHECK(w.greet(w.east) == "session.copy");
}

}  // namespace
}  // namespace branchline
