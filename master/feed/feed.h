// The line as a branch gets to see it. read() may run on another thread than add(), under the
// owner's lock; in production both run on the I/O thread.
#pragma once

#include <deque>
#include <map>
#include <memory>

#include "common/store/store.h"
#include "master/ingest/ingest.h"
#include "replication/session/master_session.h"
#include "replication/snapshot/snapshot.h"

namespace branchline {

class LineFeed : public FeedSource {
 public:
  // `tail_bytes`: how much of the newest part is kept in memory.
  LineFeed(const StoreView& store, LineCursor head, size_t tail_bytes = 8 * 1024 * 1024);

  // A batch that is written and synced.
  void add(std::shared_ptr<const LineBatch> batch);
  const LineCursor& head() const { return head_; }
  // The line goes on under another id.
  void rename(const LineCursor& head);

  // The end of the last batch up to `csn`: where a cursor can stand. Unavailable "line.trimmed".
  Result<LineCursor> cursor_before(Csn csn) const;
  Result<FeedRange> read(const LineCursor& after, const FeedScope& scope,
                         size_t budget) const override;

 private:
  // Of memory: nothing is copied, each branch looks at each batch.
  struct Row {
    const LineBatch* in_memory = nullptr;
    BatchHeader stored;  // where it is not in memory
    const BatchHeader& header() const { return in_memory ? in_memory->header : stored; }
  };
  Result<std::optional<Row>> next_batch(Csn after) const;
  // Whether something behind `csn` may concern this branch.
  bool touched_since(Csn csn, const FeedScope& scope) const;
  Result<void> take(const Row& row, const FeedScope& scope, FeedRange& range, size_t& bytes) const;

  const StoreView& store_;
  LineCursor head_;
  size_t tail_limit_;
  size_t tail_bytes_ = 0;
  std::deque<std::shared_ptr<const LineBatch>> tail_;
  // Of all batches behind `indexed_from_`: the last one with a row of the territory, with fates of
  // the origin. A branch that they do not concern gets to the head without a look at each.
  Csn indexed_from_;
  std::map<TerritoryId, Csn> touched_;
  std::map<OriginId, Csn> fated_;
};

// Adds `next` to `list`, joined with the last entry where it continues it.
void append_fate(std::vector<FateEntry>& list, FateEntry next);

// Everything a joining branch gets, at the csn that the view of the store shows.
class SnapshotSource {
 public:
  // `held`: records of these territories are left out, the receiver has them at this csn (a partial
  // snapshot). `id`: a number that no other snapshot of this master has; 0: it is not resumed.
  static Result<std::unique_ptr<SnapshotSource>> open(
      std::shared_ptr<const StoreView> view, const FeedScope& scope,
      const std::vector<PendingRange>& pending, const std::set<TerritoryId>& held = {},
      uint64_t id = 0, size_t chunk_bytes = limits::kSnapshotChunkBytes);
  const SnapshotHead& head() const { return head_; }
  // The next chunk; at the end nothing, and then end() is complete.
  Result<std::optional<std::string>> next();
  // The chunk of this number, which is at most the next one. One thread at a time: two connections
  // of one branch may ask for a moment, their owner puts them in a row.
  Result<std::optional<std::string>> chunk(uint64_t number);
  const SnapshotEnd& end() const { return end_; }
  // Goes on for a receiver that has `join`; false where this is not the snapshot that it means, or
  // not its chunks. `pending` as it says now.
  Result<bool> resume(const JoinProgress& join, const FeedScope& scope,
                      const std::set<TerritoryId>& held, const std::vector<PendingRange>& pending);
  const FeedScope& scope() const { return scope_; }

 private:
  SnapshotSource(std::shared_ptr<const StoreView> view, const FeedScope& scope,
                 const std::set<TerritoryId>& held, size_t chunk_bytes);
  Result<void> describe_end(const std::vector<PendingRange>& pending);
  std::shared_ptr<const StoreView> view_;
  FeedScope scope_;
  std::set<TerritoryId> held_;
  SnapshotWriter writer_;
  SnapshotHead head_;
  SnapshotEnd end_;
};

// Snapshots whose link broke, kept for a while so that they can go on: one per branch. I/O thread.
class SnapshotShelf {
 public:
  static constexpr int64_t kKeepUs = 15ll * 60 * 1'000'000;

  void put(std::shared_ptr<SnapshotSource> source, int64_t now_us);
  // What is kept for this branch, which is no longer kept then; null where there is nothing.
  std::shared_ptr<SnapshotSource> take(OriginId origin, int64_t now_us);
  // Forgets what is too old.
  void expire(int64_t now_us);
  // The line must be kept from here on; nothing where there is no snapshot.
  std::optional<Csn> lowest() const;
  size_t size() const { return kept_.size(); }

 private:
  struct Kept {
    std::shared_ptr<SnapshotSource> source;
    int64_t since_us;
  };
  std::map<OriginId, Kept> kept_;
};

}  // namespace branchline
