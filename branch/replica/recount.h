// Counts again what a replica holds, from its rows: whether they add up to the checksums that are
// kept as it changes. Pure; any thread, over a view of its own.
#pragma once

#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "branch/replica/state.h"
#include "replication/merge/workspace.h"
#include "replication/snapshot/ranges.h"

namespace branchline {

// The base beneath a view: the same rows with what is pending taken back. Where a pre-image does
// not fit what is stored, or takes back something else than was noted when it was made, its records
// are suspects: what is shown of them or of their base is not what was written.
class BaseView {
 public:
  // `view` outlives this. `only`: of the pending mutations just these, which no other pending one
  // touches.
  static Result<std::unique_ptr<BaseView>> open(const StoreView& view,
                                                std::shared_ptr<const Schema> schema,
                                                const std::set<PendingRef>* only = nullptr);

  struct Base {
    TerritoryId home;
    std::vector<TerritoryId> also_in;
    Sum128 sum;  // zero: deleted
    uint64_t elements = 0;
  };
  // Of the record at which `row` stands; nothing where it is none of the base (created here, and
  // pending), or cannot be read: then it is a suspect.
  Result<std::optional<Base>> base_of(const RowWalk& row);
  Result<std::vector<Sum128>> sum_ranges(const RangeFilter& counts,
                                         const std::vector<KeyRange>& ranges);

  const ReplicaState& state() const { return state_; }
  const std::set<RecordKey>& suspects() const { return suspects_; }
  bool touched(const RecordKey& key) const { return touched_.count(key) > 0; }
  // What a mutation did, read before it was taken back, where its digest is still `current`.
  const std::map<PendingRef, std::vector<RecordOp>>& effects() const { return effects_; }

 private:
  BaseView(const StoreView& view, ReplicaState state);
  Result<void> take_back(const std::set<PendingRef>* only);
  // Whether the row of a record that pending work touched can be worked on at all.
  Result<bool> readable(const RecordKey& key);

  const StoreView& view_;
  ReplicaState state_;
  std::unique_ptr<Workspace> workspace_;
  std::set<RecordKey> touched_, suspects_;
  std::map<PendingRef, std::vector<RecordOp>> effects_;
  Arena arena_;
};

struct Findings {
  LineCursor at;
  keys::Side side = 0;
  Totals stored;   // the state row's
  Totals counted;  // sums of the base, counts of the view
  uint64_t records = 0;
  uint64_t elements = 0;
  std::set<RecordKey> suspects;          // what of them is stored cannot be right
  std::vector<RecordKey> index_missing;  // lack a row in an index
  std::vector<std::string> index_extra;  // rows of indexes that no record has
  bool unreadable = false;               // a key belongs to nothing: a range does not mend that
  std::vector<std::string> samples;      // range keys, every so many records

  // What is to be added to what is kept so that it is what was counted.
  std::vector<std::pair<TerritoryId, Sum128>> sums_off() const;
  bool counts_off() const { return stored.counts != counted.counts; }
};

class Recount {
 public:
  static constexpr size_t kSampleEvery = 128;
  static Result<std::unique_ptr<Recount>> open(std::shared_ptr<const StoreView> view,
                                               std::shared_ptr<const Schema> schema,
                                               size_t sample_every = kSampleEvery);
  // Goes on by so many rows; true when it has come to the end.
  Result<bool> step(size_t rows);
  const Findings& findings() const { return findings_; }

 private:
  Recount(std::shared_ptr<const StoreView> view, std::shared_ptr<const Schema> schema);
  Result<void> count(const RowWalk& row);
  void note_orphans(const std::vector<std::string>& keys);
  Result<bool> step_index(size_t rows);

  std::shared_ptr<const StoreView> view_;
  std::shared_ptr<const Schema> schema_;
  std::unique_ptr<BaseView> base_;
  std::unique_ptr<RowWalk> walk_;
  std::unique_ptr<Cursor> index_;
  uint64_t index_rows_ = 0, index_found_ = 0;
  bool records_done_ = false;
  bool search_extra_ = false;
  size_t sample_every_ = kSampleEvery;
  Findings findings_;
};

// The record whose row an index key is; nothing where it is none.
std::optional<RecordKey> owner_of_index_row(std::string_view key);

}  // namespace branchline
