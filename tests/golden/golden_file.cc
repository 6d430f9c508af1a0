#include "tests/golden/golden_file.h"

#include <fstream>
#include <sstream>

#include "common/base/bytes.h"

namespace branchline::golden {
namespace {

constexpr size_t kBytesPerLine = 24;

// Adds the bytes of one line; false where it is malformed.
bool add_bytes(std::string_view line, std::string& out) {
  for (size_t i = 0; i < line.size();) {
    char c = line[i];
    if (c == '#') return true;
    if (c == ' ') {
      ++i;
    } else if (c == '"') {
      size_t end = line.find('"', i + 1);
      if (end == line.npos) return false;
      out.append(line.substr(i + 1, end - i - 1));
      i = end + 1;
    } else {
      if (i + 1 >= line.size()) return false;
      int high = hex_digit(c), low = hex_digit(line[i + 1]);
      if (high < 0 || low < 0) return false;
      out.push_back(static_cast<char>(high << 4 | low));
      i += 2;
    }
  }
  return true;
}

}  // namespace

const Entry* File::find(std::string_view name) const {
  for (const auto& e : entries) {
    if (e.name == name) return &e;
  }
  return nullptr;
}

Result<File> parse(std::string_view text, const std::string& origin) {
  File file;
  size_t number = 0;
  while (!text.empty()) {
    size_t end = text.find('\n');
    std::string_view line = text.substr(0, end);
    text.remove_prefix(end == text.npos ? text.size() : end + 1);
    ++number;
    if (line.starts_with("# ") && file.entries.empty()) {
      size_t colon = line.find(": ");
      if (colon != line.npos) {
        file.header.emplace(line.substr(2, colon - 2), line.substr(colon + 2));
        continue;
      }
    }
    if (line.starts_with("= ")) {
      file.entries.push_back({std::string(line.substr(2)), ""});
      continue;
    }
    std::string bytes;
    if (!add_bytes(line, bytes) || (!bytes.empty() && file.entries.empty())) {
      return fail(ErrorKind::invalid, "golden.malformed",
                  origin + ":" + std::to_string(number) + ": neither hex nor a comment");
    }
    if (!file.entries.empty()) file.entries.back().bytes += bytes;
  }
  return file;
}

Result<File> read(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in)
    return fail(ErrorKind::not_found, "golden.missing",
                path + " is missing; golden_tests --update writes it");
  std::stringstream text;
  text << in.rdbuf();
  return parse(text.str(), path);
}

std::string print(const File& file) {
  std::string out;
  for (const char* key : {"format", "version", "document", "origin"}) {
    auto at = file.header.find(key);
    if (at != file.header.end()) out += "# " + at->first + ": " + at->second + "\n";
  }
  for (const auto& e : file.entries) {
    out += "\n= " + e.name + "\n";
    for (size_t at = 0; at < e.bytes.size(); at += kBytesPerLine) {
      std::string_view part = std::string_view(e.bytes).substr(at, kBytesPerLine);
      std::string digits = hex(part), line, text;
      for (size_t i = 0; i < part.size(); ++i) {
        line += (i == 0 ? "" : " ") + digits.substr(2 * i, 2);
        text.push_back(part[i] > ' ' && part[i] < 0x7f ? part[i] : '.');
      }
      line.resize(3 * kBytesPerLine, ' ');
      out += line + "# " + text + "\n";
    }
  }
  return out;
}

}  // namespace branchline::golden
