// Deletes against edits, cascades and what comes back, against the merge itself.
#include <catch2/catch.hpp>

#include "common/base/limits.h"
#include "tests/support/merge_bench.h"

namespace branchline {
namespace {

// An account with a contact, an order with two lines; both offices have seen all of it.
struct Shop : MergeBench {
  Author east = author(5), west = author(6);
  explicit Shop(Options options = {}) : MergeBench(options) {
    REQUIRE(run(east, "create account a @common name=Acme") == "applied");
    REQUIRE(run(east, "create contact c parentcustomerid=a firstname=Jo lastname=Doe") ==
            "applied");
    REQUIRE(run(east, "create salesorder o customerid=a name=O1") == "applied");
    REQUIRE(run(east, "create salesorderdetail l1 salesorderid=o quantity=2 priceperunit=10") ==
            "applied");
    REQUIRE(run(east, "create salesorderdetail l2 salesorderid=o quantity=1 priceperunit=5") ==
            "applied");
    sees_all(east);
    sees_all(west);
  }
  std::string state(const std::string& name) { return show(name).substr(0, show(name).find(':')); }
  bool has(const std::string& name, const std::string& text) {
    return show(name).find(text) != std::string::npos;
  }
};

}  // namespace

TEST_CASE("SEMANTICS 14: a delete takes its children along, all the way down", "[merge]") {
  Shop s;
  CHECK(s.run(s.west, "delete a") == "applied");
  for (const char* name : {"a", "c", "o", "l1", "l2"}) {
    INFO(name);
    CHECK(s.state(name) == "deleted");
  }
  CHECK(s.run(s.west, "delete o") == "merged: already_deleted");
  CHECK(s.run(s.west, "delete a") == "merged: already_deleted");
}

TEST_CASE("A delete that has not seen an edit loses, and says against what", "[merge]") {
  Shop s;
  SECTION("an edit of the record itself") {
    REQUIRE(s.run(s.east, "update a name=New") == "applied");
    MutationId edit = s.last;
    CHECK(s.run(s.west, "delete a") == "overridden: concurrent_edit");
    CHECK(s.decision.outcomes[0].other == edit);
  }
  SECTION("an edit of a child far below") {
    REQUIRE(s.run(s.east, "update l2 quantity=9") == "applied");
    CHECK(s.run(s.west, "delete a") == "overridden: concurrent_edit");
  }
  SECTION("a child that the deleter had not seen") {
    REQUIRE(s.run(s.east, "create contact d parentcustomerid=a lastname=New") == "applied");
    CHECK(s.run(s.west, "delete a") == "overridden: concurrent_edit");
  }
  SECTION("a note") {
    REQUIRE(s.run(s.east, "update a annotations+=call_back") == "applied");
    CHECK(s.run(s.west, "delete a") == "overridden: concurrent_edit");
  }
  for (const char* name : {"a", "c", "o", "l1", "l2"}) {
    INFO(name);
    CHECK(s.state(name) == "live");
  }
}

TEST_CASE("A sum that a line changed is no edit of its order; the line itself is what is tested",
          "[merge]") {
  Shop s;
  // The order's total was recomputed by a change of a line that west had seen: nothing unseen is
  // left.
  REQUIRE(s.run(s.east, "update l1 quantity=3") == "applied");
  Csn edited = s.head;
  REQUIRE(s.run(s.east, "update c jobtitle=Boss") == "applied");
  s.west.base = edited;
  CHECK(s.run(s.west, "delete o") == "applied");
}

TEST_CASE("SEMANTICS 14: an edit that has not seen the delete brings the whole group back, flagged",
          "[merge]") {
  Shop s;
  REQUIRE(s.run(s.west, "delete a") == "applied");
  CHECK(s.run(s.east, "update l1 quantity=4") == "merged: revived");
  for (const char* name : {"a", "c", "o", "l1", "l2"}) {
    INFO(name);
    CHECK(s.state(name) == "live");
    CHECK(s.has(name, "revivedon="));
  }
  CHECK(s.has("o", "totalamount=45"));
  SECTION("who has seen it back may delete it again") {
    s.sees_all(s.west);
    CHECK(s.run(s.west, "delete a") == "applied");
    CHECK(s.state("l2") == "deleted");
  }
  SECTION("who has not, loses") {
    CHECK(s.run(s.west, "delete a") == "overridden: concurrent_edit");
  }
}

TEST_CASE("SEMANTICS 14: a late child brings its deleted parent and that one's group back",
          "[merge]") {
  Shop s;
  REQUIRE(s.run(s.west, "delete a") == "applied");
  CHECK(s.run(s.east, "create contact d parentcustomerid=a lastname=Late") == "merged: revived");
  for (const char* name : {"a", "c", "o", "l1", "l2", "d"}) {
    INFO(name);
    CHECK(s.state(name) == "live");
  }
}

TEST_CASE("An edit or a child made in knowledge of the delete does not bring anything back",
          "[merge]") {
  Shop s;
  REQUIRE(s.run(s.west, "delete a") == "applied");
  s.sees_all(s.east);
  CHECK(s.run(s.east, "update a name=Ghost") == "overridden: deleted");
  CHECK(s.run(s.east, "create contact d parentcustomerid=a lastname=Late") ==
        "rejected: parent_deleted");
  CHECK(s.state("a") == "deleted");
  CHECK(s.show("d") == "absent");
}

TEST_CASE("SEMANTICS 8: an atomic edit of what was deleted is rejected", "[merge]") {
  Shop s;
  REQUIRE(s.run(s.west, "delete a") == "applied");
  s.sees_all(s.east);
  s.atomic = true;
  CHECK(s.run(s.east, "update a name=Ghost") == "rejected: deleted, atomic");
}

TEST_CASE("Where deletes win, an unseen edit neither stops nor undoes them", "[merge]") {
  MergeBench s;
  auto east = s.author(5), west = s.author(6);
  REQUIRE(s.run(east, "create apitoken t @common name=T tokenhash=h") == "applied");
  s.sees_all(west);
  SECTION("edit first") {
    REQUIRE(s.run(east, "update t name=U") == "applied");
    CHECK(s.run(west, "delete t") == "applied");
  }
  SECTION("delete first") {
    REQUIRE(s.run(west, "delete t") == "applied");
    CHECK(s.run(east, "update t name=U") == "overridden: deleted");
  }
  CHECK(s.show("t").starts_with("deleted:"));
}

TEST_CASE("SEMANTICS 10: deleting and reviving a line moves its order's total, once", "[merge]") {
  Shop s;
  REQUIRE(s.has("o", "totalamount=25"));
  REQUIRE(s.run(s.west, "delete l1") == "applied");
  CHECK(s.has("o", "totalamount=5"));
  CHECK(s.run(s.east, "update l1 quantity=3") == "merged: revived");
  CHECK(s.has("o", "totalamount=35"));
  // Deleted with its order, a line rests in its sum, and comes back in it.
  s.sees_all(s.west);
  REQUIRE(s.run(s.west, "delete o") == "applied");
  CHECK(s.run(s.east, "update o name=Back") == "merged: revived");
  CHECK(s.has("o", "totalamount=35"));
}

TEST_CASE(
    "SEMANTICS 10: a line that comes back alone does not stay without its order, nor out of its "
    "sum",
    "[merge]") {
  Shop s;
  REQUIRE(s.run(s.west, "delete l1") == "applied");
  REQUIRE(s.run(s.west, "delete o") == "applied");
  SECTION("its author had seen neither delete: the order comes back with it") {
    CHECK(s.run(s.east, "update l1 quantity=3") == "merged: revived");
    CHECK(s.state("o") == "live");
    CHECK(s.state("l1") == "live");
    CHECK(s.state("l2") == "live");
    CHECK(s.has("o", "totalamount=35"));
  }
  SECTION("its author had seen the order deleted: it stays deleted too") {
    // Seen through a commit behind both; the line's own delete unseen is the other way round.
    s.sees_all(s.east);
    CHECK(s.run(s.east, "update l1 quantity=3") == "overridden: deleted");
    CHECK(s.state("l1") == "deleted");
  }
}

TEST_CASE("A child does not come back under a parent that its author had seen deleted", "[merge]") {
  Shop s;
  REQUIRE(s.run(s.west, "delete o") == "applied");  // order and lines, as seen by all
  Csn order_gone = s.head;
  s.east.base = order_gone;
  // East knows that the order is gone. Another office revives it, and deletes the line and the
  // order again.
  auto north = s.author(7);
  north.base = Csn(5);
  REQUIRE(s.run(north, "update o name=Back") == "merged: revived");
  s.sees_all(north);
  REQUIRE(s.run(north, "delete l1") == "applied");
  CHECK(s.run(s.east, "update l1 quantity=3") == "merged: revived");
  CHECK(s.state("o") == "live");
  CHECK(s.has("o", "totalamount=35"));
}

TEST_CASE("SEMANTICS 10: a full name follows both offices' halves", "[merge]") {
  Shop s;
  CHECK(s.run(s.east, "update c firstname=Ann") == "applied");
  CHECK(s.run(s.west, "update c lastname=Lee") == "applied");
  CHECK(s.has("c", "fullname=Ann Lee"));
  REQUIRE(s.run(s.west, "update c firstname=") == "overridden: firstname older");
  s.sees_all(s.west);
  REQUIRE(s.run(s.west, "update c firstname=") == "applied");
  CHECK(s.has("c", "fullname=Lee"));
}

TEST_CASE("SEMANTICS 10: two edits of one order's lines give the sum of both, not the later total",
          "[merge]") {
  Shop s;
  CHECK(s.run(s.east, "update l1 quantity=10") == "applied");
  CHECK(s.run(s.west, "update l2 quantity=7") == "applied");
  CHECK(s.has("o", "totalamount=135"));
  CHECK(s.run(s.west,
              "create salesorderdetail l3 salesorderid=o quantity=1 priceperunit=0.5 "
              "manualdiscountamount=0.25") == "applied");
  CHECK(s.has("o", "totalamount=135.25"));
  s.sees_all(s.west);
  CHECK(s.run(s.west, "update l3 priceperunit=") == "applied");
  CHECK(s.has("o", "totalamount=135"));
}

TEST_CASE("SEMANTICS 10: a line that changes orders leaves one sum and joins the other",
          "[merge]") {
  Shop s;
  REQUIRE(s.run(s.east, "create salesorder p customerid=a name=O2") == "applied");
  REQUIRE(s.run(s.east, "update l1 salesorderid=p quantity=3") == "applied");
  CHECK(s.has("o", "totalamount=5"));
  CHECK(s.has("p", "totalamount=30"));
  // Its order may be cleared; the amount is in no sum then.
  REQUIRE(s.run(s.east, "update l1 salesorderid=") == "applied");
  CHECK(s.has("p", "totalamount=0"));
}

TEST_CASE("SEMANTICS 10: lateness follows from the dates, whoever wrote them", "[merge]") {
  Shop s;
  REQUIRE(s.run(s.east, "create shipment v salesorderid=o shipmentnumber=S1") == "applied");
  CHECK_FALSE(s.has("v", "late=true"));
  REQUIRE(s.run(s.west, "update v promiseddate=2026-11-20") == "applied");
  REQUIRE(s.run(s.east, "update v shippeddate=2026-11-19") == "applied");
  CHECK(s.has("v", "late=false"));
  REQUIRE(s.run(s.east, "update v delivereddate=2026-11-22") == "applied");
  CHECK(s.has("v", "late=true"));
  s.sees_all(s.west);
  REQUIRE(s.run(s.west, "update v promiseddate=") == "applied");
  CHECK_FALSE(s.has("v", "late=true"));
  CHECK_FALSE(s.has("v", "late=false"));
}

TEST_CASE("A derived sum that would leave its range rests, and the mutation says so", "[merge]") {
  Shop s;
  REQUIRE(s.run(s.east, "update l1 quantity=1 priceperunit=9223372036854775807") ==
          "overridden: extendedamount overflow");
}

TEST_CASE("A line whose amount cannot be computed counts as none", "[merge]") {
  Shop s;
  CHECK(s.run(s.east, "update l1 quantity=9000000000 priceperunit=9000000000") == "applied");
  CHECK(s.has("o", "totalamount=5"));
  CHECK(s.run(s.east,
              "update l1 quantity=1 priceperunit=-9223372036854775807 manualdiscountamount=9") ==
        "applied");
  CHECK(s.has("o", "totalamount=5"));
}

TEST_CASE("SEMANTICS 14: two offices that link accounts into a ring: the second link is overridden",
          "[merge]") {
  Shop s;
  REQUIRE(s.run(s.east, "create account b @common name=B") == "applied");
  REQUIRE(s.run(s.east, "create account d @common name=D") == "applied");
  s.sees_all(s.west);
  CHECK(s.run(s.east, "update a parentaccountid=b") == "applied");
  CHECK(s.run(s.west, "update b parentaccountid=a") == "overridden: parentaccountid cycle");
  CHECK(s.run(s.west, "update b parentaccountid=b") == "overridden: parentaccountid cycle");
  CHECK(s.run(s.west, "update b parentaccountid=d") == "applied");
  CHECK(s.run(s.west, "update d parentaccountid=a") == "overridden: parentaccountid cycle");
  s.names.key("elsewhere", "account");
  CHECK(s.run(s.west, "update d parentaccountid=elsewhere") == "applied");
}

TEST_CASE("A hierarchy deeper than the limit counts as a ring", "[merge]") {
  MergeBench s;
  auto east = s.author(5);
  REQUIRE(s.run(east, "create account a0 @common name=A") == "applied");
  std::string last = "a0";
  for (size_t i = 1; i <= limits::kMaxHierarchyDepth; ++i) {
    std::string name = "a" + std::to_string(i);
    REQUIRE(s.run(east, "create account " + name + " @common parentaccountid=" + last) ==
            "applied");
    last = name;
  }
  CHECK(s.run(east, "create account top @common parentaccountid=" + last) ==
        "overridden: parentaccountid cycle");
}

TEST_CASE("A child follows the account that it is given to", "[merge]") {
  Shop s;
  REQUIRE(s.run(s.east, "create account w @west name=W") == "applied");
  REQUIRE(s.run(s.east, "create account v @common @west name=V") == "applied");
  REQUIRE(s.run(s.east, "create account n @common name=N") == "applied");
  s.names.key("ghost", "account");
  auto where = [&](const char* name) { return s.names.where(s.ws, name); };
  CHECK(s.run(s.east, "update c parentcustomerid=w") == "applied");
  CHECK(where("c") == "west");
  CHECK(s.run(s.east, "update c parentcustomerid=v") == "applied");
  CHECK(where("c") == "common west");
  CHECK(s.run(s.east, "update o customerid=w") == "applied");
  CHECK(where("l1") == "west");
  CHECK(s.run(s.east, "update c parentcustomerid=ghost") ==
        "rejected: parentcustomerid unknown_parent");
  CHECK(s.run(s.east, "update c parentcustomerid=n") == "applied");
  CHECK(where("c") == "common");
  CHECK(s.run(s.east, "update c parentcustomerid=") == "applied");
  CHECK(where("c") == "common");
  REQUIRE(s.run(s.east, "delete n") == "applied");
  CHECK(s.run(s.east, "update c parentcustomerid=n") ==
        "rejected: parentcustomerid parent_deleted");
}

TEST_CASE("A child is where its parent is: also_in too", "[merge]") {
  Shop s;
  REQUIRE(s.run(s.east, "create account v @common @west @east name=V") == "applied");
  REQUIRE(s.run(s.east, "create contact d parentcustomerid=v lastname=D") == "applied");
  const Record* d = s.ws.find(s.names.key("d"))->record;
  CHECK(d->in_territory(TerritoryId(2)));
  CHECK(d->in_territory(TerritoryId(4)));
  CHECK(d->in_territory(TerritoryId(3)));
  CHECK(s.run(s.east, "create account x name=Nowhere") == "rejected: no_territory");
  CHECK(s.run(s.east, "create contact y lastname=Nowhere") == "rejected: no_territory");
}

TEST_CASE("A second claim of a unique key is kept and marked, at whichever office it was made",
          "[merge]") {
  Shop s;
  REQUIRE(s.run(s.east, "create account x @east accountnumber=N1") == "applied");
  MutationId first = s.last;
  CHECK(s.run(s.west, "create account y @west accountnumber=n1") ==
        "merged: accountnumber duplicate_key");
  CHECK(s.decision.outcomes[0].other == first);
  CHECK(s.has("y", "duplicateof=x"));
  CHECK_FALSE(s.has("x", "duplicateof"));
  SECTION("another number clears the mark") {
    CHECK(s.run(s.west, "update y accountnumber=N2") == "applied");
    CHECK(s.has("y", "duplicateof= "));
  }
  SECTION("a third names the same first") {
    CHECK(s.run(s.west, "update a accountnumber=N1") == "merged: accountnumber duplicate_key");
    CHECK(s.has("a", "duplicateof="));
  }
  SECTION("what was deleted holds no key") {
    s.sees_all(s.east);
    REQUIRE(s.run(s.east, "delete x") == "applied");
    REQUIRE(s.run(s.east, "delete y") == "applied");
    CHECK(s.run(s.east, "create account z @east accountnumber=N1") == "applied");
    // One that comes back finds its key taken.
    CHECK(s.run(s.west, "update x name=Back") == "merged: accountnumber duplicate_key, revived");
    CHECK(s.has("x", "duplicateof=z"));
  }
  SECTION("no key is nobody's claim") {
    CHECK(s.run(s.west, "update y accountnumber=") == "applied");
    CHECK(s.run(s.west, "update a accountnumber=") == "applied");
  }
}

TEST_CASE("Claims and deletes of one batch are seen before they are written", "[merge]") {
  Shop s({.flush = false});
  REQUIRE(
      s.run(s.east,
            "create account x @east accountnumber=N1; create account y @east accountnumber=N1") ==
      "merged: #1 accountnumber duplicate_key");
  REQUIRE(s.run(s.east, "create contact d parentcustomerid=a lastname=D") == "applied");
  REQUIRE(s.run(s.east, "delete a") == "applied");
  CHECK(s.state("d") == "deleted");
  s.west.base = Csn(5);
  s.west.clock_ms += 1000;
  REQUIRE(s.run(s.west, "update d lastname=E") == "merged: revived, lastname newer");
  CHECK(s.state("a") == "live");
  CHECK(s.state("l2") == "live");
}

TEST_CASE("A delete of more than the limit is rejected by name", "[merge]") {
  MergeBench s({.flush = false});
  auto east = s.author(5);
  REQUIRE(s.run(east, "create account a @common name=A") == "applied");
  std::string lookup = encode_lookup({entity_id::kAccount, s.names.key("a").id});
  FieldId parent = s.schema->entity("contact")->field("parentcustomerid")->id;
  s.ws.begin();
  for (size_t i = 0; i < limits::kMaxCascade; ++i) {
    RecordId id;
    std::string bytes = encode_integer(static_cast<int64_t>(i) + 1'000'000);
    bytes.resize(16);
    id = RecordId::from_bytes(bytes);
    Version v{{OriginId(5), Incarnation(500), Lane::interactive, Seq(1)}, Order(1), Csn(1), {}, {}};
    Record& r = s.ws.create({entity_id::kContact, id}, TerritoryId(2), {}, v);
    s.ws.set_cell(r, parent, v, {ValueType::lookup, lookup});
  }
  s.ws.end();
  Mutation m;
  m.id = {OriginId(5), Incarnation(500), Lane::interactive, Seq(2)};
  m.order = Order(2);
  m.base = Csn(1);
  m.ops = s.names.parse_all("delete a", s.ws, s.arena);
  auto d = s.merger.run(m, Csn(2));
  REQUIRE(d);
  CHECK(d->fate == Fate::rejected);
  CHECK(d->outcomes.at(0).reason == Reason::too_large);
}

}  // namespace branchline
