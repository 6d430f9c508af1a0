// SEMANTICS 25 at real stores: joins that go on where they broke off.
#include <catch2/catch.hpp>

#include "tests/support/filled_world.h"

namespace branchline {
namespace {

constexpr size_t kSmallChunk = 800;

TEST_CASE("SEMANTICS 25: a join goes on at the last good chunk, over a restart too",
          "[snapshot][resume]") {
  Filled w;
  SmallOffice& e = w["east"];
  REQUIRE(e.write("update a0 name=Pending") == "ok");
  w.ask_anew(e);
  auto source = std::shared_ptr<SnapshotSource>(e.open_snapshot(kSmallChunk, 77));
  REQUIRE(e.replica->begin_seed(source->head(), writer(e)));
  REQUIRE(take(e, *source, 3) == 3);
  // The master has sent two more, which never arrive.
  REQUIRE(source->chunk(3));
  REQUIRE(source->chunk(4));
  SnapshotShelf shelf;
  shelf.put(source, 0);

  // Nothing happens to it; it ends in order; it dies, and of the three chunks one was on its disk.
  int how = GENERATE(0, 1, 2);
  uint64_t installed = how == 2 ? 1 : 3;
  if (how == 2) {
    e.crash(2);
    e.start();
  }
  // The office works on meanwhile, and the line goes on.
  REQUIRE(e.write("update a3 name=Meanwhile") == "ok");
  REQUIRE(w["hq"].write("update a0 description=later") == "ok");
  w["hq"].ship();
  if (how == 1) {
    e.crash(e.store.unsynced());
    e.start();
  }
  Introduction intro = e.introduction();
  CHECK(intro.join.snapshot == 77);
  CHECK(intro.join.chunks == installed);
  CHECK(intro.reseed);
  e.registration = w.master.register_branch(intro);
  REQUIRE(e.registration.join);
  REQUIRE(e.store.write(*e.replica->welcome(e.registration), Sync::yes));
  auto kept = shelf.take(e.registration.origin, SnapshotShelf::kKeepUs - 1);
  REQUIRE(kept);
  auto goes_on = kept->resume(intro.join, e.scope(), {}, intro.pending);
  REQUIRE(goes_on);
  REQUIRE(*goes_on);
  CHECK(kept->head().first_chunk == installed);
  REQUIRE(e.replica->begin_seed(kept->head(), writer(e)));
  CHECK(e.replica->seeded_chunks() == installed);
  size_t rest = take(e, *kept);
  CHECK(rest > 3);
  CHECK(installed + rest == kept->end().chunks);  // none came twice
  e.end_join(kept->end());
  CHECK(e.introduction().join.snapshot == 0);
  CHECK_FALSE(e.introduction().reseed);
  CHECK(w.whole());
  CHECK(e.show("a0").find("name=Pending") != std::string::npos);
  CHECK(e.show("a3").find("name=Meanwhile") != std::string::npos);
  CHECK(w.master.show("a3").find("name=Meanwhile") != std::string::npos);
}

TEST_CASE("a snapshot is not gone on with where it is another", "[snapshot][resume]") {
  Filled w;
  SmallOffice& e = w["east"];
  w.ask_anew(e);
  auto source = e.open_snapshot(kSmallChunk, 77);
  REQUIRE(e.replica->begin_seed(source->head(), writer(e)));
  REQUIRE(take(e, *source, 2) == 2);
  Introduction intro = e.introduction();
  JoinProgress join = intro.join;
  FeedScope scope = e.scope();
  std::set<TerritoryId> held;
  SECTION("another number") { join.snapshot = 78; }
  SECTION("none") { join.snapshot = 0; }
  SECTION("chunks that differ") { join.chain.bytes[3] ^= 1; }
  SECTION("chunks that were never sent") { join.chunks = 3; }
  SECTION("other territories") { scope.territories.insert(TerritoryId(4)); }
  SECTION("another office") { scope.origin = OriginId(9); }
  SECTION("a part where all was asked for") { held.insert(TerritoryId(2)); }
  auto goes_on = source->resume(join, scope, held, intro.pending);
  REQUIRE(goes_on);
  CHECK_FALSE(*goes_on);
}

TEST_CASE("a snapshot that broke off is kept for a while, one per branch", "[snapshot][resume]") {
  Filled w;
  SmallOffice &e = w["east"], &o = w["west"];
  SnapshotShelf shelf;
  auto snapshot = [](SmallOffice& office) {
    return std::shared_ptr<SnapshotSource>(office.open_snapshot(kSmallChunk, 5));
  };
  OriginId east = e.registration.origin, west = o.registration.origin;
  shelf.put(snapshot(e), 0);
  shelf.put(snapshot(o), 10);
  CHECK(shelf.lowest() == w.master.feed->head().csn);
  CHECK(shelf.size() == 2);
  shelf.put(snapshot(e), 20);
  CHECK(shelf.size() == 2);
  CHECK(shelf.take(east, 30));
  CHECK_FALSE(shelf.take(east, 30));
  CHECK_FALSE(shelf.take(west, 10 + SnapshotShelf::kKeepUs));
  CHECK(shelf.size() == 0);
  CHECK_FALSE(shelf.lowest());
}

}  // namespace
}  // namespace branchline
