#include "replication/courier/transfer.h"

#include <charconv>

#include "common/base/bytes.h"
#include "common/base/limits.h"

namespace branchline {
namespace {

std::optional<uint64_t> parse_number(std::string_view text) {
  uint64_t out = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return out;
}

// Up to the next dot, which is taken away too.
std::string_view next_word(std::string_view& text) {
  std::string_view word = text.substr(0, text.find('.'));
  text.remove_prefix(std::min(word.size() + 1, text.size()));
  return word;
}

}  // namespace

std::string to_string(const ExportToken& token) {
  std::string out = hex(token.file) + "." + std::to_string(token.part);
  for (uint64_t n : token.position) out += "." + std::to_string(n);
  return out;
}

Result<ExportToken> parse_export_token(std::string_view text, size_t numbers) {
  auto bad = [] {
    return fail(ErrorKind::invalid, "file.token",
                "token: expected what the server said with the part before; begin the export anew");
  };
  ExportToken token;
  std::string_view file = next_word(text);
  auto high = parse_hex64(file.substr(0, 16));
  auto low = parse_hex64(file.substr(std::min<size_t>(16, file.size())));
  auto part = parse_number(next_word(text));
  if (!high || !low || !part || *part > 0xffffffff) return bad();
  Writer w(token.file);
  w.fixed64(*high);
  w.fixed64(*low);
  token.part = static_cast<uint32_t>(*part);
  while (!text.empty()) {
    auto n = parse_number(next_word(text));
    if (!n || token.position.size() == numbers) return bad();
    token.position.push_back(*n);
  }
  if (token.position.size() != numbers) return bad();
  return token;
}

Result<std::optional<std::string>> PieceCollector::add(std::string_view upload, uint64_t at,
                                                       uint64_t size, std::string_view bytes) {
  if (at == 0) {
    upload_ = upload;
    bytes_.clear();
    bytes_.shrink_to_fit();
  }
  if (upload_ != upload) {
    return fail(ErrorKind::conflict, "file.interrupted",
                "another import began here meanwhile; run this one again, nothing is taken twice");
  }
  // Length and hash are around what is limited.
  bool fits = size <= limits::kMaxFilePartBytes + 64 && at == bytes_.size() && !bytes.empty() &&
              bytes.size() <= size - bytes_.size();
  if (!fits) {
    return fail(ErrorKind::invalid, "file.piece",
                "a piece that does not continue the part, or a part beyond " +
                    std::to_string(limits::kMaxFilePartBytes) + " bytes");
  }
  bytes_ += bytes;
  if (bytes_.size() < size) return std::optional<std::string>();
  upload_.clear();
  return std::optional<std::string>(std::exchange(bytes_, {}));
}

std::map<std::string, std::string> query_of(std::string_view target) {
  std::map<std::string, std::string> out;
  size_t mark = target.find('?');
  std::string_view rest = mark == std::string_view::npos ? "" : target.substr(mark + 1);
  while (!rest.empty()) {
    std::string_view one = rest.substr(0, rest.find('&'));
    std::string_view name = one.substr(0, one.find('='));
    out.emplace(name, one.substr(std::min(name.size() + 1, one.size())));
    rest.remove_prefix(std::min(one.size() + 1, rest.size()));
  }
  return out;
}

Result<uint64_t> number_of(const std::map<std::string, std::string>& query, const char* name) {
  auto at = query.find(name);
  auto number = at == query.end() ? std::nullopt : parse_number(at->second);
  if (number) return *number;
  return fail(ErrorKind::invalid, "file.parameter", std::string(name) + ": expected a number");
}

}  // namespace branchline
