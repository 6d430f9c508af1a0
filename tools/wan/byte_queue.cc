#include "tools/wan/byte_queue.h"

#include <algorithm>

#include "common/base/check.h"

namespace branchline::wan {

void ByteQueue::append(std::string_view bytes) {
  pieces_.emplace_back(bytes.begin(), bytes.end());
  size_ += bytes.size();
}

size_t ByteQueue::front(size_t most, std::span<boost::asio::const_buffer> slots) const {
  size_t filled = 0;
  size_t skip = consumed_;
  for (const auto& piece : pieces_) {
    if (most == 0 || filled == slots.size()) break;
    const size_t n = std::min(most, piece.size() - skip);
    slots[filled++] = boost::asio::const_buffer(piece.data() + skip, n);
    most -= n;
    skip = 0;
  }
  return filled;
}

void ByteQueue::consume(size_t bytes) {
  BL_CHECK(bytes <= size_);
  size_ -= bytes;
  consumed_ += bytes;
  while (!pieces_.empty() && consumed_ >= pieces_.front().size()) {
    consumed_ -= pieces_.front().size();
    pieces_.pop_front();
  }
}

void ByteQueue::clear() {
  pieces_.clear();
  consumed_ = 0;
  size_ = 0;
}

}  // namespace branchline::wan
