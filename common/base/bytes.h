// Writing and reading bytes. Integers are LEB128 varints unless a width is named; fixed widths are
// big endian, so that keys sort as numbers do. A Reader never reads past its end: the first bad
// read makes it fail for good, every later read returns zeros, and the caller asks ok() once at the
// end.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "common/base/ids.h"

namespace branchline {

inline uint64_t zigzag(int64_t v) {
  return (static_cast<uint64_t>(v) << 1) ^ static_cast<uint64_t>(v >> 63);
}
inline int64_t unzigzag(uint64_t v) {
  return static_cast<int64_t>(v >> 1) ^ -static_cast<int64_t>(v & 1);
}

// Appends to a string that the caller owns.
class Writer {
 public:
  explicit Writer(std::string& out) : out_(out) {}

  void u8(uint8_t v) { out_.push_back(static_cast<char>(v)); }
  void fixed16(uint16_t v) { big_endian(v, 2); }
  void fixed32(uint32_t v) { big_endian(v, 4); }
  void fixed64(uint64_t v) { big_endian(v, 8); }
  void varint(uint64_t v) {
    while (v >= 0x80) {
      out_.push_back(static_cast<char>(v | 0x80));
      v >>= 7;
    }
    out_.push_back(static_cast<char>(v));
  }
  void svarint(int64_t v) { varint(zigzag(v)); }
  void bytes(std::string_view v) { out_.append(v); }
  // Length, then bytes.
  void blob(std::string_view v) {
    varint(v.size());
    out_.append(v);
  }
  void id(const RecordId& id) { out_.append(id.view()); }
  size_t size() const { return out_.size(); }

 private:
  void big_endian(uint64_t v, int width) {
    char b[8];
    for (int i = width - 1; i >= 0; --i, v >>= 8) b[i] = static_cast<char>(v);
    out_.append(b, static_cast<size_t>(width));
  }
  std::string& out_;
};

class Reader {
 public:
  explicit Reader(std::string_view in) : in_(in) {}

  uint8_t u8() {
    if (in_.empty()) return fail();
    uint8_t v = static_cast<uint8_t>(in_[0]);
    in_.remove_prefix(1);
    return v;
  }
  // A byte that is 0 or 1; others would be a second way to say the same.
  bool flag() {
    uint8_t v = u8();
    return v <= 1 ? v == 1 : fail() != 0;
  }
  uint16_t fixed16() { return static_cast<uint16_t>(big_endian(2)); }
  uint32_t fixed32() { return static_cast<uint32_t>(big_endian(4)); }
  uint64_t fixed64() { return big_endian(8); }
  uint64_t varint() {
    uint64_t v = 0;
    for (unsigned shift = 0, i = 0; i < in_.size() && shift < 64; ++i, shift += 7) {
      uint64_t b = static_cast<uint8_t>(in_[i]);
      // The tenth byte holds one bit; more would be cut off silently.
      if (shift == 63 && b > 1) return fail();
      v |= (b & 0x7f) << shift;
      if (b < 0x80) {
        in_.remove_prefix(i + 1);
        return v;
      }
    }
    return fail();
  }
  // A varint that must fit below `limit` (inclusive): for counts and lengths, so that a hostile
  // number fails here and allocates nothing.
  uint64_t varint_max(uint64_t limit) {
    uint64_t v = varint();
    return v <= limit ? v : fail();
  }
  int64_t svarint() { return unzigzag(varint()); }
  std::string_view bytes(size_t n) {
    if (n > in_.size()) {
      fail();
      return {};
    }
    std::string_view v = in_.substr(0, n);
    in_.remove_prefix(n);
    return v;
  }
  std::string_view blob() { return bytes(varint_max(in_.size())); }
  RecordId id() {
    std::string_view v = bytes(16);
    return v.size() == 16 ? RecordId::from_bytes(v) : RecordId{};
  }

  bool ok() const { return ok_; }
  // Read to the end, without a fault.
  bool done() const { return ok_ && in_.empty(); }
  size_t remaining() const { return in_.size(); }
  std::string_view rest() const { return in_; }
  uint8_t fail() {
    ok_ = false;
    in_ = {};
    return 0;
  }

 private:
  uint64_t big_endian(size_t width) {
    if (in_.size() < width) return fail();
    uint64_t v = 0;
    for (size_t i = 0; i < width; ++i) v = v << 8 | static_cast<uint8_t>(in_[i]);
    in_.remove_prefix(width);
    return v;
  }
  std::string_view in_;
  bool ok_ = true;
};

// -1 if `c` is no hex digit.
inline int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}
std::string hex(std::string_view bytes);

// Identities as columns of keys and messages write them: origin (2), incarnation (8), lane (1), seq
// (8).
void put_mutation_id(Writer& w, const MutationId& id);
MutationId get_mutation_id(Reader& r);

}  // namespace branchline
