#include "replication/relay/block_window.h"

#include "common/base/bytes.h"
#include "replication/wire/feed_frame.h"

namespace branchline {
namespace {

// What an entry takes beside its bytes. Both ends count alike.
constexpr size_t kEntryWeight = 64;

std::unexpected<Error> malformed(const char* what) {
  return fail(ErrorKind::invalid, "channel.block", std::string("a feed in a channel: ") + what);
}

}  // namespace

Result<std::string> BlockWindowSender::shrink(std::string_view feed) {
  BL_ASSIGN(FeedParts parts, split_feed(feed));
  std::string out;
  Writer w(out);
  w.blob(parts.head);
  w.varint(parts.blocks.size());
  for (std::string_view block : parts.blocks) {
    Digest digest = sha256(block);
    auto known = numbers_.find(digest);
    if (known != numbers_.end()) {
      // How far back it is: 1 is the newest.
      w.varint(first_ + entries_.size() - known->second);
      named_bytes_ += block.size();
      continue;
    }
    w.varint(0);
    w.blob(block);
    numbers_[digest] = first_ + entries_.size();
    entries_.push_back({digest, block.size()});
    bytes_ += block.size() + kEntryWeight;
    while (bytes_ > limit_) {
      bytes_ -= entries_.front().bytes + kEntryWeight;
      numbers_.erase(entries_.front().digest);
      entries_.pop_front();
      ++first_;
    }
  }
  return out;
}

Result<std::string> BlockWindowReceiver::restore(std::string_view shrunk) {
  Reader r(shrunk);
  FeedParts parts;
  parts.head = r.blob();
  uint64_t count = r.varint_max(r.remaining());
  std::string out(parts.head);
  Writer w(out);
  w.varint(count);
  for (uint64_t i = 0; i < count && r.ok(); ++i) {
    uint64_t back = r.varint();
    if (back > entries_.size()) return malformed("a block that was not sent over this link");
    if (back > 0) {
      w.blob(entries_[entries_.size() - back]);
    } else {
      std::string_view block = r.blob();
      if (!r.ok()) break;
      w.blob(block);
      entries_.emplace_back(block);
      bytes_ += block.size() + kEntryWeight;
      while (bytes_ > limit_) {
        bytes_ -= entries_.front().size() + kEntryWeight;
        entries_.pop_front();
      }
    }
    if (out.size() > limits::kMaxFrameBytes) return malformed("it is larger than a frame may be");
  }
  if (!r.done()) return malformed("truncated or with bytes left over");
  return out;
}

}  // namespace branchline
