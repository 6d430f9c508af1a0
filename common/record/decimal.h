// Exact decimals: mantissa x 10^-scale, normalised so that equal numbers have equal
// representations.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace branchline {

class Decimal {
 public:
  static constexpr int kMaxScale = 10;

  constexpr Decimal() = default;
  // Normalises; `scale` in [0, kMaxScale].
  Decimal(int64_t mantissa, int scale);

  // Plain or scientific notation ("-12.50", "1e3"); nothing if it is no number, has more than
  // kMaxScale decimals, or does not fit 64 bits.
  static std::optional<Decimal> parse(std::string_view text);
  // From a 128-bit intermediate; nothing if it does not fit.
  static std::optional<Decimal> from_wide(__int128 mantissa, int scale);

  int64_t mantissa() const { return mantissa_; }
  int scale() const { return scale_; }
  bool is_zero() const { return mantissa_ == 0; }
  std::string to_string() const;
  double to_double() const;

  // Nothing on overflow.
  static std::optional<Decimal> add(const Decimal& a, const Decimal& b);
  static std::optional<Decimal> subtract(const Decimal& a, const Decimal& b);
  static std::optional<Decimal> multiply(const Decimal& a, const Decimal& b);
  // Quotient rounded half to even at `scale` decimals; nothing on overflow or division by zero.
  static std::optional<Decimal> divide(const Decimal& a, const Decimal& b, int scale);
  std::optional<Decimal> rounded(int scale) const;
  Decimal negated() const;
  static int compare(const Decimal& a, const Decimal& b);
  bool operator==(const Decimal&) const = default;

 private:
  int64_t mantissa_ = 0;
  int scale_ = 0;
};

}  // namespace branchline
