// A store of another kind or format is refused before anything is read from it, and nothing is
// written to it.
#include <catch2/catch.hpp>

#include "branch/replica/replica.h"
#include "common/store/identity.h"
#include "common/store/keyspace.h"
#include "common/store/mem_store.h"
#include "master/ingest/ingest.h"
#include "tests/support/fixed_clock.h"

namespace branchline {
namespace {

MemStore store_with(std::string_view identity, bool state = false) {
  MemStore store;
  Batch batch;
  if (!identity.empty()) batch.put(Table::meta, keys::meta_identity(), identity);
  if (state) batch.put(Table::meta, keys::meta_state(), "x");
  if (!batch.empty()) REQUIRE(store.write(batch, Sync::yes));
  return store;
}

Error refused(const MemStore& store, StoreRole role = StoreRole::branch) {
  auto ok = check_store_identity(store, role, "data/store");
  return ok ? Error{ErrorKind::invalid, "accepted", ""} : ok.error();
}

TEST_CASE("store identity: its own passes, and an empty store does") {
  CHECK(refused(store_with("")).code == "accepted");
  CHECK(refused(store_with(store_identity(StoreRole::branch), true)).code == "accepted");
  CHECK(refused(store_with(store_identity(StoreRole::master)), StoreRole::master).code ==
        "accepted");
}

TEST_CASE("store identity: a newer format names both versions and the mend") {
  auto e = refused(store_with("branchline branch 7"));
  CHECK(e.code == "store.newer_format");
  CHECK(e.message ==
        "data/store is written in store format 7, this program reads format " +
            std::to_string(kStoreFormat) +
            ": start the newer version of Branchline that wrote it (nothing was changed)");
}

TEST_CASE("store identity: an older format than it reads names the way") {
  auto e = refused(store_with("branchline branch 0"));
  CHECK(e.code == "store.older_format");
  CHECK(e.message.find("format 0") != std::string::npos);
  CHECK(e.message.find("start a version in between first") != std::string::npos);
}

TEST_CASE("store identity: another server's directory is named") {
  auto e = refused(store_with("branchline master 1"));
  CHECK(e.code == "store.other_role");
  CHECK(e.message.find("a master server") != std::string::npos);
  // Whatever its format: the role is the more useful answer.
  CHECK(refused(store_with("branchline master 9")).code == "store.other_role");
}

TEST_CASE("store identity: damage is told from absence") {
  for (const char* row :
       {"x", "branchline", "branchline branch", "branchline branch ", "branchline branch 1x",
        "branchline branch -1", "branchline branch 99999999999", "other branch 1", " branch 1"}) {
    INFO(row);
    auto e = refused(store_with(row));
    CHECK(e.code == "store.identity");
    CHECK(e.kind == ErrorKind::corrupt);
  }
  CHECK(refused(store_with("", true)).code == "store.identity");
}

TEST_CASE(
    "store identity: replica and ingest check it when they open, and write it when they begin") {
  FixedClock clock(1'795'341'600'000);
  SeededRandom random(1);
  Batch start;
  MemStore newer = store_with("branchline branch 2");
  auto replica = Replica::open(newer, Schema::built_in(), clock, random, start);
  REQUIRE_FALSE(replica);
  CHECK(replica.error().code == "store.newer_format");
  CHECK(start.empty());
  MemStore newer_master = store_with("branchline master 2");
  auto ingest = Ingest::open(newer_master, Schema::built_in(), clock, random, nullptr, start);
  REQUIRE_FALSE(ingest);
  CHECK(ingest.error().code == "store.newer_format");

  MemStore fresh;
  Batch rows;
  REQUIRE(Replica::open(fresh, Schema::built_in(), clock, random, rows));
  REQUIRE(fresh.write(rows, Sync::yes));
  CHECK(fresh.get(Table::meta, keys::meta_identity()).value() == store_identity(StoreRole::branch));
  CHECK(refused(fresh).code == "accepted");
  CHECK(refused(fresh, StoreRole::master).code == "store.other_role");
}

}  // namespace
}  // namespace branchline
