// What is decided costs a look at the outbox nothing. A store keeps a mark for each erased row
// until it compacts, and a walk that begins before them goes over each: an office that had shipped
// 20,000 rows did so for every frame it received, and fell seconds behind.
#include <catch2/catch.hpp>

#include <set>
#include <utility>

#include "branch/replica/replica.h"
#include "common/base/limits.h"
#include "tests/support/must.h"
#include "tests/support/small_world.h"

namespace branchline {
namespace {

// Walks over the marks that erased rows leave, as a store does that has not compacted yet.
class Marked : public StoreView {
 public:
  explicit Marked(const StoreView& below) : below_(below) {}
  // Rows that are there now; those which are gone later are walked over.
  void mark() {
    for (auto rows = below_.scan(Table::outbox, {}, {}); rows->valid(); rows->next())
      marks_.emplace(rows->key());
  }
  size_t walked() { return std::exchange(walked_, 0); }

  Result<std::optional<std::string>> get(Table table, std::string_view key) const override {
    return below_.get(table, key);
  }
  std::unique_ptr<Cursor> scan(Table table, std::string_view begin,
                               std::string_view end) const override {
    auto cursor = below_.scan(table, begin, end);
    if (table == Table::outbox) {
      // Through the first row, or through all that is within the bounds.
      std::string last(cursor->valid() ? cursor->key() : end);
      for (auto m = marks_.lower_bound(std::string(begin)); m != marks_.end(); ++m) {
        if (!last.empty() && *m >= last) break;
        ++walked_;
      }
    }
    return cursor;
  }
  std::unique_ptr<Cursor> scan_back(Table table, std::string_view begin,
                                    std::string_view end) const override {
    return below_.scan_back(table, begin, end);
  }

 private:
  const StoreView& below_;
  std::set<std::string> marks_;
  mutable size_t walked_ = 0;
};

TEST_CASE("outbox: a new connection does not walk over what is decided", "[office][lanes]") {
  SmallWorld world;
  SmallOffice& east = world["east"];
  Marked store(east.store);
  ReplicaOutbox outbox(store, east.replica->state().side);
  auto pending = [&](Lane lane) {
    PendingRef start;
    start.lane = lane;
    return must(outbox.read(start, limits::kMaxBlockMutations, limits::kTargetBlockBytes))
        .mutations.size();
  };
  int accounts = 0;
  auto write = [&](Lane lane) {
    east.lane = lane;
    std::string name = "a" + std::to_string(++accounts);
    REQUIRE(east.write("create account " + name + " @east name=N") == "ok");
  };
  for (int i = 0; i < 10; ++i) {
    write(Lane::interactive);
    write(Lane::bulk);
  }
  store.mark();
  CHECK(pending(Lane::interactive) == 10);
  CHECK(pending(Lane::bulk) == 10);
  world.settle();

  store.walked();
  SECTION("with nothing pending") {
    CHECK(pending(Lane::interactive) == 0);
    CHECK(pending(Lane::bulk) == 0);
    CHECK(must(east.replica->oldest_pending_ms()) == 0);
    CHECK(store.walked() == 0);
  }
  SECTION("with new work in either lane") {
    write(Lane::interactive);
    CHECK(pending(Lane::interactive) == 1);
    CHECK(pending(Lane::bulk) == 0);
    write(Lane::bulk);
    CHECK(pending(Lane::interactive) == 1);
    CHECK(pending(Lane::bulk) == 1);
    CHECK(store.walked() == 0);
  }
  SECTION("of an earlier start, with new work since") {
    write(Lane::interactive);
    write(Lane::bulk);
    east.start();
    east.connect();
    write(Lane::interactive);
    CHECK(pending(Lane::interactive) == 1);  // a slice is of one start
    CHECK(pending(Lane::bulk) == 1);
    CHECK(store.walked() == 0);
    world.settle();
    CHECK(pending(Lane::interactive) == 0);
    CHECK(pending(Lane::bulk) == 0);
    CHECK(store.walked() == 0);
  }
}

}  // namespace
}  // namespace branchline
