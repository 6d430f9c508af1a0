#include "replication/courier/feed_reader.h"

#include "common/base/limits.h"

namespace branchline {

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
    bytes += 64 + next.fates.size() * 16;
    for (const auto& block : next.blocks) bytes += block.size();
    out.push_back(std::move(next));
  }
  return out;
}

Result<size_t> first_new(const FilePart& part, const LineCursor& cursor) {
  Csn begin = part.head.begin;
  if (begin > cursor.csn) {
    return fail(ErrorKind::conflict, "file.gap",
                "the file begins at csn " + std::to_string(begin.value) +
                    ", and this office stands at " + std::to_string(cursor.csn.value) +
                    ": import the file before it first, or export again at " + part.head.from +
                    " with --from " + std::to_string(cursor.csn.value));
  }
  if (cursor.csn > part.head.end) return part.ranges.size();
  Digest chain = part.head.begin_chain;
  for (size_t next = 0;; ++next) {
    Csn at = next == 0 ? begin : part.ranges[next - 1].to.csn;
    if (next > 0) chain = part.ranges[next - 1].to.chain;
    if (at == cursor.csn && chain == cursor.chain) return next;
    // Cursors stand between batches.
    if (at >= cursor.csn) break;
  }
  return fail(ErrorKind::conflict, "file.off_line",
              "the history in the file is another one than this office has up to csn " +
                  std::to_string(cursor.csn.value));
}

}  // namespace branchline
