// One map of an operator's file: hands out its values by key and collects the mistakes in them.
#pragma once

#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/config/mistakes.h"
#include "common/config/yaml_tree.h"

namespace branchline {

enum class Need { required, optional };

// Looks into a tree that must outlive it, and into the keys given to the constructor.
class Fields {
 public:
  // `what` names the map in messages ("server east"). Unknown and doubled keys are mistakes; of a
  // doubled key the first counts. A node that is no map is a mistake, and then has no keys:
  // missing() does not tell more about it.
  Fields(const YamlNode& node, std::string what, std::initializer_list<std::string_view> known,
         Mistakes& mistakes);

  const std::string& what() const { return what_; }
  bool is_map() const { return is_map_; }
  bool has(std::string_view key) const { return find(key) != nullptr; }
  // Of the value; of the map where the key is missing.
  int line(std::string_view key) const;

  // Nothing if the key is missing or has another type, which is a mistake told (a missing one only
  // if required). `example` is a value as it could stand there.
  std::optional<std::string> text(std::string_view key, std::string_view example,
                                  Need need = Need::required);
  const YamlNode* list(std::string_view key, std::string_view example, Need need = Need::required);
  // A text or a list.
  const YamlNode* text_or_list(std::string_view key, std::string_view example);
  const YamlNode* map(std::string_view key, std::string_view example, Need need = Need::required);

  // A text that `parse` understands; `type` names it in the message ("a duration").
  template <typename T>
  std::optional<T> parsed(std::string_view key, std::string_view example, std::string_view type,
                          std::optional<T> (*parse)(std::string_view), Need need = Need::required) {
    auto written = text(key, example, need);
    if (!written) return std::nullopt;
    auto value = parse(*written);
    if (!value) wrong(key, "is " + quoted(*written) + ", not " + std::string(type), example);
    return value;
  }

  // The key has no place here; `why` says so and how to mend it.
  void forbid(std::string_view key, std::string_view why);

 private:
  const YamlNode* find(std::string_view key) const;
  // The value; nothing, and a mistake, if it is missing but required, or empty.
  const YamlNode* value(std::string_view key, std::string_view example, Need need);
  void wrong(std::string_view key, const std::string& how, std::string_view example);
  void read_keys(std::initializer_list<std::string_view> known);

  const YamlNode& node_;
  std::string what_;
  bool is_map_;
  Mistakes& mistakes_;
};

}  // namespace branchline
