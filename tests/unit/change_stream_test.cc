// The change stream when nothing happens: alive, quiet and cheap. (What it tells when something
// does: tests/contract/office_sync_test.cc, with real servers and the real fifteen seconds.)
#include <catch2/catch.hpp>

#include "tests/support/live_office.h"

namespace branchline {
namespace {

const std::string kBeat = ": still here\n\n";

// A token of a user who is no administrator, known at all offices.
void make_token(SmallWorld& world, const std::string& name, const std::string& rest) {
  std::string text = "create systemuser user_" + name + " fullname=U isadministrator=false; " +
                     "create apitoken token_" + name + " " + rest + " systemuserid=user_" + name +
                     " tokenhash=" + token_hash(name);
  REQUIRE(world.master.commit(world.names.parse_all(text, world.master.ingest->workspace(),
                                                    world.arena)) == "applied");
  world.settle();
}

struct World : SmallWorld {
  World() {
    make_token(*this, "brief", "@east access=1 expireson=" + format_instant(kWorldMs + 14'500));
  }
};

struct Listening {
  World world;
  LiveOffice office{world["east"]};
  FixedClock& clock = world["east"].clock;

  // A second of the server's: it pulses the hub (branch_server.cc).
  void pass(int64_t ms) {
    clock.ms += ms;
    office.changes.pulse();
    office.poll();
  }
  void create(const std::string& name) {
    HttpResponse r =
        office.request("POST", std::string(LiveOffice::kData) + "accounts",
                       "{\"name\":\"" + name + "\",\"Branchline.territory\":\"east\"}");
    INFO(r.body);
    REQUIRE(r.status == 204);
  }
};

}  // namespace

TEST_CASE("changes: fifteen silent seconds bring a sign of life, no sooner and no later",
          "[changes]") {
  Listening w;
  LiveOffice::Stream stream(w.office, "east");
  REQUIRE(stream.answer.status == 200);
  CHECK_THAT(stream.take(), Catch::Contains("event: hello") && Catch::Contains("event: sync"));
  for (int second = 1; second < 15; ++second) w.pass(1000);
  w.pass(999);
  CHECK(stream.take().empty());
  w.pass(1);
  CHECK(stream.take() == kBeat);
  // And so on, one each time; a comment carries no id, so a client resumes where it was.
  for (int round = 0; round < 3; ++round) {
    for (int second = 1; second < 15; ++second) w.pass(1000);
    CHECK(stream.take().empty());
    w.pass(1000);
    CHECK(stream.take() == kBeat);
  }
  CHECK_FALSE(stream.ended);
}

TEST_CASE("changes: whatever is told counts as a sign of life", "[changes]") {
  Listening w;
  LiveOffice::Stream stream(w.office, "east");
  stream.take();
  SECTION("a change") {
    w.pass(10'000);
    w.create("News");
    CHECK_THAT(stream.take(), Catch::Contains("event: change") && Catch::Contains("\"pending\":1"));
  }
  SECTION("the link's state") {
    w.pass(10'000);
    w.office.link.connected = true;
    w.pass(1000);
    CHECK_THAT(stream.take(), Catch::Contains("\"connected\":true"));
  }
  for (int second = 1; second < 15; ++second) w.pass(1000);
  CHECK(stream.take().empty());
  w.pass(1000);
  CHECK(stream.take() == kBeat);
}

TEST_CASE("changes: what a reader may not know of is not told", "[changes]") {
  SmallWorld world;
  make_token(world, "narrow", "@west access=1");
  LiveOffice office(world["hq"]);
  FixedClock& clock = world["hq"].clock;
  LiveOffice::Stream stream(office, "narrow");
  REQUIRE(stream.answer.status == 200);
  CHECK_THAT(stream.take(), Catch::Contains("event: hello"));
  // A change in the east each second. What he may know of it, that a change waits to be sent, he is
  // told.
  auto eastern = [&] {
    HttpResponse made = office.request("POST", std::string(LiveOffice::kData) + "accounts",
                                       R"({"name":"E","Branchline.territory":"east"})");
    REQUIRE(made.status == 204);
    clock.ms += 1000;
    office.changes.pulse();
    return stream.take();
  };
  std::string told;
  for (int second = 0; second < 20; ++second) told += eastern();
  CHECK(told.find("event: change") == std::string::npos);
  CHECK(told.find("event: sync") != std::string::npos);
  // What lies in his territory he learns.
  HttpResponse made = office.request("POST", std::string(LiveOffice::kData) + "accounts",
                                     R"({"name":"W","Branchline.territory":"west"})");
  REQUIRE(made.status == 204);
  CHECK_THAT(stream.take(), Catch::Contains("event: change"));
}

TEST_CASE("changes: a stream ends with its token, its client and its server", "[changes]") {
  Listening w;
  auto life = [&](LiveOffice::Stream& stream) {
    for (int second = 1; second < 15; ++second) w.pass(1000);
    CHECK_FALSE(stream.ended);
    stream.take();
    w.pass(1000);
  };
  SECTION("the token expires in silence: no record changes, the sign of life looks") {
    LiveOffice::Stream stream(w.office, "brief");
    REQUIRE(stream.answer.status == 200);
    life(stream);
    CHECK(stream.ended);
    CHECK(stream.take().empty());
    CHECK(w.office.request("GET", "/api/changes", {}, {{"Authorization", "Bearer brief"}}).status ==
          401);
  }
  SECTION("the client is gone") {
    LiveOffice::Stream stream(w.office, "east");
    stream.client_gone = true;
    life(stream);
    CHECK(stream.ended);
  }
  SECTION("the server stops") {
    LiveOffice::Stream stream(w.office, "east");
    w.office.changes.stop();
    w.office.poll();
    CHECK(stream.ended);
  }
}

}  // namespace branchline
