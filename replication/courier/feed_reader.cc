#include "replication/courier/feed_reader.h"

#include "common/base/limits.h"

namespace branchline {
namespace {

bool empty(const FeedRange& range) { return range.blocks.empty() && range.fates.empty(); }

}  // namespace

Result<std::vector<FeedRange>> read_feed(const FeedSource& line, const LineCursor& after, Csn until,
                                         FeedScope scope, size_t target) {
  std::vector<FeedRange> out;
  LineCursor at = after;
  size_t bytes = 0;
  scope.echo_until = until;
  for (size_t n = 0; at.csn < until && bytes < target && n < limits::kMaxFileBatches; ++n) {
    BL_ASSIGN(FeedRange next, line.read(at, scope, 1));
    if (next.to.csn == at.csn) break;
    next.with_own = true;
    at = next.to;
    if (!out.empty() && empty(out.back()) && empty(next)) {
      out.back().to = next.to;
      continue;
    }
    bytes += 64 + next.fates.size() * 16;
    for (const auto& block : next.blocks) bytes += block.size();
    out.push_back(std::move(next));
  }
  return out;
}

RangeFit fit_range(FeedRange& range, const LineCursor& cursor) {
  if (range.to.line != cursor.line) return RangeFit::off_line;
  if (range.to.csn == cursor.csn)
    return range.to.chain == cursor.chain ? RangeFit::known : RangeFit::off_line;
  if (range.to.csn < cursor.csn) return RangeFit::known;
  if (range.from > cursor.csn) return RangeFit::gap;
  if (range.from == cursor.csn) return RangeFit::fits;
  // What it holds is of its last batch, and cursors stand between batches: nothing of it is known.
  // (Replica::apply() refuses what would be.)
  range.from = cursor.csn;
  return RangeFit::fits;
}

}  // namespace branchline
