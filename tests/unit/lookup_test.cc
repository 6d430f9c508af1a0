// Look-ups over a link: both ends' sessions and the queue before them, by hand.
#include <catch2/catch.hpp>

#include "branch/uplink/lookup_queue.h"
#include "common/base/limits.h"
#include "replication/session/master_session.h"

namespace branchline {
namespace {

struct NoOutbox : OutboxSource {
  Result<OutboxSlice> read(PendingRef, size_t, size_t) const override { return OutboxSlice{}; }
  Result<std::optional<Digest>> chain_at(const Stream&, Seq) const override {
    return std::optional<Digest>();
  }
};
struct NoFeed : FeedSource {
  Result<FeedRange> read(const LineCursor& after, const FeedScope&, size_t) const override {
    FeedRange range;
    range.from = after.csn;
    range.to = after;
    return range;
  }
};

Frame frame_of(const std::string& bytes) {
  FrameDecoder decoder;
  decoder.append(bytes);
  return **decoder.next();
}

// Both ends after the greeting.
struct Line {
  NoOutbox outbox;
  NoFeed feed;
  BranchSession branch{outbox, 0};
  MasterSession master{feed, "east", 0};
  Registration registration;

  explicit Line(bool older_master = false) {
    Introduction intro;
    intro.server = "east";
    intro.incarnations.emplace_back().incarnation = Incarnation(7);
    intro.cursor = {LineId(9), Csn(5), {}};
    auto hello = branch.start(intro, 0);
    REQUIRE(master.on_frame(frame_of(hello.frames[0]), 0, 0).introduce);
    registration.origin = OriginId(4);
    registration.head = intro.cursor;
    auto welcome = master.on_registered(registration, 0, 0);
    // One of feature level 1 says nothing of look-ups.
    std::string frame = older_master
                            ? encode_frame(FrameType::welcome, encode_welcome(registration, 0))
                            : welcome.frames[0];
    REQUIRE(branch.on_frame(frame_of(frame), 0, 0).welcome);
  }
};

LookupRequest question(uint8_t n = 1) {
  LookupRequest q;
  q.token = "secret";
  q.entity = EntityId(1);
  q.id.bytes[15] = n;
  q.lookups = {FieldId(3)};
  q.children = {{EntityId(2), FieldId(4)}};
  return q;
}

}  // namespace

TEST_CASE("a look-up goes up and its answer comes down", "[lookup]") {
  Line line;
  LookupQueue queue;
  Result<LookupAnswer> got = fail(ErrorKind::invalid, "none", "");
  REQUIRE(queue.add(question(), 1000, [&](Result<LookupAnswer> a) { got = std::move(a); }));
  auto asked = queue.ask(line.branch);
  REQUIRE(asked.size() == 1);
  auto arrived = line.master.on_frame(frame_of(asked[0].frames[0]), 0, 0);
  REQUIRE(arrived.lookups.size() == 1);
  const LookupRequest& q = arrived.lookups[0];
  CHECK(q.token == "secret");
  CHECK(q.id == question().id);
  CHECK(q.lookups == question().lookups);
  REQUIRE(q.children.size() == 1);
  CHECK(q.children[0].field == FieldId(4));
  LookupAnswer a;
  a.number = q.number;
  a.line = LineId(9);
  a.csn = Csn(6);
  a.id = q.id;
  a.rows = "rows";
  auto answer = line.master.on_looked_up(a);
  REQUIRE(answer.frames.size() == 1);
  auto back = line.branch.on_frame(frame_of(answer.frames[0]), 0, 0);
  REQUIRE(back.answers.size() == 1);
  queue.answered(std::move(back.answers[0]));
  REQUIRE(got);
  CHECK(got->csn == Csn(6));
  CHECK(got->rows == "rows");
  CHECK(queue.waiting() == 0);
  // Once each.
  CHECK(line.master.on_looked_up(a).frames.empty());
  auto twice = line.branch.on_frame(frame_of(answer.frames[0]), 0, 0);
  REQUIRE(twice.close);
  CHECK(twice.close->code == "lookup.not_asked");
}

TEST_CASE("so many are under way, the others wait for their turn or for too long", "[lookup]") {
  Line line;
  LookupQueue queue;
  std::vector<std::string> ends;
  auto add = [&](uint8_t n, int64_t deadline) {
    return queue.add(question(n), deadline, [&ends, n](const Result<LookupAnswer>& a) {
      ends.push_back(std::to_string(n) + " " + (a ? "answered" : a.error().code));
    });
  };
  for (uint8_t n = 1; n <= 6; ++n) REQUIRE(add(n, n == 2 || n == 6 ? 100 : 1000));
  auto asked = queue.ask(line.branch);
  CHECK(asked.size() == limits::kMaxLookupsUnderWay);
  CHECK(line.branch.lookup_room() == BranchSession::LookupRoom::full);
  queue.expire(100);
  CHECK(ends == std::vector<std::string>{"6 upstream.slow", "2 upstream.slow"});
  // Nobody waits for the second any more, but the master is still at it.
  CHECK(queue.ask(line.branch).empty());
  LookupAnswer late;
  late.number = 2;
  auto freed = line.branch.on_frame(
      frame_of(encode_frame(FrameType::lookup_answer, encode_lookup_answer(late))), 0, 0);
  for (auto& a : freed.answers) queue.answered(std::move(a));
  CHECK(queue.ask(line.branch).size() == 1);
  queue.fail_all({ErrorKind::unavailable, "upstream.lost", "gone"});
  CHECK(ends.size() == 6);
  CHECK(queue.waiting() == 0);
  size_t taken = 0;
  while (add(9, 1000)) ++taken;
  CHECK(taken == limits::kMaxLookupsWaiting);
}

TEST_CASE("a master refuses more look-ups than it takes, and malformed ones, by name", "[lookup]") {
  auto refusal = [](const std::vector<std::string>& payloads) {
    Line line;
    std::string code;
    for (const auto& p : payloads) {
      auto out = line.master.on_frame({FrameType::lookup, p}, 0, 0);
      if (out.close) code = out.close->code;
    }
    return code;
  };
  auto numbered = [](uint64_t n) {
    LookupRequest q = question();
    q.number = n;
    return encode_lookup_request(q);
  };
  CHECK(refusal({numbered(1), numbered(2), numbered(3), numbered(4)}).empty());
  CHECK(refusal({numbered(1), numbered(2), numbered(3), numbered(4), numbered(5)}) ==
        "lookup.too_many");
  CHECK(refusal({numbered(1), numbered(1)}) == "lookup.number");
  CHECK(refusal({numbered(0)}) == "message.malformed");
  CHECK(refusal({"\xff\xff"}) == "message.malformed");
  LookupRequest q = question();
  q.number = 1;
  q.token.clear();
  CHECK(refusal({encode_lookup_request(q)}) == "message.malformed");
  q = question();
  q.number = 1;
  q.mutations.push_back({OriginId(4), Incarnation(7), Lane::interactive, Seq(1)});
  CHECK(refusal({encode_lookup_request(q)}) == "message.malformed");  // both
  q.mutations.clear();
  q.entity = EntityId(0);
  CHECK(refusal({encode_lookup_request(q)}) == "message.malformed");  // neither
  q = question();
  q.number = 1;
  q.id = {};
  CHECK(refusal({encode_lookup_request(q)}) == "message.malformed");  // neither id nor key
  q = question();
  q.number = 1;
  q.lookups.assign(limits::kMaxLookupParts + 1, FieldId(3));
  CHECK(refusal({encode_lookup_request(q)}) == "message.malformed");
  // Before the greeting there is nobody to answer.
  NoFeed feed;
  MasterSession stranger(feed, "east", 0);
  auto out = stranger.on_frame({FrameType::lookup, numbered(1)}, 0, 0);
  REQUIRE(out.close);
  CHECK(out.close->code == "session.unexpected");
}

TEST_CASE("a master of feature level 1 is not asked", "[lookup]") {
  Line line(true);
  CHECK(line.branch.lookup_room() == BranchSession::LookupRoom::unknown);
  NoOutbox outbox;
  CHECK(BranchSession(outbox, 0).lookup_room() == BranchSession::LookupRoom::closed);
}

}  // namespace branchline
