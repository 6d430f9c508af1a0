// What waits of the feed is applied at once, in order, up to a bound (docs/decisions/0014): nothing
// twice, nothing left out, nothing joined that does not continue what is before it.
#include <catch2/catch.hpp>

#include <condition_variable>
#include <thread>

#include "branch/uplink/range_queue.h"
#include "common/base/limits.h"

namespace branchline {
namespace {

constexpr LineId kLine{7};
constexpr size_t kBound = limits::kTargetFeedFrameBytes;

// The range (from, to] with one block of so many bytes and so many fates.
FeedRange range(uint64_t from, uint64_t to, size_t bytes = 1, uint32_t fates = 0) {
  FeedRange r;
  r.from = Csn(from);
  r.to.line = kLine;
  r.to.csn = Csn(to);
  r.to.chain.bytes[0] = static_cast<uint8_t>(to);
  if (bytes > 0) r.blocks.push_back(std::string(bytes, static_cast<char>('a' + to % 26)));
  if (fates > 0) {
    FateEntry f;
    f.csn = Csn(to);
    f.count = fates;
    r.fates.push_back(f);
  }
  return r;
}

struct Taken {
  std::optional<FeedRange> range;
  bool more = false;
  std::string text() const {
    if (!range) return "nothing";
    return std::to_string(range->from.value) + ".." + std::to_string(range->to.csn.value) +
           (more ? " and more" : "");
  }
};
Taken take(RangeQueue& q) {
  Taken t;
  t.more = true;  // take() says it in every case
  t.range = q.take(t.more);
  return t;
}

}  // namespace

TEST_CASE("ranges that follow one another are applied as one, in order", "[feed]") {
  RangeQueue q;
  CHECK(take(q).text() == "nothing");
  for (uint64_t i = 0; i < 5; ++i) q.add(range(i * 10, i * 10 + 10, i + 1, uint32_t(i + 1)));
  Taken t = take(q);
  CHECK(t.text() == "0..50");
  REQUIRE(t.range);
  // It ends where the last one ends: line, csn and chain.
  CHECK(t.range->to == range(40, 50).to);
  REQUIRE(t.range->blocks.size() == 5);
  REQUIRE(t.range->fates.size() == 5);
  for (size_t i = 0; i < 5; ++i) {
    CHECK(t.range->blocks[i] == range(i * 10, i * 10 + 10, i + 1).blocks[0]);
    CHECK(t.range->fates[i].csn == Csn(i * 10 + 10));
    CHECK(t.range->fates[i].count == i + 1);
  }
  CHECK(take(q).text() == "nothing");
}

TEST_CASE("a range that does not continue the one before it is not joined to it", "[feed]") {
  RangeQueue q;
  SECTION("a gap") {
    q.add(range(0, 10));
    q.add(range(11, 20));
    CHECK(take(q).text() == "0..10 and more");
    CHECK(take(q).text() == "11..20");
  }
  SECTION("the same again") {
    q.add(range(0, 10));
    q.add(range(0, 10));
    q.add(range(10, 20));
    CHECK(take(q).text() == "0..10 and more");
    CHECK(take(q).text() == "0..20");
  }
  SECTION("out of order: nothing is moved") {
    q.add(range(10, 20));
    q.add(range(0, 10));
    CHECK(take(q).text() == "10..20 and more");
    CHECK(take(q).text() == "0..10");
  }
  SECTION("another line, though the number fits (SEMANTICS 4)") {
    FeedRange other = range(10, 20);
    other.to.line = LineId(8);
    q.add(range(0, 10));
    q.add(other);
    Taken first = take(q);
    CHECK(first.text() == "0..10 and more");
    CHECK(first.range->to.line == kLine);
    Taken second = take(q);
    CHECK(second.text() == "10..20");
    CHECK(second.range->to.line == LineId(8));
  }
  CHECK(take(q).text() == "nothing");
}

TEST_CASE("what is joined is bounded by the work that it is", "[feed]") {
  RangeQueue q;
  SECTION("bytes: as many as fit, then the next ones") {
    for (uint64_t i = 0; i < 5; ++i) q.add(range(i, i + 1, kBound / 2));
    CHECK(take(q).text() == "0..2 and more");
    CHECK(take(q).text() == "2..4 and more");
    CHECK(take(q).text() == "4..5");
  }
  SECTION("one byte too much waits") {
    q.add(range(0, 1, kBound - 10));
    q.add(range(1, 2, 10));
    q.add(range(2, 3, 1));
    CHECK(take(q).text() == "0..2 and more");
    CHECK(take(q).text() == "2..3");
  }
  SECTION("what waits for the next turn is not overtaken by something smaller") {
    q.add(range(0, 1, 10));
    q.add(range(1, 2, kBound));
    q.add(range(2, 3, 10));
    CHECK(take(q).text() == "0..1 and more");
    CHECK(take(q).text() == "1..2 and more");
    CHECK(take(q).text() == "2..3");
  }
  SECTION("a range beyond the bound is taken whole, and alone") {
    q.add(range(0, 1, kBound * 3));
    q.add(range(1, 2, 1));
    Taken t = take(q);
    CHECK(t.text() == "0..1 and more");
    CHECK(t.range->blocks.at(0).size() == kBound * 3);
    CHECK(take(q).text() == "1..2");
  }
  SECTION("fates are work too: a run of them is small on the wire and long to apply") {
    q.add(range(0, 3000, 0, 3000));
    q.add(range(3000, 6000, 0, 3000));
    CHECK(take(q).text() == "0..3000 and more");
    CHECK(take(q).text() == "3000..6000");
  }
  SECTION("where each range makes much that waits decide again, more is joined, up to a bound") {
    for (uint64_t i = 0; i < 40; ++i) q.add(range(i, i + 1, kBound / 2));
    bool more = false;
    auto most = [&](uint64_t redone) { return q.take(more, redone)->blocks.size(); };
    CHECK(most(0) == 2);
    CHECK(most(kBound / 64) == 4);
    CHECK(most(1'000'000'000) == 16);
    CHECK(most(0) == 2);
    while (more) (void)most(1'000'000'000);
  }
  SECTION("ranges that bring nothing but a new position are joined without end") {
    for (uint64_t i = 0; i < 10'000; ++i) q.add(range(i, i + 1, 0));
    CHECK(take(q).text() == "0..10000");
  }
  CHECK(take(q).text() == "nothing");
}

TEST_CASE("one taker at a time is sent, and always one where something waits", "[feed]") {
  RangeQueue q;
  CHECK(q.add(range(0, 1, kBound)));
  CHECK_FALSE(q.add(range(1, 2, kBound)));  // it is on its way
  CHECK(take(q).text() == "0..1 and more");
  CHECK_FALSE(q.add(range(2, 3, kBound)));  // it goes on, since more waits
  CHECK(take(q).text() == "1..2 and more");
  CHECK(take(q).text() == "2..3");
  CHECK(q.add(range(3, 4)));  // the last one has gone home
  CHECK(take(q).text() == "3..4");
}

TEST_CASE("what an ended connection brought is forgotten, and the next one goes on", "[feed]") {
  RangeQueue q;
  REQUIRE(q.add(range(0, 10)));
  q.add(range(10, 20));
  q.clear();
  SECTION("the taker under way finds nothing and goes home") {
    CHECK(take(q).text() == "nothing");
    CHECK(q.add(range(0, 10)));
    CHECK(take(q).text() == "0..10");
  }
  SECTION("the taker under way takes what the next connection brought") {
    CHECK_FALSE(q.add(range(5, 15)));
    CHECK(take(q).text() == "5..15");
    CHECK(q.add(range(15, 16)));
  }
}

TEST_CASE("between the link's thread and the committer's nothing is lost, doubled or left lying",
          "[feed]") {
  constexpr uint64_t kRanges = 20'000;
  RangeQueue q;
  std::mutex mutex;
  std::condition_variable wake;
  int sent = 0, most = 0;
  auto send_taker = [&] {
    std::lock_guard lock(mutex);
    most = std::max(most, ++sent);
    wake.notify_one();
  };
  uint64_t reached = 0, blocks = 0;
  bool in_order = true, stuck = false;
  std::thread committer([&] {
    while (reached < kRanges) {
      {
        std::unique_lock lock(mutex);
        // A bound for a broken queue, not a wait.
        if (!wake.wait_for(lock, std::chrono::seconds(20), [&] { return sent > 0; })) {
          stuck = true;
          return;
        }
        --sent;
      }
      bool more = false;
      auto r = q.take(more);
      if (more) send_taker();
      if (!r) continue;
      in_order = in_order && r->from == Csn(reached);
      reached = r->to.csn.value;
      blocks += r->blocks.size();
    }
  });
  for (uint64_t i = 0; i < kRanges; ++i) {
    if (q.add(range(i, i + 1, i % 7 == 0 ? kBound / 3 : 1))) send_taker();
  }
  committer.join();
  CHECK_FALSE(stuck);
  CHECK(in_order);
  CHECK(reached == kRanges);
  CHECK(blocks == kRanges);
  CHECK(most == 1);
}

}  // namespace branchline
