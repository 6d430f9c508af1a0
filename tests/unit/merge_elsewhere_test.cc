// SEMANTICS 6: edits of records that their office does not hold name what their author had read.
#include <catch2/catch.hpp>

#include "tests/support/merge_bench.h"

namespace branchline {
namespace {

struct Elsewhere : MergeBench {
  Author east = author(5), west = author(6);
  Elsewhere() {
    REQUIRE(run(west, "create account a @common name=Acme telephone1=1") == "applied");
    sees_all(west);
  }
  // West writes with a clock ahead, so that only having been seen lets east's value stand.
  void west_writes(const std::string& name) {
    west.clock_ms += 60'000;
    REQUIRE(run(west, "update a name=" + name) == "applied");
    sees_all(west);
  }
};

}  // namespace

TEST_CASE("SEMANTICS 6: what the upstream read showed was seen, whatever the clocks say",
          "[merge]") {
  Elsewhere t;
  t.west_writes("West");
  t.sees_all(t.east);
  t.seen = t.head;
  CHECK(t.run(t.east, "update a name=East") == "applied");
}

TEST_CASE("SEMANTICS 6: what the office applied after the read was not seen in it", "[merge]") {
  Elsewhere t;
  Csn read = t.head;
  t.west_writes("West");
  // Its line has gone on, without that record in it.
  t.sees_all(t.east);
  t.seen = read;
  CHECK(t.run(t.east, "update a name=East") == "overridden: name older");
  t.seen = read;
  CHECK(t.run(t.east, "delete a") == "overridden: concurrent_edit");
}

TEST_CASE("SEMANTICS 6: nobody has read a commit that was not made yet, nor one of another line",
          "[merge]") {
  Elsewhere t;
  t.west_writes("West");
  t.sees_all(t.east);
  t.seen = Csn(t.head.value + 100);
  CHECK(t.run(t.east, "update a name=Future") == "overridden: name older");
  t.seen = t.head;
  t.east.base = Csn(0);
  CHECK(t.run(t.east, "update a name=Other") == "overridden: name older");
}

}  // namespace branchline
