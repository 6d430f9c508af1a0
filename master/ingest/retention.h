// What the master keeps of its line, and for whom: rows of Table::meta under `t`.
#pragma once

#include <vector>

#include "common/store/keyspace.h"
#include "common/store/store.h"
#include "replication/line/commit.h"

namespace branchline {

// Through where the line was trimmed: the checkpoint from which an audit recounts.
struct TrimState {
  Csn csn;               // the end of a batch; 0: nothing was trimmed
  Digest chain;          // of the line after it
  int64_t elements = 0;  // put and not removed through there
  uint64_t batches = 0;  // how many are gone
};
std::string encode_trim_state(const TrimState& state);
Result<TrimState> decode_trim_state(std::string_view bytes);
// As stored; nothing trimmed where there is no row.
Result<TrimState> read_trim(const StoreView& store);

// One link of the chain over the fates of a stream, mutation by mutation: what the trimmed part of
// the line said of it is compared with the fates that are kept for ever.
Digest trimmed_fate_chain(const Digest& before, const FateEntry& run, uint32_t index);

// How far a branch has come and what it holds, as it told last.
struct BranchProgress {
  Csn passed;            // SEMANTICS 26
  int64_t heard_ms = 0;  // wall time
  Csn lapsed_at;         // the head when it had been away too long; 0: it is live
  // The head when it was to get a snapshot last, which decides what it has pending anew. A disk
  // that is not behind it may forecast otherwise than the one that shipped.
  Csn seeded_after;
  // What its disk alone had when it was heard last.
  uint64_t pending = 0;
  uint64_t pending_bytes = 0;
  int64_t oldest_ms = 0;               // wall time of the oldest; 0: none
  std::vector<TerritoryId> installed;  // sorted, without the reference territory
  // Territories that it held before, and through which base its mutations may still speak for them.
  std::vector<std::pair<TerritoryId, Csn>> former;
  // All that it was ever to hold, sorted: it may say that it holds some of these, and no others.
  std::vector<TerritoryId> granted;

  bool speaks_for(TerritoryId t, Csn base) const;
  void grant(const std::vector<TerritoryId>& territories);
  // It says that it holds these, up to `at`.
  void install(std::vector<TerritoryId> territories, Csn at);
  // It held these at some time up to `at`.
  void held(const std::vector<TerritoryId>& territories, Csn at);
};
std::string encode_branch_progress(const BranchProgress& progress);
Result<BranchProgress> decode_branch_progress(std::string_view bytes);

// What a connected branch tells in its heartbeats.
struct BranchNews {
  OriginId origin;
  Csn passed;
  uint64_t pending = 0;
  uint64_t pending_bytes = 0;
  int64_t oldest_pending_ms = 0;  // its age
};

struct RetentionInput {
  int64_t now_ms = 0;
  int64_t max_offline_ms = 0;
  bool may_lapse = true;  // false for a while after the master itself was away
  std::vector<BranchNews> connected;
  Csn floor;  // nothing behind it is trimmed: what is under way needs it
};
struct RetentionResult {
  std::vector<OriginId> lapsed;  // since the last time
  uint64_t trimmed = 0;          // batches
  bool more = false;             // call again soon
};

}  // namespace branchline
