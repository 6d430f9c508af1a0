// Moves between territories (SEMANTICS 14, 18, 23, 24, 28): what each office holds of what moved,
// what becomes of work that met the move on its way. Every world ends with its audits: checksums
// per territory are equal at both ends.
#include <catch2/catch.hpp>

#include "common/base/limits.h"
#include "replication/line/compress.h"
#include "replication/wire/feed_frame.h"
#include "tests/support/merge_bench.h"
#include "tests/support/small_world.h"

namespace branchline {
namespace {

// An account of east's with a contact and an order with a line, and an office's token that may move
// it anywhere.
struct Moving : SmallWorld {
  SmallOffice& hq = (*this)["hq"];
  SmallOffice& east = (*this)["east"];
  SmallOffice& west = (*this)["west"];
  explicit Moving(const std::string& home = "@east") {
    east.credential = hq.credential;
    west.credential = hq.credential;
    REQUIRE(hq.write("create account a " + home + " name=Acme annotations+=first tags+=gold") ==
            "ok");
    REQUIRE(hq.write("create contact c parentcustomerid=a lastname=Doe") == "ok");
    REQUIRE(hq.write("create salesorder o customerid=a name=O1") == "ok");
    REQUIRE(hq.write("create salesorderdetail l salesorderid=o quantity=2 priceperunit=10") ==
            "ok");
    settle();
  }
  ~Moving() {
    CHECK(audit() == std::vector<std::string>{});
    check_equal();
  }
  // Each office holds what is in its territories, as the master has it, and nothing else.
  void check_equal() {
    for (auto& [name, office] : offices) {
      if (office->replica->state().cursor.csn != master.ingest->state().head) continue;
      if (office->replica->state().ledger.pending != 0) continue;
      for (const auto& [letter, key] : names.all()) {
        INFO(letter << " at " << name);
        std::string place = names.where(master.ingest->workspace(), letter);
        bool here = false;
        for (const auto& t : story::words(place)) here = here || holds(*office, t);
        if (place.empty() || key.entity == entity_id::kApiToken) continue;
        if (key.entity == entity_id::kUser) continue;
        std::string shown = office->show(letter);
        std::string due = here ? master.show(letter) : "not held";
        bool same = shown == due;
        INFO(shown.substr(0, 300) << " where it should be " << due.substr(0, 300));
        CHECK(same);
        if (here) CHECK(names.where(office->replica->workspace(), letter) == place);
      }
    }
  }
  bool holds(SmallOffice& office, const std::string& territory) {
    TerritoryId t = master.ingest->directory().territories().at(territory);
    const auto& held = office.registration.territories;
    return std::find(held.begin(), held.end(), t) != held.end();
  }
  // Where all of it is at the master.
  std::string place() {
    std::string out = names.where(master.ingest->workspace(), "a");
    for (const char* name : {"c", "o", "l"})
      CHECK(names.where(master.ingest->workspace(), name) == out);
    return out;
  }
  uint64_t pending(SmallOffice& o) { return o.replica->state().ledger.pending; }
  bool anywhere(SmallOffice& office, const std::string& needle) {
    for (const auto& table : office.store.tables()) {
      for (const auto& [key, value] : table) {
        if (value.find(needle) != std::string::npos) return true;
      }
    }
    return false;
  }
  // What the office would be sent from `after` on, as bytes.
  std::string fed(SmallOffice& office, const LineCursor& after) {
    FeedScope scope;
    scope.origin = office.registration.origin;
    scope.territories.insert(office.registration.territories.begin(),
                             office.registration.territories.end());
    scope.territories.insert(kReferenceTerritory);
    auto range = master.feed->read(after, scope, 64 << 20);
    REQUIRE(range);
    std::string out;
    for (const auto& b : range->blocks) out += *decompress(b, 64 << 20);
    return out;
  }
};

}  // namespace

TEST_CASE("SEMANTICS 23: a move takes all children along in one commit", "[move]") {
  Moving w;
  REQUIRE(w.hq.write("create contact d parentcustomerid=a lastname=Deleted") == "ok");
  REQUIRE(w.hq.write("delete d") == "ok");
  w.settle();
  REQUIRE(w.hq.write("move a @west name=canary_new") == "ok");
  Csn before = w.master.ingest->state().head;
  LineCursor head = w.master.feed->head();
  w.hq.ship();
  CHECK(w.master.ingest->state().head == before.next());
  std::string to_east = w.fed(w.east, head);
  CHECK(to_east.find("canary_new") == std::string::npos);  // written as it left
  CHECK(to_east.find("Acme") == std::string::npos);
  w.settle();
  CHECK(w.hq.fate() == "applied");
  CHECK(w.place() == "west");
  CHECK(w.west.show("a").find("annotations={first}") != std::string::npos);
  CHECK(w.west.show("d").starts_with("deleted: "));
  for (const char* name : {"a", "c", "o", "l", "d"}) CHECK(w.east.show(name) == "not held");
  for (const char* gone : {"Acme", "Doe", "Deleted", "first", "gold"})
    CHECK_FALSE(w.anywhere(w.east, gone));
  SECTION("also after all servers started anew") {
    for (auto* o : {&w.hq, &w.east, &w.west}) {
      o->crash();
      o->start();
      o->connect();
    }
    w.master.crash();
    w.master.start();
    for (auto* o : {&w.hq, &w.east, &w.west}) o->connect();
    w.settle();
    CHECK(w.place() == "west");
  }
  SECTION("and nothing that is written there comes to the office that it left") {
    REQUIRE(w.west.write("update c lastname=canary_later") == "ok");
    w.settle();
    CHECK_FALSE(w.anywhere(w.east, "canary_later"));
    CHECK(w.hq.show("c").find("canary_later") != std::string::npos);
  }
}

TEST_CASE("Who holds a record still applies the move; who gets it anew takes the image", "[move]") {
  Moving w("@common");
  REQUIRE(w.hq.write("move a @east @west") == "ok");  // both held it already
  w.settle();
  CHECK(w.place() == "east west");
  REQUIRE(w.hq.write("move a @common") == "ok");
  w.settle();
  REQUIRE(w.hq.write("move a @east tags+=new") == "ok");
  w.settle();
  CHECK(w.east.show("a").find("tags={gold,new}") != std::string::npos);
  CHECK(w.west.show("a") == "not held");
}

TEST_CASE("SEMANTICS 23: also_in lets another office work with it, and takes it away again",
          "[move]") {
  Moving w;
  REQUIRE(w.hq.write("move a @east @west") == "ok");
  w.settle();
  CHECK(w.west.show("l").starts_with("live:"));
  REQUIRE(w.west.write("update a name=West") == "ok");
  REQUIRE(w.east.write("update a telephone1=1") == "ok");
  w.settle();
  CHECK(w.east.show("a").find("name=West") != std::string::npos);
  REQUIRE(w.east.write("move a @east") == "ok");
  w.settle();
  CHECK(w.west.show("a") == "not held");
}

TEST_CASE("SEMANTICS 23: of two moves at once the later stamp stands, home and also_in as one",
          "[move]") {
  Moving w;
  REQUIRE(w.hq.write("move a @west") == "ok");
  w.east.clock.ms += 1000;
  REQUIRE(w.east.write("move a @common @east") == "ok");
  SECTION("which is decided last") {
    w.hq.ship();
    w.settle();
    CHECK(w.east.fate() == "merged: territory newer");
  }
  SECTION("which is decided first") {
    w.east.ship();
    w.settle();
    CHECK(w.hq.fate() == "overridden: territory older");
  }
  w.settle();
  CHECK(w.place() == "common east");
  w.west.clock.ms += 5000;
  REQUIRE(w.west.write("move a @west") == "ok");
  w.settle();
  CHECK(w.west.fate() == "applied");  // it had seen the others
  CHECK(w.place() == "west");
}

TEST_CASE("SEMANTICS 14: moves against deletes", "[move]") {
  Moving w;
  SECTION("a delete that had not seen the move does nothing") {
    REQUIRE(w.hq.write("move a @west") == "ok");
    REQUIRE(w.east.write("delete a") == "ok");
    w.hq.ship();
    w.settle();
    CHECK(w.east.fate() == "overridden: concurrent_edit");
    CHECK(w.place() == "west");
  }
  SECTION("a move that had not seen the delete brings it all back, there") {
    REQUIRE(w.hq.write("move a @west") == "ok");
    REQUIRE(w.east.write("delete a") == "ok");
    w.east.ship();
    w.settle();
    CHECK(w.hq.fate() == "merged: revived");
    CHECK(w.master.show("l").starts_with("live:"));
    CHECK(w.place() == "west");
  }
  SECTION(
      "a late edit of a child that was deleted before the move brings it back where its parent "
      "is") {
    REQUIRE(w.hq.write("delete c") == "ok");
    REQUIRE(w.hq.write("move a @west") == "ok");
    REQUIRE(w.east.write("update c firstname=Late") == "ok");
    w.hq.ship();
    w.settle();
    w.settle();
    CHECK(w.east.fate() == "merged: revived");
    CHECK(w.west.show("c").find("firstname=Late") != std::string::npos);
    CHECK(w.place() == "west");
  }
  SECTION("moved, deleted and brought back by one who had seen neither") {
    REQUIRE(w.east.write("update l quantity=7") == "ok");
    REQUIRE(w.hq.write("move a @west") == "ok");
    REQUIRE(w.hq.write("delete a") == "ok");
    w.hq.ship();
    w.settle();
    w.settle();
    CHECK(w.east.fate() == "merged: revived");
    CHECK(w.west.show("o").find("totalamount=70") != std::string::npos);
    CHECK(w.place() == "west");
  }
}

TEST_CASE("SEMANTICS 28: work of the old office, done before it could know, still counts",
          "[move]") {
  Moving w;
  // Only a token for its own territory, as people there have.
  w.east.credential = w.names.key("token_east").id;
  REQUIRE(w.east.write("update a name=Late") == "ok");
  MutationId edit = w.east.last.id;
  REQUIRE(w.east.write("update o name=Late") == "ok");
  MutationId below = w.east.last.id;
  REQUIRE(w.east.write("create contact n parentcustomerid=a lastname=New annotations+=hello") ==
          "ok");
  MutationId child = w.east.last.id;
  REQUIRE(w.hq.write("move a @west") == "ok");
  w.hq.ship();
  SECTION("when the move has arrived, it waits unseen and ships all the same") {
    w.east.fetch();
    CHECK(w.pending(w.east) == 3);
    CHECK(w.east.show("a") == "not held");
    CHECK(w.east.show("n") == "not held");
    SECTION("also when the office starts anew in between") {
      w.east.crash();
      w.east.start();
      w.east.connect();
    }
  }
  SECTION("when the move arrives together with the fates") {}
  w.settle();
  w.settle();
  CHECK(w.east.fate_of(edit) == "applied");
  CHECK(w.east.fate_of(below) == "applied");
  CHECK(w.east.fate_of(child) == "applied");
  CHECK(w.west.show("a").find("name=Late") != std::string::npos);
  CHECK(w.west.show("n").find("annotations={hello}") != std::string::npos);
  CHECK(w.names.where(w.master.ingest->workspace(), "n") == "west");
  // From now on it knows.
  w.names.key("n");
  auto ops = w.names.parse_all("update a name=Knowing", w.master.ingest->workspace(), w.arena);
  CHECK(w.east.write("update a name=Knowing") == "ok");  // the API would say 404
  w.settle();
  CHECK(w.east.fate() == "rejected: denied");
}

TEST_CASE("A pending edit whose record left and came back is shown again, and keeps its order",
          "[move]") {
  Moving w;
  REQUIRE(w.east.write("update a name=Mine telephone1=1") == "ok");
  MutationId first = w.east.last.id;
  auto blocks = w.east.take_blocks();
  REQUIRE(w.hq.write("move a @west") == "ok");
  w.hq.ship();
  w.east.fetch();
  CHECK(w.east.show("a") == "not held");
  bool restarted = GENERATE(false, true);
  if (restarted) {
    w.east.crash();
    w.east.start();
    w.east.connect();
  }
  w.hq.fetch();
  REQUIRE(w.hq.write("move a @east") == "ok");
  w.hq.ship();
  w.east.fetch();
  CHECK(w.east.show("a").find("name=Mine") != std::string::npos);
  REQUIRE(w.east.write("update a name=Later") == "ok");
  if (!restarted) {
    std::vector<IncomingBlock> late;
    late.push_back({w.east.registration.origin, w.east.registration.session,
                    std::move(*decode_mutation_block(std::move(blocks.at(0))))});
    w.master.decide(std::move(late));
  }
  w.settle();
  CHECK(w.east.fate_of(first) == "applied");
  CHECK(w.east.show("a").find("name=Later telephone1=1") != std::string::npos);
}

TEST_CASE("SEMANTICS 18: an original forecast is put back beneath what was written since",
          "[move]") {
  Moving w;
  // It leaves and comes back while an edit waits; the edit's fate then stands for the effects that
  // it was shipped with.
  REQUIRE(w.east.write("update a name=Mine") == "ok");
  auto blocks = w.east.take_blocks();
  REQUIRE(w.hq.write("move a @west") == "ok");
  w.hq.ship();
  w.hq.fetch();
  w.east.fetch();
  REQUIRE(w.hq.write("move a @east") == "ok");
  w.hq.ship();
  w.east.fetch();
  REQUIRE(w.east.write("update a name=Later") == "ok");
  std::vector<IncomingBlock> late;
  late.push_back({w.east.registration.origin, w.east.registration.session,
                  std::move(*decode_mutation_block(std::move(blocks.at(0))))});
  w.master.decide(std::move(late));
  w.east.fetch();
  CHECK(w.east.show("a").find("name=Later") != std::string::npos);
  w.settle();
  CHECK(w.master.show("a").find("name=Later") != std::string::npos);
}

TEST_CASE("An office that moves a record away holds it until that is decided", "[move]") {
  Moving w;
  REQUIRE(w.east.write("move a @west") == "ok");
  CHECK(w.east.show("a").starts_with("live:"));
  bool alone = GENERATE(true, false);
  if (alone) w.east.ship();
  REQUIRE(w.east.write("update a telephone1=after") == "ok");
  REQUIRE(w.east.write("create contact n parentcustomerid=a lastname=After") == "ok");
  if (GENERATE(false, true)) {
    w.east.crash();
    w.east.start();
    w.east.connect();
  }
  if (alone) {
    w.east.fetch();
    CHECK(w.east.show("a") == "not held");
    CHECK(w.east.show("n") == "not held");
    CHECK(w.pending(w.east) == 2);
  }
  w.settle();
  CHECK(w.pending(w.east) == 0);
  CHECK(w.place() == "west");
  CHECK(w.west.show("a").find("telephone1=after") != std::string::npos);
  CHECK(w.west.show("n").starts_with("live:"));
}

TEST_CASE("There and back in one block: the author gets what it did not forecast", "[move]") {
  Moving w;
  REQUIRE(w.east.write({"move a @west", "update a name=Away", "move a @east"}) == "ok ok ok");
  SECTION("alone") {}
  SECTION("with work from elsewhere between") {
    REQUIRE(w.hq.write("update c lastname=Other") == "ok");
    w.hq.ship();
  }
  w.settle();
  CHECK(w.pending(w.east) == 0);
  CHECK(w.place() == "east");
  CHECK(w.east.show("a").find("name=Away") != std::string::npos);
  CHECK(w.west.show("a") == "not held");
}

TEST_CASE("A child given to another territory's account goes there with what is below it",
          "[move]") {
  Moving w;
  REQUIRE(w.hq.write("create account b @west name=B") == "ok");
  w.settle();
  REQUIRE(w.hq.write("update o customerid=b") == "ok");
  REQUIRE(w.east.write("update l quantity=5") == "ok");
  w.hq.ship();
  w.settle();
  w.settle();
  CHECK(w.east.show("o") == "not held");
  CHECK(w.east.show("l") == "not held");
  CHECK(w.east.show("c").starts_with("live:"));
  CHECK(w.west.show("o").find("totalamount=50") != std::string::npos);
  CHECK(w.east.fate() == "applied");
}

TEST_CASE("SEMANTICS 28: who moves must work where it was and where it goes", "[move]") {
  Moving w;
  RecordId east_only = w.names.key("token_east").id;
  w.east.credential = east_only;
  REQUIRE(w.east.write("move a @west") == "ok");  // the API refuses it; the master as well
  w.settle();
  CHECK(w.east.fate() == "rejected: denied");
  CHECK(w.place() == "east");
  REQUIRE(w.east.write("move a @common @east") == "ok");
  w.settle();
  CHECK(w.east.fate() == "applied");
  REQUIRE(w.hq.write("move a @west @east") == "ok");
  w.settle();
  REQUIRE(w.east.write("move a @east") == "ok");  // also_in alone is no home
  w.settle();
  CHECK(w.east.fate() == "rejected: denied");
  CHECK(w.place() == "west east");
}

namespace {

// Beside the account of east one of west's, with notes, points and a contact of its own.
struct Merging : Moving {
  Merging() {
    REQUIRE(hq.write("create account b @west name=B telephone2=2 loyaltypoints+=7 tags+=silver "
                     "annotations+=second") == "ok");
    REQUIRE(hq.write("create contact d parentcustomerid=b lastname=Roe annotations+=third") ==
            "ok");
    REQUIRE(hq.write("create contact e parentcustomerid=b lastname=Gone") == "ok");
    REQUIRE(hq.write("delete e") == "ok");
    settle();
  }
  std::string where(const std::string& name) {
    return names.where(master.ingest->workspace(), name);
  }
  void restart(SmallOffice& office) {
    office.crash();
    office.start();
    office.connect();
  }
  bool has(SmallOffice& office, const std::string& name, const std::string& text) {
    return office.show(name).find(text) != std::string::npos;
  }
};

}  // namespace

TEST_CASE("Records of two territories are merged into one that both offices have",
          "[move][merge]") {
  Merging w;
  std::string from = GENERATE("b", "a"), into = from == "b" ? "a" : "b";
  REQUIRE(w.hq.write("merge " + from + " " + into) == "ok");
  Csn before = w.master.ingest->state().head;
  w.hq.ship();
  CHECK(w.master.ingest->state().head == before.next());
  w.settle();
  CHECK(w.hq.fate() == "applied");
  std::string both = into == "a" ? "east west" : "west east";
  for (const char* name : {"a", "b", "c", "o", "l", "d", "e"}) CHECK(w.where(name) == both);
  if (GENERATE(false, true)) {
    for (auto* o : {&w.hq, &w.east, &w.west}) w.restart(*o);
    w.settle();
  }
  for (auto* o : {&w.hq, &w.east, &w.west}) {
    INFO(o->name);
    CHECK(o->show(from) == "redirect: " + into);
    CHECK(w.has(*o, into, "annotations={first,second}"));
    CHECK(w.has(*o, into, "tags={gold,silver}"));
    CHECK(w.has(*o, into, "loyaltypoints=7"));
    CHECK(w.has(*o, into, "telephone2=2"));
    CHECK(w.has(*o, "c", "parentcustomerid=" + into));
    CHECK(w.has(*o, "d", "parentcustomerid=" + into));
    CHECK(w.has(*o, "d", "annotations={third}"));
    CHECK(w.has(*o, "l", "quantity=2"));
  }
  REQUIRE(w.west.write("update " + into + " name=West") == "ok");
  REQUIRE(w.east.write("update " + into + " telephone1=1") == "ok");
  w.settle();
  CHECK(w.has(w.west, into, "telephone1=1"));
  CHECK(w.has(w.east, into, "name=West"));
}

TEST_CASE("SEMANTICS 28: work on either end that did not know of a merge across territories counts",
          "[move][merge]") {
  Merging w;
  w.east.credential = w.names.key("token_east").id;
  w.west.credential = w.names.key("token_west").id;
  REQUIRE(w.west.write("update b name=Late tags+=late loyaltypoints+=3") == "ok");
  MutationId edit = w.west.last.id;
  REQUIRE(w.west.write("create contact n parentcustomerid=b lastname=New") == "ok");
  REQUIRE(w.east.write("update a telephone1=1") == "ok");
  REQUIRE(w.hq.write("merge b a") == "ok");
  SECTION("the merge is known before it ships") {
    w.hq.ship();
    w.west.fetch();
    CHECK(w.has(w.west, "a", "tags={gold,late,silver}"));
    CHECK(w.has(w.west, "n", "parentcustomerid=a"));
    if (GENERATE(false, true)) w.restart(w.west);
  }
  SECTION("it ships before the merge is known") { w.hq.ship(); }
  SECTION("it ships before the merge is decided") { w.west.ship(); }
  w.settle();
  w.settle();
  CHECK(w.west.fate_of(edit).find("rejected") == std::string::npos);
  for (auto* o : {&w.hq, &w.east, &w.west}) {
    INFO(o->name);
    CHECK(w.has(*o, "a", "tags={gold,late,silver}"));
    CHECK(w.has(*o, "a", "loyaltypoints=10"));
    CHECK(w.has(*o, "a", "telephone1=1"));
    CHECK(w.has(*o, "n", "parentcustomerid=a"));
  }
  CHECK(w.where("n") == "east west");
}

TEST_CASE("What belongs to another record stays with that one when it is merged", "[move][merge]") {
  Merging w;
  w.west.credential = w.names.key("token_west").id;
  REQUIRE(w.west.write("update d firstname=Late") == "ok");
  REQUIRE(w.hq.write("merge d c") == "ok");
  if (GENERATE(false, true)) {
    w.hq.ship();
    w.west.fetch();
    CHECK(w.west.show("d") == "not held");
  }
  w.settle();
  w.settle();
  CHECK(w.where("c") == "east");
  CHECK(w.where("d") == "east");
  CHECK(w.west.show("d") == "not held");
  CHECK_FALSE(w.anywhere(w.west, "third"));
  CHECK(w.west.fate() == "merged: redirected");
  CHECK(w.has(w.east, "c", "annotations={third}"));
  CHECK(w.has(w.east, "c", "firstname=Late"));
  CHECK(w.where("a") == "east");
  CHECK(w.where("b") == "west");
}

TEST_CASE("A survivor without a parent goes where the parent is that it takes over",
          "[move][merge]") {
  Merging w;
  REQUIRE(w.hq.write("create contact s @west lastname=Solo annotations+=solo") == "ok");
  w.settle();
  REQUIRE(w.hq.write("merge c s") == "ok");
  w.settle();
  CHECK(w.where("s") == "east");
  CHECK(w.where("c") == "east");
  CHECK(w.has(w.east, "s", "parentcustomerid=a"));
  CHECK(w.has(w.east, "s", "annotations={solo}"));
  CHECK(w.east.show("c") == "redirect: s");
  CHECK(w.west.show("s") == "not held");
}

TEST_CASE("Ids that lead to a record, and their deleted children, move with it", "[move][merge]") {
  Merging w;
  REQUIRE(w.hq.write("merge b a") == "ok");
  w.settle();
  REQUIRE(w.west.write("update d firstname=Late") == "ok");
  REQUIRE(w.hq.write("delete d") == "ok");
  w.hq.ship();
  w.hq.fetch();
  REQUIRE(w.hq.write("move a @common") == "ok");
  w.hq.ship();
  w.settle();
  w.settle();
  CHECK(w.west.fate() == "merged: revived");
  for (const char* name : {"a", "b", "c", "o", "l", "d", "e"}) CHECK(w.where(name) == "common");
  CHECK(w.has(w.east, "d", "firstname=Late"));
  REQUIRE(w.hq.write("move a @west") == "ok");
  w.settle();
  CHECK(w.west.show("b") == "redirect: a");
  CHECK(w.east.show("b") == "not held");
  CHECK_FALSE(w.anywhere(w.east, "silver"));
}

TEST_CASE("A merge and a move that did not know of each other", "[move][merge]") {
  Merging w;
  bool later = GENERATE(true, false);
  if (later)
    w.east.clock.ms += 1000;
  else
    w.hq.clock.ms += 1000;
  SECTION("of the survivor: the later stamp says where it is") {
    REQUIRE(w.hq.write("merge b a") == "ok");
    REQUIRE(w.east.write("move a @common") == "ok");
    w.hq.ship();
    w.settle();
    w.settle();
    CHECK(w.east.fate() == (later ? "merged: territory newer" : "overridden: territory older"));
    for (const char* name : {"a", "b", "c", "d", "e"})
      CHECK(w.where(name) == (later ? "common" : "east west"));
  }
  SECTION("of the merged record: that alone does nothing") {
    REQUIRE(w.hq.write("merge a b") == "ok");
    REQUIRE(w.east.write("move a @common") == "ok");
    w.hq.ship();
    w.settle();
    w.settle();
    CHECK(w.east.fate() == "overridden: redirected, territory survivor_stays");
    CHECK(w.where("b") == "west east");
  }
  SECTION("decided first, the merge finds it where it is") {
    REQUIRE(w.hq.write("merge b a") == "ok");
    REQUIRE(w.east.write("move a @common") == "ok");
    w.east.ship();
    w.settle();
    w.settle();
    CHECK(w.where("a") == "common west");
    CHECK(w.where("b") == "common west");
  }
}

TEST_CASE("Who merges must be able to write both, and his office must hold both", "[move][merge]") {
  Merging w;
  w.east.credential = w.names.key("token_east").id;
  REQUIRE(w.east.write("merge b a") == "ok");  // the API would say 404
  w.settle();
  CHECK(w.east.fate() == "rejected: denied");
  CHECK(w.where("a") == "east");
}

TEST_CASE("What no move is", "[move]") {
  Moving w;
  CHECK(w.hq.write("move c @west") == "write.has_parent");
  CHECK(w.hq.write("move user @west") == "write.malformed");
  CHECK(w.hq.write("move a") == "write.malformed");
}

TEST_CASE("A move larger than a frame comes in parts and as one", "[move]") {
  Moving w;
  REQUIRE(w.east.write("create account b @east name=Big") == "ok");
  for (int i = 0; i < 9; ++i) {
    std::string note(900'000, 'x');
    for (size_t k = 0; k + 8 < note.size(); k += 8)
      note.replace(k, 8, to_hex(w.random.next()).substr(0, 8));
    REQUIRE(w.east.write("update b annotations+=" + note) == "ok");
    w.settle();
  }
  LineCursor head = w.master.feed->head();
  REQUIRE(w.hq.write("move b @west") == "ok");
  w.hq.ship();
  FeedScope scope;
  scope.origin = w.west.registration.origin;
  for (auto t : w.west.registration.territories) scope.territories.insert(t);
  bool from_disk = GENERATE(false, true);
  if (from_disk) {
    w.master.crash();
    w.master.start();
    for (auto& [name, office] : w.offices) office->connect();
  }
  auto range = w.master.feed->read(head, scope, 1);
  REQUIRE(range);
  CHECK(range->blocks.size() > 8);
  auto frames = encode_feed(*range);
  CHECK(frames.size() > 1);
  FeedAssembler assembler(range->to.line);
  for (size_t i = 0; i < frames.size(); ++i) {
    CHECK(frames[i].size() < limits::kMaxFrameBytes);
    auto whole = assembler.add(frames[i]);
    REQUIRE(whole);
    REQUIRE(whole->has_value() == (i + 1 == frames.size()));
  }
  w.settle();
  bool same = w.west.show("b") == w.master.show("b");  // too long to be printed
  CHECK(same);
  CHECK(w.east.show("b") == "not held");
}

TEST_CASE("A move beyond the limits is refused where it is made, with what limits it", "[move]") {
  MergeBench::Options options;
  options.flush = false;
  MergeBench bench(options);
  auto east = bench.author(5);
  REQUIRE(bench.run(east, "create account a @east name=Acme") == "applied");
  std::string note(1000 * 1000, 'x');
  for (int i = 0; i < 13; ++i)
    REQUIRE(bench.run(east, "update a annotations+=" + note) == "applied");
  CHECK(bench.run(east, "move a @west @common") == "rejected: move_too_large");
  CHECK(std::string(explain(bench.decision.outcomes[0].reason)).find("24 MiB") !=
        std::string::npos);
  CHECK(bench.names.where(bench.ws, "a") == "east");
  CHECK(bench.run(east, "move a @west") == "applied");  // half the copies
}

}  // namespace branchline
