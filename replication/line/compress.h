// zstd containers for blocks at rest and on the wire: a byte of codec, the size, the bytes.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "common/base/error.h"

namespace branchline {

// Compresses unless that makes it longer. Level 3; no zstd checksum, since whatever carries the
// container (TLS, RocksDB, the hash chain) has its own.
std::string compress(std::string_view raw);
// `corrupt` if it is no container or the content is longer than `limit` bytes.
Result<std::string> decompress(std::string_view container, size_t limit);

// One direction of one connection: each frame may refer to what earlier frames held (zstd streaming
// with a flush per frame), so constant parts of small blocks cost a few bytes. Large columns are
// zstd blocks of their own: digits have another entropy table than names. Not thread-safe.
class StreamCompressor {
 public:
  StreamCompressor();
  ~StreamCompressor();
  // A joined ColumnSet. What is none is compressed, too, only less well.
  std::string compress(std::string_view block);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

class StreamDecompressor {
 public:
  StreamDecompressor();
  ~StreamDecompressor();
  Result<std::string> decompress(std::string_view bytes, size_t limit);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace branchline
