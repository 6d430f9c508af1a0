#include "tools/wan/shape.h"

#include <array>
#include <charconv>
#include <cmath>
#include <cstdio>

#include "common/config/topology.h"

namespace branchline::wan {

namespace {

std::unexpected<Error> bad(std::string_view text, std::string_view mend) {
  return fail(ErrorKind::invalid, "wan.shape",
              "'" + std::string(text) + "' is not possible: write " + std::string(mend));
}

Result<int64_t> read_time(std::string_view text, int64_t most_us, const char* mend) {
  if (text == "0") return 0;
  const auto us = parse_duration_us(text);
  if (!us || *us < 0 || *us > most_us) return bad(text, mend);
  return *us;
}

Result<int64_t> read_rtt(std::string_view text) {
  return read_time(text, kMaxRttUs,
                   "a round trip with its unit, as in 80ms, 1500us or 2s; 0 to 10 minutes");
}

Result<int64_t> read_delay(std::string_view text) {
  return read_time(text, kMaxRttUs / 2,
                   "the time that one way takes with its unit, as in 40ms, 750us or 1s; 0 to "
                   "5 minutes");
}

Result<uint64_t> read_rate(std::string_view text) {
  if (text == "0") return 0;
  // Units of rates are written in every way: 20mbit is what others' tools print.
  std::string usual(text);
  const size_t unit = usual.find_first_not_of("0123456789.");
  if (unit != usual.npos) {
    if (usual[unit] == 'K') usual[unit] = 'k';
    if (usual[unit] == 'm') usual[unit] = 'M';
    if (usual[unit] == 'g') usual[unit] = 'G';
  }
  const auto bits = parse_rate_bits(usual);
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

Result<uint32_t> read_loss(std::string_view text) {
  if (text == "0") return 0;
  double percent = -1;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), percent);
  const bool whole =
      error == std::errc() && std::string_view(end, text.data() + text.size()) == "%";
  if (!whole || !(percent >= 0 && percent <= 100)) {
    return bad(text, "the share of packets that is lost in percent, as in 0.5%; 0 to 100%");
  }
  return static_cast<uint32_t>(std::lround(percent * 10'000));
}

// `set` gets each way and the value that is meant for it.
template <typename Read, typename Set>
Result<void> each_way(LineShape& shape, std::string_view value, Read read, Set set) {
  const size_t comma = value.find(',');
  const auto up = read(value.substr(0, comma));
  if (!up) return std::unexpected(up.error());
  const auto down = comma == value.npos ? up : read(value.substr(comma + 1));
  if (!down) return std::unexpected(down.error());
  set(shape[0], *up);
  set(shape[1], *down);
  return {};
}

std::string text_of_time(Nanos time) {
  const double us = static_cast<double>(time.count()) / 1000;
  std::array<char, 32> text;
  std::snprintf(text.data(), text.size(), us >= 1000 ? "%gms" : "%gus",
                us >= 1000 ? us / 1000 : us);
  return text.data();
}

std::string text_of_rate(uint64_t bits) {
  if (bits == 0) return "unlimited";
  std::array<char, 32> text;
  std::snprintf(text.data(), text.size(), bits >= 1'000'000 ? "%gMbit" : "%gkbit",
                static_cast<double>(bits) / (bits >= 1'000'000 ? 1e6 : 1e3));
  return text.data();
}

std::string text_of_way(const LineSettings& way) {
  std::string text = "delay " + text_of_time(way.delay) + ", rate " + text_of_rate(way.rate_bits) +
                     ", queue " + std::to_string(way.queue_bytes / 1024) + "KiB";
  if (way.loss_ppm == 0) return text;
  std::array<char, 32> loss;
  std::snprintf(loss.data(), loss.size(), ", loss %g%%", static_cast<double>(way.loss_ppm) / 1e4);
  return text + loss.data();
}

}  // namespace

bool is_shape_part(std::string_view name) {
  return name == "rtt" || name == "delay" || name == "rate" || name == "queue" || name == "loss";
}

Result<void> set_shape_part(LineShape& shape, std::string_view name, std::string_view value) {
  if (name == "rtt") {
    const auto us = read_rtt(value);
    if (!us) return std::unexpected(us.error());
    for (auto& way : shape) way.delay = Nanos(std::chrono::microseconds(*us)) / 2;
    return {};
  }
  if (name == "delay") {
    return each_way(shape, value, read_delay, [](LineSettings& way, int64_t us) {
      way.delay = std::chrono::microseconds(us);
    });
  }
  if (name == "rate") {
    return each_way(shape, value, read_rate,
                    [](LineSettings& way, uint64_t bits) { way.rate_bits = bits; });
  }
  if (name == "queue") {
    return each_way(shape, value, read_queue,
                    [](LineSettings& way, size_t bytes) { way.queue_bytes = bytes; });
  }
  return each_way(shape, value, read_loss,
                  [](LineSettings& way, uint32_t ppm) { way.loss_ppm = ppm; });
}

std::string text_of(const LineShape& shape) {
  const std::string up = text_of_way(shape[0]), down = text_of_way(shape[1]);
  return up == down ? up : "up " + up + "; down " + down;
}

}  // namespace branchline::wan
