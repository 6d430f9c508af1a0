// Two kinds of hash, never mixed: SHA-256 where somebody might forge (chains, tokens, snapshots),
// XXH3-128 where only accidents count (additive checksums, ETags).
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace branchline {

struct Digest {
  std::array<uint8_t, 32> bytes{};
  auto operator<=>(const Digest&) const = default;
  std::string_view view() const { return {reinterpret_cast<const char*>(bytes.data()), 32}; }
  bool is_zero() const { return *this == Digest{}; }
  // Nothing unless `thirty_two` has 32 bytes.
  static std::optional<Digest> from(std::string_view thirty_two);
};

// Incremental SHA-256 (FIPS 180-4), reusable after finish(). Not thread-safe.
class Sha256 {
 public:
  Sha256();
  ~Sha256();
  Sha256(const Sha256&) = delete;
  Sha256& operator=(const Sha256&) = delete;

  Sha256& add(std::string_view bytes);
  Digest finish();

 private:
  void* context_;
};

Digest sha256(std::string_view bytes);

// A sum of 128-bit hashes modulo 2^128: order does not matter, and what was added can be taken
// away.
struct Sum128 {
  uint64_t low = 0;
  uint64_t high = 0;

  bool operator==(const Sum128&) const = default;
  Sum128& operator+=(const Sum128& o) {
    low += o.low;
    high += o.high + (low < o.low ? 1 : 0);
    return *this;
  }
  Sum128& operator-=(const Sum128& o) {
    uint64_t borrow = low < o.low ? 1 : 0;
    low -= o.low;
    high -= o.high + borrow;
    return *this;
  }
};

Sum128 hash128(std::string_view bytes);
uint64_t hash64(std::string_view bytes);
std::string to_hex(const Sum128& sum);

}  // namespace branchline
