// SEMANTICS 38: what came with a later feature level is used only where the line has committed it,
// and the line commits it only when every server knows it.
#include <catch2/catch.hpp>

#include <fstream>
#include <sstream>

#include "master/ingest/audit.h"
#include "tests/support/merge_bench.h"
#include "tests/support/small_world.h"

namespace branchline {
namespace {

// The built-in schema with a field and an entity of level 2.
std::shared_ptr<const Schema> grown() {
  std::ifstream file(BRANCHLINE_SOURCE_DIR "/common/schema/crm.yaml");
  std::stringstream text;
  text << file.rdbuf();
  std::string yaml = text.str();
  auto insert_before = [&](const std::string& place, const std::string& what) {
    size_t at = yaml.find(place);
    REQUIRE(at != std::string::npos);
    yaml.insert(at, what);
  };
  insert_before("      - {id: 16, name: name, label: Account name",
                "      - {id: 900, name: nickname, label: Nickname, type: text, since: 2}\n");
  insert_before("  - id: 2\n    name: contact\n",
                "  - id: 90\n    name: gadget\n    set: gadgets\n    label: [Gadget, Gadgets]\n"
                "    primary_name: name\n    territory: root\n    since: 2\n    fields:\n"
                "      - {id: 16, name: name, label: Name, type: text}\n    indexes: []\n");
  auto schema = Schema::parse(yaml, "grown.yaml");
  if (!schema) FAIL(schema.error().message);
  return *schema;
}

struct Company : SmallWorld {
  SmallOffice& hq = (*this)["hq"];
  SmallOffice& east = (*this)["east"];
  SmallOffice& west = (*this)["west"];
  Company() : SmallWorld(true, grown()) {
    REQUIRE(hq.write("create account a @common name=Acme") == "ok");
    settle();
  }
  ~Company() { CHECK(audit() == std::vector<std::string>{}); }

  // As if version 0.1 had begun the line (empty), or another version had raised it.
  void set_level(const std::string& level) {
    RecordOp op;
    op.record = topology_key();
    std::string payload = level.empty() ? "" : encode_integer(std::stoll(level));
    Value value{level.empty() ? ValueType::null : ValueType::integer, payload};
    op.cells.push_back({schema->entity(entity_id::kTopology)->field("featurelevel")->id,
                        CellOpKind::set,
                        value,
                        {}});
    REQUIRE(master.commit({op}) == "applied");
  }
  std::string raise(uint32_t level) {
    auto raised = master.ingest->raise_feature_level(level);
    if (!raised) return raised.error().code + ": " + raised.error().message;
    REQUIRE(master.store.write(raised->result.batch, Sync::yes));
    master.feed->add(raised->result.line);
    return "raised";
  }
  // A branch of another version greets.
  std::string greets(SmallOffice& office, uint32_t level) {
    Introduction intro = office.introduction();
    intro.feature_level = level;
    Batch rows;
    auto r = master.ingest->begin_session(intro, rows);
    REQUIRE(master.store.write(rows, Sync::yes));
    return r ? "taken" : r.error().code;
  }
};

bool says(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

}  // namespace

TEST_CASE("SEMANTICS 38: a fresh line begins at the newest level", "[level]") {
  Company w;
  CHECK(w.master.ingest->directory().feature_level() == kFeatureLevel);
  CHECK(w.east.replica->feature_level() == kFeatureLevel);
  CHECK(w.east.write("update a nickname=Ac") == "ok");
  CHECK(w.east.write("create gadget g @common name=G") == "ok");
  w.settle();
  CHECK(w.east.fate() == "applied");
}

TEST_CASE("SEMANTICS 38: on a line of level 1 nobody writes what came later", "[level]") {
  Company w;
  w.set_level("");
  CHECK(w.master.ingest->directory().feature_level() == 1);
  // Drafted by an office that has not heard of it, as by one that is broken: the master decides.
  REQUIRE(w.east.write("update a nickname=Ac") == "ok");
  MutationId field = w.east.last.id;
  REQUIRE(w.east.write("create gadget g @common name=G") == "ok");
  MutationId entity = w.east.last.id;
  w.settle();
  CHECK(w.east.fate_of(field) == "rejected: not_activated");
  CHECK(w.east.fate_of(entity) == "rejected: not_activated");
  for (auto& [name, office] : w.offices) {
    INFO(name);
    CHECK(office->replica->feature_level() == 1);
    CHECK(office->write("update a nickname=Ac") == "write.not_activated");
    CHECK(office->write("create gadget g @common name=G") == "write.not_activated");
    CHECK(office->write("update a name=" + name) == "ok");
  }
  w.settle();
  CHECK(w.west.fate() != "pending");
  // Told again at every start and with every snapshot.
  w.east.crash();
  w.east.start();
  CHECK(w.east.replica->feature_level() == 1);
  w.east.connect();
  w.master.crash();
  w.master.start();
  CHECK(w.master.ingest->directory().feature_level() == 1);
  for (auto& [name, office] : w.offices) office->connect();
  w.set_level("2");
  w.east.take_snapshot();
  CHECK(w.east.replica->feature_level() == 2);
  CHECK(w.east.write("update a nickname=Ac") == "ok");
  CHECK(w.west.write("update a nickname=Ac") == "write.not_activated");
  w.settle();
  CHECK(w.east.fate() == "applied");
  CHECK(w.west.write("update a nickname=Ac2") == "ok");
  w.settle();
}

TEST_CASE("SEMANTICS 38: the level is raised once every branch knows it", "[level]") {
  Company w;
  CHECK(says(w.raise(2), "feature_level.set"));
  w.set_level("");
  w.settle();
  REQUIRE(w.greets(w.east, 1) == "taken");
  std::string refused = w.raise(2);
  CHECK(says(refused, "feature_level.server"));
  CHECK(says(refused, "east runs a version that knows level 1"));
  CHECK_FALSE(says(refused, "west"));
  CHECK(w.master.ingest->directory().feature_level() == 1);
  // What branches said is known after a start too.
  w.master.crash();
  w.master.start();
  CHECK(says(w.raise(2), "east runs a version that knows level 1"));
  for (auto& [name, office] : w.offices) office->connect();
  CHECK(says(w.raise(3), "feature_level.newer"));
  CHECK(w.raise(2) == "raised");
  CHECK(w.east.write("update a nickname=Ac") == "write.not_activated");
  w.settle();
  CHECK(w.east.write("update a nickname=Ac") == "ok");
  w.settle();
  CHECK(w.east.fate() == "applied");
  // From now on an older program gets nothing that it could not read.
  CHECK(w.greets(w.west, 1) == "session.feature_level");
  CHECK(w.greets(w.west, 2) == "taken");
  w.west.connect();
}

TEST_CASE("SEMANTICS 38: a branch that never connected holds up a raise", "[level]") {
  SmallWorld w(false);
  RecordOp op;
  op.record = topology_key();
  op.cells.push_back(
      {w.schema->entity(entity_id::kTopology)->field("featurelevel")->id, CellOpKind::set, {}, {}});
  REQUIRE(w.master.commit({op}) == "applied");
  for (const char* name : {"hq", "east"}) w[name].connect();
  auto refused = w.master.ingest->raise_feature_level(2);
  REQUIRE_FALSE(refused);
  CHECK(says(refused.error().message, "west has not connected"));
  CHECK_FALSE(says(refused.error().message, "east"));
  w["west"].connect();
  CHECK(w.master.ingest->raise_feature_level(2));
}

TEST_CASE("SEMANTICS 38: a program does not touch a line beyond the levels that it knows",
          "[level]") {
  Company w;
  w.set_level(std::to_string(kFeatureLevel + 1));
  auto code = [](auto&& act) {
    try {
      act();
      return std::string("done");
    } catch (const std::exception& e) {
      return std::string(e.what());
    }
  };
  std::string before = w.east.show("a");
  CHECK(says(code([&] { w.east.fetch(); }), "feature_level.newer"));
  CHECK(w.east.show("a") == before);
  CHECK(w.east.replica->feature_level() == kFeatureLevel);
  CHECK(says(code([&] { w.east.take_snapshot(); }), "feature_level.newer"));
  w.master.crash();
  CHECK(says(code([&] { w.master.start(); }), "feature_level.newer"));
  // The newer version would open it; this test ends here.
}

TEST_CASE("SEMANTICS 38: effects beyond the level reach nobody either", "[level]") {
  MergeBench bench;
  auto author = bench.author(2);
  REQUIRE(bench.run(author, "create account a @common name=A") == "applied");
  // Every kind has its row, and those of version 0.1 theirs.
  for (auto kind : {RecordOpKind::create, RecordOpKind::put_new, RecordOpKind::revive})
    CHECK(level_of(kind) == 1);
  CHECK(level_of(RecordOpKind::merge) == 2);
  CHECK(level_of(CellOpKind::correct) == 1);
  bench.merger.set_level(1);
  Mutation m;
  m.id = {OriginId(2), author.incarnation, Lane::interactive, Seq(9)};
  m.order = Order(9);
  RecordOp& op = m.ops.emplace_back();
  op.kind = RecordOpKind::merge;
  op.record = bench.names.key("a", "account");
  auto decision = bench.merger.run(m, Csn(9));
  REQUIRE(decision);
  CHECK(decision->fate == Fate::rejected);
  CHECK(decision->outcomes.at(0).reason == Reason::not_activated);
}

TEST_CASE("what was set before the line divided stocks is not lost when it is shipped afterwards",
          "[level]") {
  Company w;
  w.set_level("");
  w.settle();
  REQUIRE(w.hq.write("create product p name=P quantityonhand=50") == "ok");
  w.settle();
  // Drafted at level 1, pending while the level is raised and shares are given.
  REQUIRE(w.east.write("create product q name=Q quantityonhand=7") == "ok");
  MutationId created = w.east.last.id;
  REQUIRE(w.east.write("update p name=East quantityonhand=60") == "ok");
  REQUIRE(w.west.write("update p description=West quantityonhand=3") == "ok");
  REQUIRE(w.raise(2) == "raised");
  w.master.grant();
  std::string shared = w.master.show("p");
  INFO(shared);
  REQUIRE(says(shared, "quantityonhand=50{"));
  w.settle();
  CHECK(w.east.fate_of(created) == "applied");
  CHECK(w.east.fate() == "applied");
  CHECK(says(w.master.show("q"), "quantityonhand=7{"));  // divided at once
  // The bound holds: three is less than what offices may sell by now.
  CHECK(w.west.fate() == "overridden: quantityonhand share_exceeded");
  CHECK(says(w.master.show("p"), "name=East"));
  CHECK(says(w.master.show("p"), "description=West"));
  CHECK(says(w.master.show("p"), "quantityonhand=60{"));
}

}  // namespace branchline
