// Golden files: bytes of a format as commented hex, in entries with names. README.md shows one.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "common/base/error.h"

namespace branchline::golden {

struct Entry {
  std::string name;
  std::string bytes;
};

struct File {
  std::map<std::string, std::string> header;  // format, version, document, origin
  std::vector<Entry> entries;

  const Entry* find(std::string_view name) const;
};

// "# key: value" lines, then entries: "= name", and their bytes as pairs of hex digits and "quoted
// ASCII", with comments from '#' to the end of the line. `invalid` names the line.
Result<File> parse(std::string_view text, const std::string& origin);
Result<File> read(const std::string& path);
std::string print(const File& file);

}  // namespace branchline::golden
