#include "common/config/yaml_fields.h"

#include <algorithm>
#include <map>

namespace branchline {

using Kind = YamlNode::Kind;

Fields::Fields(const YamlNode& node, std::string what,
               std::initializer_list<std::string_view> known, Mistakes& mistakes)
    : node_(node), what_(std::move(what)), is_map_(node.kind == Kind::map), mistakes_(mistakes) {
  if (is_map_) {
    read_keys(known);
  } else if (node.kind != Kind::refused) {
    std::string example(*known.begin());
    mistakes_.add(node.line, what_ + " must be a map of keys and values; write `" + example +
                                 ": ...` and so on");
  }
}

void Fields::read_keys(std::initializer_list<std::string_view> known) {
  std::map<std::string_view, int> seen;
  for (const YamlNode& key : node_.keys) {
    if (key.kind == Kind::refused) continue;
    if (key.kind != Kind::scalar) {
      mistakes_.add(key.line, "a key of " + what_ + " must be a word; write `key: value`");
      continue;
    }
    if (std::find(known.begin(), known.end(), key.text) == known.end()) {
      std::string list, near;
      if (!mistakes_.full()) near = nearest(key.text, std::vector<std::string_view>(known));
      for (std::string_view k : known) list += (list.empty() ? "" : ", ") + std::string(k);
      mistakes_.add(key.line, "unknown key " + quoted(key.text) + " in " + what_ + "; " +
                                  (near.empty() ? "" : "did you mean `" + near + "`? ") +
                                  "Known are " + list);
    }
    auto [first, fresh] = seen.emplace(key.text, key.line);
    if (!fresh) {
      mistakes_.add(key.line, "key " + quoted(key.text) + " stands twice in " + what_ +
                                  " (first in line " + std::to_string(first->second) +
                                  "); keep one");
    }
  }
}

const YamlNode* Fields::find(std::string_view key) const {
  for (size_t i = 0; i < node_.keys.size(); ++i) {
    if (node_.keys[i].kind == Kind::scalar && node_.keys[i].text == key) return &node_.items[i];
  }
  return nullptr;
}

int Fields::line(std::string_view key) const {
  const YamlNode* found = find(key);
  return found ? found->line : node_.line;
}

void Fields::wrong(std::string_view key, const std::string& how, std::string_view example) {
  std::string k(key);
  mistakes_.add(line(key), "`" + k + "` of " + what_ + " " + how + "; write e.g. `" + k + ": " +
                               std::string(example) + "`");
}

const YamlNode* Fields::value(std::string_view key, std::string_view example, Need need) {
  const YamlNode* found = find(key);
  if (found &&
      (found->kind == Kind::empty || (found->kind == Kind::scalar && found->text.empty()))) {
    wrong(key, "is empty", example);
    return nullptr;
  }
  if (!found && need == Need::required && is_map_) {
    std::string k(key);
    mistakes_.add(node_.line,
                  what_ + " lacks `" + k + "`; add e.g. `" + k + ": " + std::string(example) + "`");
  }
  // The refusal of an alias was told already.
  return found && found->kind != Kind::refused ? found : nullptr;
}

std::optional<std::string> Fields::text(std::string_view key, std::string_view example, Need need) {
  const YamlNode* found = value(key, example, need);
  if (!found) return std::nullopt;
  if (found->kind == Kind::scalar) return found->text;
  wrong(key, "must be a single value", example);
  return std::nullopt;
}

const YamlNode* Fields::list(std::string_view key, std::string_view example, Need need) {
  const YamlNode* found = value(key, example, need);
  if (!found || found->kind == Kind::list) return found;
  wrong(key, "must be a list", example);
  return nullptr;
}

const YamlNode* Fields::text_or_list(std::string_view key, std::string_view example) {
  const YamlNode* found = value(key, example, Need::required);
  if (!found || found->kind != Kind::map) return found;
  wrong(key, "must be a list or a single value", example);
  return nullptr;
}

const YamlNode* Fields::map(std::string_view key, std::string_view example, Need need) {
  const YamlNode* found = value(key, example, need);
  if (!found || found->kind == Kind::map) return found;
  wrong(key, "must be a map", example);
  return nullptr;
}

void Fields::forbid(std::string_view key, std::string_view why) {
  for (const YamlNode& k : node_.keys) {
    if (k.kind == Kind::scalar && k.text == key) {
      mistakes_.add(k.line, "`" + std::string(key) + "` of " + what_ + ": " + std::string(why));
      return;
    }
  }
}

}  // namespace branchline
