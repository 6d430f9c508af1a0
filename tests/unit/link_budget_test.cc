// SEMANTICS 32: what may be sent over a line, of which lane, and when.
#include <catch2/catch.hpp>

#include "replication/session/link_budget.h"

namespace branchline {
namespace {

constexpr int64_t kHourMs = 3'600'000;
constexpr int64_t kDayMs = 24 * kHourMs;
// 2026-01-15 and 2026-07-15, midnight UTC.
constexpr int64_t kWinter = 1'768'435'200'000;
constexpr int64_t kSummer = 1'784'073'600'000;

TEST_CASE("hours are those of their place, also over midnight and in summer", "[lanes]") {
  auto utc = DailyHours::parse("19:00-07:00");
  REQUIRE(utc);
  CHECK(utc->open(kWinter));
  CHECK(utc->open(kWinter + 7 * kHourMs - 1));
  CHECK(!utc->open(kWinter + 7 * kHourMs));
  CHECK(!utc->open(kWinter + 19 * kHourMs - 1));
  CHECK(utc->open(kWinter + 19 * kHourMs));

  auto berlin = DailyHours::parse("08:00-09:00 Europe/Berlin");
  REQUIRE(berlin);
  CHECK(berlin->open(kWinter + 7 * kHourMs));  // 08:00 there
  CHECK(!berlin->open(kWinter + 8 * kHourMs));
  CHECK(berlin->open(kSummer + 6 * kHourMs));
  CHECK(!berlin->open(kSummer + 7 * kHourMs));

  auto before_1970 = DailyHours::parse("23:00-24:00");
  CHECK(!before_1970);
  CHECK(DailyHours::parse("23:00-23:30")->open(-kHourMs));
  for (const char* wrong : {"", "19:00", "19:00-19:00", "25:00-01:00", "19:60-20:00", "9:00-10:00",
                            "19:00-07:00 Europe/Atlantis", "19:00 - 07:00", "19:00-07:00 "}) {
    INFO(wrong);
    CHECK(!DailyHours::parse(wrong));
  }
}

TEST_CASE("a line at rest takes a piece of bulk work, then people's work alone", "[lanes]") {
  LinkBudget line({.bytes_per_s = 1'000'000});
  size_t piece = line.bulk_piece(1 << 20);
  CHECK(piece == 9'200);  // 10 ms of 92 % of the rate
  CHECK(line.hold(Lane::bulk, 0, 0) == SendHold::no);
  line.sent(piece, 0, 0);
  CHECK(line.hold(Lane::bulk, 0, 0) == SendHold::rate);
  CHECK(line.hold(Lane::interactive, 0, 0) == SendHold::no);
  CHECK(line.busy_us(4'000) == 5'882);  // 9,586 bytes in 7 packets, at 97 % of the rate
  CHECK(line.hold(Lane::bulk, 10'000, 0) == SendHold::no);

  // Interactive work may run 50 ms ahead of the line, no further.
  line.sent(92'000, 10'000, 0);
  CHECK(line.hold(Lane::interactive, 10'000, 0) == SendHold::rate);
  CHECK(line.hold(Lane::interactive, 60'000, 0) == SendHold::no);
  // A long rest saves nothing up.
  CHECK(line.busy_us(10'000'000) == 0);
  line.sent(9'200, 10'000'000, 0);
  CHECK(line.hold(Lane::bulk, 10'000'000, 0) == SendHold::rate);
  // People's edits are small, and what carries them counts.
  for (int i = 0; i < 100; ++i) line.sent(100, 20'000'000, 0);
  CHECK(line.busy_us(20'000'000) == 17'900);
}

TEST_CASE("a piece of bulk work suits the thinnest line that it goes down", "[lanes]") {
  // Head office has no line to wait for; its import goes down to the offices that hold what it
  // changes, and what was decided as one piece is before people's edits as one piece.
  Topology topology;
  topology.servers = {{.name = "master", .kind = ServerKind::master, .site = "head"},
                      {.name = "hq", .site = "head", .upstream = "master"},
                      {.name = "office", .site = "north", .upstream = "hub"},
                      {.name = "hub", .site = "south", .upstream = "master"},
                      {.name = "island", .site = "island", .upstream = "master"}};
  for (auto& s : topology.servers) s.territories = {s.name == "island" ? "sea" : "land"};
  topology.links = {{.from = "head", .to = "south", .rate_bits = 16'000'000},
                    {.from = "south", .to = "north", .rate_bits = 8'000'000},
                    {.from = "head", .to = "island", .rate_bits = 64'000}};
  auto policy = [&](const char* name) { return line_policy(topology, *topology.server(name)); };
  CHECK(policy("hq").bytes_per_s == 0);
  CHECK(LinkBudget(policy("hq")).bulk_piece(1 << 20) == 9'200);
  CHECK(LinkBudget(policy("hq")).hold(Lane::bulk, 0, 0) == SendHold::no);
  CHECK(policy("hub").bytes_per_s == 2'000'000);
  CHECK(LinkBudget(policy("hub")).bulk_piece(1 << 20) == 9'200);
  CHECK(policy("office").bytes_per_s == 1'000'000);
  CHECK(LinkBudget(policy("island")).bulk_piece(1 << 20) == 4'096);  // the least there is
  topology.links.clear();
  CHECK(LinkBudget(policy("hq")).bulk_piece(1 << 20) == (1 << 20));
}

TEST_CASE("a line of which nothing is known holds nothing back", "[lanes]") {
  LinkBudget line;
  line.sent(1 << 30, 0, kWinter);
  CHECK(line.hold(Lane::bulk, 0, kWinter) == SendHold::no);
  CHECK(line.bulk_piece(77) == 77);
}

TEST_CASE("the day's bytes: bulk leaves a fifth to people, and midnight renews", "[lanes]") {
  LinkBudget line({.bytes_per_day = 1'000});
  line.sent(799, 0, kWinter);
  CHECK(line.hold(Lane::bulk, 0, kWinter) == SendHold::no);
  line.sent(1, 0, kWinter);
  CHECK(line.hold(Lane::bulk, 0, kWinter) == SendHold::budget);
  CHECK(line.hold(Lane::bulk, 0, kWinter, true) == SendHold::no);  // people wait for it
  CHECK(line.hold(Lane::interactive, 0, kWinter) == SendHold::no);
  line.sent(200, 0, kWinter + kDayMs - 1);
  CHECK(line.hold(Lane::interactive, 0, kWinter + kDayMs - 1) == SendHold::budget);
  // A clock set back does not give the day's bytes twice, nor does a restart.
  CHECK(line.hold(Lane::interactive, 0, kWinter - 1) == SendHold::budget);
  LinkBudget after_restart({.bytes_per_day = 1'000});
  after_restart.restore_day(line.encode_day());
  CHECK(after_restart.hold(Lane::interactive, 0, kWinter) == SendHold::budget);
  CHECK(after_restart.hold(Lane::bulk, 0, kWinter + kDayMs) == SendHold::no);
  after_restart.restore_day("damaged");
  CHECK(after_restart.day().bytes == 0);
}

TEST_CASE("bulk work waits for its hours unless people's edits wait for it", "[lanes]") {
  LinkBudget line({.bulk_hours = DailyHours::parse("19:00-07:00")});
  int64_t noon = kWinter + 12 * kHourMs;
  CHECK(line.hold(Lane::bulk, 0, noon) == SendHold::hours);
  CHECK(line.hold(Lane::bulk, 0, noon, true) == SendHold::no);
  CHECK(line.hold(Lane::interactive, 0, noon) == SendHold::no);
  CHECK(line.hold(Lane::bulk, 0, kWinter) == SendHold::no);
}

TEST_CASE("the forecast of a lane's end knows hours, budgets and midnight", "[lanes]") {
  int64_t noon = kWinter + 12 * kHourMs;
  LinkBudget rate({.bytes_per_s = 100'000});
  CHECK(rate.drain_s(Lane::bulk, 0, 0, noon) == 0);
  CHECK(rate.drain_s(Lane::interactive, 920'000, 0, noon) == 10);
  // A line that proved slower than the topology says counts as it is.
  CHECK(rate.drain_s(Lane::interactive, 920'000, 46'000, noon) == 20);
  CHECK(LinkBudget().drain_s(Lane::bulk, 1, 0, noon) == std::nullopt);

  LinkBudget night({.bytes_per_s = 100'000, .bulk_hours = DailyHours::parse("19:00-07:00")});
  CHECK(night.drain_s(Lane::bulk, 920'000, 0, noon) == 7 * 3600 + 10);
  CHECK(night.drain_s(Lane::interactive, 920'000, 0, noon) == 10);

  LinkBudget day({.bytes_per_s = 100'000, .bytes_per_day = 1'000'000});
  // 800 kB today, 800 kB tomorrow, the rest a day later.
  CHECK(day.drain_s(Lane::bulk, 1'700'000, 0, noon) == (12 + 24) * 3600 + 1);
  LinkBudget never({.bytes_per_s = 100'000, .bytes_per_day = 100});
  CHECK(never.drain_s(Lane::bulk, 1'000'000, 0, noon) == std::nullopt);
}

}  // namespace
}  // namespace branchline
