// What a branch says of what it has applied, which gives the master room to feed more.
#include <catch2/catch.hpp>

#include "common/base/limits.h"
#include "replication/session/branch_session.h"

using namespace branchline;

namespace {

class NothingPending : public OutboxSource {
 public:
  Result<OutboxSlice> read(PendingRef, size_t, size_t) const override { return OutboxSlice{}; }
  Result<std::optional<Digest>> chain_at(const Stream&, Seq) const override {
    return std::optional<Digest>();
  }
};

std::vector<uint64_t> progress_in(const BranchEffects& effects) {
  std::vector<uint64_t> out;
  FrameDecoder decoder;
  for (const auto& bytes : effects.frames) decoder.append(bytes);
  for (;;) {
    auto frame = decoder.next();
    REQUIRE(frame);
    if (!*frame) return out;
    if ((*frame)->type == FrameType::progress)
      out.push_back(decode_progress((*frame)->payload)->csn.value);
  }
}

}  // namespace

TEST_CASE("each quarter of the window is reported as it is applied, also what came long before") {
  NothingPending outbox;
  BranchSession session(outbox, 0);
  Introduction intro;
  intro.server = "east";
  session.start(intro, 0);
  Registration registration;
  registration.origin = OriginId(5);
  registration.head = {LineId(1), Csn(40), {}};
  session.on_frame({FrameType::welcome, encode_welcome(registration, 0)}, 0, 0);
  REQUIRE(session.state() == LinkState::following);

  // A window full, before any of it is applied.
  for (uint64_t n = 0; n < 4; ++n) {
    FeedRange range;
    range.from = Csn(n * 10);
    range.to = {LineId(1), Csn(n * 10 + 10), {}};
    range.blocks.emplace_back(limits::kFeedWindowBytes / 4, 'x');
    for (const auto& payload : encode_feed(range)) {
      auto effects = session.on_frame({FrameType::feed, payload}, 0, 0);
      REQUIRE(!effects.close);
      CHECK(progress_in(effects).empty());
    }
  }
  using List = std::vector<uint64_t>;
  CHECK(progress_in(session.on_applied(Csn(10), 0)) == List{10});
  CHECK(progress_in(session.on_applied(Csn(20), 0)) == List{20});
  CHECK(progress_in(session.on_applied(Csn(40), 0)) == List{40});
  // A little goes with the next heartbeat.
  FeedRange little;
  little.from = Csn(40);
  little.to = {LineId(1), Csn(41), {}};
  session.on_frame({FrameType::feed, encode_feed(little).front()}, 0, 0);
  CHECK(progress_in(session.on_applied(Csn(41), 0)).empty());
  CHECK(progress_in(session.tick(2'000'000, 0, {})) == List{41});
  CHECK(progress_in(session.tick(4'000'000, 0, {})).empty());
}
