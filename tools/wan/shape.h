// How people write a line's shape, on the command line and in /set; the same words, limits and
// mends for both.
#pragma once

#include <cstdint>
#include <string_view>

#include "common/base/error.h"
#include "tools/wan/proxy.h"

namespace branchline::wan {

inline constexpr int64_t kMaxRttUs = 10 * 60 * 1'000'000;
inline constexpr uint64_t kMaxRateBits = 100'000'000'000;
inline constexpr size_t kMinQueueBytes = 4 * 1024;
inline constexpr size_t kMaxQueueBytes = 64 * 1024 * 1024;

// Errors: invalid, "'80' is not a duration: write ..."; the caller puts the option's name before
// it.
Result<int64_t> read_rtt(std::string_view text);
Result<uint64_t> read_rate(std::string_view text);  // "0" is unlimited
Result<size_t> read_queue(std::string_view text);

static_assert(kMinQueueBytes >= 2 * kPacketBytes);

}  // namespace branchline::wan
