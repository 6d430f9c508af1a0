#include "common/schema/schema.h"

#include <algorithm>

#include "common/base/check.h"
#include "common/schema/schema_parser.h"

namespace branchline {

extern const char* const kBuiltInSchema;  // crm.yaml, made a string at build time

std::string_view to_string(Policy policy) {
  switch (policy) {
    case Policy::latest:
      return "latest";
    case Policy::sum:
      return "sum";
    case Policy::set:
      return "set";
    case Policy::append:
      return "append";
    case Policy::max:
      return "max";
    case Policy::min:
      return "min";
    case Policy::first:
      return "first";
    case Policy::ask:
      return "ask";
    case Policy::escrow:
      return "escrow";
  }
  return "unknown";
}

const Field* Entity::field(FieldId id_wanted) const {
  auto at = std::lower_bound(fields.begin(), fields.end(), id_wanted,
                             [](const Field& f, FieldId wanted) { return f.id < wanted; });
  return at != fields.end() && at->id == id_wanted ? &*at : nullptr;
}

const Field* Entity::field(std::string_view field_name) const {
  auto at = by_name.find(field_name);
  return at == by_name.end() ? nullptr : at->second;
}

const Entity::Collection* Entity::collection(std::string_view collection_name) const {
  for (const auto& c : collections) {
    if (c.name == collection_name) return &c;
  }
  return nullptr;
}

std::vector<const Field*> Entity::group_fields(uint16_t group) const {
  std::vector<const Field*> out;
  for (const auto& f : fields) {
    if (f.group == group) out.push_back(&f);
  }
  return out;
}

Result<std::shared_ptr<const Schema>> Schema::parse(std::string text, const std::string& origin) {
  return SchemaParser(std::move(text), origin).parse();
}

std::shared_ptr<const Schema> Schema::built_in() {
  static const std::shared_ptr<const Schema> schema = [] {
    auto parsed = parse(kBuiltInSchema, "crm.yaml");
    if (!parsed) check_failed(parsed.error().message.c_str(), __FILE__, __LINE__);
    return *parsed;
  }();
  return schema;
}

const Entity* Schema::entity(EntityId id) const {
  return id.value < by_id_.size() ? by_id_[id.value] : nullptr;
}

const Entity* Schema::entity(std::string_view logical_name) const {
  auto at = by_name_.find(logical_name);
  return at == by_name_.end() ? nullptr : at->second;
}

std::optional<Schema::Set> Schema::set(std::string_view set_name) const {
  auto at = by_set_.find(set_name);
  if (at == by_set_.end()) return std::nullopt;
  return at->second;
}

}  // namespace branchline
