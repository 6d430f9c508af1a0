// Reads a schema from YAML: every mistake is answered with file, line and the mend.
#pragma once

#include <yaml-cpp/yaml.h>

#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "common/schema/schema.h"

namespace branchline {

class SchemaParser {
 public:
  SchemaParser(std::string text, std::string origin)
      : text_(std::move(text)), origin_(std::move(origin)) {}
  Result<std::shared_ptr<const Schema>> parse();

 private:
  // A mistake, thrown within the parser only (yaml-cpp throws as well) and turned into an Error by
  // parse().
  struct Mistake {
    std::string message;
  };
  [[noreturn]] void mistake(const YAML::Node& at, const std::string& what) const;
  void allow_keys(const YAML::Node& map, const std::set<std::string>& keys,
                  const std::string& what) const;
  template <typename T>
  T get(const YAML::Node& map, const char* key, const std::string& what) const;

  // Of an entity or a field: the feature level that it came with.
  uint32_t read_since(const YAML::Node& node, const std::string& what) const;
  void read_extends(const YAML::Node& node);
  void read_names(const YAML::Node& entities);
  void read_entity(const YAML::Node& node, Entity& entity);
  void read_field(const YAML::Node& node, Entity& entity);
  void read_derived(const YAML::Node& node, const Entity& entity, Field& field);
  void read_index(const YAML::Node& node, Entity& entity);
  void read_subtypes(const YAML::Node& node, Entity& entity);
  void check_field(const YAML::Node& node, const Entity& entity, const Field& field) const;
  void link();
  void check_companions() const;

  FieldId field_named(const YAML::Node& at, const Entity& entity, const std::string& name) const;
  EntityId entity_named(const YAML::Node& at, const std::string& name) const;

  std::string text_;
  std::string origin_;
  std::string currency_;
  std::shared_ptr<Schema> schema_;
  YAML::Node list_;                          // of the entities
  std::map<EntityId, YAML::Node> entities_;  // to name lines in mistakes found when all are read
};

}  // namespace branchline
