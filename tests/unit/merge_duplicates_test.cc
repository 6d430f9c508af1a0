// SEMANTICS 16 and 17, clause by clause, against the merge itself. The bench also checks after
// every decision that undoing gives the state before and that a follower has the same rows.
#include <catch2/catch.hpp>

#include "common/base/limits.h"
#include "tests/support/merge_bench.h"

namespace branchline {
namespace {

// Accounts a, b and d, a contact and an order under b; all offices have seen all of it.
struct Duplicates : MergeBench {
  Author east = author(5), west = author(6), north = author(7);
  Duplicates() {
    REQUIRE(run(east, "create account a @common name=A telephone1=1 tags+=old annotations+=one") ==
            "applied");
    REQUIRE(run(east,
                "create account b @common name=B telephone2=2 loyaltypoints+=7 tags+=gold "
                "annotations+=two lastcontacted=2026-01-02") == "applied");
    REQUIRE(run(east, "create account d @common name=D") == "applied");
    REQUIRE(run(east, "create contact c parentcustomerid=b lastname=Doe") == "applied");
    REQUIRE(run(east, "create salesorder o customerid=b name=O1") == "applied");
    for (Author* a : {&east, &west, &north}) sees_all(*a);
  }
  bool has(const std::string& name, const std::string& text) {
    return show(name).find(text) != std::string::npos;
  }
  std::string state(const std::string& name) { return show(name).substr(0, show(name).find(':')); }
};

}  // namespace

TEST_CASE("A merge leaves one record: values, sums, notes, tags and children of both", "[merge]") {
  Duplicates s;
  REQUIRE(s.run(s.east, "update a loyaltypoints+=5 lastcontacted=2025-01-01") == "applied");
  CHECK(s.run(s.east, "merge b a") == "applied");
  CHECK(s.show("b") == "redirect: a");
  CHECK(s.has("a", "name=A "));
  CHECK(s.has("a", "telephone1=1"));
  CHECK(s.has("a", "telephone2=2"));
  CHECK(s.has("a", "loyaltypoints=12"));
  CHECK(s.has("a", "lastcontacted=2026-01-02"));
  CHECK(s.has("a", "tags={gold,old}"));
  CHECK(s.has("a", "annotations={one,two}"));
  CHECK(s.has("c", "parentcustomerid=a"));
  CHECK(s.has("o", "customerid=a"));
}

TEST_CASE("The author of a merge chooses values per field; what he leaves alone is the survivor's",
          "[merge]") {
  Duplicates s;
  CHECK(s.run(s.east, "merge b a name=Both telephone2=") == "applied");
  CHECK(s.has("a", "name=Both"));
  CHECK(s.has("a", "telephone1=1"));
  CHECK_FALSE(s.has("a", "telephone2=2"));
}

TEST_CASE("A group goes over whole, or not at all", "[merge]") {
  Duplicates s;
  SECTION("the survivor has none") {
    REQUIRE(s.run(s.east, "update b address1_line1=Mill_1 address1_city=Bern") == "applied");
    REQUIRE(s.run(s.east, "merge b a") == "applied");
    CHECK(s.has("a", "address1_line1=Mill_1 address1_city=Bern"));
  }
  SECTION("the survivor has a part: two halves are no address") {
    REQUIRE(s.run(s.east, "update b address1_line1=Mill_1 address1_city=Bern") == "applied");
    REQUIRE(s.run(s.east, "update a address1_city=Thun") == "applied");
    REQUIRE(s.run(s.east, "merge b a") == "applied");
    CHECK_FALSE(s.has("a", "Mill_1"));
  }
  SECTION("a default is a value: the survivor does not become inactive") {
    REQUIRE(s.run(s.east, "update b statecode=1 statuscode=2") == "applied");
    REQUIRE(s.run(s.east, "merge b a") == "applied");
    CHECK_FALSE(s.has("a", "statecode"));
  }
}

TEST_CASE("SEMANTICS 16: both ends are resolved through redirects first; equal ends do nothing",
          "[merge]") {
  Duplicates s;
  REQUIRE(s.run(s.east, "merge b a") == "applied");
  SECTION("the same merge from another office") {
    CHECK(s.run(s.west, "merge b a") == "merged: redirected");
    CHECK(s.has("a", "loyaltypoints=7"));
  }
  SECTION("the opposite one") {
    CHECK(s.run(s.west, "merge a b") == "merged: redirected");
    CHECK(s.state("a") == "live");
    CHECK(s.show("b") == "redirect: a");
  }
  SECTION("with choices: they come too late, and the author is told") {
    CHECK(s.run(s.west, "merge a b name=West") == "overridden: redirected");
    CHECK(s.has("a", "name=A "));
  }
  SECTION("a third one: into what b became") {
    CHECK(s.run(s.west, "merge d b") == "merged: redirected");
    CHECK(s.show("d") == "redirect: a");
  }
  SECTION("a chain, and what is aimed at its first link") {
    CHECK(s.run(s.west, "merge b d") == "merged: redirected");
    CHECK(s.show("a") == "redirect: d");
    CHECK(s.has("c", "parentcustomerid=d"));
    CHECK(s.has("d", "annotations={one,two}"));
    CHECK(s.run(s.north, "update b annotations+=three") == "merged: redirected");
    CHECK(s.has("d", "annotations={one,two,three}"));
  }
}

TEST_CASE("SEMANTICS 16: a delete aimed at a redirected id deletes nothing", "[merge]") {
  Duplicates s;
  REQUIRE(s.run(s.east, "merge b a") == "applied");
  CHECK(s.run(s.west, "delete b") == "overridden: redirected");
  CHECK(s.state("a") == "live");
  CHECK(s.show("b") == "redirect: a");
  CHECK(s.state("c") == "live");
  s.sees_all(s.west);
  CHECK(s.run(s.west, "delete b") == "overridden: redirected");
  CHECK(s.state("a") == "live");
}

TEST_CASE("SEMANTICS 16: a delete that has not seen a merge into its target loses", "[merge]") {
  Duplicates s;
  SECTION("of the survivor") {
    REQUIRE(s.run(s.east, "merge b a") == "applied");
    CHECK(s.run(s.west, "delete a") == "overridden: unseen_merge");
    s.sees_all(s.west);
    CHECK(s.run(s.west, "delete a") == "applied");
    CHECK(s.state("c") == "deleted");
  }
  SECTION("of what the merged record had survived itself") {
    REQUIRE(s.run(s.east, "merge d b") == "applied");
    // West sees nothing of that, merges b into a and deletes a: d would be gone unread.
    REQUIRE(s.run(s.west, "merge b a") == "applied");
    CHECK(s.run(s.west, "delete a") == "overridden: unseen_merge");
  }
  SECTION("of a record above it") {
    REQUIRE(s.run(s.east, "create contact e parentcustomerid=a lastname=Poe") == "applied");
    s.sees_all(s.west);
    REQUIRE(s.run(s.east, "merge c e") == "applied");
    CHECK(s.run(s.west, "delete a") == "overridden: unseen_merge");
    CHECK(s.state("e") == "live");
  }
}

TEST_CASE("SEMANTICS 16: a merge into a tombstone revives it, and one of a tombstone too",
          "[merge]") {
  Duplicates s;
  SECTION("the survivor was deleted, with all beneath it") {
    REQUIRE(s.run(s.west, "create contact e parentcustomerid=a lastname=Poe") == "applied");
    REQUIRE(s.run(s.west, "delete a") == "applied");
    CHECK(s.run(s.east, "merge b a") == "merged: revived");
    CHECK(s.state("a") == "live");
    CHECK(s.state("e") == "live");
    CHECK(s.has("c", "parentcustomerid=a"));
  }
  SECTION("the merged record was deleted, with its children") {
    REQUIRE(s.run(s.west, "delete b") == "applied");
    REQUIRE(s.state("c") == "deleted");
    CHECK(s.run(s.east, "merge b a") == "merged: revived");
    CHECK(s.show("b") == "redirect: a");
    CHECK(s.state("c") == "live");
    CHECK(s.has("c", "parentcustomerid=a"));
    CHECK(s.has("a", "annotations={one,two}"));
  }
  SECTION("both were") {
    REQUIRE(s.run(s.west, "delete a") == "applied");
    REQUIRE(s.run(s.west, "delete b") == "applied");
    CHECK(s.run(s.east, "merge b a") == "merged: revived, revived");
    CHECK(s.state("a") == "live");
    CHECK(s.has("c", "parentcustomerid=a"));
  }
  SECTION("whatever the author had seen") {
    REQUIRE(s.run(s.west, "delete a") == "applied");
    s.sees_all(s.east);
    CHECK(s.run(s.east, "merge b a") == "merged: revived");
    CHECK(s.state("a") == "live");
  }
}

TEST_CASE("SEMANTICS 16: a merge and a delete, whatever the entity's delete policy", "[merge]") {
  Duplicates s;
  // The built-in entities that can be merged let edits win; here deletes do.
  auto* account = const_cast<Entity*>(s.schema->entity("account"));
  account->on_delete = DeletePolicy::delete_wins;
  SECTION("merge, then delete") {
    REQUIRE(s.run(s.east, "merge b a") == "applied");
    CHECK(s.run(s.west, "delete a") == "overridden: unseen_merge");
    CHECK(s.state("a") == "live");
  }
  SECTION("delete, then merge") {
    REQUIRE(s.run(s.west, "delete a") == "applied");
    CHECK(s.run(s.east, "merge b a") == "merged: revived");
    CHECK(s.state("a") == "live");
  }
  account->on_delete = DeletePolicy::edit_wins;
}

TEST_CASE(
    "SEMANTICS 16: a redirected edit of `latest` applies only where the survivor's value came from "
    "the merged record",
    "[merge]") {
  Duplicates s;
  s.west.clock_ms += 1000;
  REQUIRE(s.run(s.east, "merge b a") == "applied");
  SECTION("it came from it") {
    CHECK(s.run(s.west, "update b telephone2=22") == "merged: redirected");
    CHECK(s.has("a", "telephone2=22"));
    // And the next one of the same chain, though the value is the first one's by now.
    CHECK(s.run(s.west, "update b telephone2=23") == "merged: redirected");
    CHECK(s.has("a", "telephone2=23"));
    CHECK(s.run(s.west, "update b telephone2=") == "merged: redirected");
    CHECK_FALSE(s.has("a", "telephone2=2"));
  }
  SECTION("it is the survivor's: later or not, it stays") {
    CHECK(s.run(s.west, "update b name=Late") == "overridden: redirected, name survivor_stays");
    CHECK(s.has("a", "name=A "));
  }
  SECTION("both in one edit") {
    CHECK(s.run(s.west, "update b name=Late telephone2=22") ==
          "overridden: redirected, name survivor_stays");
    CHECK(s.has("a", "name=A "));
    CHECK(s.has("a", "telephone2=22"));
  }
  SECTION("the survivor has none: as if it had come before the merge") {
    CHECK(s.run(s.west, "update b websiteurl=https://b.example") == "merged: redirected");
    CHECK(s.has("a", "websiteurl=https://b.example"));
  }
  SECTION("somebody wrote to the survivor since") {
    s.sees_all(s.north);
    REQUIRE(s.run(s.north, "update a telephone2=99") == "applied");
    CHECK(s.run(s.west, "update b telephone2=22") ==
          "overridden: redirected, telephone2 survivor_stays");
    CHECK(s.has("a", "telephone2=99"));
  }
  SECTION("an edit of the survivor itself is no redirected one") {
    CHECK(s.run(s.west, "update a name=West") == "applied");
    CHECK(s.has("a", "name=West"));
  }
  SECTION("a group stands or falls as one") {
    CHECK(s.run(s.west, "update b address1_line1=Mill_1 address1_city=Bern") ==
          "merged: redirected");
    CHECK(s.has("a", "address1_city=Bern"));
    s.sees_all(s.north);
    REQUIRE(s.run(s.north, "update a address1_line1=X address1_city=Thun") == "applied");
    CHECK(s.run(s.west, "update b address1_line1=Mill_2 address1_city=Chur") ==
          "overridden: redirected, address1_line1 survivor_stays");
    CHECK(s.has("a", "address1_line1=X address1_city=Thun"));
  }
  SECTION("an atomic one is rejected whole where a part would be overridden") {
    s.atomic = true;
    CHECK(s.run(s.west, "update b name=Late telephone2=22") ==
          "rejected: name survivor_stays, atomic");
    CHECK(s.has("a", "telephone2=2 "));
  }
}

TEST_CASE("SEMANTICS 16: a value that came over keeps its version, also against an older edit",
          "[merge]") {
  Duplicates s;
  // East's edit of b is newer than west's, which has seen neither it nor the merge.
  s.east.clock_ms += 5000;
  REQUIRE(s.run(s.east, "update b telephone2=33") == "applied");
  REQUIRE(s.run(s.east, "merge b a") == "applied");
  CHECK(s.run(s.west, "update b telephone2=22") == "overridden: redirected, telephone2 older");
  // North's is newer than that edit, though older than the merge: the merge wrote nothing here.
  s.east.clock_ms += 5000;
  REQUIRE(s.run(s.east, "merge a d") == "applied");
  s.north.clock_ms += 6000;
  CHECK(s.run(s.north, "update b telephone2=44") == "merged: redirected, telephone2 newer");
  CHECK(s.has("d", "telephone2=44"));
}

TEST_CASE("Sums, notes, tags and extremes of late edits reach the survivor", "[merge]") {
  Duplicates s;
  REQUIRE(s.run(s.east, "merge b a") == "applied");
  CHECK(s.run(s.west,
              "update b loyaltypoints+=3 tags+=new annotations+=three "
              "lastcontacted=2026-03-01") == "merged: redirected");
  CHECK(s.has("a", "loyaltypoints=10"));
  CHECK(s.has("a", "tags={gold,new,old}"));
  CHECK(s.has("a", "annotations={one,two,three}"));
  CHECK(s.has("a", "lastcontacted=2026-03-01"));
}

TEST_CASE("A tag that was removed from the merged record elsewhere leaves the survivor",
          "[merge]") {
  Duplicates s;
  Mutation m;
  // The removal names the element that west saw on b.
  auto before = s.ws.elements(s.names.key("b"), s.schema->entity("account")->field("tags")->id);
  REQUIRE(before->size() == 1);
  REQUIRE(s.run(s.east, "merge b a") == "applied");
  m.order = Order(++s.west.order);
  m.id = {s.west.origin, s.west.incarnation, Lane::interactive, Seq(s.west.order)};
  m.base = s.west.base;
  m.hlc = Hlc::at_ms(s.west.clock_ms++);
  RecordOp& op = m.ops.emplace_back();
  op.record = s.names.key("b");
  op.cells.push_back({s.schema->entity("account")->field("tags")->id,
                      CellOpKind::remove,
                      {},
                      before->front().first.key});
  auto d = s.merger.run(m, s.head.next());
  REQUIRE(d);
  CHECK(d->fate == Fate::merged);
  CHECK(s.has("a", "tags={old}"));
}

TEST_CASE("Late children of a merged record are the survivor's", "[merge]") {
  Duplicates s;
  REQUIRE(s.run(s.east, "merge b a") == "applied");
  CHECK(s.run(s.west, "create contact e parentcustomerid=b lastname=Late") == "applied");
  CHECK(s.has("e", "parentcustomerid=a"));
  CHECK(s.run(s.west, "update d parentaccountid=b primarycontactid=c") == "applied");
  CHECK(s.has("d", "parentaccountid=a"));
  CHECK(s.run(s.west, "create contact f parentcustomerid=d lastname=F") == "applied");
  CHECK(s.run(s.west, "update f parentcustomerid=b") == "applied");
  CHECK(s.has("f", "parentcustomerid=a"));
}

TEST_CASE("A child that was moved elsewhere meanwhile stays there, in either order", "[merge]") {
  Duplicates s;
  SECTION("moved, then merged") {
    REQUIRE(s.run(s.west, "update c parentcustomerid=d") == "applied");
    REQUIRE(s.run(s.east, "merge b a") == "applied");
  }
  SECTION("merged, then moved by an older stamp: to follow a merge is no edit") {
    s.east.clock_ms += 5000;
    REQUIRE(s.run(s.east, "merge b a") == "applied");
    REQUIRE(s.run(s.west, "update c parentcustomerid=d") == "applied");
  }
  CHECK(s.has("c", "parentcustomerid=d"));
  CHECK(s.has("o", "customerid=a"));
}

TEST_CASE("Every lookup to the merged record follows, and what was deleted follows when it is back",
          "[merge]") {
  Duplicates s;
  REQUIRE(s.run(s.east, "create contact e parentcustomerid=a lastname=Poe") == "applied");
  REQUIRE(s.run(s.east, "update d primarycontactid=c") == "applied");
  REQUIRE(s.run(s.east, "create incident i customerid=b salesorderid=o title=T") == "applied");
  REQUIRE(s.run(s.east, "create salesorder p customerid=a name=P") == "applied");
  s.sees_all(s.west);
  REQUIRE(s.run(s.west, "delete i") == "applied");
  REQUIRE(s.run(s.east, "merge c e") == "applied");
  CHECK(s.has("d", "primarycontactid=e"));
  REQUIRE(s.run(s.east, "merge o p") == "applied");
  REQUIRE(s.run(s.east, "merge b a") == "applied");
  s.north.base = s.west.base;
  s.north.clock_ms += 1000;
  CHECK(s.run(s.north, "update i title=Back") == "merged: revived");
  CHECK(s.has("i", "customerid=a"));
  CHECK(s.has("i", "salesorderid=p"));
}

TEST_CASE("Merging does not close a ring in a hierarchy", "[merge]") {
  Duplicates s;
  REQUIRE(s.run(s.east, "create account t @common name=Top") == "applied");
  SECTION("the merged record is the survivor's parent: the survivor takes its place") {
    REQUIRE(s.run(s.east, "update b parentaccountid=t") == "applied");
    REQUIRE(s.run(s.east, "update a parentaccountid=b") == "applied");
    REQUIRE(s.run(s.east, "merge b a") == "applied");
    CHECK(s.has("a", "parentaccountid=t"));
  }
  SECTION("there is one between them") {
    REQUIRE(s.run(s.east, "update b parentaccountid=t") == "applied");
    REQUIRE(s.run(s.east, "update d parentaccountid=b") == "applied");
    REQUIRE(s.run(s.east, "update a parentaccountid=d") == "applied");
    REQUIRE(s.run(s.east, "merge b a") == "applied");
    CHECK(s.has("a", "parentaccountid=t"));
    CHECK(s.has("d", "parentaccountid=a"));
  }
  SECTION("the survivor is above the merged one") {
    REQUIRE(s.run(s.east, "update b parentaccountid=d") == "applied");
    REQUIRE(s.run(s.east, "update d parentaccountid=a") == "applied");
    REQUIRE(s.run(s.east, "merge b a") == "applied");
    CHECK_FALSE(s.has("a", "parentaccountid"));
    CHECK(s.has("d", "parentaccountid=a"));
  }
  SECTION("a parent was chosen that lies beneath the merged record") {
    REQUIRE(s.run(s.east, "update d parentaccountid=b") == "applied");
    CHECK(s.run(s.east, "merge b a parentaccountid=d") == "overridden: parentaccountid cycle");
    CHECK_FALSE(s.has("a", "parentaccountid=d"));
    CHECK(s.has("d", "parentaccountid=a"));
  }
  SECTION("a deleted one in between still looks up to the merged record") {
    REQUIRE(s.run(s.east, "update d parentaccountid=b") == "applied");
    REQUIRE(s.run(s.east, "delete d") == "applied");
    REQUIRE(s.run(s.east, "merge b a") == "applied");
    CHECK(s.run(s.east, "update a parentaccountid=d") == "overridden: parentaccountid cycle");
  }
  SECTION("a late link that would close one over the redirect") {
    REQUIRE(s.run(s.east, "update d parentaccountid=a") == "applied");
    REQUIRE(s.run(s.east, "merge b a") == "applied");
    CHECK(s.run(s.west, "update b parentaccountid=d") ==
          "overridden: redirected, parentaccountid cycle");
  }
}

TEST_CASE("SEMANTICS 10: an order's total follows its lines to the survivor", "[merge]") {
  Duplicates s;
  REQUIRE(s.run(s.east, "create salesorder p customerid=a name=P") == "applied");
  REQUIRE(s.run(s.east, "create salesorderdetail l salesorderid=o quantity=2 priceperunit=10") ==
          "applied");
  REQUIRE(s.run(s.east, "create salesorderdetail k salesorderid=p quantity=1 priceperunit=5") ==
          "applied");
  s.sees_all(s.west);
  REQUIRE(s.run(s.east, "merge o p") == "applied");
  CHECK(s.has("p", "totalamount=25"));
  CHECK(s.run(s.west, "update l quantity=3") == "applied");
  CHECK(s.has("p", "totalamount=35"));
  CHECK(s.run(s.west, "create salesorderdetail j salesorderid=o quantity=1 priceperunit=1") ==
        "applied");
  CHECK(s.has("p", "totalamount=36"));
}

TEST_CASE("SEMANTICS 10: a full name is that of the fields that came together", "[merge]") {
  Duplicates s;
  REQUIRE(s.run(s.east, "create contact e parentcustomerid=b firstname=Ann") == "applied");
  REQUIRE(s.run(s.east, "merge e c") == "applied");
  CHECK(s.has("c", "fullname=Ann Doe"));
}

TEST_CASE("A unique key goes over, and a mark that it was taken twice is lifted", "[merge]") {
  Duplicates s;
  REQUIRE(s.run(s.east, "update b accountnumber=N1") == "applied");
  SECTION("two claims become one") {
    REQUIRE(s.run(s.west, "update a accountnumber=N1") == "merged: accountnumber duplicate_key");
    REQUIRE(s.has("a", "duplicateof=b"));
    CHECK(s.run(s.east, "merge b a") == "applied");
    CHECK(s.has("a", "duplicateof= "));
  }
  SECTION("the survivor had none") {
    REQUIRE(s.run(s.east, "merge b a") == "applied");
    CHECK(s.has("a", "accountnumber=N1"));
    CHECK(s.run(s.west, "update d accountnumber=N1") == "merged: accountnumber duplicate_key");
    CHECK(s.has("d", "duplicateof=a"));
  }
}

TEST_CASE("A merge that cannot be is rejected by name", "[merge]") {
  Duplicates s;
  s.names.key("ghost", "account");
  CHECK(s.run(s.east, "merge ghost a") == "rejected: unknown_record");
  CHECK(s.run(s.east, "merge b ghost") == "rejected: unknown_record");
  CHECK(s.run(s.east, "merge b b") == "rejected: malformed");
  CHECK(s.run(s.east, "merge b a; update d name=X") == "rejected: malformed");
  REQUIRE(s.run(s.east, "create salesorderdetail l salesorderid=o quantity=2") == "applied");
  REQUIRE(s.run(s.east, "create salesorderdetail k salesorderid=o quantity=2") == "applied");
  CHECK(s.run(s.east, "merge l k") == "rejected: malformed");
  s.permit = [&](const Entity&, const Record& r) { return r.key() != s.names.key("b"); };
  CHECK(s.run(s.east, "merge b a") == "rejected: denied");
  CHECK(s.run(s.east, "merge a b") == "rejected: denied");
  CHECK(s.state("b") == "live");
}

TEST_CASE("Conflicts are decided before their record is merged into another", "[merge]") {
  Duplicates s;
  REQUIRE(s.run(s.east, "update b creditlimit=100") == "applied");
  REQUIRE(s.run(s.west, "update b creditlimit=200") == "overridden: creditlimit asked");
  CHECK(s.run(s.north, "merge b a") == "rejected: open_conflict");
  s.sees_all(s.east);
  REQUIRE(s.run(s.east, "update b creditlimit=150") == "applied");
  CHECK(s.run(s.north, "merge b a") == "applied");
  CHECK(s.has("a", "creditlimit=150"));
}

TEST_CASE("SEMANTICS 12: nothing is forecast of a merge with what is not held here", "[merge]") {
  MergeBench s({.holds_everything = false});
  auto east = s.author(5);
  REQUIRE(s.run(east, "create account a @common name=A") == "applied");
  s.names.key("far", "account");
  CHECK(s.run(east, "merge far a") == "applied");
  CHECK(s.run(east, "merge a far") == "applied");
  CHECK(s.show("a").starts_with("live:"));
}

TEST_CASE("SEMANTICS 17: a redirect outlives its survivor's deletion and return", "[merge]") {
  Duplicates s;
  REQUIRE(s.run(s.east, "merge b a") == "applied");
  s.sees_all(s.east);
  REQUIRE(s.run(s.east, "delete a") == "applied");
  CHECK(s.show("b") == "redirect: a");
  CHECK(s.run(s.west, "update b annotations+=three") == "merged: revived, redirected");
  CHECK(s.state("a") == "live");
  CHECK(s.has("a", "annotations={one,two,three}"));
  CHECK(s.has("c", "parentcustomerid=a"));
  CHECK(s.show("b") == "redirect: a");
}

TEST_CASE("More children than the limit are not led away: the merge is rejected by name",
          "[merge]") {
  MergeBench s({.flush = false});
  auto east = s.author(5);
  REQUIRE(s.run(east, "create account a @common name=A; create account b @common name=B") ==
          "applied");
  std::string lookup = encode_lookup({entity_id::kAccount, s.names.key("b").id});
  FieldId parent = s.schema->entity("contact")->field("parentcustomerid")->id;
  s.ws.begin();
  for (size_t i = 0; i <= limits::kMaxCascade; ++i) {
    std::string bytes = encode_integer(static_cast<int64_t>(i) + 1'000'000);
    bytes.resize(16);
    Version v{{OriginId(5), Incarnation(500), Lane::interactive, Seq(1)}, Order(1), Csn(1), {}, {}};
    Record& r =
        s.ws.create({entity_id::kContact, RecordId::from_bytes(bytes)}, TerritoryId(2), {}, v);
    s.ws.set_cell(r, parent, v, {ValueType::lookup, lookup});
  }
  s.ws.end();
  Mutation m;
  m.id = {OriginId(5), Incarnation(500), Lane::interactive, Seq(2)};
  m.order = Order(2);
  m.base = Csn(1);
  m.ops = s.names.parse_all("merge b a", s.ws, s.arena);
  auto d = s.merger.run(m, Csn(2));
  REQUIRE(d);
  CHECK(d->fate == Fate::rejected);
  CHECK(d->outcomes.at(0).reason == Reason::too_large);
  CHECK(s.show("b").starts_with("live:"));
}

TEST_CASE("Ten thousand notes go over by one line of effects", "[merge]") {
  Duplicates s;
  REQUIRE(s.run(s.east, "merge b a") == "applied");
  size_t elements = 0;
  for (const auto& op : s.decision.effects) {
    for (const auto& c : op.cells) elements += c.kind == CellOpKind::put_element ? 1 : 0;
  }
  CHECK(elements == 1);  // who was merged; notes and tags follow the redirect at every server
}

}  // namespace branchline
