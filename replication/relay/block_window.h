// Blocks of the feed that crossed a link lately: both ends keep the same ones, so that a block for
// several receivers is sent once and named afterwards. Pure.
//
// A window lives as long as its connection and follows from the frames alone: nothing is agreed
// on, nothing is stored, and an end that lost its memory has lost the connection with it.
#pragma once

#include <deque>
#include <map>
#include <string>
#include <string_view>

#include "common/base/error.h"
#include "common/base/hash.h"
#include "common/base/limits.h"

namespace branchline {

// The sending end. It keeps digests only.
class BlockWindowSender {
 public:
  explicit BlockWindowSender(size_t bytes = limits::kBlockWindowBytes) : limit_(bytes) {}
  // `feed`: the payload of a feed frame. Blocks that the receiver has are named.
  Result<std::string> shrink(std::string_view feed);
  uint64_t named_bytes() const { return named_bytes_; }  // not sent again

 private:
  struct Entry {
    Digest digest;
    size_t bytes;
  };
  size_t limit_;
  size_t bytes_ = 0;
  uint64_t first_ = 0;  // number of the oldest entry
  std::deque<Entry> entries_;
  std::map<Digest, uint64_t> numbers_;
  uint64_t named_bytes_ = 0;
};

class BlockWindowReceiver {
 public:
  explicit BlockWindowReceiver(size_t bytes = limits::kBlockWindowBytes) : limit_(bytes) {}
  // The payload that shrink() got, byte for byte. `invalid` "channel.block" for what it did not
  // make.
  Result<std::string> restore(std::string_view shrunk);

 private:
  size_t limit_;
  size_t bytes_ = 0;
  std::deque<std::string> entries_;
};

}  // namespace branchline
