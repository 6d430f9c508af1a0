#include "tools/wan/shape.h"

#include <string>

#include "common/config/topology.h"

namespace branchline::wan {

namespace {

std::unexpected<Error> bad(std::string_view text, std::string_view mend) {
  return fail(ErrorKind::invalid, "wan.shape",
              "'" + std::string(text) + "' is not possible: write " + std::string(mend));
}

}  // namespace

Result<int64_t> read_rtt(std::string_view text) {
  if (text == "0") return 0;
  const auto us = parse_duration_us(text);
  if (!us || *us < 0 || *us > kMaxRttUs) {
    return bad(text, "a round trip with its unit, as in 80ms, 1500us or 2s; 0 to 10 minutes");
  }
  return *us;
}

Result<uint64_t> read_rate(std::string_view text) {
  if (text == "0") return 0;
  const auto bits = parse_rate_bits(text);
  if (!bits || *bits > kMaxRateBits) {
    return bad(text,
               "a rate with its unit, as in 512kbit, 20Mbit or 1Gbit; 0 is unlimited, "
               "100Gbit the most");
  }
  return *bits;
}

Result<size_t> read_queue(std::string_view text) {
  const auto bytes = parse_size_bytes(text);
  if (!bytes || *bytes < kMinQueueBytes || *bytes > kMaxQueueBytes) {
    return bad(text, "a size with its unit, as in 256KiB or 1MiB; 4KiB to 64MiB");
  }
  return *bytes;
}

}  // namespace branchline::wan
