// What a fuzz target defines, and how it says that something is wrong.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

namespace branchline::fuzz {

inline std::string_view text(const uint8_t* data, size_t size) {
  return {reinterpret_cast<const char*>(data), size};
}

// libFuzzer keeps the input that ends the process.
inline void require(bool ok) {
  if (!ok) std::abort();
}

}  // namespace branchline::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);
