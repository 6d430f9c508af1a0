#include "tools/wan/link.h"

#include <algorithm>
#include <chrono>
#include <deque>
#include <map>
#include <vector>

#include <catch2/catch.hpp>

#include "common/base/random.h"

using namespace std::chrono_literals;
using branchline::SeededRandom;
using branchline::wan::Arrival;
using branchline::wan::Ending;
using branchline::wan::Fate;
using branchline::wan::FlowId;
using branchline::wan::kMaxFlightBytes;
using branchline::wan::kPacketBytes;
using branchline::wan::LineDirection;
using branchline::wan::LineSettings;
using branchline::wan::Nanos;

namespace {

constexpr FlowId kA{1};
constexpr FlowId kB{2};
constexpr size_t kQueue = 256 * 1024;
// One packet of 1500 bytes takes one millisecond.
constexpr uint64_t kPacketPerMs = 12'000'000;

struct Seen {
  Nanos at;
  Arrival arrival;
};

// Wakes exactly when the line asks for it.
std::vector<Seen> run(LineDirection& line, Nanos from, Nanos until) {
  std::vector<Seen> seen;
  for (Nanos now = from;;) {
    while (auto a = line.ready(now)) seen.push_back({now, *a});
    const auto due = line.next_due();
    if (!due || *due > until) return seen;
    REQUIRE(*due > now);
    now = *due;
  }
}

size_t bytes_of(const std::vector<Seen>& seen, FlowId flow) {
  size_t sum = 0;
  for (const auto& s : seen) sum += s.arrival.flow == flow ? s.arrival.bytes : 0;
  return sum;
}

LineDirection line_with(LineSettings settings, std::initializer_list<FlowId> flows) {
  LineDirection line(settings);
  for (FlowId f : flows) line.open(f);
  return line;
}

}  // namespace

TEST_CASE("wan link: a packet arrives after serializing and delay, not a nanosecond before") {
  auto line = line_with({40ms, kPacketPerMs, kQueue}, {kA});
  line.enqueue(kA, kPacketBytes, 7ms);
  REQUIRE(line.next_due() == Nanos(48ms));
  REQUIRE_FALSE(line.ready(48ms - 1ns));
  const auto arrival = line.ready(48ms);
  REQUIRE(arrival);
  CHECK(arrival->flow == kA);
  CHECK(arrival->bytes == kPacketBytes);
  CHECK(arrival->ending == Ending::none);
  CHECK_FALSE(line.next_due());
  CHECK(line.in_flight_bytes() == 0);
}

TEST_CASE("wan link: packets keep their order, whatever their size, and arrive whole") {
  LineDirection line({40ms, kPacketPerMs, kQueue});
  // A long packet takes its time in one piece; nobody is served before it.
  const std::vector<size_t> sizes{3000, 150, 1500};
  for (uint64_t i = 0; i < sizes.size(); ++i) {
    REQUIRE(line.offer(FlowId{i + 1}, sizes[i], 0ms) == Fate::carried);
  }
  const auto seen = run(line, 0ms, 1s);
  REQUIRE(seen.size() == 3);
  const std::vector<Nanos> at{42ms, 42ms + 100us, 43ms + 100us};
  for (size_t i = 0; i < seen.size(); ++i) {
    CHECK(seen[i].arrival.flow == FlowId{i + 1});
    CHECK(seen[i].arrival.bytes == sizes[i]);
    CHECK(seen[i].at == at[i]);
  }
  CHECK(line.in_flight_bytes() == 0);
}

TEST_CASE("wan link: a packet that the queue has no room for is dropped, whole") {
  LineDirection line({40ms, kPacketPerMs, 4500});
  // The first is being served at once, three wait.
  for (uint64_t i = 1; i <= 4; ++i) CHECK(line.offer(FlowId{i}, 1500, 0ms) == Fate::carried);
  CHECK(line.waiting_bytes() == 4500);
  CHECK(line.offer(FlowId{5}, 40, 0ms) == Fate::dropped);
  CHECK(line.offer(FlowId{6}, 40, 999us) == Fate::dropped);
  CHECK(line.offer(FlowId{7}, 1400, 1ms) == Fate::carried);
  CHECK(line.offer(FlowId{8}, 101, 1ms) == Fate::dropped);
  CHECK(line.offer(FlowId{9}, 100, 1ms) == Fate::carried);
  const auto seen = run(line, 1ms, 1s);
  std::vector<FlowId> order;
  for (const auto& s : seen) order.push_back(s.arrival.flow);
  CHECK(order == std::vector{FlowId{1}, FlowId{2}, FlowId{3}, FlowId{4}, FlowId{7}, FlowId{9}});
}

TEST_CASE("wan link: loss takes its share, from a seed, and the time of what it takes") {
  const auto fates = [](uint64_t seed, uint32_t loss_ppm, Nanos gap) {
    LineDirection line({40ms, kPacketPerMs, kQueue, loss_ppm}, seed);
    std::vector<Fate> out;
    uint64_t carried = 0, arrived = 0;
    for (uint64_t i = 1; i <= 10'000; ++i) {
      const Nanos now = static_cast<int64_t>(i) * gap;
      while (line.ready(now)) ++arrived;
      out.push_back(line.offer(FlowId{i}, 1500, now));
      carried += out.back() == Fate::carried;
    }
    arrived += run(line, 10'001 * gap, 10'001 * gap + 10s).size();
    CHECK(arrived == carried);
    CHECK(line.waiting_bytes() == 0);
    return out;
  };
  const auto first = fates(7, 20'000, 1ms);
  const auto lost = std::count(first.begin(), first.end(), Fate::lost);
  CHECK(lost > 150);
  CHECK(lost < 250);
  CHECK(fates(7, 20'000, 2ms) == first);
  CHECK(fates(8, 20'000, 1ms) != first);
  CHECK(fates(7, 0, 1ms) == std::vector<Fate>(10'000, Fate::carried));
  CHECK(fates(7, 1'000'000, 1ms) == std::vector<Fate>(10'000, Fate::lost));
  // A drop throws too: who comes behind it has the same luck as ever.
  auto crowded = fates(7, 20'000, 500us);
  CHECK(std::count(crowded.begin(), crowded.end(), Fate::dropped) > 4000);
  for (size_t i = 0; i < crowded.size(); ++i) {
    if (crowded[i] != Fate::dropped) REQUIRE(crowded[i] == first[i]);
  }

  LineDirection line({40ms, kPacketPerMs, kQueue, 1'000'000}, 1);
  CHECK(line.offer(FlowId{1}, 1500, 0ms) == Fate::lost);
  line.change({40ms, kPacketPerMs, kQueue, 0}, 0ms);
  CHECK(line.offer(FlowId{2}, 1500, 0ms) == Fate::carried);
  const auto seen = run(line, 0ms, 1s);
  REQUIRE(seen.size() == 1);
  CHECK(seen[0].at == Nanos(42ms));
}

TEST_CASE("wan link: cleared, it forgets what is under way, and then carries as before") {
  LineDirection line({40ms, kPacketPerMs, kQueue});
  for (uint64_t i = 1; i <= 50; ++i) line.offer(FlowId{i}, 1500, 0ms);
  CHECK(run(line, 0ms, 45ms).size() == 5);
  line.clear(45ms);
  CHECK(line.waiting_bytes() == 0);
  CHECK(line.in_flight_bytes() == 0);
  CHECK(run(line, 45ms, 10s).empty());
  CHECK(line.offer(FlowId{51}, 1500, 10s) == Fate::carried);
  const auto seen = run(line, 10s, 11s);
  REQUIRE(seen.size() == 1);
  CHECK(seen[0].at == Nanos(10s + 41ms));
}

TEST_CASE("wan link: unlimited and without delay, bytes are out at once") {
  auto line = line_with({0ms, 0, kQueue}, {kA});
  line.enqueue(kA, 100'000, 5ms);
  CHECK(bytes_of(run(line, 5ms, 5ms), kA) == 100'000);
  CHECK(line.waiting_bytes() == 0);
}

TEST_CASE("wan link: a backlog leaves at the rate, however late the driver wakes") {
  const Nanos step = GENERATE(Nanos(0), Nanos(10ms), Nanos(33ms));
  auto line = line_with({40ms, kPacketPerMs, kQueue}, {kA});
  const size_t packets = 100;
  line.enqueue(kA, packets * kPacketBytes, 0ms);
  if (step == Nanos(0)) {
    const auto seen = run(line, 0ms, 10s);
    REQUIRE(seen.size() == packets);
    for (size_t i = 0; i < packets; ++i) CHECK(seen[i].at == Nanos(41ms) + i * Nanos(1ms));
    return;
  }
  size_t arrived = 0;
  for (Nanos now = step; now < 1s; now += step) {
    while (auto a = line.ready(now)) arrived += a->bytes;
    const int64_t due = std::clamp<int64_t>((now - Nanos(40ms)) / Nanos(1ms), 0, packets);
    REQUIRE(arrived == static_cast<size_t>(due) * kPacketBytes);
  }
  CHECK(arrived == packets * kPacketBytes);
}

TEST_CASE("wan link: an idle line saves up nothing") {
  auto line = line_with({0ms, kPacketPerMs, kQueue}, {kA});
  line.enqueue(kA, kPacketBytes, 0ms);
  run(line, 0ms, 5s);
  line.enqueue(kA, 2 * kPacketBytes, 5s);
  const auto seen = run(line, 5s, 6s);
  REQUIRE(seen.size() == 2);
  CHECK(seen[0].at == Nanos(5001ms));
  CHECK(seen[1].at == Nanos(5002ms));
}

TEST_CASE("wan link: a full queue of one flow delays another's message by two packets at most") {
  auto line = line_with({40ms, kPacketPerMs, kQueue}, {kA, kB});
  line.enqueue(kA, line.room(kA), 0ms);
  const size_t room = line.room(kB);
  REQUIRE(room >= kPacketBytes);
  line.enqueue(kB, 100, 500us);
  const auto seen = run(line, 500us, 10s);
  const auto first =
      std::find_if(seen.begin(), seen.end(), [](const Seen& s) { return s.arrival.flow == kB; });
  REQUIRE(first != seen.end());
  CHECK(first->at <= Nanos(43ms));
  CHECK(first->at >= Nanos(41ms));
}

TEST_CASE("wan link: busy flows share the rate equally") {
  auto line = line_with({0ms, kPacketPerMs, kQueue}, {kA, kB});
  std::map<FlowId, size_t> arrived;
  for (Nanos now = 0ms; now < 2s;) {
    for (FlowId f : {kA, kB}) {
      if (const size_t room = line.room(f)) line.enqueue(f, room, now);
    }
    while (auto a = line.ready(now)) arrived[a->flow] += a->bytes;
    now = *line.next_due();
  }
  CHECK(arrived[kA] + arrived[kB] >= 1998 * kPacketBytes);
  const size_t difference = std::max(arrived[kA], arrived[kB]) - std::min(arrived[kA], arrived[kB]);
  CHECK(difference <= 2 * kPacketBytes);
}

TEST_CASE("wan link: a driver that refills when it is woken keeps the line busy") {
  const size_t queue = GENERATE(size_t{4096}, size_t{64 * 1024}, size_t{1024 * 1024});
  auto line = line_with({40ms, 20'000'000, queue}, {kA});
  size_t arrived = 0;
  const Nanos end = 3s;
  line.enqueue(kA, line.room(kA), 0ms);
  for (Nanos now = 0ms; now <= end; now = *line.next_due()) {
    while (auto a = line.ready(now)) arrived += a->bytes;
    if (const size_t room = line.room(kA)) line.enqueue(kA, room, now);
  }
  const double expected = 20e6 / 8 * (3.0 - 0.04);
  CHECK(static_cast<double>(arrived) <= expected);
  CHECK(static_cast<double>(arrived) >= expected - 2 * kPacketBytes);
}

TEST_CASE("wan link: the queue is bounded for all flows together, and each gets its turn") {
  const size_t count = GENERATE(size_t{4}, size_t{200});
  LineDirection line({40ms, kPacketPerMs, kQueue});
  std::deque<FlowId> asking;  // the longest waiting first, as a driver should
  for (uint64_t i = 1; i <= count; ++i) asking.push_back(FlowId{i});
  for (FlowId f : asking) line.open(f);
  std::map<FlowId, size_t> arrived;
  for (Nanos now = 0ms; now < 20s; now += 1ms) {
    while (auto a = line.ready(now)) arrived[a->flow] += a->bytes;
    std::deque<FlowId> served;
    std::erase_if(asking, [&](FlowId f) {
      const size_t room = line.room(f);
      if (room == 0) return false;
      line.enqueue(f, room, now);
      served.push_back(f);
      return true;
    });
    asking.insert(asking.end(), served.begin(), served.end());
    REQUIRE(line.waiting_bytes() <= kQueue);
    // rate x delay, and the packet that is just out.
    REQUIRE(line.in_flight_bytes() <= 41 * kPacketBytes);
  }
  REQUIRE(line.waiting_bytes() > kQueue * 3 / 4);
  REQUIRE(arrived.size() == count);
  const size_t fair = 19'960 * kPacketBytes / count;
  for (const auto& [flow, bytes] : arrived) {
    CHECK(bytes > fair / 2);
    CHECK(bytes < fair * 2);
  }
  // Few busy flows leave a newcomer room.
  line.open(FlowId{1000});
  if (count == 4) CHECK(line.room(FlowId{1000}) >= kPacketBytes);
}

TEST_CASE("wan link: a flow gets room again only when a good part of its share is free") {
  auto line = line_with({0ms, kPacketPerMs, kQueue}, {kA});
  const size_t share = line.room(kA);
  CHECK(share > kQueue * 8 / 10);
  line.enqueue(kA, share, 0ms);
  CHECK(line.room(kA) == 0);
  size_t room = 0;
  for (Nanos now = 0ms; room == 0; now += 1ms) {
    while (line.ready(now)) {
    }
    room = line.room(kA);
  }
  CHECK(room >= share / 4);
  CHECK(line.waiting_bytes() >= share / 2);
}

TEST_CASE("wan link: unlimited rate, and still a bound on what is in flight") {
  auto line = line_with({1s, 0, kQueue}, {kA});
  size_t taken = 0;
  while (const size_t room = line.room(kA)) {
    line.enqueue(kA, room, 0ms);
    taken += room;
    REQUIRE(line.in_flight_bytes() <= kMaxFlightBytes + kPacketBytes);
    REQUIRE(line.waiting_bytes() <= kQueue);
  }
  CHECK(taken >= kMaxFlightBytes);
  // All of it comes out; what had to wait for space goes its full way after that.
  const auto seen = run(line, 0ms, 10s);
  CHECK(bytes_of(seen, kA) == taken);
  CHECK(seen.back().at == Nanos(2s));
}

TEST_CASE("wan link: stalled, time stands still") {
  auto line = line_with({40ms, kPacketPerMs, kQueue}, {kA});
  line.enqueue(kA, 3 * kPacketBytes, 0ms);
  line.stall(2500us);  // two in flight, one half sent
  line.stall(3ms);
  CHECK(line.stalled());
  CHECK(line.room(kA) == 0);
  CHECK_FALSE(line.next_due());
  CHECK_FALSE(line.ready(10s));
  line.resume(10s);
  line.resume(11s);
  CHECK(line.room(kA) > 0);
  const auto seen = run(line, 10s, 20s);
  REQUIRE(seen.size() == 3);
  for (size_t i = 0; i < 3; ++i) {
    CHECK(seen[i].at == Nanos(41ms) + i * Nanos(1ms) + Nanos(10s) - Nanos(2500us));
  }
}

TEST_CASE("wan link: a change of rate meets the packet that is being sent") {
  auto line = line_with({40ms, kPacketPerMs, kQueue}, {kA});
  line.enqueue(kA, 2 * kPacketBytes, 0ms);
  SECTION("slower") {
    line.change({40ms, kPacketPerMs / 10, kQueue}, 500us);
    const auto seen = run(line, 500us, 10s);
    REQUIRE(seen.size() == 2);
    CHECK(seen[0].at == Nanos(45500us));  // half at 1 ms per packet, half at 10
    CHECK(seen[1].at == Nanos(55500us));
  }
  SECTION("faster") {
    line.change({40ms, kPacketPerMs * 10, kQueue}, 500us);
    const auto seen = run(line, 500us, 10s);
    REQUIRE(seen.size() == 2);
    CHECK(seen[0].at == Nanos(40550us));
    CHECK(seen[1].at == Nanos(40650us));
  }
  SECTION("unlimited") {
    line.change({40ms, 0, kQueue}, 500us);
    CHECK(line.waiting_bytes() == 0);
    const auto seen = run(line, 500us, 10s);
    REQUIRE(seen.size() == 2);
    CHECK(seen[1].at == Nanos(40500us));
  }
  SECTION("from a crawl: nothing hangs on") {
    line.change({40ms, 8, kQueue}, 0ms);
    run(line, 0ms, 1s);
    line.change({40ms, kPacketPerMs, kQueue}, 1s);
    CHECK(bytes_of(run(line, 1s, 2s), kA) == 2 * kPacketBytes);
  }
}

TEST_CASE("wan link: a change of delay meets what is in flight and keeps the order") {
  auto line = line_with({500ms, kPacketPerMs, kQueue}, {kA});
  line.enqueue(kA, kPacketBytes, 0ms);
  run(line, 0ms, 10ms);
  SECTION("shorter") {
    line.change({5ms, kPacketPerMs, kQueue}, 10ms);
    line.enqueue(kA, 100, 10ms);
    const auto seen = run(line, 10ms, 10s);
    REQUIRE(seen.size() == 2);
    CHECK(seen[0].at == Nanos(10ms));
    CHECK(seen[0].arrival.bytes == kPacketBytes);
  }
  SECTION("longer") {
    line.change({800ms, kPacketPerMs, kQueue}, 10ms);
    CHECK(run(line, 10ms, 10s).at(0).at == Nanos(801ms));
  }
}

TEST_CASE("wan link: a smaller queue drains and drops nothing") {
  auto line = line_with({0ms, kPacketPerMs, kQueue}, {kA, kB});
  const size_t share = line.room(kA);
  line.enqueue(kA, share, 0ms);
  line.change({0ms, kPacketPerMs, 4096}, 0ms);
  CHECK(line.room(kA) == 0);
  CHECK(line.room(kB) == 0);
  CHECK(bytes_of(run(line, 0ms, 10s), kA) == share);
  CHECK(line.room(kB) > 0);
}

TEST_CASE("wan link: an ending travels behind the data") {
  auto line = line_with({40ms, kPacketPerMs, kQueue}, {kA, kB});
  SECTION("with the last packet") {
    line.enqueue(kB, 10 * kPacketBytes, 0ms);
    line.enqueue(kA, 2 * kPacketBytes, 0ms);
    line.end(kA, Ending::fin, 0ms);
    std::vector<Arrival> of_a;
    for (const auto& s : run(line, 0ms, 10s)) {
      if (s.arrival.flow == kA) of_a.push_back(s.arrival);
    }
    REQUIRE(of_a.size() == 2);
    CHECK(of_a[0].ending == Ending::none);
    CHECK(of_a[1].ending == Ending::fin);
    CHECK(of_a[1].bytes == kPacketBytes);
  }
  SECTION("alone, when the data has gone ahead") {
    line.enqueue(kA, kPacketBytes, 0ms);
    run(line, 0ms, 20ms);
    line.end(kA, Ending::fin, 20ms);
    line.end(kA, Ending::reset, 25ms);
    const auto seen = run(line, 25ms, 10s);
    REQUIRE(seen.size() == 3);
    CHECK(seen[0].arrival.ending == Ending::none);
    CHECK(seen[1].arrival.ending == Ending::fin);
    CHECK(seen[1].arrival.bytes == 0);
    CHECK(seen[1].at == Nanos(60ms));
    CHECK(seen[2].arrival.ending == Ending::reset);
    CHECK(seen[2].at == Nanos(65ms));
  }
  SECTION("a reset overtakes a fin that still waits, not the data") {
    line.enqueue(kA, 5 * kPacketBytes, 0ms);
    line.end(kA, Ending::fin, 0ms);
    line.end(kA, Ending::reset, 0ms);
    const auto seen = run(line, 0ms, 10s);
    CHECK(bytes_of(seen, kA) == 5 * kPacketBytes);
    CHECK(seen.back().arrival.ending == Ending::reset);
  }
}

TEST_CASE("wan link: a dropped flow frees its place in the queue and is not heard of again") {
  auto line = line_with({40ms, kPacketPerMs, kQueue}, {kA, kB});
  line.enqueue(kA, line.room(kA), 0ms);
  line.enqueue(kB, 100, 0ms);
  while (line.ready(10ms)) {
  }
  CHECK(line.in_flight_bytes() > 0);
  line.drop(kA);
  CHECK(line.waiting_bytes() == 0);
  const auto seen = run(line, 10ms, 10s);
  REQUIRE(seen.size() == 1);
  CHECK(seen[0].arrival.flow == kB);
  CHECK(line.in_flight_bytes() == 0);
}

// Whatever people do to a line: each flow's bytes come out once, none is lost, the ending last, and
// between two changes no more than the rate allows.
TEST_CASE("wan link: random traffic, changes and stalls") {
  for (uint64_t seed = 1; seed <= 200; ++seed) {
    INFO("seed " << seed);
    SeededRandom random(seed);
    const auto shape = [&] {
      return LineSettings{Nanos(random.below(50'000'000)),
                          random.below(4) == 0 ? 0 : 100'000 + random.below(50'000'000),
                          4096 + random.below(100'000)};
    };
    LineDirection line(shape());
    struct Flow {
      size_t in = 0, out = 0;
      bool ended = false, end_out = false;
    };
    std::map<FlowId, Flow> flows;
    for (uint64_t i = 0; i < 8; ++i) {
      line.open(FlowId{i});
      flows[FlowId{i}];
    }
    Nanos now = 0ms;
    // Departures since the last change of rate; arrivals lag behind them, so the bound is on what
    // left the queue.
    size_t entered = 0, waiting_before = 0;
    Nanos since = 0ms;
    const auto check_rate = [&] {
      const size_t left = waiting_before + entered - line.waiting_bytes();
      const double allowed = static_cast<double>(line.settings().rate_bits) / 8 *
                             std::chrono::duration<double>(now - since).count();
      if (line.settings().rate_bits > 0) {
        REQUIRE(static_cast<double>(left) <= allowed + 2 * kPacketBytes);
      }
      entered = 0;
      waiting_before = line.waiting_bytes();
      since = now;
    };
    const auto take = [&] {
      while (auto a = line.ready(now)) {
        Flow& f = flows.at(a->flow);
        REQUIRE_FALSE(f.end_out);
        f.out += a->bytes;
        REQUIRE(f.out <= f.in);
        if (a->ending != Ending::none) {
          f.end_out = true;
          REQUIRE(f.ended);
          REQUIRE(f.out == f.in);
        }
      }
    };
    for (int step = 0; step < 2000; ++step) {
      now += Nanos(random.below(2'000'000));
      take();
      auto& [id, flow] = *std::next(flows.begin(), static_cast<long>(random.below(8)));
      const uint64_t what = random.below(100);
      if (what < 90 && !flow.ended) {
        const size_t room = line.room(id);
        if (room > 0) {
          const size_t n = 1 + random.below(room);
          line.enqueue(id, n, now);
          flow.in += n;
          entered += n;
        }
      } else if (what < 92) {
        line.stall(now);
      } else if (what < 97) {
        line.resume(now);
      } else if (what < 99) {
        check_rate();
        line.change(shape(), now);
        waiting_before = line.waiting_bytes();
      } else if (!flow.ended && random.below(10) == 0) {
        flow.ended = true;
        line.end(id, Ending::fin, now);
      }
    }
    line.resume(now);
    while (auto due = line.next_due()) {
      now = std::max(now, *due);
      take();
    }
    REQUIRE(line.waiting_bytes() == 0);
    REQUIRE(line.in_flight_bytes() == 0);
    for (const auto& [id, flow] : flows) {
      REQUIRE(flow.in == flow.out);
      REQUIRE(flow.ended == flow.end_out);
    }
  }
}
