#include "common/base/ids.h"

#include "common/base/bytes.h"

namespace branchline {

std::string_view to_string(Lane lane) { return lane == Lane::bulk ? "bulk" : "interactive"; }

void append_uuid(const RecordId& id, std::string& out) {
  static constexpr char digits[] = "0123456789abcdef";
  char text[36];
  size_t at = 0;
  for (size_t i = 0; i < 16; ++i) {
    if (i == 4 || i == 6 || i == 8 || i == 10) text[at++] = '-';
    text[at++] = digits[id.bytes[i] >> 4];
    text[at++] = digits[id.bytes[i] & 15];
  }
  out.append(text, 36);
}

std::string to_string(const RecordId& id) {
  std::string out;
  append_uuid(id, out);
  return out;
}

std::optional<RecordId> parse_record_id(std::string_view text) {
  if (text.size() != 36) return std::nullopt;
  RecordId id;
  size_t at = 0;
  for (size_t i = 0; i < 16; ++i) {
    if ((i == 4 || i == 6 || i == 8 || i == 10) && text[at++] != '-') return std::nullopt;
    int high = hex_digit(text[at]), low = hex_digit(text[at + 1]);
    if (high < 0 || low < 0) return std::nullopt;
    id.bytes[i] = static_cast<uint8_t>(high << 4 | low);
    at += 2;
  }
  return id;
}

std::string to_hex(uint64_t value) {
  static constexpr char digits[] = "0123456789abcdef";
  std::string out(16, '0');
  for (int i = 15; i >= 0; --i, value >>= 4) out[static_cast<size_t>(i)] = digits[value & 15];
  return out;
}

std::optional<uint64_t> parse_hex64(std::string_view text) {
  if (text.size() != 16) return std::nullopt;
  uint64_t value = 0;
  for (char c : text) {
    int digit = hex_digit(c);
    if (digit < 0) return std::nullopt;
    value = value << 4 | static_cast<uint64_t>(digit);
  }
  return value;
}

}  // namespace branchline
