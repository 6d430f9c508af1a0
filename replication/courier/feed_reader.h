// The main line as one office gets to see it, cut into parts for a file; and how what comes by file
// fits what the office has.
#pragma once

#include "replication/session/master_session.h"

namespace branchline {

// The ranges behind `after`, each of one batch of the line, and of those before it that do not
// concern the receiver: whatever its cursor is by then, a range can be cut to begin there. Ends at
// `until`, or beyond about `target` bytes. With the effects of the receiver's own mutations
// (FeedRange::with_own).
Result<std::vector<FeedRange>> read_feed(const FeedSource& line, const LineCursor& after, Csn until,
                                         FeedScope scope, size_t target);

// What to do with a range that came by file.
enum class RangeFit {
  known,    // everything in it has come already
  fits,     // it continues the cursor (and was cut to do so)
  gap,      // something is missing before it
  off_line  // it contradicts what is here: another history of the line
};
RangeFit fit_range(FeedRange& range, const LineCursor& cursor);

}  // namespace branchline
