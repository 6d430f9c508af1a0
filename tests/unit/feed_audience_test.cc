// Whom a batch of the line concerns, and that those it does not concern miss nothing by not
// looking.
#include <catch2/catch.hpp>

#include "common/base/random.h"
#include "common/store/keyspace.h"
#include "common/store/mem_store.h"
#include "master/feed/audience.h"
#include "master/feed/feed.h"

using namespace branchline;

namespace {

constexpr uint8_t kEffects = static_cast<uint8_t>(keys::LineRow::effects);
constexpr uint8_t kArrivals = static_cast<uint8_t>(keys::LineRow::arrivals);
constexpr uint8_t kFates = static_cast<uint8_t>(keys::LineRow::fates);

BatchHeader::Row row(uint8_t kind, uint32_t territory, uint32_t origin, bool echo = false) {
  return {kind, {TerritoryId(territory), OriginId(origin), echo}, {}};
}

Registration holds(uint32_t origin, std::vector<uint32_t> territories,
                   std::vector<uint32_t> before = {}) {
  Registration r;
  r.origin = OriginId(origin);
  for (uint32_t t : territories) r.territories.emplace_back(t);
  for (uint32_t t : before) r.installed.emplace_back(t);
  return r;
}

using Names = std::vector<std::string>;

}  // namespace

TEST_CASE("a batch concerns the links that hold one of its territories, and its authors'") {
  Audience<std::string> audience;
  audience.join("east", holds(5, {2, 3}));
  audience.join("moving", holds(6, {4}, {3}));
  audience.join("west", holds(7, {4}));
  BatchHeader batch;
  batch.rows = {row(kEffects, 3, 9)};
  CHECK(audience.of(&batch, {}) == Names{"east", "moving"});
  batch.rows = {row(kArrivals, 4, 9), row(kEffects, 4, 9)};
  CHECK(audience.of(&batch, {}) == Names{"moving", "west"});
  batch.rows = {row(kFates, 0, 7)};
  CHECK(audience.of(&batch, {}) == Names{"west"});
  batch.rows = {row(kEffects, 20, 9)};
  CHECK(audience.of(&batch, {}).empty());
  CHECK(audience.of(nullptr, {OriginId(5), OriginId(8)}) == Names{"east"});
  // What everybody holds without being told so.
  batch.rows = {row(kEffects, kReferenceTerritory.value, 9)};
  CHECK(audience.of(&batch, {}) == Names{"east", "moving", "west"});

  // Another connection of the same branch, then the old one ends.
  audience.join("east again", holds(5, {2, 3}));
  audience.leave("east", holds(5, {2, 3}));
  audience.leave("never joined", holds(7, {4}));
  batch.rows = {row(kEffects, 3, 9), row(kFates, 0, 5), row(kFates, 0, 7)};
  CHECK(audience.of(&batch, {}) == Names{"east again", "moving", "west"});
}

TEST_CASE("a feed that passes over what does not concern a branch reads what it would have read") {
  MemStore store;
  SeededRandom random(17);
  LineCursor head{LineId(1), Csn(0), {}};
  LineFeed feed(store, head);
  struct Block {
    Csn at;
    BlockTag tag;
    std::string bytes;
  };
  std::vector<Block> blocks;
  std::vector<Csn> ends{Csn(0)};
  uint64_t whole = 0, skipped = 0;
  for (int n = 0; n < 200; ++n) {
    auto batch = std::make_shared<LineBatch>();
    batch->header.from = ends.back();
    batch->header.to = Csn(ends.back().value + 1 + random.below(3));
    batch->header.chain.bytes.fill(static_cast<uint8_t>(n));
    ends.push_back(batch->header.to);
    // Mostly far from the scopes below.
    auto territory = static_cast<uint32_t>(random.below(12) == 0 ? 2 + random.below(3) : 50);
    auto origin = static_cast<uint32_t>(5 + random.below(4));
    bool echo = random.below(2) == 0;
    batch->header.rows.push_back(row(kEffects, territory, origin, echo));
    BlockTag tag = batch->header.rows.back().tag;
    batch->effects.emplace_back(tag, "block " + std::to_string(n));
    blocks.push_back({batch->header.to, tag, batch->effects.back().second});
    feed.add(batch);

    for (uint32_t me : {5u, 6u}) {
      FeedScope scope{OriginId(me), {kReferenceTerritory, TerritoryId(2), TerritoryId(me)}, {}, {}};
      Csn after = ends[random.below(ends.size())];
      LineCursor at{LineId(1), after, {}};
      std::vector<std::string> got, expected;
      for (;;) {
        auto range = feed.read(at, scope, 1 << 20);
        REQUIRE(range);
        REQUIRE(range->from == at.csn);
        for (auto& b : range->blocks) got.push_back(b);
        if (range->to.csn == at.csn) break;
        if (range->blocks.empty()) ++skipped;
        at = range->to;
      }
      CHECK(at.csn == feed.head().csn);
      CHECK((after == feed.head().csn || at.chain == feed.head().chain));
      for (const auto& b : blocks) {
        bool wanted = scope.territories.count(b.tag.territory) &&
                      (b.tag.origin != scope.origin || b.tag.echo);
        if (after < b.at && wanted) expected.push_back(b.bytes);
      }
      whole += expected.size();
      CHECK(got == expected);
    }
  }
  CHECK(whole > 50);
  CHECK(skipped > 50);
}
