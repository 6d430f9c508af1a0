// How people write a line's shape, on the command line and in /set; the same words, limits and
// mends for both.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "common/base/error.h"
#include "tools/wan/line.h"

namespace branchline::wan {

inline constexpr int64_t kMaxRttUs = 10 * 60 * 1'000'000;
inline constexpr uint64_t kMaxRateBits = 100'000'000'000;
inline constexpr size_t kMinQueueBytes = 4 * 1024;
inline constexpr size_t kMaxQueueBytes = 64 * 1024 * 1024;

// Whether `name` is a part of a shape: rtt, delay, rate, queue or loss.
bool is_shape_part(std::string_view name);
// Sets one part. A value is for both ways, two with a comma between are for up and down; rtt takes
// one, and each way half of it. Errors: invalid, "'80' is not possible: write ..."; the caller puts
// the option's name before it.
Result<void> set_shape_part(LineShape& shape, std::string_view name, std::string_view value);
// "delay 40ms, rate 20Mbit, queue 256KiB, loss 0.5%", and both ways where they differ.
std::string text_of(const LineShape& shape);

static_assert(kMinQueueBytes >= 2 * kPacketBytes);

}  // namespace branchline::wan
