// SEMANTICS 19, 29: masters that were restored behind their branches.
#include <catch2/catch.hpp>

#include "master/ingest/audit.h"
#include "tests/support/desk.h"

namespace branchline {
namespace {

// An edit of a record that was read through the upstream.
class EditElsewhere : public Command {
 public:
  EditElsewhere(RecordKey record, Csn seen) : record_(record), seen_(seen) {}
  Result<Draft> prepare(Workspace&, RecordIdMaker&, int64_t) override {
    Draft draft;
    RecordOp& op = draft.ops.emplace_back();
    op.record = record_;
    op.seen = seen_;
    FieldId name = Schema::built_in()->entity(entity_id::kAccount)->field("name")->id;
    op.cells.push_back({name, CellOpKind::set, {ValueType::text, "Edited"}, {}});
    return draft;
  }

 private:
  RecordKey record_;
  Csn seen_;
};

TEST_CASE("SEMANTICS 29: a branch ahead makes a new line, and nothing inside the window is lost",
          "[identity]") {
  bool marked = GENERATE(false, true);
  CAPTURE(marked);
  Desk w;
  REQUIRE(w.west.write("create account x @west name=Old") == "ok");
  w.settle();
  auto disk = w.backup();
  LineId before = w.line();
  REQUIRE(w.east.write("update a loyaltypoints+=5") == "ok");
  REQUIRE(w.hq.write("create account b @common name=New") == "ok");
  w.settle();
  REQUIRE(w.east.write("update b name=Newer") == "ok");
  w.settle();
  REQUIRE(w.west.write("update b loyaltypoints+=3; update x name=Young") == "ok");
  w.settle();
  REQUIRE(w.east.write("update a loyaltypoints+=1") == "ok");  // not shipped yet

  w.restore(disk, marked);
  CHECK(w.open() == marked);
  CHECK(w.line() == before);
  // East is ahead, and it is the only one that is connected.
  CHECK(w.greet(w.east) == kLineReplaced);
  CHECK(w.open());
  LineId after = w.line();
  CHECK(after != before);
  // The office works on meanwhile, with what it had.
  REQUIRE(w.east.write("update a loyaltypoints+=2") == "ok");
  w.reconnect(w.east);
  CHECK(w.line() == after);
  w.offer(w.east);
  // East's edit of `b` builds on what only hq knows: it waits, and so does what is behind it.
  CHECK(w.master.ingest->reconciling().awaited.size() == 3);
  CHECK(w.east.replica->state().ledger.pending > 0);
  // A crash in the middle: the line keeps its new id, and the others are still awaited.
  w.master.crash();
  w.master.start();
  CHECK(w.line() == after);
  CHECK(w.master.ingest->reconciling().awaited.size() == 3);
  REQUIRE(w.hq.write("update a loyaltypoints+=4") == "ok");
  w.reconnect(w.hq);
  w.offer(w.hq);
  w.reconnect(w.east);
  w.offer(w.east);
  CHECK(w.open());
  w.reconnect(w.west);
  w.offer(w.west);
  CHECK_FALSE(w.open());
  w.settle_all();
  CHECK(w.points() == "22");
  CHECK(w.master.show("b") == "live: name=Newer loyaltypoints=3");
  CHECK(w.master.show("x") == "live: name=Young");
  CHECK(w.problems() == std::vector<std::string>{});
  for (auto& [name, office] : w.offices) {
    CHECK(office->replica->state().cursor.line == after);
    CHECK(office->replica->state().ledger.pending == 0);
    CHECK(office->replica->state().ledger.balances());
  }
}

TEST_CASE("SEMANTICS 29: restored to where nothing had been committed since, the line stays",
          "[identity]") {
  Desk w;
  auto disk = w.backup();
  LineId before = w.line();
  w.restore(disk, true);
  CHECK(w.open());
  for (auto& [name, office] : w.offices) w.reconnect(*office);
  CHECK_FALSE(w.open());
  CHECK(w.line() == before);
  REQUIRE(w.east.write("update a loyaltypoints+=5") == "ok");
  w.settle();
  CHECK(w.points() == "15");
}

TEST_CASE("SEMANTICS 29: a branch that was behind had committed on the old id before another told",
          "[identity]") {
  Desk w;
  auto disk = w.backup();
  REQUIRE(w.east.write("update a loyaltypoints+=5") == "ok");
  w.east.ship();
  w.east.fetch();  // west and hq are behind
  w.restore(disk, false);
  LineId before = w.line();
  REQUIRE(w.west.write("update a loyaltypoints+=7") == "ok");
  w.reconnect(w.west);
  w.west.ship();
  w.west.fetch();
  CHECK(w.points() == "17");
  CHECK(w.line() == before);
  w.reconnect(w.east);
  CHECK(w.line() != before);
  CHECK(w.greet(w.west) == kLineReplaced);
  w.reconnect(w.west);
  w.reconnect(w.hq);
  w.settle_all();
  CHECK(w.points() == "22");
  CHECK_FALSE(w.open());
  CHECK(w.problems() == std::vector<std::string>{});
}

TEST_CASE("SEMANTICS 29: restored twice, to before the first restore", "[identity]") {
  Desk w;
  auto disk = w.backup();
  REQUIRE(w.east.write("update a loyaltypoints+=5") == "ok");
  w.settle();
  w.restore(disk, true);
  for (auto& [name, office] : w.offices) w.reconnect(*office);
  w.settle_all();
  CHECK(w.points() == "15");
  REQUIRE(w.west.write("update a loyaltypoints+=20") == "ok");
  w.settle();
  LineId second = w.line();
  bool marked = GENERATE(false, true);
  w.restore(disk, marked);
  // Away during both: it follows the first line still.
  for (auto& [name, office] : w.offices) w.reconnect(*office);
  CHECK(w.line() != second);
  w.settle_all();
  CHECK(w.points() == "35");
  CHECK_FALSE(w.open());
  CHECK(w.problems() == std::vector<std::string>{});
}

TEST_CASE("SEMANTICS 29: away during all of the restore, its work counts when it returns",
          "[identity]") {
  Desk w;
  REQUIRE(w.west.write("update a loyaltypoints+=1") == "ok");
  w.settle();
  auto disk = w.backup();
  REQUIRE(w.west.write("update a loyaltypoints+=20") == "ok");
  w.settle();
  REQUIRE(w.west.write("update a loyaltypoints+=300") == "ok");
  w.restore(disk, true);
  w.reconnect(w.east);
  w.reconnect(w.hq);
  CHECK(w.open());
  auto origin = w.master.ingest->directory().server("west")->origin;
  Batch rows;
  std::set<OriginId> connected;
  auto left = w.master.ingest->close_reconciling(connected, rows);
  REQUIRE(left);
  CHECK(left->left == std::vector<OriginId>{origin});
  REQUIRE(w.master.store.write(rows, Sync::yes));
  CHECK_FALSE(w.open());
  CHECK_FALSE(w.master.ingest->close_reconciling(connected, rows));
  REQUIRE(w.east.write("update a loyaltypoints+=4000") == "ok");
  w.east.ship();
  CHECK(w.points() == "4011");
  w.reconnect(w.west);
  w.settle_all();
  CHECK(w.points() == "4331");
  CHECK(w.problems() == std::vector<std::string>{});
}

TEST_CASE("SEMANTICS 21: a keyed retry on either side of the restore is done once", "[identity]") {
  Desk w;
  auto disk = w.backup();
  REQUIRE(w.east.write("update a loyaltypoints+=5", "key-1") == "ok");
  w.settle();
  REQUIRE(w.west.write("update a loyaltypoints+=5", "key-1") == "ok");
  w.settle();
  CHECK(w.points() == "15");
  w.restore(disk, true);
  for (auto& [name, office] : w.offices) w.reconnect(*office);
  CHECK(w.east.write("update a loyaltypoints+=5", "key-1") == "replayed");
  REQUIRE(w.hq.write("update a loyaltypoints+=5", "key-1") == "ok");
  w.settle_all();
  CHECK(w.points() == "15");
  CHECK(w.problems() == std::vector<std::string>{});
}

TEST_CASE("SEMANTICS 29: work with a token that was made after the backup is taken all the same",
          "[identity]") {
  Desk w;
  auto disk = w.backup();
  auto ops = w.names.parse_all("create apitoken later @common @east systemuserid=user access=2",
                               w.master.ingest->workspace(), w.arena);
  ops[0].cells.push_back({w.schema->entity(entity_id::kApiToken)->field("tokenhash")->id,
                          CellOpKind::set,
                          {ValueType::text, w.arena.copy(token_hash("later"))},
                          {}});
  REQUIRE(w.master.commit(ops) == "applied");
  w.settle();
  w.east.credential = ops[0].record.id;
  REQUIRE(w.east.write("update a loyaltypoints+=5") == "ok");
  w.settle();
  CHECK(w.points() == "15");
  w.restore(disk, true);
  for (auto& [name, office] : w.offices) w.reconnect(*office);
  w.settle_all();
  CHECK(w.points() == "15");
  // That is for what it had accepted before: the token does not live on.
  REQUIRE(w.east.write("update a loyaltypoints+=100") == "ok");
  w.settle_all();
  CHECK(w.points() == "15");
  CHECK(w.east.fate().starts_with("rejected"));
}

TEST_CASE("What is older than the restore window or over its quota is not kept", "[identity]") {
  Desk w;
  for (int i = 0; i < 5; ++i) {
    REQUIRE(w.east.write("update a loyaltypoints+=1") == "ok");
    w.settle();
  }
  uint64_t kept = w.east.replica->history().kept_blocks;
  CHECK(kept == 5);
  w.east.replica->set_restore_window(3'600'000);
  w.east.clock.ms += 3'700'000;
  REQUIRE(w.east.write("update a loyaltypoints+=1") == "ok");
  w.settle();
  CHECK(w.east.replica->history().kept_blocks == 1);
  w.east.replica->set_restore_window(3'600'000, 1);
  REQUIRE(w.east.write("update a loyaltypoints+=1") == "ok");
  w.settle();
  CHECK(w.east.replica->history().kept_blocks <= 1);
  // And over a restart.
  w.restart(w.east);
  CHECK(w.east.replica->history().kept_blocks <= 1);
}

TEST_CASE("SEMANTICS 19, 29: what is kept no more is named, and only an operator closes the gap",
          "[identity]") {
  Desk w;
  auto disk = w.backup();
  for (int i = 0; i < 3; ++i) {
    REQUIRE(w.east.write("update a loyaltypoints+=1") == "ok");
    w.settle();
  }
  w.east.replica->set_restore_window(3'600'000);
  w.east.clock.ms += 3'700'000;
  REQUIRE(w.east.write("update a loyaltypoints+=20") == "ok");
  w.settle();
  bool dead_start = GENERATE(false, true);
  CAPTURE(dead_start);
  if (dead_start) {  // of which nothing at all is kept
    w.east.replica->set_restore_window(3'600'000, 1);
    REQUIRE(w.hq.write("update a loyaltypoints+=100") == "ok");
    w.settle();
    REQUIRE(w.east.replica->history().kept_blocks == 0);
    REQUIRE(w.east.store.sync());
    w.restart(w.east);
    REQUIRE(w.east.write("update a loyaltypoints+=300") == "ok");
    w.east.connect();
    w.settle();
  }
  uint64_t gone = dead_start ? 4 : 3;
  OriginId origin = w.east.replica->state().self;
  w.restore(disk, true);
  CHECK(w.greet(w.east) == kLineReplaced);
  auto put = [&](const Batch& b, Sync s) { return w.east.store.write(b, s); };
  REQUIRE(w.east.replica->leave_line(put));
  for (int i = 0; i < 2; ++i) {
    CAPTURE(i);
    CHECK(w.greet(w.east) == "session.work_missing");
    auto& missing = w.master.ingest->origins().at(origin).missing;
    REQUIRE(missing.size() == 1);
    CHECK(missing[0].count() == gone);
    w.master.crash();  // known over a restart of the master
    w.master.start();
  }
  for (SmallOffice* office : {&w.hq, &w.west}) w.reconnect(*office);
  CHECK(w.open());
  Batch rows;
  std::set<OriginId> connected{w.hq.replica->state().self, w.west.replica->state().self};
  auto closed = w.master.ingest->close_reconciling(connected, rows);
  REQUIRE(closed);
  CHECK(closed->left.empty());  // it comes back by itself, and is waited for
  CHECK(closed->lost == std::map<OriginId, uint64_t>{{origin, gone}});
  REQUIRE(w.master.store.write(rows, Sync::yes));
  w.master.crash();
  w.master.start();
  CHECK(w.open());
  for (SmallOffice* office : {&w.hq, &w.west, &w.east}) w.reconnect(*office);
  w.settle_all();
  CHECK_FALSE(w.open());
  CHECK(w.points() == (dead_start ? "410" : "30"));
  const Ledger& ledger = w.master.ingest->origins().at(origin).ledger;
  CHECK(ledger.lost == gone);
  CHECK(ledger.balances());
  CHECK(w.problems() == std::vector<std::string>{});
  Batch more;
  CHECK_FALSE(w.master.ingest->close_reconciling({}, more));
  // An audit counts the gap from its entry.
  OriginState without = w.master.ingest->origins().at(origin);
  without.lost.clear();
  Batch forged;
  forged.put(Table::meta, keys::meta_origin(origin), encode_origin_state(without));
  REQUIRE(w.master.store.write(forged, Sync::yes));
  auto report = audit_line(w.master.store, *w.schema);
  REQUIRE(report);
  CHECK_FALSE(report->clean());
}

TEST_CASE("SEMANTICS 31: a branch that joins the new line is waited for until it greets again",
          "[identity]") {
  Desk w;
  auto disk = w.backup();
  REQUIRE(w.east.write("update a loyaltypoints+=5") == "ok");
  w.settle();
  w.restore(disk, true);
  w.reconnect(w.east);
  w.offer(w.east);
  w.reconnect(w.hq);
  CHECK(w.master.ingest->reconciling().awaited.size() == 1);
  // It has nothing to offer when it joins, and takes work on the old shares until it has joined.
  CHECK(w.greet(w.west) == kLineReplaced);
  auto put = [&](const Batch& b, Sync s) { return w.west.store.write(b, s); };
  REQUIRE(w.west.replica->leave_line(put));
  REQUIRE(w.west.replica->state().ledger.pending == 0);
  CHECK(w.greet(w.west) == "taken");
  CHECK(w.west.registration.join);
  CHECK(w.open());
  w.reconnect(w.west);
  CHECK_FALSE(w.open());
}

TEST_CASE("SEMANTICS 29: an office that the backup does not know is waited for once it is put back",
          "[identity]") {
  Desk w;
  auto all = w.topology.servers;
  auto fewer = all;
  std::erase_if(fewer, [](const auto& s) { return s.name == "west"; });
  w.topology.servers = fewer;
  w.master.apply_topology();
  auto disk = w.backup();
  w.topology.servers = all;
  w.master.apply_topology();
  w.reconnect(w.west);
  w.settle();
  REQUIRE(w.west.write("create account x @west name=Young") == "ok");
  w.settle();
  REQUIRE(w.hq.write("update x loyaltypoints+=7") == "ok");
  w.settle();

  w.topology.servers = fewer;
  w.restore(disk, true);
  CHECK(w.greet(w.hq) == kLineReplaced);
  w.topology.servers = all;
  w.master.apply_topology();
  w.reconnect(w.hq);
  w.offer(w.hq);
  w.reconnect(w.east);
  w.offer(w.east);
  // What head office did with the record waits for who made it, also over a crash.
  CHECK(w.open());
  w.master.crash();
  w.master.start();
  CHECK(w.open());
  CHECK(w.master.ingest->reconciling().awaited.count(w.west.registration.origin) == 1);
  for (SmallOffice* office : {&w.hq, &w.east, &w.west}) {
    w.reconnect(*office);
    w.offer(*office);
  }
  CHECK_FALSE(w.open());
  w.settle_all();
  CHECK(w.master.show("x") == "live: name=Young loyaltypoints=7");
  CHECK(w.problems() == std::vector<std::string>{});
}

TEST_CASE("SEMANTICS 29: names that come back have their old numbers, in whatever order they come",
          "[identity]") {
  Desk w;
  const Topology old = w.topology;
  auto add = [](Topology t, const std::string& name) {
    t.territories.push_back({name, "common"});  // so that tokens are good there
    ServerSpec late = *t.server("west");
    late.name = "office-" + name;
    late.territories = {name};
    for (auto& s : t.servers) {
      if (s.name == "hq") s.territories.push_back(name);
    }
    t.servers.push_back(late);
    return t;
  };
  auto commit = [&](const Topology& t) {
    w.topology = t;
    w.master.apply_topology();
  };
  auto number = [&](const std::string& name) {
    const Directory& d = w.master.ingest->directory();
    return std::pair(*d.territory(name), d.server("office-" + name)->origin);
  };
  auto disk = w.backup();
  commit(add(old, "north"));
  auto north = number("north");
  w.reconnect(w.hq);
  w.settle();
  REQUIRE(w.hq.write("create account n @north name=Nordic") == "ok");
  w.settle();
  REQUIRE(w.master.show("n") == "live: name=Nordic");

  w.topology = old;
  w.restore(disk, true);
  CHECK(w.greet(w.hq) == kLineReplaced);
  commit(add(old, "arctic"));
  commit(add(add(old, "arctic"), "north"));
  CHECK(number("north") == north);
  CHECK(number("arctic") != north);
  auto all_offer = [&] {
    for (SmallOffice* office : {&w.hq, &w.east, &w.west}) {
      w.reconnect(*office);
      w.offer(*office);
    }
  };
  all_offer();
  // The new offices never were; who says so is the operator.
  Batch rows;
  REQUIRE(w.master.ingest->close_reconciling({}, rows));
  REQUIRE(w.master.store.write(rows, Sync::yes));
  all_offer();
  w.settle_all();
  CHECK(w.master.show("n") == "live: name=Nordic");
  RecordKey key = w.names.key("n");
  auto record = Record::decode(key, **w.master.store.get(Table::records, keys::record(0, key)));
  REQUIRE(record);
  CHECK(record->territory() == north.first);
  CHECK(w.problems() == std::vector<std::string>{});
}

TEST_CASE("SEMANTICS 6, 29: what was read upstream is worth what the lines have in common",
          "[identity]") {
  Mutation m;
  m.line = LineId(1);
  m.base = Csn(30);
  m.ops.resize(3);
  m.ops[1].seen = Csn(70);
  m.ops[2].seen = Csn(170);
  LineHistory past{{LineId(1), Csn(100)}};
  {
    OnPresentLine here(m, past, LineId(9));
    CHECK(m.base == Csn(30));
    CHECK(m.ops[0].seen == Csn(0));
    CHECK(m.ops[1].seen == Csn(70));
    CHECK(m.ops[2].seen == Csn(100));
  }
  CHECK(m.ops[2].seen == Csn(170));
  {
    OnPresentLine here(m, {}, LineId(9));
    CHECK(m.base == Csn(0));
    CHECK(m.ops[1].seen == Csn(0));
  }
  CHECK(m.base == Csn(30));
  OnPresentLine same(m, {}, LineId(1));
  CHECK(m.base == Csn(30));
  CHECK(m.ops[2].seen == Csn(170));
}

TEST_CASE("SEMANTICS 29: an edit of what was read upstream waits for who can bring it back",
          "[identity]") {
  Desk w;
  auto disk = w.backup();
  // What east holds stays behind; it reads through the upstream what the west has made since.
  REQUIRE(w.west.write("create account x @west name=Far") == "ok");
  w.west.ship();
  w.west.fetch();
  Batch rows;
  w.master.ingest->note_shown(w.east.replica->state().self, w.hq.credential, rows);
  REQUIRE(w.master.store.write(rows, Sync::yes));
  EditElsewhere command(w.names.key("x"), w.master.ingest->state().head);
  command.author = w.user;
  command.credential = w.hq.credential;
  w.east.clock.ms += 1000;  // the later stamp wins: neither is known to have seen the other
  auto group = w.east.replica->accept({&command});
  REQUIRE(group);
  REQUIRE(w.east.store.write(group->batch, Sync::yes));
  MutationId edit = group->results[0]->id;
  w.restore(disk, true);
  CHECK(w.greet(w.west) == kLineReplaced);  // it is ahead, east is not
  w.reconnect(w.east);
  w.east.ship();
  CHECK(w.east.replica->state().ledger.pending == 1);
  w.reconnect(w.hq);
  w.reconnect(w.west);
  w.settle_all();
  CHECK_FALSE(w.open());
  CHECK(w.east.fate_of(edit).starts_with("merged"));  // side by side: see decision 27
  CHECK(w.master.show("x") == "live: name=Edited");
  CHECK(w.problems() == std::vector<std::string>{});
}

TEST_CASE("Past lines travel in the greeting, and an origin's row of the first format is read",
          "[identity]") {
  Desk desk;
  Introduction intro = desk.east.introduction();
  intro.past_lines = {LineId(5), LineId(6)};
  auto hello = decode_hello(encode_hello(intro, 1));
  REQUIRE(hello);
  CHECK(hello->past_lines == intro.past_lines);
  CHECK_FALSE(hello->pending.at(0).chain_before);
  Registration registration;
  registration.origin = OriginId(3);
  registration.past_lines = {{LineId(5), Csn(70)}, {LineId(6), Csn(0)}};
  auto welcome = decode_welcome(encode_welcome(registration, 1));
  REQUIRE(welcome);
  CHECK(welcome->registration.past_lines == registration.past_lines);
  std::string old;
  Writer w(old);
  w.u8(1);
  Ledger ledger;
  ledger.accepted = ledger.applied = 7;
  put_ledger(w, ledger);
  w.fixed64(0x11);
  w.u8(1);
  w.blob("why");
  auto origin = decode_origin_state(old);
  REQUIRE(origin);
  CHECK(origin->latest == Incarnation(0x11));
  CHECK(origin->quarantined);
  CHECK(origin->ledger == ledger);
  CHECK_FALSE(origin->written_off);
}

TEST_CASE("Bases of earlier lines are worth what the lines have in common", "[identity]") {
  LineHistory past{{LineId(1), Csn(100)}, {LineId(2), Csn(80)}, {LineId(3), Csn(0)}};
  CHECK(present_base(past, LineId(9), LineId(9), Csn(500)) == Csn(500));
  CHECK(present_base({{LineId(1), Csn(100)}}, LineId(9), LineId(1), Csn(70)) == Csn(70));
  CHECK(present_base({{LineId(1), Csn(100)}}, LineId(9), LineId(1), Csn(170)) == Csn(100));
  CHECK(present_base({{LineId(1), Csn(100)}, {LineId(2), Csn(80)}}, LineId(9), LineId(1),
                     Csn(170)) == Csn(80));
  CHECK(present_base(past, LineId(9), LineId(1), Csn(70)) == Csn(0));
  CHECK(present_base(past, LineId(9), LineId(77), Csn(70)) == Csn(0));
}

}  // namespace
}  // namespace branchline
