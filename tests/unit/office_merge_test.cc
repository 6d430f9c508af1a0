// Offices and master together: what a client sees while his change waits, and what becomes of it.
// Each test is an interleaving in which the obvious implementation goes wrong.
#include <catch2/catch.hpp>

#include "branch/crm/etag.h"
#include "replication/line/compress.h"
#include "tests/support/small_world.h"

namespace branchline {
namespace {

struct Offices : SmallWorld {
  SmallOffice& hq = (*this)["hq"];
  SmallOffice& east = (*this)["east"];
  SmallOffice& west = (*this)["west"];
  Offices() {
    REQUIRE(hq.write("create account a @common name=Acme loyaltypoints+=10") == "ok");
    settle();
  }
  ~Offices() { CHECK(audit() == std::vector<std::string>{}); }
  bool shows(SmallOffice& o, const std::string& text) {
    return o.show("a").find(text) != std::string::npos;
  }
  uint64_t pending(SmallOffice& o) { return o.replica->state().ledger.pending; }
  void all_show(const std::string& text) {
    settle();
    for (auto& [name, office] : offices) {
      INFO(name << ": " << office->show("a"));
      CHECK(shows(*office, text));
    }
  }
};

}  // namespace

TEST_CASE("SEMANTICS 18: the fate in the feed retires a mutation, not its acknowledgement",
          "[office]") {
  Offices w;
  REQUIRE(w.east.write("update a name=East") == "ok");
  CHECK(w.shows(w.east, "name=East"));
  w.east.ship();
  // Acknowledged by now; if that retired it, the base would lack it until the feed came.
  CHECK(w.east.fate() == "pending");
  CHECK(w.pending(w.east) == 1);
  w.east.fetch();
  CHECK(w.east.fate() == "applied");
  CHECK(w.pending(w.east) == 0);
  CHECK(w.shows(w.east, "name=East"));
}

TEST_CASE("What came out as forecast travels as a fate alone; else the effects come back",
          "[office]") {
  Offices w;
  FeedScope scope{w.east.registration.origin, {TerritoryId(2), kReferenceTerritory}, {}};
  for (auto t : w.east.registration.territories) scope.territories.insert(t);
  LineCursor before = w.master.feed->head();
  REQUIRE(w.east.write("update a loyaltypoints+=1") == "ok");
  SECTION("as forecast") {
    w.east.ship();
    auto range = w.master.feed->read(before, scope, 1 << 20);
    REQUIRE(range);
    CHECK(range->blocks.empty());
    REQUIRE(range->fates.size() == 1);
    CHECK(range->fates[0].as_forecast);
  }
  SECTION("otherwise") {
    REQUIRE(w.west.write("update a loyaltypoints+=2") == "ok");
    w.west.ship();
    w.east.ship();
    auto range = w.master.feed->read(before, scope, 1 << 20);
    REQUIRE(range);
    CHECK(range->blocks.size() == 2);
    REQUIRE(range->fates.size() == 1);
    CHECK_FALSE(range->fates[0].as_forecast);
  }
  w.all_show(w.west.made.empty() ? "loyaltypoints=11" : "loyaltypoints=13");
}

TEST_CASE("SEMANTICS 18: pending work is replayed on what arrives", "[office]") {
  Offices w;
  SECTION("a difference stands on the new sum") {
    REQUIRE(w.east.write("update a loyaltypoints+=5") == "ok");
    REQUIRE(w.west.write("update a loyaltypoints+=100") == "ok");
    w.west.ship();
    w.east.fetch();
    CHECK(w.shows(w.east, "loyaltypoints=115"));
    CHECK(w.east.fate() == "pending");
    w.all_show("loyaltypoints=115");
    CHECK(w.east.fate() == "merged: loyaltypoints combined");
  }
  SECTION("a value that will lose is not shown as if it stood") {
    REQUIRE(w.east.write("update a name=East") == "ok");
    w.west.clock.ms += 1000;
    REQUIRE(w.west.write("update a name=West") == "ok");
    w.west.ship();
    w.east.fetch();
    CHECK(w.shows(w.east, "name=West"));
    w.all_show("name=West");
    CHECK(w.east.fate() == "overridden: name older");
  }
  SECTION("a value that will win stays shown") {
    REQUIRE(w.west.write("update a name=West") == "ok");
    w.east.clock.ms += 1000;
    REQUIRE(w.east.write("update a name=East") == "ok");
    w.west.ship();
    w.east.fetch();
    CHECK(w.shows(w.east, "name=East"));
    w.all_show("name=East");
    CHECK(w.east.fate() == "merged: name newer");
  }
  SECTION("a chain of pending edits of one field keeps its order") {
    REQUIRE(w.east.write("update a name=One") == "ok");
    REQUIRE(w.east.write("update a name=Two telephone1=2") == "ok");
    REQUIRE(w.east.write("update a name=Three") == "ok");
    REQUIRE(w.west.write("update a telephone1=9") == "ok");
    w.west.ship();
    w.east.fetch();
    CHECK(w.shows(w.east, "name=Three"));
    w.all_show("name=Three");
  }
}

TEST_CASE("SEMANTICS 18: a forecast that changed and came back is put back as it was shipped",
          "[office]") {
  Offices w;
  REQUIRE(w.east.write("update a loyaltypoints+=5") == "ok");
  auto shipped = w.east.take_blocks();  // with the forecast of 15
  REQUIRE(w.west.write("update a loyaltypoints+=1") == "ok");
  w.west.ship();
  w.east.fetch();
  CHECK(w.shows(w.east, "loyaltypoints=16"));
  REQUIRE(w.west.write("update a loyaltypoints-=1") == "ok");
  w.west.ship();
  std::vector<IncomingBlock> blocks;
  blocks.push_back({w.east.registration.origin, w.east.registration.session,
                    std::move(*decode_mutation_block(std::move(shipped.at(0))))});
  w.master.decide(std::move(blocks));  // 15 again: as it was forecast
  w.east.fetch();
  CHECK(w.shows(w.east, "loyaltypoints=15"));
  w.all_show("loyaltypoints=15");
}

TEST_CASE("SEMANTICS 11: a note that waits stands last in the timeline, and finds its place by csn",
          "[office]") {
  Offices w;
  REQUIRE(w.east.write("update a annotations+=mine") == "ok");
  w.west.clock.ms += 5000;
  REQUIRE(w.west.write("update a annotations+=theirs") == "ok");
  w.west.ship();
  w.east.fetch();
  CHECK(w.shows(w.east, "annotations={theirs,mine}"));
  w.all_show("annotations={theirs,mine}");
}

TEST_CASE("SEMANTICS 8: a rejected mutation is rolled back and stays readable with its reason",
          "[office]") {
  Offices w;
  REQUIRE(w.east.write("atomic update a name=East loyaltypoints+=7") == "ok");
  MutationId rejected = w.east.last.id;
  REQUIRE(w.east.write("update a telephone1=1 loyaltypoints+=1") == "ok");
  w.west.clock.ms += 1000;
  REQUIRE(w.west.write("update a name=West") == "ok");
  w.west.ship();
  CHECK(w.shows(w.east, "loyaltypoints=18"));
  w.all_show("name=West");
  w.all_show("telephone1=1");
  w.all_show("loyaltypoints=11");
  CHECK(w.east.fate_of(rejected) == "rejected: name older, atomic");
  auto row = w.east.store.get(Table::fates, keys::fate(rejected));
  REQUIRE(row);
  REQUIRE(*row);
  auto fate = decode_fate_row(rejected, **row);
  REQUIRE(fate);
  Reader r(fate->content);
  auto content = get_mutation(r);
  REQUIRE(content);
  REQUIRE(content->ops.size() == 1);
  CHECK(content->ops[0].cells.at(0).value.payload == "East");
  CHECK(w.east.replica->state().ledger.rejected == 1);
}

TEST_CASE("SEMANTICS 14: rejecting a create rejects what needs it, and all of it leaves the view",
          "[office]") {
  Offices w;
  // Made with a token that the master does not know; another goes on working.
  RecordId token = std::exchange(w.east.credential, RecordId::from_bytes("no such token___"));
  REQUIRE(w.east.write("create account x @east name=X") == "ok");
  MutationId create = w.east.last.id;
  REQUIRE(w.east.write("create contact y parentcustomerid=x lastname=Y") == "ok");
  MutationId child = w.east.last.id;
  REQUIRE(w.east.write("update x telephone1=1; update a telephone1=2") == "ok");
  w.east.credential = token;
  REQUIRE(w.east.write("update a description=kept") == "ok");
  REQUIRE(w.east.write("create contact z parentcustomerid=x lastname=Z") == "ok");
  MutationId grandchild = w.east.last.id;
  REQUIRE(w.east.write("update x description=late") == "ok");
  w.all_show("description=kept");
  CHECK(w.east.fate() == "rejected: unknown_record");
  CHECK(w.east.fate_of(create) == "rejected: denied");
  CHECK(w.east.fate_of(child) == "rejected: denied");
  CHECK(w.east.fate_of(grandchild) == "rejected: unknown_parent");
  for (const char* name : {"x", "y", "z"}) CHECK(w.east.show(name) == "not held");
  CHECK_FALSE(w.shows(w.east, "telephone1"));
}

TEST_CASE(
    "SEMANTICS 28: at the master an author may write where token and office may, at that time",
    "[office]") {
  Offices w;
  SECTION("a token that is not for that territory") {
    w.hq.credential = w.east.credential;
    REQUIRE(w.hq.write("create account x @west name=X") == "ok");
    w.settle();
    CHECK(w.hq.fate() == "rejected: denied");
    CHECK(w.hq.show("x") == "absent");
  }
  SECTION("an office that does not hold that territory") {
    w.east.credential = w.hq.credential;
    REQUIRE(w.east.write("create account x @west name=X") == "ok");
    w.settle();
    CHECK(w.east.fate() == "rejected: denied");
    CHECK(w.master.show("x") == "absent");
    CHECK(w.hq.show("x") == "absent");
  }
  SECTION("somebody else's token") {
    RecordId user = std::exchange(w.user, RecordId::from_bytes("another user____"));
    REQUIRE(w.east.write("update a name=X") == "ok");
    w.user = user;
    w.settle();
    CHECK(w.east.fate() == "rejected: denied");
  }
  SECTION("an unknown token") {
    w.east.credential = RecordId::from_bytes("no such token___");
    REQUIRE(w.east.write("update a name=X") == "ok");
    w.settle();
    CHECK(w.east.fate() == "rejected: denied");
  }
  SECTION("what was done before the token ran out counts, what was done after does not") {
    w.master.clock.ms += 3000;
    w.east.clock.ms += 1000;
    REQUIRE(w.east.write("update a name=InTime") == "ok");
    MutationId in_time = w.east.last.id;
    auto ops = w.names.parse_all("update token_east name=T", w.master.ingest->workspace(), w.arena);
    ops[0].cells.push_back(
        {w.schema->entity("apitoken")->field("expireson")->id,
         CellOpKind::set,
         {ValueType::instant, w.arena.copy(encode_integer(w.east.clock.ms + 10))},
         {}});
    REQUIRE(w.master.commit(ops) == "applied");
    w.east.clock.ms += 20;
    REQUIRE(w.east.write("update a telephone1=5") == "ok");
    w.settle();
    CHECK(w.east.fate_of(in_time) == "applied");
    CHECK(w.east.fate() == "rejected: denied");
  }
  SECTION("what was done before its office could hear of the end counts, what was done after not") {
    auto [record, end] = GENERATE(table<std::string, std::string>({
        {"token_east", "update token_east isrevoked=true"},
        {"user", "update user isdisabled=true"},
        {"token_east", "delete token_east"},
    }));
    INFO(end);
    // The line is down from here: what is written stays in the outbox.
    REQUIRE(w.east.write("create account x @east name=X") == "ok");
    MutationId create = w.east.last.id;
    REQUIRE(w.master.commit(w.names.parse_all(end, w.master.ingest->workspace(), w.arena)) ==
            "applied");
    Csn ended = w.master.ingest->state().head;
    REQUIRE(w.east.write("update x telephone1=1") == "ok");
    MutationId unaware = w.east.last.id;
    REQUIRE(w.west.write("update a name=Elsewhere") == "ok");  // in another batch of the master
    w.west.ship();
    w.settle();
    CHECK(w.east.fate_of(create) == "applied");
    CHECK(w.east.fate_of(unaware) == "applied");
    CHECK(w.master.show("x").starts_with("live: name=X"));
    // An office refuses this itself; the master does not rely on it.
    REQUIRE(w.east.replica->state().cursor.csn >= ended);
    REQUIRE(w.east.write("update x telephone1=2") == "ok");
    w.settle();
    CHECK(w.east.fate() == "rejected: denied");
    CHECK(w.hq.show("x").find("telephone1=1") != std::string::npos);
  }
  SECTION("what only the master commits") {
    REQUIRE(w.east.write("update user fullname=Me") == "ok");
    w.settle();
    CHECK(w.east.fate() == "rejected: denied");
  }
}

TEST_CASE("SEMANTICS 28: an office receives nothing of territories that it does not hold",
          "[office]") {
  Offices w;
  REQUIRE(w.east.write("create account x @east name=canary_east") == "ok");
  REQUIRE(w.hq.write("create account y @west name=canary_west") == "ok");
  w.settle();
  CHECK(w.west.show("x") == "not held");
  CHECK(w.east.show("y") == "not held");
  CHECK(w.hq.show("x").starts_with("live: name=canary_east"));
  for (const auto& table : w.west.store.tables()) {
    for (const auto& [key, value] : table) {
      auto plain = decompress(value, 1 << 20);
      CHECK(value.find("canary_east") == std::string::npos);
      if (plain) CHECK(plain->find("canary_east") == std::string::npos);
    }
  }
}

TEST_CASE(
    "A key claimed at two offices that do not see each other: both stay, the second is marked",
    "[office]") {
  Offices w;
  REQUIRE(w.east.write("create account x @east name=X accountnumber=N1") == "ok");
  REQUIRE(w.west.write("create account y @west name=Y accountnumber=N1") == "ok");
  w.settle();
  CHECK(w.east.fate() == "applied");
  CHECK(w.west.fate() == "merged: accountnumber duplicate_key");
  CHECK(w.west.show("y").find("duplicateof=x") != std::string::npos);
  CHECK(w.hq.show("y") == w.west.show("y"));
  CHECK(w.hq.show("x").find("duplicateof") == std::string::npos);
}

TEST_CASE("SEMANTICS 7: a clock ten minutes ahead is clamped, and does not win for ten minutes",
          "[office]") {
  Offices w;
  w.east.clock.ms += 600'000;
  REQUIRE(w.east.write("update a name=Ahead") == "ok");
  w.settle();
  CHECK(w.east.fate() == "applied (clock clamped)");
  // The branch has learnt it: a truly later edit wins against its next one.
  w.master.clock.ms += 2000;
  w.west.clock.ms += 3000;
  w.east.clock.ms += 1000;
  REQUIRE(w.east.write("update a name=East") == "ok");
  REQUIRE(w.west.write("update a name=West") == "ok");
  w.all_show("name=West");
  CHECK(w.east.fate() == "applied");
  CHECK(w.west.fate() == "merged: name newer");
}

TEST_CASE("SEMANTICS 7: a clock somewhat ahead is left as it is; stamps exceed all that was seen",
          "[office]") {
  Offices w;
  w.east.clock.ms += 200'000;
  REQUIRE(w.east.write("update a name=Ahead") == "ok");
  w.settle();
  CHECK(w.east.fate() == "applied");
  REQUIRE(w.west.write("update a name=Behind") == "ok");
  w.all_show("name=Behind");
  CHECK(w.west.replica->state().hlc >= Hlc::at_ms(kWorldMs + 200'000));
}

TEST_CASE("SEMANTICS 21: an operation key used at two offices is done once", "[office]") {
  Offices w;
  REQUIRE(w.east.write("update a loyaltypoints+=5", "order-1") == "ok");
  CHECK(w.east.write("update a loyaltypoints+=5", "order-1") == "replayed");
  CHECK(w.east.write("update a loyaltypoints+=6", "order-1") == "key.reused");
  REQUIRE(w.west.write("update a loyaltypoints+=5", "order-1") == "ok");
  w.all_show("loyaltypoints=15");
  CHECK(w.east.fate() == "applied");
  CHECK(w.west.fate() == "merged: duplicate_operation");
  SECTION("also after the master was started again") {
    w.master.crash();
    w.master.start();
    for (auto& [name, office] : w.offices) office->connect();
    REQUIRE(w.hq.write("update a loyaltypoints+=5", "order-1") == "ok");
    w.all_show("loyaltypoints=15");
    CHECK(w.hq.fate() == "merged: duplicate_operation");
  }
}

namespace {

// "Set the points to 10", which ships a difference and nothing where there is none.
class TenPoints : public Command {
 public:
  explicit TenPoints(RecordKey record, FieldId field) : record_(record), field_(field) {
    request = std::string(16, 'r');
  }
  Result<Draft> prepare(Workspace& view, RecordIdMaker&, int64_t) override {
    BL_ASSIGN(auto found, view.find(record_));
    int64_t difference = 10 - decode_integer(found.record->value(field_).payload);
    Draft draft;
    if (difference == 0) return draft;
    RecordOp& op = draft.ops.emplace_back();
    op.kind = RecordOpKind::update;
    op.record = record_;
    op.cells.push_back({field_,
                        CellOpKind::add,
                        {ValueType::integer, draft.arena.copy(encode_integer(difference))},
                        {}});
    return draft;
  }

 private:
  RecordKey record_;
  FieldId field_;
};

}  // namespace

TEST_CASE("SEMANTICS 21: a request that had nothing to do has nothing to do when it is repeated",
          "[office]") {
  Offices w;
  const Entity& account = *w.schema->entity("account");
  RecordKey a = w.hq.made[w.hq.last.id].at(0).record;
  auto set_to_ten = [&](size_t times = 1) {
    std::vector<std::unique_ptr<TenPoints>> commands;
    std::vector<Command*> group;
    for (size_t i = 0; i < times; ++i) {
      commands.push_back(std::make_unique<TenPoints>(a, account.field("loyaltypoints")->id));
      commands.back()->author = w.user;
      commands.back()->credential = w.east.credential;
      commands.back()->operation_key = "to-ten";
      group.push_back(commands.back().get());
    }
    auto result = w.east.replica->accept(group);
    REQUIRE(result);
    if (!result->batch.empty()) REQUIRE(w.east.store.write(result->batch, Sync::yes));
    // An office takes news without records for a new snapshot, and forgets who its clients are.
    CHECK(result->changes.records.empty());
    std::string out;
    for (const auto& r : result->results) {
      REQUIRE(r);
      CHECK(r->id.is_none());
      out += r->replayed ? "replayed " : "nothing ";
    }
    return out;
  };
  uint64_t accepted = w.east.replica->state().ledger.accepted;
  uint64_t rows = w.east.replica->state().key_rows;
  CHECK(set_to_ten(2) == "nothing replayed ");
  CHECK(w.east.replica->state().key_rows == rows + 1);
  CHECK(w.east.replica->state().ledger.accepted == accepted);
  REQUIRE(w.west.write("update a loyaltypoints+=2") == "ok");
  w.all_show("loyaltypoints=12");
  CHECK(set_to_ten() == "replayed ");
  SECTION("also after the office was started again") {
    w.east.crash();
    w.east.start();
    w.east.connect();
    CHECK(set_to_ten() == "replayed ");
  }
  CHECK(w.east.write("update a loyaltypoints+=1", "to-ten") == "key.reused");
  w.all_show("loyaltypoints=12");
}

TEST_CASE("SEMANTICS 21: a rejected mutation does not use its key up", "[office]") {
  Offices w;
  REQUIRE(w.east.write("create account x @west name=X", "k") == "ok");
  w.settle();
  REQUIRE(w.east.fate() == "rejected: denied");
  REQUIRE(w.hq.write("create account z @west name=Z", "k") == "ok");
  w.settle();
  CHECK(w.hq.fate() == "applied");
}

TEST_CASE("SEMANTICS 25: a snapshot retires what it holds: no sum is counted twice", "[office]") {
  Offices w;
  REQUIRE(w.east.write("update a loyaltypoints+=5") == "ok");
  w.east.ship();
  REQUIRE(w.east.write("update a loyaltypoints+=2") == "ok");  // not shipped
  Introduction intro = w.east.introduction();
  intro.reseed = true;
  w.east.registration = w.master.register_branch(intro);
  REQUIRE(w.east.registration.join);
  REQUIRE(w.east.replica->welcome(w.east.registration));
  w.east.take_snapshot();
  CHECK(w.shows(w.east, "loyaltypoints=17"));
  CHECK(w.pending(w.east) == 1);
  CHECK(w.east.replica->state().ledger.applied == 1);
  w.east.connect();
  w.all_show("loyaltypoints=17");
  CHECK(w.pending(w.east) == 0);
}

TEST_CASE("SEMANTICS 25: a fate other than applied comes with the snapshot too, its content kept",
          "[office]") {
  Offices w;
  REQUIRE(w.east.write("update a name=East") == "ok");
  w.west.clock.ms += 1000;
  REQUIRE(w.west.write("update a name=West") == "ok");
  w.west.ship();
  w.east.ship();
  Introduction intro = w.east.introduction();
  intro.reseed = true;
  w.east.registration = w.master.register_branch(intro);
  REQUIRE(w.east.replica->welcome(w.east.registration));
  w.east.take_snapshot();
  CHECK(w.east.fate() == "overridden: name older");
  CHECK(w.shows(w.east, "name=West"));
  w.east.connect();
}

TEST_CASE(
    "SEMANTICS 1: a rolled-back disk's new work is new, and the forgotten work comes back decided",
    "[office]") {
  Offices w;
  REQUIRE(w.east.store.sync());
  auto disk = w.east.store.durable();
  REQUIRE(w.east.write("update a loyaltypoints+=5") == "ok");
  REQUIRE(w.east.write("create account x @east name=Forgotten") == "ok");
  w.settle();
  w.east.crash();
  w.east.store.restore(disk);
  w.east.start();
  CHECK(w.shows(w.east, "loyaltypoints=10"));
  // With a kept incarnation this would be answered as a resend of the forgotten `+5`.
  REQUIRE(w.east.write("update a loyaltypoints+=30") == "ok");
  w.east.connect();
  CHECK(w.east.registration.rolled_back);
  CHECK(w.east.registration.echo_until == w.master.feed->head().csn);
  w.all_show("loyaltypoints=45");
  CHECK(w.east.show("x").starts_with("live: name=Forgotten"));
  const Ledger& l = w.east.replica->state().ledger;
  CHECK(l.accepted == 3);
  CHECK(l.balances());
}

TEST_CASE("SEMANTICS 1: pending work of an earlier start ships first, under its own identity",
          "[office]") {
  Offices w;
  REQUIRE(w.east.write("update a name=Before") == "ok");
  MutationId before = w.east.last.id;
  w.east.crash();
  w.east.start();
  REQUIRE(w.east.write("update a telephone1=After") == "ok");
  CHECK(w.east.last.id.incarnation != before.incarnation);
  CHECK(w.east.last.id.seq == Seq(1));
  w.east.connect();
  w.all_show("name=Before telephone1=After");
  CHECK(w.east.fate_of(before) == "applied");
  CHECK(w.east.fate() == "applied");
}

TEST_CASE("SEMANTICS 13: a mutation that ended the master twice is rejected, its bytes kept",
          "[office]") {
  struct Twice : AttemptLog {
    MutationId victim;
    void begin(const MutationId&) override {}
    void done() override {}
    int crashes(const MutationId& id) const override { return id == victim ? 2 : 0; }
  } log;
  Offices w;
  w.master.attempts = &log;
  w.master.crash();
  w.master.start();
  for (auto& [name, office] : w.offices) office->connect();
  REQUIRE(w.east.write("update a name=Deadly") == "ok");
  log.victim = w.east.last.id;
  w.east.ship();
  auto row = w.master.store.get(Table::line, keys::line_rejected(w.master.feed->head().csn));
  REQUIRE(row);
  REQUIRE(*row);
  auto bytes = decompress(**row, 1 << 20);
  REQUIRE(bytes);
  CHECK(bytes->find("Deadly") != std::string::npos);
  w.all_show("name=Acme");
  CHECK(w.east.fate() == "rejected: crashed");
  // Those behind it go on.
  REQUIRE(w.east.write("update a name=Alive") == "ok");
  w.all_show("name=Alive");
}

TEST_CASE("SEMANTICS 34: the commit of one's own edit does not change the ETag", "[office]") {
  Offices w;
  auto etag = [&](SmallOffice& o) {
    return etag_of(*o.replica->workspace().find(w.names.key("a"))->record,
                   *w.schema->entity("account"));
  };
  uint64_t before = etag(w.east);
  REQUIRE(w.east.write("update a name=East loyaltypoints+=1") == "ok");
  uint64_t mine = etag(w.east);
  CHECK(mine != before);
  w.settle();
  CHECK(etag(w.east) == mine);
  CHECK(etag(w.west) == mine);
  REQUIRE(w.west.write("update a loyaltypoints+=1") == "ok");
  w.settle();
  CHECK(etag(w.east) != mine);
}

TEST_CASE("SEMANTICS 4: a range is applied where it continues the cursor and nowhere else",
          "[office]") {
  Offices w;
  FeedScope scope{w.east.registration.origin, {kReferenceTerritory}, {}};
  for (auto t : w.east.registration.territories) scope.territories.insert(t);
  LineCursor before = w.east.replica->state().cursor;
  REQUIRE(w.west.write("update a name=One") == "ok");
  w.west.ship();
  auto first = w.master.feed->read(before, scope, 1 << 20);
  REQUIRE(first);
  REQUIRE(w.west.write("update a name=Two") == "ok");
  w.west.ship();
  auto second = w.master.feed->read(first->to, scope, 1 << 20);
  REQUIRE(second);
  auto early = w.east.replica->apply(*second);
  REQUIRE_FALSE(early);
  CHECK(early.error().code == "feed.gap");
  FeedRange foreign = *first;
  foreign.to.line = LineId(foreign.to.line.value + 1);
  REQUIRE_FALSE(w.east.replica->apply(foreign));
  auto ok = w.east.replica->apply(*first);
  REQUIRE(ok);
  REQUIRE(w.east.store.write(ok->batch, Sync::no));
  auto again = w.east.replica->apply(*first);
  REQUIRE_FALSE(again);
  CHECK(again.error().code == "feed.gap");
  w.all_show("name=Two");
}

}  // namespace branchline
