// YAML as a plain tree in which every node knows its line.
//
// yaml-cpp's own nodes resolve aliases (a few lines of which make a tree of any size), drop doubled
// keys and lose the line of an empty value; so the tree is built from the parser's events instead.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/config/mistakes.h"

namespace branchline {

struct YamlNode {
  enum class Kind { empty, scalar, list, map, refused };

  Kind kind = Kind::empty;
  int line = 1;                 // of an empty value: the line of its key or dash
  std::string text;             // scalar
  std::vector<YamlNode> keys;   // map: in the order of the file, doubles included
  std::vector<YamlNode> items;  // list; map: the values of `keys`, one each
};

// Nothing if `text` is no YAML document at all; `mistakes` says why. A tree may come with mistakes
// as well: anchors, aliases and tags are refused (a node of kind `refused` stands for an alias),
// and the rest can still be checked.
std::optional<YamlNode> read_yaml(std::string_view text, Mistakes& mistakes);

}  // namespace branchline
