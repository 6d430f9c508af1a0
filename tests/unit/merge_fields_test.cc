// Fields changed by two offices at a time, policy by policy, against the merge itself.
#include <catch2/catch.hpp>

#include "tests/support/merge_bench.h"

namespace branchline {
namespace {

// Two offices that both hold account `a` and have seen it.
struct TwoOffices : MergeBench {
  Author east = author(5), west = author(6);
  TwoOffices() {
    REQUIRE(
        run(east, "create account a @common name=Acme loyaltypoints+=10 tags+=gold tags+=old") ==
        "applied");
    sees_all(east);
    sees_all(west);
  }
  bool contains(const std::string& text) { return show("a").find(text) != std::string::npos; }
};

}  // namespace

TEST_CASE("SEMANTICS 5: what the author saw is replaced, whatever the clocks say", "[merge]") {
  TwoOffices t;
  t.east.clock_ms += 60'000;
  REQUIRE(t.run(t.east, "update a name=East") == "applied");
  t.sees_all(t.west);
  // By the clock alone, a correction made with a slow clock would vanish.
  CHECK(t.run(t.west, "update a name=West") == "applied");
  CHECK(t.contains("name=West"));
}

TEST_CASE("SEMANTICS 5: a chain of pending edits of one office is seen by its own later ones",
          "[merge]") {
  TwoOffices t;
  t.east.clock_ms += 1000;
  REQUIRE(t.run(t.east, "update a name=One") == "applied");
  t.east.clock_ms -= 5000;  // the clock steps back between two edits of one office
  CHECK(t.run(t.east, "update a name=Two") == "applied");
  CHECK(t.contains("name=Two"));
}

TEST_CASE(
    "SEMANTICS 5: a successor saw its predecessor's work only through the order that it names",
    "[merge]") {
  TwoOffices t;
  REQUIRE(t.run(t.east, "update a name=Order2") == "applied");
  REQUIRE(t.run(t.east, "update a telephone1=333") == "applied");
  // The disk was rolled back: the new start knows its predecessor through order 2 only.
  auto reborn = t.author(5, 501);
  t.lineage.add(OriginId(5), Incarnation(501), {Incarnation(500), Order(2)});
  reborn.base = Csn(1);
  reborn.clock_ms -= 10'000;
  CHECK(t.run(reborn, "update a name=Reborn") == "applied");
  CHECK(t.run(reborn, "update a telephone1=444") == "overridden: telephone1 older");
  // Through two starts, the older named in full.
  auto third = t.author(5, 502);
  t.lineage.add(OriginId(5), Incarnation(502), {Incarnation(501), Order(2)});
  third.base = Csn(1);
  third.clock_ms -= 20'000;
  CHECK(t.run(third, "update a name=Third") == "applied");
}

TEST_CASE("SEMANTICS 5: a chain of starts is followed to its end and no further", "[merge]") {
  Lineage l;
  l.add(OriginId(5), Incarnation(1), {});
  l.add(OriginId(5), Incarnation(2), {Incarnation(1), Order(7)});
  l.add(OriginId(5), Incarnation(3), {Incarnation(2), Order(4)});
  CHECK(l.precedes(OriginId(5), Incarnation(1), Order(7), Incarnation(3)));
  CHECK_FALSE(l.precedes(OriginId(5), Incarnation(1), Order(8), Incarnation(3)));
  CHECK(l.precedes(OriginId(5), Incarnation(2), Order(4), Incarnation(3)));
  CHECK_FALSE(l.precedes(OriginId(5), Incarnation(2), Order(5), Incarnation(3)));
  CHECK_FALSE(l.precedes(OriginId(5), Incarnation(9), Order(1), Incarnation(3)));
  CHECK_FALSE(l.precedes(OriginId(6), Incarnation(1), Order(1), Incarnation(3)));
  CHECK_FALSE(l.precedes(OriginId(5), Incarnation(1), Order(1), Incarnation(4)));
}

TEST_CASE("SEMANTICS 7: latest goes to the later stamp, and the loser is told", "[merge]") {
  TwoOffices t;
  t.west.clock_ms += 1000;
  SECTION("the later arrives first") {
    CHECK(t.run(t.west, "update a name=West") == "applied");
    CHECK(t.run(t.east, "update a name=East") == "overridden: name older");
  }
  SECTION("the later arrives last") {
    CHECK(t.run(t.east, "update a name=East") == "applied");
    CHECK(t.run(t.west, "update a name=West") == "merged: name newer");
  }
  CHECK(t.contains("name=West"));
}

TEST_CASE("SEMANTICS 7: equal stamps go to the greater mutation id, in either order of arrival",
          "[merge]") {
  TwoOffices t;
  t.west.clock_ms = t.east.clock_ms;
  SECTION("east first") {
    CHECK(t.run(t.east, "update a name=East") == "applied");
    CHECK(t.run(t.west, "update a name=West") == "merged: name newer");
  }
  SECTION("west first") {
    CHECK(t.run(t.west, "update a name=West") == "applied");
    CHECK(t.run(t.east, "update a name=East") == "overridden: name older");
  }
  CHECK(t.contains("name=West"));
}

TEST_CASE("Two offices that edit different fields lose nothing", "[merge]") {
  TwoOffices t;
  CHECK(t.run(t.east, "update a name=East") == "applied");
  CHECK(t.run(t.west, "update a telephone1=555") == "applied");
  CHECK(t.contains("name=East telephone1=555"));
}

TEST_CASE("A cleared field is a value like others: the later clearing wins", "[merge]") {
  TwoOffices t;
  t.west.clock_ms += 1000;
  CHECK(t.run(t.east, "update a name=East") == "applied");
  CHECK(t.run(t.west, "update a name=") == "merged: name newer");
  CHECK(t.contains("name= "));
}

TEST_CASE("SEMANTICS 9: an address merges whole, never as street of one and city of the other",
          "[merge]") {
  TwoOffices t;
  t.west.clock_ms += 1000;
  REQUIRE(t.run(t.east, "update a address1_line1=Elm_1 address1_city=Erfurt") == "applied");
  t.sees_all(t.east);
  t.sees_all(t.west);
  REQUIRE(t.run(t.west, "update a address1_line1=Ash_2 address1_city=Weimar") == "applied");
  SECTION("older loses both, also the member that nobody changed meanwhile") {
    CHECK(t.run(t.east, "update a address1_city=Jena") == "overridden: address1_city older");
    CHECK(t.contains("address1_line1=Ash_2 address1_city=Weimar"));
  }
  SECTION("newer takes both, and is told once") {
    t.east.clock_ms += 5000;
    CHECK(t.run(t.east, "update a address1_line1=Oak_3 address1_city=Gera") ==
          "merged: address1_line1 newer");
    CHECK(t.contains("address1_line1=Oak_3 address1_city=Gera"));
  }
  SECTION("fields beside the group go their own way") {
    CHECK(t.run(t.east, "update a address1_city=Jena telephone1=1") ==
          "overridden: address1_city older");
    CHECK(t.contains("telephone1=1"));
  }
}

TEST_CASE("SEMANTICS 9: the newest unseen member decides, also where an older one stands beside it",
          "[merge]") {
  TwoOffices t;
  auto north = t.author(7);
  t.sees_all(north);
  REQUIRE(t.run(t.east, "update a address1_city=Erfurt") == "applied");
  north.clock_ms += 9000;
  REQUIRE(t.run(north, "update a address1_line1=Elm_1") == "merged: address1_line1 newer");
  t.west.clock_ms += 5000;  // later than the city, earlier than the street
  CHECK(t.run(t.west, "update a address1_city=Weimar") == "overridden: address1_city older");
}

TEST_CASE("Sums add differences, seen or not", "[merge]") {
  TwoOffices t;
  CHECK(t.run(t.east, "update a loyaltypoints+=5") == "applied");
  CHECK(t.run(t.west, "update a loyaltypoints-=3") == "merged: loyaltypoints combined");
  CHECK(t.contains("loyaltypoints=12"));
  t.sees_all(t.west);
  CHECK(t.run(t.west, "update a loyaltypoints+=1") == "applied");
  CHECK(t.contains("loyaltypoints=13"));
}

TEST_CASE("A sum that would leave its range stays, and its author is told", "[merge]") {
  TwoOffices t;
  CHECK(t.run(t.east, "update a loyaltypoints+=9223372036854775797") == "applied");
  CHECK(t.contains("loyaltypoints=9223372036854775807"));
  CHECK(t.run(t.west, "update a loyaltypoints+=1") == "overridden: loyaltypoints overflow");
  CHECK(t.contains("loyaltypoints=9223372036854775807"));
}

TEST_CASE("SEMANTICS 11: a set keeps what was added beside a removal; removes name what they saw",
          "[merge]") {
  TwoOffices t;
  // West removes `gold` as it saw it; east adds another `gold` that west cannot know.
  auto remove = "update a tags-=gold";
  auto north = t.author(7);
  t.sees_all(north);
  SECTION("the addition arrives first") {
    std::vector<RecordOp> seen = t.names.parse_all(remove, t.ws, t.arena);
    REQUIRE(seen[0].cells.size() == 1);
    REQUIRE(t.run(t.east, "update a tags+=gold") == "applied");
    Mutation m;
    m.id = {OriginId(6), Incarnation(600), Lane::interactive, Seq(1)};
    m.order = Order(1);
    m.hlc = Hlc::at_ms(kBenchMs + 50);
    m.ops = seen;
    auto d = t.merger.run(m, t.head.next());
    REQUIRE(d);
    CHECK(d->fate == Fate::applied);
    CHECK(t.contains("tags={gold,old}"));
  }
  SECTION("the removal arrives first") {
    REQUIRE(t.run(t.west, remove) == "applied");
    CHECK(t.contains("tags={old}"));
    REQUIRE(t.run(t.east, "update a tags+=gold") == "applied");
    CHECK(t.contains("tags={gold,old}"));
  }
}

TEST_CASE("Removing an element that another removed first is the same result", "[merge]") {
  TwoOffices t;
  std::vector<RecordOp> seen = t.names.parse_all("update a tags-=gold", t.ws, t.arena);
  REQUIRE(t.run(t.east, "update a tags-=gold") == "applied");
  Mutation m;
  m.id = {OriginId(6), Incarnation(600), Lane::interactive, Seq(1)};
  m.order = Order(1);
  m.hlc = Hlc::at_ms(kBenchMs + 50);
  m.ops = seen;
  auto d = t.merger.run(m, t.head.next());
  REQUIRE(d);
  CHECK(d->fate == Fate::applied);
  CHECK(d->effects.empty());
}

TEST_CASE("A record shows by a marker that a set of it changed, without a value", "[merge]") {
  TwoOffices t;
  RecordKey key = t.names.key("a");
  FieldId tags = t.schema->entity("account")->field("tags")->id;
  const Record* record = t.ws.find(key)->record;
  REQUIRE(record->find(tags));
  CHECK(record->value(tags).is_null());
  MutationId before = record->version(*record->find(tags)).id;
  REQUIRE(t.run(t.west, "update a tags-=gold") == "applied");
  record = t.ws.find(key)->record;
  CHECK(record->version(*record->find(tags)).id != before);
  CHECK(record->version(*record->find(tags)).id == t.last);
}

TEST_CASE("SEMANTICS 11: notes of two offices all stay, in the order of the line", "[merge]") {
  TwoOffices t;
  t.west.clock_ms += 9000;
  CHECK(t.run(t.west, "update a annotations+=from_west") == "applied");
  CHECK(t.run(t.east, "update a annotations+=from_east") == "applied");
  CHECK(t.contains("annotations={from_west,from_east}"));
  SECTION("a note can be removed by name; a note leaves no marker on the record") {
    CHECK(t.run(t.east, "update a annotations-=from_west") == "applied");
    CHECK(t.contains("annotations={from_east}"));
    const Record* record = t.ws.find(t.names.key("a"))->record;
    CHECK_FALSE(record->find(t.schema->entity("account")->field("annotations")->id));
  }
}

TEST_CASE("max keeps what lies further, and a correction goes against the direction", "[merge]") {
  TwoOffices t;
  CHECK(t.run(t.east, "update a lastcontacted=2026-11-20") == "applied");
  CHECK(t.run(t.west, "update a lastcontacted=2026-11-10") == "merged: lastcontacted beyond");
  CHECK(t.contains("lastcontacted=2026-11-20"));
  CHECK(t.run(t.west, "update a lastcontacted=2026-11-20") == "applied");
  CHECK(t.run(t.west, "update a lastcontacted=2026-11-21") == "applied");
  CHECK(t.run(t.west, "update a lastcontacted=") == "merged: lastcontacted beyond");
  CHECK(t.contains("lastcontacted=2026-11-21"));
  t.sees_all(t.east);
  CHECK(t.run(t.east, "update a lastcontacted!=2026-11-01") == "applied");
  CHECK(t.contains("lastcontacted=2026-11-01"));
}

TEST_CASE("min keeps what lies lower; nothing there, anything is further", "[merge]") {
  TwoOffices t;
  REQUIRE(t.run(t.east, "create incident i customerid=a title=Leak") == "applied");
  t.sees_all(t.west);
  CHECK(t.run(t.west, "update i firstresponseon=") == "applied");
  CHECK(t.run(t.west, "update i firstresponseon=2026-11-20") == "applied");
  CHECK(t.run(t.east, "update i firstresponseon=2026-11-21") == "merged: firstresponseon beyond");
  CHECK(t.run(t.east, "update i firstresponseon=2026-11-19") == "applied");
  CHECK(t.show("i").find("firstresponseon=2026-11-19") != std::string::npos);
  // A correction that has not seen the newer value is decided by the clock, like any value.
  t.west.clock_ms -= 50'000;
  CHECK(t.run(t.west, "update i firstresponseon!=2026-11-25") ==
        "overridden: firstresponseon older");
}

TEST_CASE("SEMANTICS 8: the fate is the worst outcome; the rest of the mutation stands",
          "[merge]") {
  TwoOffices t;
  t.west.clock_ms += 1000;
  REQUIRE(t.run(t.west, "update a name=West loyaltypoints+=1") == "applied");
  CHECK(t.run(t.east, "update a name=East loyaltypoints+=2 telephone1=5") ==
        "overridden: name older, loyaltypoints combined");
  CHECK(t.contains("name=West telephone1=5"));
  CHECK(t.contains("loyaltypoints=13"));
}

TEST_CASE("SEMANTICS 8: an atomic mutation is rejected whole where a part would be overridden",
          "[merge]") {
  TwoOffices t;
  t.west.clock_ms += 1000;
  REQUIRE(t.run(t.west, "update a name=West") == "applied");
  std::string before = t.show("a");
  t.atomic = true;
  CHECK(t.run(t.east, "update a name=East loyaltypoints+=2") == "rejected: name older, atomic");
  CHECK(t.show("a") == before);
  // Merged is no override.
  REQUIRE(t.run(t.west, "update a loyaltypoints+=2") == "applied");
  t.atomic = true;
  CHECK(t.run(t.east, "update a loyaltypoints+=2") == "merged: loyaltypoints combined");
}

TEST_CASE("SEMANTICS 8: a rejected mutation leaves nothing of its earlier operations", "[merge]") {
  TwoOffices t;
  std::string before = t.show("a");
  t.names.key("nobody", "account");
  CHECK(t.run(t.east,
              "update a name=East tags+=new tags-=old; create contact c parentcustomerid=nobody "
              "lastname=X") == "rejected: #1 unknown_parent");
  CHECK(t.show("a") == before);
  CHECK(t.show("c") == "absent");
  CHECK(t.run(t.east, "create account b @common name=B; update b name=C") == "rejected: malformed");
  CHECK(t.show("b") == "absent");
  // The id is free for what comes later.
  CHECK(t.run(t.east, "create account b @common name=B") == "applied");
}

TEST_CASE("Guards are checked where they are decided: another value rejects", "[merge]") {
  TwoOffices t;
  RecordKey key = t.names.key("a");
  FieldId name = t.schema->entity("account")->field("name")->id;
  t.guards = {{key, name, {ValueType::text, "Acme"}}};
  CHECK(t.run(t.east, "update a telephone1=1") == "applied");
  t.guards = {{key, name, {ValueType::text, "Other"}}};
  CHECK(t.run(t.east, "update a telephone1=2") == "rejected: guard");
  t.guards = {{RecordKey{entity_id::kAccount, {}}, name, {}}};
  CHECK(t.run(t.east, "update a telephone1=3") == "rejected: guard");
  REQUIRE(t.run(t.east, "delete a") == "applied");
  t.guards = {{key, name, {ValueType::text, "Acme"}}};
  CHECK(t.run(t.west, "update a telephone1=4") == "rejected: guard");
}

TEST_CASE("What does not fit the schema is rejected whole: kinds, types, repeats, derived fields",
          "[merge]") {
  TwoOffices t;
  RecordKey key = t.names.key("a");
  auto fate_of = [&](RecordOp op) {
    op.record = op.record.entity.value == 0 ? key : op.record;
    Mutation m;
    m.id = {OriginId(5), Incarnation(500), Lane::interactive, Seq(99)};
    m.order = Order(99);
    m.ops.push_back(std::move(op));
    auto d = t.merger.run(m, t.head.next());
    REQUIRE(d);
    return d->fate == Fate::rejected ? std::string(to_string(d->outcomes.at(0).reason)) : "decided";
  };
  const Entity& account = *t.schema->entity("account");
  FieldId name = account.field("name")->id, points = account.field("loyaltypoints")->id;
  RecordOp op;
  op.cells = {{name, CellOpKind::set, {ValueType::integer, encode_integer(1)}, {}}};
  CHECK(fate_of(op) == "malformed");
  op.cells = {{FieldId(999), CellOpKind::set, {ValueType::text, "x"}, {}}};
  CHECK(fate_of(op) == "malformed");
  op.cells = {{name, CellOpKind::set, {ValueType::text, "x"}, {}},
              {name, CellOpKind::set, {ValueType::text, "y"}, {}}};
  CHECK(fate_of(op) == "malformed");
  op.cells = {{points, CellOpKind::add, {}, {}}};
  CHECK(fate_of(op) == "malformed");
  op.cells = {{account.field("tags")->id, CellOpKind::remove, {ValueType::text, "x"}, {}}};
  CHECK(fate_of(op) == "malformed");
  op.cells = {{name, CellOpKind::set, {ValueType::text, "x"}, {}}};
  CHECK(fate_of(op) == "decided");
  op.kind = RecordOpKind::remove;
  CHECK(fate_of(op) == "malformed");
  op.cells.clear();
  op.record = {EntityId(4242), RecordId::from_bytes("0123456789abcdef")};
  CHECK(fate_of(op) == "malformed");
  op.record = {entity_id::kAccount, {}};
  CHECK(fate_of(op) == "malformed");
  op = {};
  op.record = {entity_id::kContact, RecordId::from_bytes("0123456789abcdef")};
  op.cells = {{t.schema->entity("contact")->field("fullname")->id,
               CellOpKind::set,
               {ValueType::text, "x"},
               {}}};
  CHECK(fate_of(op) == "malformed");
}

TEST_CASE("SEMANTICS 6: no operation but create brings an unknown id into being", "[merge]") {
  TwoOffices t;
  t.names.key("ghost", "account");
  CHECK(t.run(t.east, "update ghost name=Boo") == "rejected: unknown_record");
  CHECK(t.run(t.east, "delete ghost") == "rejected: unknown_record");
  CHECK(t.show("ghost") == "absent");
}

TEST_CASE("A create under an id that exists merges its fields and says so", "[merge]") {
  TwoOffices t;
  CHECK(t.run(t.west, "create account a @common telephone1=7") == "merged: exists");
  CHECK(t.contains("name=Acme telephone1=7"));
}

TEST_CASE("SEMANTICS 12: a branch forecasts nothing of what it does not hold", "[merge]") {
  MergeBench branch({.holds_everything = false});
  auto east = branch.author(5);
  branch.names.key("far", "account");
  REQUIRE(branch.show("far") == "not held");
  CHECK(branch.run(east, "update far name=X") == "applied");
  CHECK(branch.decision.effects.empty());
  CHECK(branch.run(east, "delete far") == "applied");
  CHECK(branch.decision.effects.empty());
  branch.guards = {{branch.names.key("far"), FieldId(16), {ValueType::text, "anything"}}};
  CHECK(branch.run(east, "update far name=X") == "applied");
  CHECK(branch.show("far") == "not held");
  // Reference data is everywhere: its absence is known.
  branch.names.key("product", "product");
  CHECK(branch.show("product") == "absent");
}

TEST_CASE("Authors may touch what the permit allows; a refusal rejects the whole", "[merge]") {
  TwoOffices t;
  REQUIRE(t.run(t.east, "create account w @west name=W") == "applied");
  t.permit = [](const Entity&, const Record& r) { return r.territory() == TerritoryId(2); };
  CHECK(t.run(t.east, "update a name=Ok") == "applied");
  CHECK(t.run(t.east, "update a name=No; update w name=No") == "rejected: #1 denied");
  CHECK(t.contains("name=Ok"));
  CHECK(t.run(t.east, "delete w") == "rejected: denied");
  CHECK(t.run(t.east, "create account x @east name=X") == "rejected: denied");
  CHECK(t.show("x") == "absent");
  CHECK(t.run(t.east, "create contact c parentcustomerid=w lastname=L") == "rejected: denied");
  CHECK(t.show("c") == "absent");
}

}  // namespace branchline
