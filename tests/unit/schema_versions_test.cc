// A schema and the version before it, at both ends of links (SEMANTICS 38): what an older server
// does not know passes through it whole, what an older master does not know is not sent to it.
#include <catch2/catch.hpp>

#include "tests/support/next_schema.h"
#include "tests/support/small_world.h"

namespace branchline {
namespace {

std::shared_ptr<const Schema> next() {
  auto schema = Schema::parse(next_schema_text(), "next.yaml");
  if (!schema) FAIL(schema.error().message);
  return *schema;
}

struct Mixed : SmallWorld {
  SmallOffice& hq = (*this)["hq"];
  SmallOffice& east = (*this)["east"];
  SmallOffice& west = (*this)["west"];
  Mixed() : SmallWorld(true, next()) {
    REQUIRE(hq.write("create account a @common name=Acme numberofemployees=5") == "ok");
    settle();
  }
  ~Mixed() { CHECK(audit() == std::vector<std::string>{}); }
  template <typename Server>
  void restart(Server& server, std::shared_ptr<const Schema> schema_of) {
    server.crash(server.store.unsynced());
    server.schema = std::move(schema_of);
    server.start();
  }
  std::map<std::string, std::string> records(const MemStore& store, keys::Side side,
                                             EntityId entity) {
    std::map<std::string, std::string> out;
    auto rows = scan_prefix(store, Table::records, keys::record_prefix(side, entity));
    for (; rows->valid(); rows->next()) out[std::string(rows->key().substr(1))] = rows->value();
    return out;
  }
};

}  // namespace

TEST_CASE("SEMANTICS 38: what an older branch does not know passes through it whole", "[schema]") {
  Mixed w;
  EntityId gadget = w.schema->entity("gadget")->id;
  w.restart(w.west, Schema::built_in());
  w.west.connect();
  auto held = [&](SmallOffice& o) {
    return w.records(o.store, o.replica->state().side, gadget).size();
  };
  REQUIRE(w.hq.write("create gadget g accountid=a name=G") == "ok");
  REQUIRE(w.hq.write("update a nickname=Ac badges+=gold badges+=old") == "ok");
  w.settle();
  CHECK(held(w.west) == 1);
  CHECK(w.audit() == std::vector<std::string>{});
  SECTION("in the feed, changed, deleted with its parent, and brought back") {
    REQUIRE(w.hq.write("update g name=G2") == "ok");
    REQUIRE(w.hq.write("update a badges-=old") == "ok");
    w.settle();
    CHECK(w.audit() == std::vector<std::string>{});
    // The older office knows nothing of gadgets, so it forecasts less; the master's word counts.
    REQUIRE(w.west.write("delete a") == "ok");
    w.settle();
    CHECK(w.west.fate() == "applied");
    CHECK(w.hq.show("g").find("deleted") != std::string::npos);
    CHECK(w.audit() == std::vector<std::string>{});
  }
  SECTION("beside pending work that brings a deletion back") {
    REQUIRE(w.west.write("update a name=West") == "ok");
    REQUIRE(w.hq.write("update g name=G3") == "ok");
    w.hq.ship();
    REQUIRE(w.east.write("delete a") == "ok");
    w.east.ship();
    w.west.fetch();
    w.settle();
    w.settle();
    CHECK(w.audit() == std::vector<std::string>{});
    CHECK(w.west.show("a") == w.master.show("a"));
  }
  SECTION("in a snapshot") {
    w.west.take_snapshot();
    CHECK(held(w.west) == 1);
    CHECK(w.audit() == std::vector<std::string>{});
    REQUIRE(w.hq.write("update g name=G4") == "ok");
    w.settle();
  }
  // Its own changes of a record that has more than it knows leave that alone.
  if (w.master.show("a").find("deleted") == std::string::npos) {
    REQUIRE(w.west.write("update a telephone1=7") == "ok");
    w.settle();
    CHECK(w.west.fate() == "applied");
    CHECK(w.hq.show("a").find("nickname=Ac") != std::string::npos);
  }
  // Upgraded, it has all of it, and finds it by its indexes: the audit compares every row.
  std::string before = w.hq.show("g");
  w.restart(w.west, nullptr);
  w.west.connect();
  CHECK(w.west.show("g") == before);
  CHECK(w.audit() == std::vector<std::string>{});
}

TEST_CASE("SEMANTICS 38: a newer branch keeps from an older master what that does not know",
          "[schema]") {
  Mixed w;
  // Before any server was upgraded: the line says nothing of a level.
  RecordOp op;
  op.record = topology_key();
  op.cells.push_back(
      {w.schema->entity(entity_id::kTopology)->field("featurelevel")->id, CellOpKind::set, {}, {}});
  REQUIRE(w.master.commit({op}) == "applied");
  w.settle();
  w.restart(w.master, Schema::built_in());
  for (auto& [name, office] : w.offices) office->connect();
  Introduction intro = w.east.introduction();
  auto told = decode_hello(encode_hello(intro, 1));
  REQUIRE(told);
  // An older master reads fields 5 and 6 alone, and finds its own schema there.
  CHECK(told->by_older_schema);
  CHECK(told->schema_version == w.schema->version());
  CHECK(told->schema_digest == w.schema->digest());
  CHECK(told->schema_extends == Schema::built_in()->digest());
  CHECK(w.east.write("update a nickname=Ac") == "write.not_activated");
  CHECK(w.east.write("create gadget g accountid=a name=G") == "write.not_activated");
  CHECK(w.east.write("update a name=East") == "ok");
  w.settle();
  CHECK(w.east.fate() == "applied");
  CHECK(w.west.show("a").find("name=East") != std::string::npos);
  // The master is upgraded, the level raised: now it goes.
  w.restart(w.master, nullptr);
  for (auto& [name, office] : w.offices) office->connect();
  auto raised = w.master.ingest->raise_feature_level(kFeatureLevel);
  REQUIRE(raised);
  REQUIRE(w.master.store.write(raised->result.batch, Sync::yes));
  w.master.feed->add(raised->result.line);
  w.settle();
  CHECK_FALSE(w.east.introduction().by_older_schema);
  CHECK(w.east.write("update a nickname=Ac") == "ok");
  w.settle();
  CHECK(w.east.fate() == "applied");
}

TEST_CASE("SEMANTICS 38: schemas two versions apart, or of one version that differ, are refused",
          "[schema]") {
  Mixed w;
  auto greets = [&](auto&& change) {
    Introduction intro = w.east.introduction();
    change(intro);
    Batch rows;
    auto r = w.master.ingest->begin_session(intro, rows);
    return r ? std::string("taken") : r.error().code;
  };
  uint32_t version = w.schema->version();
  Digest before = w.schema->extends(), other;
  other.bytes[3] = 7;
  auto as = [&](uint32_t v, const Digest& digest, const Digest& extends) {
    return greets([&](Introduction& i) {
      i.schema_version = v;
      i.schema_digest = digest;
      i.schema_extends = extends;
    });
  };
  CHECK(as(version, w.schema->digest(), before) == "taken");
  CHECK(as(version, other, before) == "session.schema");
  CHECK(as(version - 1, before, {}) == "taken");
  CHECK(as(version - 1, other, {}) == "session.schema");
  CHECK(as(version - 2, before, {}) == "session.schema");
  CHECK(as(version + 1, other, w.schema->digest()) == "taken");
  CHECK(as(version + 1, other, before) == "session.schema");
  CHECK(as(version + 2, other, w.schema->digest()) == "session.schema");
}

TEST_CASE("a schema with other indexes rebuilds them when a server opens", "[schema][index]") {
  Mixed w;
  std::string prefix = keys::index_prefix(w.east.replica->state().side, entity_id::kAccount, 90);
  auto rows = [&] {
    size_t n = 0;
    for (auto c = scan_prefix(w.east.store, Table::index, prefix); c->valid(); c->next()) ++n;
    return n;
  };
  CHECK(rows() == 1);
  w.restart(w.east, Schema::built_in());
  CHECK(rows() == 0);
  w.east.connect();
  REQUIRE(w.east.write("create account b @common name=B numberofemployees=9") == "ok");
  w.settle();
  w.restart(w.east, nullptr);
  CHECK(rows() == 2);
  w.east.connect();
}

}  // namespace branchline
