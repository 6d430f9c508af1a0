// The hot message downwards: everything of a branch's territories within one range of the main
// line.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "replication/line/commit.h"

namespace branchline {

// SEMANTICS 4: the range (from, to] that it completes; `from` must equal the receiver's cursor.
struct FeedRange {
  Csn from;
  LineCursor to;
  std::vector<std::string> blocks;  // compressed commit blocks, in order of their batches
  std::vector<FateEntry> fates;     // of the receiver's own mutations
  // It came by file, with the effects of the receiver's own mutations even where they are as
  // forecast: nobody could know whether the receiver's disk still holds them. Not on the wire.
  bool with_own = false;
};

// Splits a range that is larger than a frame into parts; usually there is one.
std::vector<std::string> encode_feed(const FeedRange& range);

// The payload of one feed frame as what stands before its blocks, and these; views into it.
struct FeedParts {
  std::string_view head;  // flags, range, chain, fates
  std::vector<std::string_view> blocks;
};
Result<FeedParts> split_feed(std::string_view payload);

// Joins parts again. `invalid` if a part does not continue the one before, `exhausted` beyond the
// limit.
class FeedAssembler {
 public:
  explicit FeedAssembler(LineId line) : line_(line) {}
  // A range when `payload` was its last part.
  Result<std::optional<FeedRange>> add(std::string_view payload);

 private:
  LineId line_;
  std::optional<FeedRange> open_;
  size_t bytes_ = 0;
};

}  // namespace branchline
