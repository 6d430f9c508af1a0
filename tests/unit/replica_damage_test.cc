// What a replica does with a range, a snapshot or a disk that is wrong: it says so, and nothing of
// it stays. Each of these, half done, would lose or double work without anybody noticing.
#include <catch2/catch.hpp>

#include "replication/line/compress.h"
#include "tests/support/fields.h"
#include "tests/support/small_world.h"

namespace branchline {
namespace {

struct Offices : SmallWorld {
  SmallOffice& hq = (*this)["hq"];
  SmallOffice& east = (*this)["east"];
  SmallOffice& west = (*this)["west"];
  Offices() {
    REQUIRE(hq.write("create account a @common name=Acme loyaltypoints+=10") == "ok");
    REQUIRE(hq.write("create account b @common name=Bolt") == "ok");
    settle();
  }
  FeedScope scope() const {
    FeedScope s{east.registration.origin, {kReferenceTerritory}, {}};
    for (auto t : east.registration.territories) s.territories.insert(t);
    return s;
  }
  // What waits at the master for the east.
  FeedRange waiting() {
    auto range = master.feed->read(east.replica->state().cursor, scope(), 1 << 20);
    REQUIRE(range);
    return *range;
  }
  void shows(SmallOffice& o, const std::string& record, const std::string& text) {
    INFO(o.name);
    CHECK_THAT(o.show(record), Catch::Contains(text));
  }
};

std::string refusal(SmallOffice& office) {
  Batch rows;
  SeededRandom random(7);
  auto replica = Replica::open(office.store, Schema::built_in(), office.clock, random, rows);
  return replica ? "opened"
                 : std::string(to_string(replica.error().kind)) + " " + replica.error().code;
}

}  // namespace

TEST_CASE("a range that cannot be applied leaves nothing behind", "[office][damage]") {
  Offices w;
  // Two changes of the east are decided; between them one of the west came.
  REQUIRE(w.east.write("update a loyaltypoints+=5") == "ok");
  MutationId first = w.east.last.id;
  REQUIRE(w.west.write("update a loyaltypoints+=100 telephone1=west; update b name=Western") ==
          "ok");
  w.west.ship();
  w.east.ship();
  REQUIRE(w.east.write("update b telephone1=east") == "ok");
  w.east.ship();
  FeedRange good = w.waiting(), bad = good;
  REQUIRE(good.blocks.size() >= 2);
  REQUIRE(good.fates.size() == 2);
  std::string code = "effects.diverged";
  SECTION("a fate of what never was") {
    FateEntry& f = bad.fates.emplace_back();
    f.id = first;
    f.id.seq = Seq(99);
    f.as_forecast = true;  // stands for effects that nobody here knows
    f.csn = bad.to.csn;
    bad.fates.erase(bad.fates.begin() + 1);
  }
  SECTION("a fate before that of the change before it") {
    bad.fates.erase(bad.fates.begin());
    std::erase_if(bad.blocks, [&](const std::string& b) {
      auto block = decode_commit_block(*decompress(b, 1 << 20));
      return block->origin == first.origin;
    });
  }
  SECTION("effects that are none") {
    auto block = decode_commit_block(*decompress(bad.blocks.back(), 1 << 20));
    REQUIRE(block);
    CommitBlockWriter writer;
    for (auto& c : block->commits) {
      c.effects.back().kind = RecordOpKind::put_new;  // of a record that is there
      c.effects.back().territory = TerritoryId(2);
      writer.add(c);
    }
    bad.blocks.back() = compress(writer.finish());
  }
  SECTION("a fate outside of its range") {
    bad.fates.back().csn = bad.to.csn.next();
    code = "feed.range";
  }
  SECTION("a block that is cut short") {
    bad.blocks.back().resize(bad.blocks.back().size() / 2);
    code = "";
  }
  ReplicaState before = w.east.replica->state();
  std::string a = w.east.show("a"), b = w.east.show("b");
  auto refused = w.east.replica->apply(bad);
  REQUIRE_FALSE(refused);
  INFO(refused.error().code << ": " << refused.error().message);
  if (!code.empty()) CHECK(refused.error().code == code);
  CHECK(fields::same(w.east.replica->state(), before));
  CHECK(w.east.show("a") == a);
  CHECK(w.east.show("b") == b);
  // The next write goes to disk with all that is to be written: nothing of the range is among it.
  REQUIRE(w.east.write("update a description=after") == "ok");
  CHECK(w.east.show("b") == b);
  w.east.crash();
  w.east.start();
  w.east.connect();
  CHECK(w.east.show("b") == b);
  CHECK(w.east.replica->state().cursor == before.cursor);
  // The true one is applied as if nothing had been.
  auto ok = w.east.replica->apply(good);
  REQUIRE(ok);
  REQUIRE(w.east.store.write(ok->batch, Sync::no));
  w.settle();
  for (auto& [name, office] : w.offices) {
    w.shows(*office, "a", "loyaltypoints=115");
    w.shows(*office, "a", "description=after");
    w.shows(*office, "b", "name=Western");
    w.shows(*office, "b", "telephone1=east");
  }
  CHECK(w.east.replica->state().ledger.pending == 0);
  CHECK(w.audit() == std::vector<std::string>{});
}

TEST_CASE("an office does not start on a disk that lost a part of what it had accepted",
          "[office][damage]") {
  Offices w;
  for (const char* n : {"One", "Two", "Three"})
    REQUIRE(w.east.write(std::string("update a name=") + n) == "ok");
  uint32_t generation = w.east.replica->state().generation;
  REQUIRE(w.east.store.sync());
  std::vector<std::string> rows;
  for (auto c = w.east.store.scan(Table::outbox, {}, {}); c->valid(); c->next())
    rows.emplace_back(c->key());
  REQUIRE(rows.size() == 3);
  w.east.crash();
  REQUIRE(refusal(w.east) == "opened");
  Batch damage;
  std::string expected;
  SECTION("the first block is gone") {
    damage.erase(Table::outbox, rows[0]);
    expected = "corrupt outbox.count";
  }
  SECTION("one in the middle is gone") {
    damage.erase(Table::outbox, rows[1]);
    expected = "corrupt outbox.chain";
  }
  SECTION("the last one is gone") {
    damage.erase(Table::outbox, rows[2]);
    expected = "corrupt outbox.count";
  }
  SECTION("all are gone") {
    for (const auto& r : rows) damage.erase(Table::outbox, r);
    expected = "corrupt outbox.count";
  }
  SECTION("one says something else than was accepted") {
    std::string row = rows[GENERATE(0u, 1u, 2u)];
    auto bytes = w.east.store.get(Table::outbox, row);
    auto block = decode_outbox_block(*keys::parse_outbox(row), **bytes);
    REQUIRE(block);
    block->entries[0].mutation.author.bytes[3] ^= 1;
    damage.put(Table::outbox, row, encode_outbox_block(*block));
    expected = "corrupt outbox.chain";
  }
  SECTION("one is cut short") {
    auto bytes = w.east.store.get(Table::outbox, rows[1]);
    damage.put(Table::outbox, rows[1], (*bytes)->substr(0, (*bytes)->size() - 1));
    expected = "corrupt outbox.corrupt";
  }
  SECTION("nothing tells which start the work is of") {
    damage.erase(Table::meta, keys::meta_incarnation(generation));
    expected = "corrupt replica.incarnation";
  }
  SECTION("nor of one of two starts") {
    w.east.start();  // a later one, without work of its own
    REQUIRE(w.east.store.sync());
    w.east.crash();
    bool earlier = GENERATE(false, true);
    damage.erase(Table::meta, keys::meta_incarnation(generation + (earlier ? 0 : 1)));
    expected = earlier ? "corrupt outbox.incarnation" : "corrupt replica.incarnation";
  }
  SECTION("the state is cut short") {
    auto bytes = w.east.store.get(Table::meta, keys::meta_state());
    damage.put(Table::meta, keys::meta_state(), (*bytes)->substr(0, (*bytes)->size() - 1));
    expected = "corrupt replica.state";
  }
  REQUIRE(w.east.store.write(damage, Sync::yes));
  auto as_it_was = w.east.store.durable();
  CHECK(refusal(w.east) == expected);
  CHECK(w.east.store.durable() == as_it_was);  // for whoever has to look at it
}

TEST_CASE("a snapshot that is not what the master has is not switched to", "[office][damage]") {
  Offices w;
  REQUIRE(w.east.write("update a loyaltypoints+=5") == "ok");
  w.east.ship();
  REQUIRE(w.east.write("update a loyaltypoints+=2") == "ok");  // not shipped
  REQUIRE(w.west.write("update b name=Western") == "ok");
  w.west.ship();
  ReplicaState before = w.east.replica->state();
  std::string a = w.east.show("a"), b = w.east.show("b");
  Introduction intro = w.east.introduction();
  intro.reseed = true;
  w.east.registration = w.master.register_branch(intro);
  REQUIRE(w.east.registration.join);
  auto source = SnapshotSource::open(w.master.store.snapshot(), w.scope(), intro.pending);
  REQUIRE(source);
  auto put = [&](const Batch& batch, Sync s) { return w.east.store.write(batch, s); };
  REQUIRE(w.east.replica->begin_seed((*source)->head(), put));
  for (;;) {
    auto chunk = (*source)->next();
    REQUIRE(chunk);
    if (!*chunk) break;
    REQUIRE(w.east.replica->seed_chunk(**chunk, put));
  }
  SnapshotEnd end = (*source)->end();
  SECTION("a checksum differs") { end.totals.sums.at(TerritoryId(2)).low ^= 1; }
  SECTION("a territory is missing") { end.totals.sums[TerritoryId(77)].low = 1; }
  SECTION("a chunk is missing") { ++end.chunks; }
  SECTION("a chunk was another") { end.digest.bytes[5] ^= 1; }
  SECTION("what became of a change that it holds is missing") {
    REQUIRE_FALSE(end.fates.empty());
    end.fates.clear();
  }
  auto refused = w.east.replica->end_seed(end, put);
  REQUIRE_FALSE(refused);
  CHECK(refused.error().kind == ErrorKind::corrupt);
  CHECK(fields::same(w.east.replica->state(), before));
  CHECK(w.east.show("a") == a);
  CHECK(w.east.show("b") == b);
  // The office works on with what it has, over a restart too.
  REQUIRE(w.east.write("update a telephone1=on") == "ok");
  REQUIRE(w.east.store.sync());
  w.east.crash();
  w.east.start();
  CHECK(w.east.replica->state().ledger.pending == 3);
  w.shows(w.east, "a", "loyaltypoints=17");
  w.shows(w.east, "a", "telephone1=on");
  // And the next snapshot, which is whole, is taken; no sum counts twice.
  intro = w.east.introduction();
  intro.reseed = true;
  w.east.registration = w.master.register_branch(intro);
  REQUIRE(w.east.replica->welcome(w.east.registration));
  w.east.take_snapshot();
  w.east.connect();
  w.settle();
  for (auto& [name, office] : w.offices) {
    w.shows(*office, "a", "loyaltypoints=17");
    w.shows(*office, "a", "telephone1=on");
    w.shows(*office, "b", "name=Western");
  }
  CHECK(w.audit() == std::vector<std::string>{});
}

TEST_CASE("a snapshot in the middle of a commit group does what is decided of it no second time",
          "[office][damage]") {
  Offices w;
  // Three changes of one group: the master's batch, in which the west's change stands first, is
  // full behind the second, and the master ends before the next batch.
  auto change = [](int points) {
    return "update a loyaltypoints+=" + std::to_string(points) +
           " description=" + std::string(200'000, static_cast<char>('a' + points));
  };
  REQUIRE(w.west.write("update b description=" + std::string(700'000, 'w')) == "ok");
  std::vector<std::string> group{change(1), change(2), change(4)};
  REQUIRE(w.east.write(group) == "ok ok ok");
  std::vector<IncomingBlock> incoming;
  for (SmallOffice* office : {&w.west, &w.east}) {
    std::vector<std::string> shipped = office->take_blocks();
    REQUIRE(shipped.size() == 1);
    auto block = decode_mutation_block(shipped[0]);
    REQUIRE(block);
    incoming.push_back(
        {office->registration.origin, office->registration.session, std::move(*block)});
  }
  auto decided = w.master.ingest->ingest(std::move(incoming));
  REQUIRE(decided);
  REQUIRE(decided->rest.size() == 1);
  REQUIRE(w.master.store.write(decided->batch, Sync::yes));
  w.master.crash();
  w.master.start();
  w.west.connect();
  w.east.connect();
  w.east.fetch();
  REQUIRE(w.east.replica->state().ledger.pending == 1);
  w.shows(w.east, "a", "loyaltypoints=17");

  Introduction intro = w.east.introduction();
  intro.reseed = true;
  w.east.registration = w.master.register_branch(intro);
  REQUIRE(w.east.replica->welcome(w.east.registration));
  w.east.take_snapshot();
  CHECK(w.east.replica->state().ledger.pending == 1);
  w.shows(w.east, "a", "loyaltypoints=17");
  w.east.crash();
  w.east.start();
  w.east.connect();
  w.shows(w.east, "a", "loyaltypoints=17");
  w.settle();
  for (auto& [name, office] : w.offices) w.shows(*office, "a", "loyaltypoints=17");
  CHECK(w.east.replica->state().ledger.pending == 0);
  CHECK(w.east.replica->state().ledger.applied == 3);
  CHECK(w.audit() == std::vector<std::string>{});
}

}  // namespace branchline
