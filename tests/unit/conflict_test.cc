// `first` and `ask` changed by several offices at a time, groups under them, `atomic` and guards.
#include <catch2/catch.hpp>

#include "replication/merge/companions.h"
#include "tests/support/merge_bench.h"
#include "tests/support/small_world.h"

namespace branchline {
namespace {

// Three offices that have seen account `a` with a credit limit, and two users.
struct ThreeOffices : MergeBench {
  Author east = author(5), west = author(6), north = author(7);
  ThreeOffices() {
    REQUIRE(run(east, "create systemuser u1 fullname=One") == "applied");
    REQUIRE(run(east, "create systemuser u2 fullname=Two") == "applied");
    REQUIRE(run(east, "create account a @common name=Acme creditlimit=100") == "applied");
    all_see();
  }
  void all_see() {
    for (Author* a : {&east, &west, &north}) sees_all(*a);
  }
  bool contains(const std::string& text) {
    INFO(show("a"));
    return show("a").find(text) != std::string::npos;
  }
  bool open() {
    const Entity& account = *schema->entity("account");
    auto found = ws.find(conflict_key(names.key("a"), account.field("creditlimit")->id));
    if (!found->record || !found->record->live()) return false;
    FieldId state = schema->entity(entity_id::kConflict)->field("statecode")->id;
    return decode_integer(found->record->value(state).payload) == 0;
  }
};

struct Offices : SmallWorld {
  SmallOffice& hq = (*this)["hq"];
  SmallOffice& east = (*this)["east"];
  SmallOffice& west = (*this)["west"];
  Offices() {
    REQUIRE(hq.write("create account a @common name=Acme creditlimit=100") == "ok");
    settle();
  }
  ~Offices() { CHECK(audit() == std::vector<std::string>{}); }
  void all_show(const std::string& text) {
    settle();
    settle();
    for (auto& [name, office] : offices) {
      INFO(name << ": " << office->show("a"));
      CHECK(office->show("a").find(text) != std::string::npos);
    }
    INFO("master: " << master.show("a"));
    CHECK(master.show("a").find(text) != std::string::npos);
  }
};

}  // namespace

TEST_CASE("first: a value that the author had not seen stands, whatever the clocks say",
          "[merge]") {
  ThreeOffices t;
  t.west.clock_ms += 60'000;
  SECTION("nobody owned it: the one decided first does") {
    REQUIRE(t.run(t.east, "update a ownerid=u1") == "applied");
    CHECK(t.run(t.west, "update a ownerid=u2") == "overridden: ownerid first_stands");
    CHECK(t.contains("ownerid=u1"));
  }
  SECTION("what was seen is replaced") {
    REQUIRE(t.run(t.east, "update a ownerid=u1") == "applied");
    t.all_see();
    CHECK(t.run(t.west, "update a ownerid=u2") == "applied");
    CHECK(t.contains("ownerid=u2"));
  }
  SECTION("own earlier ones are seen") {
    REQUIRE(t.run(t.east, "update a ownerid=u1") == "applied");
    CHECK(t.run(t.east, "update a ownerid=u2") == "applied");
  }
  SECTION("what was cleared concurrently is free") {
    REQUIRE(t.run(t.east, "update a ownerid=u1") == "applied");
    t.all_see();
    REQUIRE(t.run(t.east, "update a ownerid=") == "applied");
    CHECK(t.run(t.west, "update a ownerid=u2") == "merged: ownerid newer");
    CHECK(t.contains("ownerid=u2"));
  }
  SECTION("atomic: nothing of it") {
    REQUIRE(t.run(t.east, "update a ownerid=u1") == "applied");
    t.atomic = true;
    CHECK(t.run(t.west, "update a name=West ownerid=u2") ==
          "rejected: ownerid first_stands, atomic");
    CHECK(t.contains("name=Acme"));
  }
}

TEST_CASE("ask: what stands is not replaced unseen; the rest waits for people", "[merge]") {
  ThreeOffices t;
  REQUIRE(t.run(t.east, "update a creditlimit=200") == "applied");
  CHECK_FALSE(t.open());
  REQUIRE(t.run(t.west, "update a creditlimit=300 name=West") == "overridden: creditlimit asked");
  CHECK(t.contains("creditlimit=200?{300}"));
  CHECK(t.contains("name=West"));  // the rest of it applies
  CHECK(t.open());
  SECTION("a later conflict joins the open one") {
    CHECK(t.run(t.north, "update a creditlimit=400") == "overridden: creditlimit asked");
    CHECK(t.contains("creditlimit=200?{300,400}"));
    t.all_see();
    CHECK(t.run(t.north, "update a creditlimit=300") == "applied");
    CHECK(t.contains("creditlimit=300"));
    CHECK_FALSE(t.contains("?{"));
    CHECK_FALSE(t.open());
  }
  SECTION("of one author only the last word waits") {
    CHECK(t.run(t.west, "update a creditlimit=350") == "overridden: creditlimit asked");
    CHECK(t.contains("creditlimit=200?{350}"));
  }
  SECTION("the same value is agreement") {
    CHECK(t.run(t.north, "update a creditlimit=200") == "merged: creditlimit agreed");
    CHECK(t.contains("creditlimit=200?{300}"));
  }
  SECTION("a contender that the author had not seen stays") {
    CHECK(t.run(t.east, "update a creditlimit=250") == "applied");  // his own was seen, 300 not
    CHECK(t.contains("creditlimit=250?{300}"));
    CHECK(t.open());
  }
  SECTION("two resolve at once: one stands, the other asks again") {
    t.all_see();
    CHECK(t.run(t.east, "update a creditlimit=300") == "applied");
    CHECK_FALSE(t.open());
    CHECK(t.run(t.north, "update a creditlimit=200") == "overridden: creditlimit asked");
    CHECK(t.contains("creditlimit=300?{200}"));
    CHECK(t.open());
    t.all_see();
    CHECK(t.run(t.north, "update a creditlimit=200") == "applied");
    CHECK_FALSE(t.open());
  }
  SECTION("two resolve at once, alike") {
    t.all_see();
    CHECK(t.run(t.east, "update a creditlimit=300") == "applied");
    CHECK(t.run(t.north, "update a creditlimit=300") == "merged: creditlimit agreed");
    CHECK_FALSE(t.open());
  }
  SECTION("it is deleted and comes back with its record") {
    t.all_see();
    CHECK(t.run(t.east, "delete a") == "applied");
    CHECK_FALSE(t.open());
    CHECK(t.run(t.west, "update a name=Back") == "merged: revived");
    CHECK(t.open());
    CHECK(t.contains("creditlimit=200?{300}"));
  }
  SECTION("a delete whose author had not seen the contender loses") {
    t.east.base = Csn(t.head.value - 1);
    CHECK(t.run(t.east, "delete a") == "overridden: concurrent_edit");
  }
  SECTION("atomic: rejected, and no conflict is left behind") {
    t.atomic = true;
    CHECK(t.run(t.north, "update a name=North creditlimit=500") ==
          "rejected: creditlimit asked, atomic");
    CHECK(t.contains("creditlimit=200?{300}"));
    CHECK(t.contains("name=West"));
  }
  SECTION("clearing is an answer too") {
    CHECK(t.run(t.north, "update a creditlimit=") == "overridden: creditlimit asked");
    CHECK(t.contains("creditlimit=200?{,300}"));
    t.all_see();
    CHECK(t.run(t.north, "update a creditlimit=") == "applied");
    CHECK_FALSE(t.open());
  }
}

TEST_CASE("ask: every office shows the same conflict, forecast before it is decided", "[office]") {
  Offices w;
  REQUIRE(w.east.write("update a creditlimit=200") == "ok");
  REQUIRE(w.west.write("update a creditlimit=300") == "ok");
  w.east.ship();
  w.west.fetch();
  // West knows of the conflict before the master has its change.
  CHECK(w.west.show("a").find("creditlimit=200?{300}") != std::string::npos);
  SECTION("decided as forecast") {
    w.all_show("creditlimit=200?{300}");
    CHECK(w.west.fate() == "overridden: creditlimit asked");
  }
  SECTION("a value that nobody had when it was forecast changes everything") {
    REQUIRE(w.hq.write("update a creditlimit=400") == "ok");
    w.hq.ship();
    w.west.fetch();
    w.all_show("creditlimit=200?{300,400}");
  }
  SECTION("resolved at two offices at once") {
    w.all_show("creditlimit=200?{300}");
    REQUIRE(w.east.write("update a creditlimit=250") == "ok");
    REQUIRE(w.west.write("update a creditlimit=260") == "ok");
    CHECK(w.east.show("a").find("?{") == std::string::npos);
    CHECK(w.west.show("a").find("?{") == std::string::npos);
    w.west.ship();
    w.all_show("creditlimit=260?{250}");
    CHECK(w.east.fate() == "overridden: creditlimit asked");
    REQUIRE(w.hq.write("update a creditlimit=250") == "ok");
    w.all_show("creditlimit=250");
    CHECK(w.hq.show("a").find("?{") == std::string::npos);
  }
  SECTION("the office starts anew while its contender waits") {
    w.west.crash();
    w.west.start();
    w.west.connect();
    REQUIRE(w.west.write("update a creditlimit=310") == "ok");
    w.all_show("creditlimit=200?{310}");
  }
}

TEST_CASE("guards are checked at the office and decided at the master", "[office]") {
  Offices w;
  CHECK(w.east.write("guard a.name=Other update a creditlimit=1") == "write.guard");
  REQUIRE(w.east.write("guard a.name=Acme update a telephone1=1") == "ok");
  SECTION("it holds") { w.all_show("telephone1=1"); }
  SECTION("it does not hold any more") {
    REQUIRE(w.west.write("update a name=West") == "ok");
    w.west.ship();
    w.east.fetch();
    CHECK(w.east.show("a").find("telephone1") == std::string::npos);
    w.all_show("name=West");
    CHECK(w.east.fate() == "rejected: guard");
  }
}

TEST_CASE("A random crowd on first and ask ends alike everywhere", "[office]") {
  for (uint64_t seed = 1; seed <= 25; ++seed) {
    INFO("seed " << seed);
    Offices w;
    SeededRandom random(seed);
    std::vector<std::pair<SmallOffice*, MutationId>> all;
    for (int step = 0; step < 60; ++step) {
      auto office = std::next(w.offices.begin(), static_cast<long>(random.below(3)))->second.get();
      switch (random.below(6)) {
        case 0:
          office->ship(1);
          break;
        case 1:
          office->fetch();
          break;
        case 2:
          if (random.below(4) == 0) {
            office->crash();
            office->start();
            office->connect();
          }
          break;
        default: {
          std::string what = "update a creditlimit=" + std::to_string(random.below(4));
          if (random.below(4) == 0) what = "update a ownerid=user";
          if (random.below(9) == 0) what = "atomic " + what;
          if (random.below(12) == 0) what = "delete a";
          if (office->write(what) == "ok") all.emplace_back(office, office->last.id);
        }
      }
    }
    w.settle();
    w.settle();
    REQUIRE(w.audit() == std::vector<std::string>{});
    std::string truth = w.master.show("a");
    for (auto& [name, office] : w.offices) {
      CHECK(office->show("a") == truth);
      CHECK(office->replica->state().ledger.pending == 0);
    }
  }
}

}  // namespace branchline
