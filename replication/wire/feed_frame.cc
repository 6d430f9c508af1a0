#include "replication/wire/feed_frame.h"

#include "common/base/limits.h"

namespace branchline {
namespace {

constexpr uint8_t kMore = 1;  // further parts follow
constexpr uint8_t kHasFates = 2;
constexpr size_t kRoomForHead = 1024;

Error malformed(const char* what) {
  return {ErrorKind::invalid, "feed.malformed", std::string("feed frame: ") + what};
}

}  // namespace

std::vector<std::string> encode_feed(const FeedRange& range) {
  std::vector<std::string> parts;
  size_t block = 0;
  bool first = true;
  do {
    size_t begin = block, bytes = 0;
    while (block < range.blocks.size() &&
           (block == begin || bytes + range.blocks[block].size() < limits::kMaxFrameBytes / 2)) {
      bytes += range.blocks[block++].size();
    }
    bool more = block < range.blocks.size();
    bool fates = first && !range.fates.empty();
    std::string& out = parts.emplace_back();
    out.reserve(bytes + kRoomForHead);
    Writer w(out);
    w.u8(static_cast<uint8_t>((more ? kMore : 0) | (fates ? kHasFates : 0)));
    w.varint(range.from.value);
    w.varint(range.to.csn.value - range.from.value);
    w.bytes(range.to.chain.view());
    if (fates) w.blob(encode_fate_block(range.fates));
    w.varint(block - begin);
    for (size_t i = begin; i < block; ++i) w.blob(range.blocks[i]);
    first = false;
  } while (block < range.blocks.size());
  return parts;
}

Result<FeedParts> split_feed(std::string_view payload) {
  Reader r(payload);
  uint8_t flags = r.u8();
  r.varint();
  r.varint();
  r.bytes(32);
  if (flags & kHasFates) r.blob();
  FeedParts parts;
  parts.head = payload.substr(0, payload.size() - r.remaining());
  parts.blocks.resize(r.varint_max(r.remaining()));
  for (auto& b : parts.blocks) b = r.blob();
  if (!r.done()) return std::unexpected(malformed("truncated or with bytes left over"));
  return parts;
}

Result<std::optional<FeedRange>> FeedAssembler::add(std::string_view payload) {
  Reader r(payload);
  uint8_t flags = r.u8();
  FeedRange range;
  range.from = Csn(r.varint());
  uint64_t length = r.varint();
  range.to.line = line_;
  range.to.csn = Csn(range.from.value + length);
  if (auto chain = Digest::from(r.bytes(32))) range.to.chain = *chain;
  if (flags & ~(kMore | kHasFates) || length == 0 || range.to.csn < range.from) {
    return std::unexpected(malformed("flags or range"));
  }
  if (flags & kHasFates) {
    auto fates = decode_fate_block(r.blob());
    if (!fates) return std::unexpected(fates.error());
    range.fates = std::move(*fates);
  }
  range.blocks.resize(r.varint_max(r.remaining()));
  for (auto& b : range.blocks) b = std::string(r.blob());
  if (!r.done()) return std::unexpected(malformed("truncated or with bytes left over"));
  bytes_ += payload.size();
  if (bytes_ > limits::kMaxFeedRangeBytes) {
    return fail(ErrorKind::exhausted, "feed.too_large", "one range of the feed exceeds the limit");
  }
  if (open_) {
    if (open_->from != range.from || open_->to != range.to || !range.fates.empty()) {
      return std::unexpected(malformed("a part that does not continue the range before it"));
    }
    for (auto& b : range.blocks) open_->blocks.push_back(std::move(b));
  } else {
    open_ = std::move(range);
  }
  if (flags & kMore) return std::optional<FeedRange>();
  std::optional<FeedRange> done = std::move(open_);
  open_.reset();
  bytes_ = 0;
  return done;
}

}  // namespace branchline
