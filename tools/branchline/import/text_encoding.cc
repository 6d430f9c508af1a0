#include "tools/branchline/import/text_encoding.h"

#include <array>

#include "common/base/bytes.h"
#include "common/record/value.h"

namespace branchline::import {
namespace {

// 0x80 to 0x9F in code page 1252; what it leaves undefined stays the control character it is in
// Latin-1.
constexpr std::array<uint16_t, 32> kUpper = {
    0x20AC, 0x0081, 0x201A, 0x0192, 0x201E, 0x2026, 0x2020, 0x2021, 0x02C6, 0x2030, 0x0160,
    0x2039, 0x0152, 0x008D, 0x017D, 0x008F, 0x0090, 0x2018, 0x2019, 0x201C, 0x201D, 0x2022,
    0x2013, 0x2014, 0x02DC, 0x2122, 0x0161, 0x203A, 0x0153, 0x009D, 0x017E, 0x0178};

// Bytes of the UTF-8 character that `text` begins with; 0 if it begins with none.
size_t character_length(std::string_view text) {
  auto lead = static_cast<uint8_t>(text[0]);
  size_t n = lead < 0x80 ? 1 : lead < 0xC0 ? 0 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
  return n > 0 && n <= text.size() && is_utf8(text.substr(0, n)) ? n : 0;
}

}  // namespace

std::optional<Encoding> parse_encoding(std::string_view name) {
  if (name == "utf-8") return Encoding::utf8;
  if (name == "latin-1") return Encoding::latin1;
  if (name == "auto") return Encoding::detect;
  return std::nullopt;
}

Result<Encoding> settle_encoding(std::string_view& text, Encoding wanted) {
  if (text.starts_with("\xFF\xFE") || text.starts_with("\xFE\xFF")) {
    return fail(
        ErrorKind::invalid, "csv.utf16",
        "the file is UTF-16; save it as \"CSV UTF-8\", or convert it: iconv -f UTF-16 -t UTF-8");
  }
  bool marked = text.starts_with(kByteOrderMark);
  if (marked) {
    text.remove_prefix(kByteOrderMark.size());
    return Encoding::utf8;
  }
  if (wanted != Encoding::detect) return wanted;
  return is_utf8(text) ? Encoding::utf8 : Encoding::latin1;
}

std::string utf8_from_latin1(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (char c : text) {
    auto byte = static_cast<uint8_t>(c);
    if (byte < 0x80) {
      out.push_back(c);
      continue;
    }
    uint32_t code = byte < 0xA0 ? kUpper[byte - 0x80] : byte;
    if (code < 0x800) {
      out.push_back(static_cast<char>(0xC0 | code >> 6));
    } else {
      out.push_back(static_cast<char>(0xE0 | code >> 12));
      out.push_back(static_cast<char>(0x80 | (code >> 6 & 0x3F)));
    }
    out.push_back(static_cast<char>(0x80 | (code & 0x3F)));
  }
  return out;
}

std::string visible(std::string_view text) {
  std::string out;
  while (!text.empty()) {
    char c = text[0];
    size_t n = character_length(text);
    bool control =
        (static_cast<uint8_t>(c) < 0x20 && c != '\n' && c != '\r' && c != '\t') || c == 0x7f;
    if (n == 0 || control) {
      out += "\\x" + hex(text.substr(0, 1));
      n = 1;
    } else {
      out.append(text.substr(0, n));
    }
    text.remove_prefix(n);
  }
  return out;
}

}  // namespace branchline::import
