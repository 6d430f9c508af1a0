#include "common/record/decimal.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "common/base/check.h"

namespace branchline {
namespace {

using Wide = __int128;

constexpr int64_t kPowers[] = {1,       10,       100,       1000,       10000,      100000,
                               1000000, 10000000, 100000000, 1000000000, 10000000000};

// The least integer is left out: it has no negative.
bool fits(Wide v) {
  return v >= -std::numeric_limits<int64_t>::max() && v <= std::numeric_limits<int64_t>::max();
}

Wide divide_half_even(Wide numerator, Wide denominator) {
  Wide quotient = numerator / denominator, rest = numerator % denominator;
  Wide twice = rest < 0 ? -rest * 2 : rest * 2;
  Wide size = denominator < 0 ? -denominator : denominator;
  if (twice > size || (twice == size && quotient % 2 != 0)) {
    quotient += (numerator < 0) == (denominator < 0) ? 1 : -1;
  }
  return quotient;
}

}  // namespace

Decimal::Decimal(int64_t mantissa, int scale) : mantissa_(mantissa), scale_(scale) {
  BL_CHECK(scale >= 0 && scale <= kMaxScale);
  while (scale_ > 0 && mantissa_ % 10 == 0) {
    mantissa_ /= 10;
    --scale_;
  }
  if (mantissa_ == 0) scale_ = 0;
}

std::optional<Decimal> Decimal::from_wide(Wide mantissa, int scale) {
  while (scale > 0 && mantissa % 10 == 0) {
    mantissa /= 10;
    --scale;
  }
  if (scale > kMaxScale) {
    Wide divisor = 1;
    for (int i = scale; i > kMaxScale; --i) divisor *= 10;
    mantissa = divide_half_even(mantissa, divisor);
    scale = kMaxScale;
  }
  if (!fits(mantissa)) return std::nullopt;
  return Decimal(static_cast<int64_t>(mantissa), scale);
}

std::optional<Decimal> Decimal::parse(std::string_view text) {
  size_t i = 0;
  bool negative = false;
  if (i < text.size() && (text[i] == '-' || text[i] == '+')) negative = text[i++] == '-';
  Wide mantissa = 0;
  int scale = 0, digits = 0, significant = 0;
  bool point = false;
  for (; i < text.size(); ++i) {
    char c = text[i];
    if (c == '.' && !point) {
      point = true;
      continue;
    }
    if (c < '0' || c > '9') break;
    ++digits;
    if (mantissa != 0 || c != '0') ++significant;
    if (significant > 37) return std::nullopt;
    mantissa = mantissa * 10 + (c - '0');
    if (point) ++scale;
  }
  if (digits == 0) return std::nullopt;
  int exponent = 0;
  if (i < text.size() && (text[i] == 'e' || text[i] == 'E')) {
    ++i;
    bool minus = false;
    if (i < text.size() && (text[i] == '-' || text[i] == '+')) minus = text[i++] == '-';
    if (i == text.size()) return std::nullopt;
    for (; i < text.size() && text[i] >= '0' && text[i] <= '9'; ++i) {
      exponent = std::min(exponent * 10 + (text[i] - '0'), 1000);
    }
    if (minus) exponent = -exponent;
  }
  if (i != text.size()) return std::nullopt;
  if (mantissa == 0) return Decimal();
  scale -= exponent;
  for (; scale < 0; ++scale) {
    mantissa *= 10;
    if (!fits(mantissa)) return std::nullopt;
  }
  while (scale > 0 && mantissa % 10 == 0) {
    mantissa /= 10;
    --scale;
  }
  // Never rounded silently: more decimals than we keep is the caller's error to report.
  if (scale > kMaxScale || !fits(mantissa)) return std::nullopt;
  return Decimal(static_cast<int64_t>(negative ? -mantissa : mantissa), scale);
}

std::string Decimal::to_string() const {
  bool negative = mantissa_ < 0;
  uint64_t size =
      negative ? ~static_cast<uint64_t>(mantissa_) + 1 : static_cast<uint64_t>(mantissa_);
  std::string digits = std::to_string(size);
  if (scale_ > 0) {
    size_t scale = static_cast<size_t>(scale_);
    if (digits.size() <= scale) digits.insert(0, scale + 1 - digits.size(), '0');
    digits.insert(digits.size() - scale, 1, '.');
  }
  return negative ? "-" + digits : digits;
}

double Decimal::to_double() const {
  return static_cast<double>(mantissa_) / std::pow(10.0, static_cast<double>(scale_));
}

std::optional<Decimal> Decimal::add(const Decimal& a, const Decimal& b) {
  int scale = std::max(a.scale_, b.scale_);
  return from_wide(
      Wide(a.mantissa_) * kPowers[scale - a.scale_] + Wide(b.mantissa_) * kPowers[scale - b.scale_],
      scale);
}

std::optional<Decimal> Decimal::subtract(const Decimal& a, const Decimal& b) {
  int scale = std::max(a.scale_, b.scale_);
  return from_wide(
      Wide(a.mantissa_) * kPowers[scale - a.scale_] - Wide(b.mantissa_) * kPowers[scale - b.scale_],
      scale);
}

std::optional<Decimal> Decimal::multiply(const Decimal& a, const Decimal& b) {
  return from_wide(Wide(a.mantissa_) * Wide(b.mantissa_), a.scale_ + b.scale_);
}

std::optional<Decimal> Decimal::divide(const Decimal& a, const Decimal& b, int scale) {
  BL_CHECK(scale >= 0 && scale <= kMaxScale);
  if (b.mantissa_ == 0) return std::nullopt;
  // a / b = (ma / mb) * 10^(sb - sa); wanted at `scale` decimals. Digit by digit, since ma * 10^20
  // leaves 128 bits.
  Wide rest = a.mantissa_ < 0 ? -Wide(a.mantissa_) : Wide(a.mantissa_);
  Wide divisor = b.mantissa_ < 0 ? -Wide(b.mantissa_) : Wide(b.mantissa_);
  int shift = scale + b.scale_ - a.scale_;
  for (; shift < 0; ++shift) divisor *= 10;
  Wide quotient = rest / divisor;
  rest %= divisor;
  // Beyond this no number of zeros at its end makes it fit.
  constexpr Wide kBeyond = Wide(std::numeric_limits<int64_t>::max()) * kPowers[kMaxScale];
  for (; shift > 0; --shift) {
    rest *= 10;
    quotient = quotient * 10 + rest / divisor;
    rest %= divisor;
    if (quotient > kBeyond) return std::nullopt;
  }
  if (rest * 2 > divisor || (rest * 2 == divisor && quotient % 2 != 0)) ++quotient;
  return from_wide((a.mantissa_ < 0) != (b.mantissa_ < 0) ? -quotient : quotient, scale);
}

std::optional<Decimal> Decimal::rounded(int scale) const {
  if (scale >= scale_) return *this;
  return from_wide(divide_half_even(mantissa_, kPowers[scale_ - scale]), scale);
}

Decimal Decimal::negated() const {
  // parse(), sums, products and decoders never make the one value without a negative.
  BL_CHECK(mantissa_ != std::numeric_limits<int64_t>::min());
  return Decimal(-mantissa_, scale_);
}

int Decimal::compare(const Decimal& a, const Decimal& b) {
  int scale = std::max(a.scale_, b.scale_);
  Wide x = Wide(a.mantissa_) * kPowers[scale - a.scale_];
  Wide y = Wide(b.mantissa_) * kPowers[scale - b.scale_];
  return x < y ? -1 : x > y ? 1 : 0;
}

}  // namespace branchline
