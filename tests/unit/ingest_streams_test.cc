// SEMANTICS 3: which blocks the master takes from an origin, and what it does with the others.
#include <catch2/catch.hpp>

#include "replication/line/mutation_block.h"
#include "tests/support/small_world.h"

namespace branchline {
namespace {

struct Desk : SmallWorld {
  SmallOffice& east = (*this)["east"];
  SmallOffice& west = (*this)["west"];
  Desk() {
    REQUIRE((*this)["hq"].write("create account a @common name=Acme loyaltypoints+=10") == "ok");
    settle();
  }
  MutationBlock block(const std::string& bytes) {
    auto decoded = decode_mutation_block(bytes);
    REQUIRE(decoded);
    return std::move(*decoded);
  }
  IngestResult give(MutationBlock b, SmallOffice& from) {
    std::vector<IncomingBlock> blocks;
    blocks.push_back({from.registration.origin, from.registration.session, std::move(b)});
    return master.decide(std::move(blocks));
  }
  std::string broken(MutationBlock b, SmallOffice& from) {
    IngestResult r = give(std::move(b), from);
    if (r.broken.empty()) return "taken";
    CHECK(r.line == nullptr);
    CHECK(r.acks.empty());
    return r.broken[0].error.code;
  }
  std::string points() {
    std::string text = master.show("a");
    size_t at = text.find("loyaltypoints=");
    return text.substr(at + 14, text.find(' ', at) - at - 14);
  }
};

}  // namespace

TEST_CASE("SEMANTICS 3: a block resent is answered, not done again", "[ingest]") {
  Desk w;
  REQUIRE(w.east.write("update a loyaltypoints+=5") == "ok");
  auto blocks = w.east.take_blocks();
  REQUIRE(w.give(w.block(blocks[0]), w.east).acks.size() == 1);
  auto again = w.give(w.block(blocks[0]), w.east);
  CHECK(again.line == nullptr);
  REQUIRE(again.acks.size() == 1);
  CHECK(again.acks[0].seq == Seq(1));
  CHECK(w.points() == "15");
  // After a restart of the master too: the high-water is on disk.
  w.master.crash();
  w.master.start();
  w.east.connect();
  CHECK(w.give(w.block(blocks[0]), w.east).line == nullptr);
  CHECK(w.points() == "15");
}

TEST_CASE("SEMANTICS 3: of a block that is known in part, the rest is done", "[ingest]") {
  Desk w;
  for (int i = 0; i < 20; ++i) REQUIRE(w.east.write("update a loyaltypoints+=1") == "ok");
  auto part = w.east.take_blocks();
  REQUIRE(part.size() == 1);
  MutationBlock first = w.block(part[0]);
  // The first ten as a block of their own: with the chain where it stands after them.
  auto slice = w.east.outbox->read({}, 10, 1 << 20);
  REQUIRE(slice);
  REQUIRE(slice->mutations.size() == 10);
  MutationBlockWriter writer;
  for (size_t i = 0; i < 10; ++i) writer.add(slice->mutations[i], slice->forecasts[i]);
  w.give(w.block(writer.finish(slice->chain_after)), w.east);
  CHECK(w.points() == "20");
  w.give(w.block(part[0]), w.east);
  CHECK(w.points() == "30");
  w.settle();
  CHECK(w.east.replica->state().ledger.pending == 0);
  CHECK(w.audit() == std::vector<std::string>{});
}

TEST_CASE(
    "SEMANTICS 3: a gap, a fall in order, another's stream and an unknown start are refused by "
    "name",
    "[ingest]") {
  Desk w;
  for (int i = 0; i < 3; ++i) REQUIRE(w.east.write("update a loyaltypoints+=1") == "ok");
  auto blocks = w.east.take_blocks();
  SECTION("gap") {
    MutationBlock b = w.block(blocks[0]);
    b.mutations.erase(b.mutations.begin());
    CHECK(w.broken(std::move(b), w.east) == "stream.gap");
  }
  SECTION("order") {
    MutationBlock b = w.block(blocks[0]);
    b.mutations[1].order = b.mutations[0].order;
    CHECK(w.broken(std::move(b), w.east) == "stream.order");
  }
  SECTION("another's") { CHECK(w.broken(w.block(blocks[0]), w.west) == "stream.foreign"); }
  SECTION("unknown start") {
    MutationBlock b = w.block(blocks[0]);
    b.stream.incarnation = Incarnation(12345);
    for (auto& m : b.mutations) m.id.incarnation = b.stream.incarnation;
    CHECK(w.broken(std::move(b), w.east) == "stream.unknown_incarnation");
  }
  SECTION("a session that a newer one took over from") {
    uint64_t old = w.east.registration.session;
    w.east.connect();
    std::swap(old, w.east.registration.session);
    CHECK(w.broken(w.block(blocks[0]), w.east) == "session.superseded");
    std::swap(old, w.east.registration.session);
    CHECK(w.broken(w.block(blocks[0]), w.east) == "taken");
  }
  // What is left of a broken session is dropped; a new one starts well and nothing is lost.
  w.east.connect();
  w.settle();
  CHECK(w.points() == "13");
  CHECK(w.audit() == std::vector<std::string>{});
}

TEST_CASE(
    "SEMANTICS 3: after a break, what the session still sends is dropped until it greets anew",
    "[ingest]") {
  Desk w;
  for (int i = 0; i < 3; ++i) REQUIRE(w.east.write("update a loyaltypoints+=1") == "ok");
  auto blocks = w.east.take_blocks();
  MutationBlock gap = w.block(blocks[0]);
  gap.mutations.erase(gap.mutations.begin());
  REQUIRE(w.broken(std::move(gap), w.east) == "stream.gap");
  CHECK(w.broken(w.block(blocks[0]), w.east) == "session.superseded");
  CHECK(w.points() == "10");
}

TEST_CASE(
    "SEMANTICS 3: a past that is another's quarantines the link until an operator releases it",
    "[ingest]") {
  Desk w;
  REQUIRE(w.east.write("update a loyaltypoints+=5") == "ok");
  auto blocks = w.east.take_blocks();
  MutationBlock forged = w.block(blocks[0]);
  forged.mutations[0].hlc = Hlc{forged.mutations[0].hlc.value + 1};
  CHECK(w.broken(std::move(forged), w.east) == "session.quarantined");
  CHECK(w.points() == "10");
  Batch rows;
  auto refused = w.master.ingest->begin_session(w.east.introduction(), rows);
  REQUIRE_FALSE(refused);
  CHECK(refused.error().code == "session.quarantined");
  CHECK(refused.error().kind == ErrorKind::conflict);
  // The quarantine outlives the master's process.
  w.master.crash();
  w.master.start();
  REQUIRE_FALSE(w.master.ingest->begin_session(w.east.introduction(), rows));
  CHECK_FALSE(w.master.ingest->release(w.west.registration.origin, rows));
  REQUIRE(w.master.ingest->release(w.east.registration.origin, rows));
  REQUIRE(w.master.store.write(rows, Sync::yes));
  for (auto& [name, office] : w.offices) office->connect();
  w.settle();
  CHECK(w.points() == "15");
}

TEST_CASE("SEMANTICS 3: a resend that tells another story about what is committed is no resend",
          "[ingest]") {
  Desk w;
  REQUIRE(w.east.write("update a loyaltypoints+=5") == "ok");
  auto blocks = w.east.take_blocks();
  w.give(w.block(blocks[0]), w.east);
  MutationBlock other = w.block(blocks[0]);
  other.chain_check ^= 1;
  CHECK(w.broken(std::move(other), w.east) == "session.quarantined");
}

TEST_CASE("Who greets with another topology, schema, line, head or past is refused by name",
          "[ingest]") {
  Desk w;
  Introduction intro = w.east.introduction();
  auto refusal = [&](const Introduction& i) {
    Batch rows;
    auto r = w.master.ingest->begin_session(i, rows);
    return r ? std::string("taken") : r.error().code;
  };
  CHECK(refusal(intro) == "taken");
  SECTION("unknown name") {
    intro.server = "north";
    CHECK(refusal(intro) == "session.unknown");
  }
  SECTION("the master's own name") {
    intro.server = "master";
    CHECK(refusal(intro) == "session.unknown");
  }
  SECTION("another topology file is taken: what was committed counts") {
    intro.topology_digest = "00";
    CHECK(refusal(intro) == "taken");
  }
  SECTION("schema") {
    intro.schema_version += 1;
    CHECK(refusal(intro) == "session.schema");
  }
  SECTION("line") {
    intro.cursor.line = LineId(77);
    CHECK(refusal(intro) == "session.other_line");
  }
  SECTION("ahead of the head") {
    intro.cursor.csn = Csn(intro.cursor.csn.value + 1000);
    CHECK(refusal(intro) == "session.line_replaced");
  }
  SECTION("another chain") {
    intro.cursor.chain.bytes[0] ^= 1;
    CHECK(refusal(intro) == "session.line_replaced");
  }
  SECTION("another story of its starts") {
    intro.incarnations.back().predecessor_order = Order(99);
    CHECK(refusal(intro) == "session.incarnation");
  }
}

TEST_CASE("what many mutations change is cut into batches of the line", "[ingest]") {
  // Cascades: a few hundred bytes of deletes change a megabyte of records. What one batch changes
  // travels in one frame, so it must not grow with what the deletes take along.
  Desk w;
  constexpr int kAccounts = 30, kContacts = 800;
  for (int a = 0; a < kAccounts; ++a) {
    std::string account = "big" + std::to_string(a);
    REQUIRE(w.east.write("create account " + account + " @common name=" + account) == "ok");
    std::string ops;
    for (int c = 0; c < kContacts; ++c) {
      ops += std::string(c ? "; " : "") + "create contact " + account + "c" + std::to_string(c) +
             " parentcustomerid=" + account + " lastname=L";
    }
    REQUIRE(w.east.write(ops) == "ok");
  }
  w.settle();
  for (int a = 0; a < kAccounts; ++a)
    REQUIRE(w.east.write("delete big" + std::to_string(a)) == "ok");
  std::vector<IncomingBlock> blocks;
  for (const auto& bytes : w.east.take_blocks()) {
    blocks.push_back({w.east.registration.origin, w.east.registration.session, w.block(bytes)});
  }
  Seq last = blocks.back().block.mutations.back().id.seq;
  size_t before = w.master.batches;
  auto result = w.master.decide(std::move(blocks));
  CHECK(result.broken.empty());
  CHECK(w.master.batches > before + 1);
  REQUIRE_FALSE(result.acks.empty());
  CHECK(result.acks.back().seq == last);
  w.settle();
  CHECK(w.west.show("big29") == w.master.show("big29"));
  CHECK(w.east.fate() == "applied");
  CHECK(w.audit() == std::vector<std::string>{});
}

}  // namespace branchline
