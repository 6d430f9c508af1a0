// Bytes that live as long as a batch: string_views in operations and effects point here. Chunks
// never move.
#pragma once

#include <cstring>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace branchline {

class Arena {
 public:
  Arena() = default;
  Arena(Arena&&) = default;
  Arena& operator=(Arena&&) = default;

  std::string_view copy(std::string_view v) {
    if (v.empty()) return {};
    char* at = allocate(v.size());
    std::memcpy(at, v.data(), v.size());
    return {at, v.size()};
  }
  // Keeps a whole buffer alive without copying it.
  std::string_view adopt(std::string&& buffer) {
    buffers_.push_back(std::make_unique<std::string>(std::move(buffer)));
    return *buffers_.back();
  }

 private:
  char* allocate(size_t n) {
    if (n > left_) {
      size_t size = n > kChunk ? n : kChunk;
      chunks_.push_back(std::make_unique_for_overwrite<char[]>(size));
      at_ = chunks_.back().get();
      left_ = size;
    }
    char* out = at_;
    at_ += n;
    left_ -= n;
    return out;
  }
  static constexpr size_t kChunk = 16 * 1024;
  std::vector<std::unique_ptr<char[]>> chunks_;
  std::vector<std::unique_ptr<std::string>> buffers_;
  char* at_ = nullptr;
  size_t left_ = 0;
};

}  // namespace branchline
