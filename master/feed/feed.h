// The line as a branch gets to see it. read() may run on another thread than add(), under the
// owner's lock; in production both run on the I/O thread.
#pragma once

#include <deque>
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

  Result<FeedRange> read(const LineCursor& after, const FeedScope& scope,
                         size_t budget) const override;

 private:
  struct Row {
    BatchHeader header;
    const LineBatch* in_memory = nullptr;
  };
  Result<std::optional<Row>> next_batch(Csn after) const;
  Result<void> take(const Row& row, const FeedScope& scope, FeedRange& range, size_t& bytes) const;

  const StoreView& store_;
  LineCursor head_;
  size_t tail_limit_;
  size_t tail_bytes_ = 0;
  std::deque<std::shared_ptr<const LineBatch>> tail_;
};

// Adds `next` to `list`, joined with the last entry where it continues it.
void append_fate(std::vector<FateEntry>& list, FateEntry next);

// Everything a joining branch gets, at the csn that the view of the store shows.
class SnapshotSource {
 public:
  static Result<std::unique_ptr<SnapshotSource>> open(std::shared_ptr<const StoreView> view,
                                                      const FeedScope& scope,
                                                      const std::vector<PendingRange>& pending);
  const SnapshotHead& head() const { return head_; }
  // The next chunk; at the end nothing, and then end() is complete.
  Result<std::optional<std::string>> next();
  const SnapshotEnd& end() const { return end_; }

 private:
  SnapshotSource(std::shared_ptr<const StoreView> view, const FeedScope& scope);
  std::shared_ptr<const StoreView> view_;
  SnapshotWriter writer_;
  SnapshotHead head_;
  SnapshotEnd end_;
};

}  // namespace branchline
