// How the lines down hold bulk work back: the master's session, by hand.
#include <catch2/catch.hpp>

#include "replication/session/master_session.h"

namespace branchline {
namespace {

constexpr size_t kBatch = 1'000;  // bytes of each csn

struct LongFeed : FeedSource {
  Csn head{0};
  Result<FeedRange> read(const LineCursor& after, const FeedScope&, size_t budget) const override {
    FeedRange range;
    range.from = after.csn;
    range.to = after;
    for (size_t bytes = 0; range.to.csn < head && bytes < budget; bytes += kBatch) {
      range.to.csn = range.to.csn.next();
      range.blocks.emplace_back(kBatch, 'x');
    }
    return range;
  }
};

// A line of 100,000 bytes a second, 92,000 of which are ours.
struct Line {
  LongFeed feed;
  LinkBudget budget{LinePolicy{.bytes_per_s = 100'000}};
  MasterSession session{feed, "east", 0, &budget};
  int64_t now = 0;

  // The branch greets standing at 0.
  explicit Line(uint64_t head) {
    feed.head = Csn(head);
    Introduction intro;
    intro.server = "east";
    intro.incarnations.emplace_back().incarnation = Incarnation(7);
    intro.cursor = {LineId(9), Csn(0), {}};
    REQUIRE(session.on_frame({FrameType::hello, encode_hello(intro, 0)}, 0, 0).introduce);
    Registration registration;
    registration.origin = OriginId(4);
    registration.head = {LineId(9), feed.head, {}};
    session.on_registered(registration, 0, 0);
  }
  void grow(uint64_t csns) {
    feed.head = Csn(feed.head.value + csns);
    session.on_line({LineId(9), feed.head, {}}, now);
  }
  bool has_room(int64_t allowed_us_ago) const {
    return session.has_room_for_bulk(now, now - allowed_us_ago);
  }
  void pass(int64_t us) {
    for (int64_t end = now + us; now < end;) {
      now += 1'000;
      session.tick(now, now / 1000);
      Progress all{.csn = session.sent().csn};  // applied as soon as it is there
      session.on_frame({FrameType::progress, encode_progress(all)}, now, now / 1000);
    }
  }
};

}  // namespace

TEST_CASE("bulk work waits until the line of who is at the head is nearly free", "[lanes]") {
  Line line(0);
  line.pass(5'000);
  CHECK(line.has_room(0));
  line.grow(4);  // 43 ms of the line
  CHECK_FALSE(line.has_room(1'000'000));
  line.pass(20'000);
  CHECK_FALSE(line.has_room(1'000'000));
  line.pass(10'000);
  CHECK(line.has_room(0));
}

TEST_CASE("while a branch catches up, bulk work leaves it half of its line", "[lanes]") {
  Line line(1'000);  // eleven seconds of the line
  line.pass(1'000'000);
  REQUIRE(line.session.state() == MasterSession::State::feeding);
  REQUIRE(line.session.sent().csn < line.feed.head);
  for (int i = 0; i < 100; ++i) {
    CHECK_FALSE(line.has_room(19'000));
    CHECK(line.has_room(20'000));
    // A piece is 10 ms of the line: so it gets to the head nevertheless.
    line.grow(1);
    line.pass(21'000);
  }
  line.pass(12'000'000);
  REQUIRE(line.session.sent().csn == line.feed.head);
  CHECK(line.has_room(0));
}

}  // namespace branchline
