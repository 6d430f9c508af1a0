// Numbers with units and addresses, as operators write them. No floating point: "0.3s" is exactly
// 300,000 us.
#include <arpa/inet.h>

#include <array>
#include <charconv>
#include <limits>
#include <span>

#include "common/config/topology.h"

namespace branchline {
namespace {

struct Unit {
  std::string_view name;
  uint64_t factor;
};

constexpr Unit kDurations[] = {
    {"us", 1},           {"ms", 1'000},           {"s", 1'000'000},
    {"min", 60'000'000}, {"h", 3'600'000'000ull}, {"d", 86'400'000'000ull}};
constexpr Unit kRates[] = {
    {"bit", 1}, {"kbit", 1'000}, {"Mbit", 1'000'000}, {"Gbit", 1'000'000'000}};
constexpr Unit kSizes[] = {{"B", 1},
                           {"kB", 1'000},
                           {"KB", 1'000},
                           {"MB", 1'000'000},
                           {"GB", 1000000000},
                           {"KiB", 1ull << 10},
                           {"MiB", 1ull << 20},
                           {"GiB", 1ull << 30},
                           {"TiB", 1ull << 40},
                           {"TB", 1'000'000'000'000}};

bool is_digit(char c) { return c >= '0' && c <= '9'; }

// <digits>[.<up to six digits>]<unit>, a whole number of the smallest unit, at most `max`.
std::optional<uint64_t> scaled(std::string_view text, std::span<const Unit> units, uint64_t max) {
  uint64_t whole = 0, fraction = 0, divisor = 1;
  const char* end = text.data() + text.size();
  auto [after, error] = std::from_chars(text.data(), end, whole);
  if (error != std::errc()) return std::nullopt;
  if (after != end && *after == '.') {
    const char* digit = ++after;
    for (; digit != end && is_digit(*digit); ++digit) {
      if (divisor == 1'000'000) return std::nullopt;
      fraction = fraction * 10 + static_cast<uint64_t>(*digit - '0');
      divisor *= 10;
    }
    if (digit == after) return std::nullopt;
    after = digit;
  }
  std::string_view name(after, static_cast<size_t>(end - after));
  for (const Unit& unit : units) {
    if (unit.name != name) continue;
    // fraction < 10^6 and factor < 2^41, so their product fits.
    if (fraction * unit.factor % divisor != 0) return std::nullopt;
    uint64_t value = 0;
    if (__builtin_mul_overflow(whole, unit.factor, &value) ||
        __builtin_add_overflow(value, fraction * unit.factor / divisor, &value) || value > max) {
      return std::nullopt;
    }
    return value;
  }
  return std::nullopt;
}

// Labels of letters, digits, `-` and `_` (container networks use it), joined by dots.
bool is_host_name(std::string_view host) {
  if (host.empty() || host.size() > 253) return false;
  size_t label = 0;
  for (size_t i = 0; i < host.size(); ++i) {
    char c = host[i];
    if (c == '.') {
      if (label == 0 || host[i - 1] == '-') return false;
      label = 0;
      continue;
    }
    bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || is_digit(c) || c == '_';
    if (!letter && (c != '-' || label == 0)) return false;
    if (++label > 63) return false;
  }
  return label > 0 && host.back() != '-';
}

// In one spelling, so that equal addresses compare equal.
std::optional<std::string> normal_address(int family, const std::string& host) {
  std::array<unsigned char, 16> bytes{};
  std::array<char, INET6_ADDRSTRLEN> out{};
  if (inet_pton(family, host.c_str(), bytes.data()) != 1) return std::nullopt;
  if (!inet_ntop(family, bytes.data(), out.data(), out.size())) return std::nullopt;
  return std::string(out.data());
}

std::optional<std::string> normal_host(std::string_view host) {
  if (!is_host_name(host)) return std::nullopt;
  std::string lower(host);
  for (char& c : lower) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  // A last label of digits can only be meant as an IPv4 address.
  std::string_view last(lower);
  last.remove_prefix(last.rfind('.') + 1);
  if (last.find_first_not_of("0123456789") == last.npos) return normal_address(AF_INET, lower);
  return lower;
}

std::optional<uint16_t> parse_port(std::string_view text) {
  uint16_t port = 0;
  auto [after, error] = std::from_chars(text.data(), text.data() + text.size(), port);
  bool all = error == std::errc() && after == text.data() + text.size();
  if (!all || text.front() == '0') return std::nullopt;
  return port;
}

}  // namespace

std::optional<Endpoint> parse_endpoint(std::string_view text) {
  size_t colon = text.rfind(':');
  if (colon == text.npos) return std::nullopt;
  std::string_view host = text.substr(0, colon);
  bool v6 = host.size() > 2 && host.front() == '[' && host.back() == ']';
  // The text may hold zero bytes, at which inet_pton would stop reading.
  if (host.find('\0') != host.npos) return std::nullopt;
  auto normal = v6 ? normal_address(AF_INET6, std::string(host.substr(1, host.size() - 2)))
                   : normal_host(host);
  auto port = parse_port(text.substr(colon + 1));
  if (!normal || !port) return std::nullopt;
  return Endpoint{std::move(*normal), *port};
}

std::optional<int64_t> parse_duration_us(std::string_view text) {
  auto us = scaled(text, kDurations, std::numeric_limits<int64_t>::max());
  if (!us) return std::nullopt;
  return static_cast<int64_t>(*us);
}

std::optional<uint64_t> parse_rate_bits(std::string_view text) {
  return scaled(text, kRates, std::numeric_limits<uint64_t>::max());
}

std::optional<uint64_t> parse_size_bytes(std::string_view text) {
  return scaled(text, kSizes, std::numeric_limits<uint64_t>::max());
}

}  // namespace branchline
