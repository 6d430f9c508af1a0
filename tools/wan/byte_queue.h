// Bytes of one flow between being read and being written, in order.
#pragma once

#include <cstddef>
#include <deque>
#include <span>
#include <string_view>
#include <vector>

#include <boost/asio/buffer.hpp>

namespace branchline::wan {

class ByteQueue {
 public:
  void append(std::string_view bytes);
  // The first bytes, `most` at most and as many as fit `slots`; returns how many slots are filled.
  size_t front(size_t most, std::span<boost::asio::const_buffer> slots) const;
  // Forgets the first `bytes`, which must be there.
  void consume(size_t bytes);
  void clear();
  size_t size() const { return size_; }

 private:
  std::deque<std::vector<char>> pieces_;
  size_t consumed_ = 0;  // of pieces_.front()
  size_t size_ = 0;
};

}  // namespace branchline::wan
