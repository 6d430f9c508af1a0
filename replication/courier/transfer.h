// How a file passes between an operator's command line and a server: part by part when it is
// written, and each part in pieces when it is read, since requests are small.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/error.h"

namespace branchline {

// Where an export goes on; only the server that made it reads it. The numbers are the maker's.
struct ExportToken {
  std::string file;  // 16 bytes
  uint32_t part = 0;
  std::vector<uint64_t> position;
};
std::string to_string(const ExportToken& token);
// With `numbers` in its position. Errors: invalid "file.token".
Result<ExportToken> parse_export_token(std::string_view text, size_t numbers);

// Puts the pieces of one part together; a piece at 0 begins a new one. Not thread-safe.
class PieceCollector {
 public:
  // The part, when this was its last piece. Errors: invalid "file.piece"; conflict
  // "file.interrupted" where another import began meanwhile.
  Result<std::optional<std::string>> add(std::string_view upload, uint64_t at, uint64_t size,
                                         std::string_view bytes);

 private:
  std::string upload_;
  std::string bytes_;
};

// A query's parameters; values are not decoded (ours need no escapes).
std::map<std::string, std::string> query_of(std::string_view target);
// Errors: invalid, code "file.parameter".
Result<uint64_t> number_of(const std::map<std::string, std::string>& query, const char* name);

}  // namespace branchline
