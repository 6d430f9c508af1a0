// The encodings that spreadsheets and old systems write.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "common/base/error.h"

namespace branchline::import {

inline constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";

enum class Encoding { utf8, latin1, detect };

// "utf-8", "latin-1", "auto"; nothing for another name.
std::optional<Encoding> parse_encoding(std::string_view name);

// Drops a UTF-8 byte order mark. Where one stands it is UTF-8, whatever is wanted: no file of
// another encoding begins so, and our error files do. Settles `detect`: UTF-8 if all is valid, else
// Latin-1. `invalid` for UTF-16, which is told by its byte order mark.
Result<Encoding> settle_encoding(std::string_view& text, Encoding wanted);

// Latin-1 as it is found in the field: Windows' extension of it, code page 1252.
std::string utf8_from_latin1(std::string_view text);

// Bytes for people: what is no valid UTF-8, and control characters but line ends and tabs, as \xNN.
std::string visible(std::string_view text);

}  // namespace branchline::import
