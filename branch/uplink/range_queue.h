// Feed ranges between the link, which brings them, and the committer's thread, which applies them.
// What waits is joined into one range: applying undoes and replays the pending mutations on the
// records it touches, so ten ranges at once cost little more than one, and an office that is behind
// catches up instead of falling further back.
#pragma once

#include <deque>
#include <mutex>
#include <optional>

#include "replication/wire/feed_frame.h"

namespace branchline {

// Any thread.
class RangeQueue {
 public:
  // True where a taker has to be sent: none is under way.
  bool add(FeedRange range);
  // What waits, as one range, up to a bound; nothing where nothing waits. `more`: take() again.
  // `redone`: how many pending mutations the range before it made decide again. This one will too,
  // so it may be that much more work: else an office with much that waits would spend all its time
  // on that.
  std::optional<FeedRange> take(bool& more, uint64_t redone = 0);
  // Forgets what waits: the connection that brought it is over, the next one brings it again.
  void clear();

 private:
  std::mutex mutex_;
  std::deque<FeedRange> waiting_;
  bool taker_ = false;
};

}  // namespace branchline
