// The main line as one office gets to see it, cut into parts for a file; and how what comes by file
// fits what the office has.
#pragma once

#include "replication/courier/file_part.h"
#include "replication/session/master_session.h"

namespace branchline {

// The ranges behind `after`, each of one batch of the line: wherever the receiver stands by then is
// where one of them begins, and whether it followed the same line so far can be seen. Ends at
// `until`, or beyond about `target` bytes. With the effects of the receiver's own mutations
// (FeedRange::with_own).
Result<std::vector<FeedRange>> read_feed(const FeedSource& line, const LineCursor& after, Csn until,
                                         FeedScope scope, size_t target);

// The first range of a feed's part that is new to an office at `cursor`; their count where none is.
// Errors: conflict "file.gap" where something is missing before it (with the csn to export from),
// "file.off_line" where the line in the file had another history up to there.
Result<size_t> first_new(const FilePart& part, const LineCursor& cursor);

}  // namespace branchline
