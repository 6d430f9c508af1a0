// A commit group becomes one outbox block, and blocks are shipped whole: a group that outgrew a
// frame could never be sent, and everything behind it would wait for ever.
#include <catch2/catch.hpp>

#include "branch/replica/replica.h"
#include "common/base/limits.h"
#include "common/store/mem_store.h"
#include "replication/line/mutation_block.h"
#include "tests/support/fixed_clock.h"
#include "tests/support/samples.h"

namespace branchline {
namespace {

class LargeNote : public Command {
 public:
  explicit LargeNote(size_t bytes) : text_(bytes, 'x') { author = samples::raw_id(1); }
  Result<Draft> prepare(Workspace&, RecordIdMaker& ids, int64_t now_ms) override {
    Draft draft;
    RecordOp op;
    op.kind = RecordOpKind::create;
    op.record = {entity_id::kAccount, ids.make(now_ms)};
    op.territory = TerritoryId(3);
    op.cells = {{FieldId(16), CellOpKind::set, {ValueType::text, draft.arena.copy(text_)}, {}}};
    draft.ops.push_back(std::move(op));
    return draft;
  }

 private:
  std::string text_;
};

TEST_CASE("groups: many large changes at once become several blocks, each fit to be shipped") {
  FixedClock clock(1'795'341'600'000);
  SeededRandom random(1);
  MemStore store;
  Batch start;
  auto replica = Replica::open(store, Schema::built_in(), clock, random, start);
  REQUIRE(replica);
  REQUIRE(store.write(start, Sync::yes));
  Registration registration;
  registration.origin = OriginId(3);
  registration.head = {LineId(5), Csn(1), samples::digest(1)};
  registration.territories = {TerritoryId(3)};
  auto rows = (*replica)->welcome(registration);
  REQUIRE(rows);
  REQUIRE(store.write(*rows, Sync::yes));
  Replica::Write write = [&](const Batch& batch, Sync sync) { return store.write(batch, sync); };
  REQUIRE((*replica)->begin_seed({registration.head, 0}, write));
  SnapshotEnd end;
  end.digest = Sha256().finish();
  auto joined = (*replica)->end_seed(end, write);
  REQUIRE(joined);
  REQUIRE(store.write(joined->batch, Sync::yes));

  std::vector<std::unique_ptr<LargeNote>> notes;
  std::vector<Command*> waiting;
  for (int i = 0; i < 10; ++i) {
    notes.push_back(std::make_unique<LargeNote>(limits::kMaxValueBytes - 1000));
    waiting.push_back(notes.back().get());
  }
  size_t groups = 0;
  while (!waiting.empty()) {
    auto result = (*replica)->accept(waiting);
    REQUIRE(result);
    REQUIRE(!result->results.empty());
    for (const auto& r : result->results) REQUIRE(r);
    waiting.erase(waiting.begin(), waiting.begin() + static_cast<long>(result->results.size()));
    REQUIRE(store.write(result->batch, Sync::yes));
    ++groups;
  }
  CHECK(groups > 1);
  CHECK((*replica)->state().ledger.pending == 10);

  ReplicaOutbox outbox(store, (*replica)->state().side);
  PendingRef at;
  size_t shipped = 0;
  for (;;) {
    auto slice = outbox.read(at, limits::kMaxBlockMutations, limits::kTargetBlockBytes);
    REQUIRE(slice);
    if (slice->mutations.empty()) break;
    MutationBlockWriter writer;
    for (const auto& m : slice->mutations) writer.add(m, 0);
    std::string block = writer.finish(slice->chain_after);
    CHECK(block.size() <= limits::kMaxBlockBytes);
    CHECK(decode_mutation_block(block));
    shipped += slice->mutations.size();
    at = slice->last;
  }
  CHECK(shipped == 10);
}

}  // namespace
}  // namespace branchline
