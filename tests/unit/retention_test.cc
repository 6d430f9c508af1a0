// SEMANTICS 26 at real stores: a line that is kept only as far as somebody needs it, and offices
// that were away too long.
#include <catch2/catch.hpp>

#include "master/ingest/audit.h"
#include "tests/support/filled_world.h"

namespace branchline {
namespace {

constexpr int64_t kMonthMs = 30ll * 86'400'000;

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

}  // namespace
}  // namespace branchline
