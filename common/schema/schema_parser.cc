#include "common/schema/schema_parser.h"

#include <algorithm>

#include "common/base/bytes.h"
#include "common/base/check.h"

namespace branchline {
namespace {

const std::map<std::string, Policy> kPolicies = {
    {"latest", Policy::latest}, {"sum", Policy::sum}, {"set", Policy::set},
    {"append", Policy::append}, {"max", Policy::max}, {"min", Policy::min},
    {"first", Policy::first},   {"ask", Policy::ask}, {"escrow", Policy::escrow}};

bool is_summable(ValueType t) { return t == ValueType::integer || t == ValueType::decimal; }
bool is_ordered(ValueType t) {
  return t == ValueType::integer || t == ValueType::decimal || t == ValueType::date ||
         t == ValueType::instant || t == ValueType::duration;
}

}  // namespace

void SchemaParser::mistake(const YAML::Node& at, const std::string& what) const {
  std::string where = origin_;
  if (at.IsDefined() && !at.Mark().is_null()) where += ":" + std::to_string(at.Mark().line + 1);
  throw Mistake{where + ": " + what};
}

void SchemaParser::allow_keys(const YAML::Node& map, const std::set<std::string>& keys,
                              const std::string& what) const {
  if (!map.IsMap()) mistake(map, what + " must be a map");
  std::set<std::string> seen;
  for (const auto& pair : map) {
    auto key = pair.first.as<std::string>();
    if (!keys.count(key)) {
      std::string known;
      for (const auto& k : keys) known += (known.empty() ? "" : ", ") + k;
      mistake(pair.first, "unknown key `" + key + "` in " + what + "; known are: " + known);
    }
    if (!seen.insert(key).second) mistake(pair.first, "key `" + key + "` stands twice in " + what);
  }
}

template <typename T>
T SchemaParser::get(const YAML::Node& map, const char* key, const std::string& what) const {
  YAML::Node node = map[key];
  if (!node) mistake(map, what + " lacks `" + key + "`");
  try {
    return node.as<T>();
  } catch (const YAML::Exception&) {
    mistake(node, "`" + std::string(key) + "` of " + what + " has the wrong type");
  }
}

Result<std::shared_ptr<const Schema>> SchemaParser::parse() {
  try {
    schema_ = std::make_shared<Schema>();
    schema_->digest_ = sha256(text_);
    YAML::Node root = YAML::Load(text_);
    allow_keys(root, {"version", "extends", "currency", "entities"}, "the schema");
    schema_->version_ = get<uint32_t>(root, "version", "the schema");
    if (root["extends"]) read_extends(root["extends"]);
    currency_ = get<std::string>(root, "currency", "the schema");
    if (currency_.size() != 3)
      mistake(root["currency"], "`currency` is a code of three letters (ISO 4217)");
    YAML::Node entities = root["entities"];
    if (!entities || !entities.IsSequence()) mistake(root, "`entities` must be a list");
    list_ = entities;
    read_names(entities);
    for (size_t i = 0; i < entities.size(); ++i) read_entity(entities[i], *schema_->entities_[i]);
    link();
    // Derived fields refer to fields of other entities, so they are read when all are known.
    for (size_t i = 0; i < entities.size(); ++i) {
      Entity& entity = *schema_->entities_[i];
      for (const auto& node : entities[i]["fields"]) {
        if (!node["derived"]) continue;
        auto id = FieldId(get<uint16_t>(node, "id", "a field"));
        for (auto& f : entity.fields) {
          if (f.id == id) read_derived(node["derived"], entity, f);
        }
      }
    }
    return schema_;
  } catch (const Mistake& m) {
    return fail(ErrorKind::invalid, "schema.invalid", m.message);
  } catch (const YAML::Exception& e) {
    return fail(ErrorKind::invalid, "schema.invalid",
                origin_ + ":" + std::to_string(e.mark.line + 1) + ": " + e.msg);
  }
}

void SchemaParser::read_extends(const YAML::Node& node) {
  auto digits = node.as<std::string>("");
  std::string bytes;
  Writer w(bytes);
  for (size_t at = 0; at < 64; at += 16) {
    auto number = digits.size() == 64 ? parse_hex64(digits.substr(at, 16)) : std::nullopt;
    if (!number) mistake(node, "`extends` is the SHA-256 of the version before, 64 hex digits");
    w.fixed64(*number);
  }
  schema_->extends_ = *Digest::from(bytes);
}

uint32_t SchemaParser::read_since(const YAML::Node& node, const std::string& what) const {
  auto level = node.as<uint32_t>(0);
  if (level < 2) mistake(node, "`since` of " + what + " is a feature level, 2 or higher");
  return level;
}

void SchemaParser::read_names(const YAML::Node& entities) {
  for (const auto& node : entities) {
    allow_keys(node,
               {"id", "name", "set", "primary_key", "primary_name", "label", "territory", "parents",
                "delete", "master_only", "admin_only", "credential", "virtual", "merge", "fields",
                "indexes", "subtypes", "retired", "since"},
               "an entity");
    auto entity = std::make_unique<Entity>();
    entity->id = EntityId(get<uint16_t>(node, "id", "an entity"));
    entity->name = get<std::string>(node, "name", "an entity");
    entity->set_name = get<std::string>(node, "set", "entity " + entity->name);
    if (entity->id.value == 0) mistake(node["id"], "entity ids start at 1");
    if (schema_->entity(entity->id)) {
      mistake(node["id"],
              "entity id " + std::to_string(entity->id.value) + " is taken; ids are never reused");
    }
    if (schema_->entity(entity->name))
      mistake(node["name"], "entity " + entity->name + " stands twice");
    if (schema_->by_set_.count(entity->set_name)) {
      mistake(node["set"], "entity set " + entity->set_name + " stands twice");
    }
    if (schema_->by_id_.size() <= entity->id.value) schema_->by_id_.resize(entity->id.value + 1u);
    schema_->by_id_[entity->id.value] = entity.get();
    entities_.emplace(entity->id, static_cast<const YAML::Node&>(node));
    schema_->by_name_[entity->name] = entity.get();
    schema_->by_set_[entity->set_name] = {entity.get(), nullptr};
    schema_->entities_.push_back(std::move(entity));
  }
}

void SchemaParser::read_entity(const YAML::Node& node, Entity& entity) {
  std::string what = "entity " + entity.name;
  entity.primary_key =
      node["primary_key"] ? get<std::string>(node, "primary_key", what) : entity.name + "id";
  auto labels = get<std::vector<std::string>>(node, "label", what);
  if (labels.size() != 2) mistake(node["label"], "label of " + what + " is [singular, plural]");
  entity.label = labels[0];
  entity.label_plural = labels[1];
  auto territory = get<std::string>(node, "territory", what);
  if (territory == "root") {
    entity.territory = TerritoryRule::root;
  } else if (territory == "child") {
    entity.territory = TerritoryRule::child;
  } else if (territory == "reference") {
    entity.territory = TerritoryRule::reference;
  } else {
    mistake(node["territory"], "territory of " + what + " is one of root, child, reference");
  }
  if (node["delete"]) {
    auto policy = get<std::string>(node, "delete", what);
    if (policy != "edit_wins" && policy != "delete_wins") {
      mistake(node["delete"], "delete of " + what + " is edit_wins or delete_wins");
    }
    entity.on_delete = policy == "edit_wins" ? DeletePolicy::edit_wins : DeletePolicy::delete_wins;
  }
  if (node["master_only"]) entity.master_only = get<bool>(node, "master_only", what);
  if (node["admin_only"]) entity.admin_only = get<bool>(node, "admin_only", what);
  if (node["virtual"]) entity.virtual_set = get<bool>(node, "virtual", what);
  if (node["since"]) entity.since = read_since(node["since"], what);
  if (node["credential"]) entity.credential = get<bool>(node, "credential", what);
  if (node["merge"]) entity.mergeable = get<bool>(node, "merge", what);
  if (entity.mergeable && (entity.master_only || entity.virtual_set || entity.credential)) {
    mistake(node["merge"], what + ": only records that offices write can be merged");
  }
  if (!node["fields"] || !node["fields"].IsSequence())
    mistake(node, what + " lacks a list of `fields`");
  for (const auto& field : node["fields"]) read_field(field, entity);
  std::sort(entity.fields.begin(), entity.fields.end(),
            [](const Field& a, const Field& b) { return a.id < b.id; });
  for (const auto& f : entity.fields) entity.by_name[f.name] = &f;
  if (node["retired"]) {
    for (auto id : node["retired"].as<std::vector<uint16_t>>()) {
      if (entity.field(FieldId(id))) {
        mistake(node["retired"],
                "field id " + std::to_string(id) + " of " + what + " is retired and in use");
      }
    }
  }
  for (size_t g = 1; g <= entity.groups.size(); ++g) {
    if (entity.group_fields(static_cast<uint16_t>(g)).size() < 2) {
      mistake(node, "group " + entity.groups[g - 1] + " of " + what +
                        " has one field; a group needs two");
    }
  }
  entity.primary_name =
      field_named(node["primary_name"], entity, get<std::string>(node, "primary_name", what));
  if (node["parents"]) {
    for (const auto& name : node["parents"]) {
      entity.parents.push_back(field_named(name, entity, name.as<std::string>()));
    }
  }
  if ((entity.territory == TerritoryRule::child) != !entity.parents.empty()) {
    mistake(node, what + ": `parents` belongs to, and only to, `territory: child`");
  }
  if (node["indexes"]) {
    for (const auto& index : node["indexes"]) read_index(index, entity);
  }
  if (node["subtypes"]) read_subtypes(node["subtypes"], entity);
}

void SchemaParser::read_field(const YAML::Node& node, Entity& entity) {
  allow_keys(node,
             {"id", "name", "label", "type", "max", "required", "policy", "group", "targets",
              "inverse", "options", "default", "derived", "hierarchy", "since"},
             "a field of entity " + entity.name);
  Field f;
  f.id = FieldId(get<uint16_t>(node, "id", "a field of entity " + entity.name));
  f.name = get<std::string>(node, "name", "a field of entity " + entity.name);
  std::string what = entity.name + "." + f.name;
  if (f.id.value < system_field::kFirstOwn) {
    mistake(node["id"], what + ": field ids start at " + std::to_string(system_field::kFirstOwn));
  }
  for (const auto& other : entity.fields) {
    if (other.id == f.id) {
      mistake(node["id"], what + ": field id " + std::to_string(f.id.value) + " is " + entity.name +
                              "." + other.name + "'s; ids are never reused");
    }
    if (other.name == f.name) mistake(node["name"], what + " stands twice");
  }
  f.label = get<std::string>(node, "label", what);
  auto type = parse_value_type(get<std::string>(node, "type", what));
  if (!type || *type == ValueType::null) {
    mistake(node["type"], what + ": unknown type `" + node["type"].as<std::string>() + "`");
  }
  f.type = *type;
  f.since = node["since"] ? read_since(node["since"], what) : entity.since;
  if (node["max"]) f.max_length = get<size_t>(node, "max", what);
  if (node["required"]) f.required = get<bool>(node, "required", what);
  if (node["hierarchy"]) f.hierarchy = get<bool>(node, "hierarchy", what);
  if (node["policy"]) {
    auto name = get<std::string>(node, "policy", what);
    auto policy = kPolicies.find(name);
    if (policy == kPolicies.end())
      mistake(node["policy"], what + ": unknown policy `" + name + "`");
    f.policy = policy->second;
  }
  f.element = f.type;
  if (node["group"]) {
    auto name = get<std::string>(node, "group", what);
    auto at = std::find(entity.groups.begin(), entity.groups.end(), name);
    if (at == entity.groups.end()) at = entity.groups.insert(at, name);
    f.group = static_cast<uint16_t>(at - entity.groups.begin() + 1);
  }
  if (node["targets"]) {
    for (const auto& t : node["targets"]) f.targets.push_back(entity_named(t, t.as<std::string>()));
  }
  f.inverse.resize(f.targets.size());
  if (node["inverse"]) {
    for (const auto& pair : node["inverse"]) {
      EntityId target = entity_named(pair.first, pair.first.as<std::string>());
      auto at = std::find(f.targets.begin(), f.targets.end(), target);
      if (at == f.targets.end())
        mistake(pair.first, what + ": `inverse` names an entity that is no target");
      f.inverse[size_t(at - f.targets.begin())] = pair.second.as<std::string>();
    }
  }
  if (node["options"]) {
    for (const auto& pair : node["options"]) {
      f.options.push_back({pair.first.as<int64_t>(), pair.second.as<std::string>()});
    }
  }
  if (node["default"]) {
    if (f.type != ValueType::option && f.type != ValueType::integer) {
      mistake(node["default"], what + ": a default is for options and integers");
    }
    f.default_value = encode_integer(get<int64_t>(node, "default", what));
  }
  std::copy_n(currency_.begin(), 3, f.currency.begin());
  f.read_only = static_cast<bool>(node["derived"]);
  check_field(node, entity, f);
  entity.fields.push_back(std::move(f));
}

void SchemaParser::check_field(const YAML::Node& node, const Entity& entity, const Field& f) const {
  std::string what = entity.name + "." + f.name;
  if ((f.type == ValueType::lookup) != !f.targets.empty()) {
    mistake(node, what + ": `targets` belongs to, and only to, a lookup");
  }
  if ((f.type == ValueType::option) != !f.options.empty()) {
    mistake(node, what + ": `options` belongs to, and only to, an option");
  }
  if (f.hierarchy && !(f.targets.size() == 1 && f.targets[0] == entity.id)) {
    mistake(node, what + ": a hierarchy is a lookup to its own entity");
  }
  if (f.policy == Policy::sum && !is_summable(f.type)) {
    mistake(node, what + ": policy sum is for integer and decimal");
  }
  if ((f.policy == Policy::max || f.policy == Policy::min) && !is_ordered(f.type)) {
    mistake(node, what + ": policies max and min are for numbers, dates and durations");
  }
  if ((f.policy == Policy::append) != (f.type == ValueType::row)) {
    mistake(node, what + ": type row and policy append belong together");
  }
  if (f.policy == Policy::set && f.type != ValueType::text) {
    mistake(node, what + ": sets hold texts so far");
  }
  if (f.policy == Policy::escrow && f.type != ValueType::decimal) {
    mistake(node, what + ": policy escrow is for decimal");
  }
  if (f.group != 0 && f.policy != Policy::latest && f.policy != Policy::first &&
      f.policy != Policy::ask) {
    mistake(node, what + ": the fields of a group merge as one, under `latest`, `first` or `ask`");
  }
  for (const auto& other : entity.fields) {
    if (f.group != 0 && other.group == f.group && other.policy != f.policy) {
      mistake(node, what + ": a group has one policy, and " + other.name + "'s is `" +
                        std::string(to_string(other.policy)) + "`");
    }
  }
  if (f.read_only && (f.policy != Policy::latest || f.group != 0 || f.required)) {
    mistake(node, what + ": a derived field has no policy, no group and is not required");
  }
}

void SchemaParser::read_derived(const YAML::Node& node, const Entity& entity, Field& field) {
  std::string what = entity.name + "." + field.name;
  allow_keys(node, {"join", "sum_of", "line_amount", "late"}, "derived of " + what);
  if (node.size() != 1) mistake(node, "derived of " + what + " names one formula");
  auto formula = node.begin()->first.as<std::string>();
  YAML::Node spec = node.begin()->second;
  auto inputs = [&](size_t count) {
    for (const auto& name : spec)
      field.derived.inputs.push_back(field_named(name, entity, name.as<std::string>()));
    if (field.derived.inputs.size() != count) {
      mistake(spec, formula + " of " + what + " takes " + std::to_string(count) + " fields");
    }
  };
  if (formula == "join") {
    field.derived.kind = Derived::Kind::join;
    inputs(2);
  } else if (formula == "line_amount") {
    field.derived.kind = Derived::Kind::line_amount;
    inputs(3);
  } else if (formula == "late") {
    field.derived.kind = Derived::Kind::late;
    inputs(3);
  } else {
    field.derived.kind = Derived::Kind::sum_of_children;
    allow_keys(spec, {"entity", "by", "field"}, "sum_of of " + what);
    field.derived.child = entity_named(spec["entity"], get<std::string>(spec, "entity", what));
    Entity* child = nullptr;
    for (auto& e : schema_->entities_) {
      if (e->id == field.derived.child) child = e.get();
    }
    field.derived.child_parent =
        field_named(spec["by"], *child, get<std::string>(spec, "by", what));
    field.derived.child_field =
        field_named(spec["field"], *child, get<std::string>(spec, "field", what));
    if (child->field(field.derived.child_field)->type != ValueType::money ||
        field.type != ValueType::money) {
      mistake(spec, "sum_of of " + what + " adds money");
    }
    child->feeds.push_back(
        {field.derived.child_parent, entity.id, field.id, field.derived.child_field});
    child->has_derived = true;
  }
  for (auto& e : schema_->entities_) {
    if (e->id == entity.id) e->has_derived = true;
  }
}

void SchemaParser::read_index(const YAML::Node& node, Entity& entity) {
  std::string what = "an index of entity " + entity.name;
  allow_keys(node, {"id", "fields", "unique", "parent"}, what);
  Index index;
  index.id = get<uint16_t>(node, "id", what);
  for (const auto& other : entity.indexes) {
    if (other.id == index.id)
      mistake(node["id"], what + ": id " + std::to_string(index.id) + " is taken");
  }
  for (const auto& name : node["fields"]) {
    auto field = name.as<std::string>();
    if (field == "createdon") {
      index.fields.push_back(system_field::kCreatedOn);
    } else {
      index.fields.push_back(field_named(name, entity, field));
      if (entity.field(index.fields.back())->is_collection()) {
        mistake(name, what + ": collections are not indexed");
      }
    }
  }
  if (index.fields.empty()) mistake(node, what + " names no field");
  if (node["unique"]) index.unique = get<bool>(node, "unique", what);
  if (node["parent"]) index.parent = get<bool>(node, "parent", what);
  if ((index.unique || index.parent) && index.fields.size() != 1) {
    mistake(node, what + ": unique and parent indexes have one field");
  }
  entity.indexes.push_back(std::move(index));
}

void SchemaParser::read_subtypes(const YAML::Node& node, Entity& entity) {
  allow_keys(node, {"field", "of"}, "subtypes of entity " + entity.name);
  FieldId field = field_named(node["field"], entity, get<std::string>(node, "field", "subtypes"));
  entity.subtypes.reserve(node["of"].size());  // by_set_ points into it
  for (const auto& sub : node["of"]) {
    allow_keys(sub, {"name", "set", "value"}, "a subtype of entity " + entity.name);
    SubType s{get<std::string>(sub, "name", "a subtype"), get<std::string>(sub, "set", "a subtype"),
              field, get<int64_t>(sub, "value", "a subtype")};
    if (schema_->by_set_.count(s.set_name))
      mistake(sub, "entity set " + s.set_name + " stands twice");
    entity.subtypes.push_back(std::move(s));
    schema_->by_set_[entity.subtypes.back().set_name] = {&entity, &entity.subtypes.back()};
  }
}

void SchemaParser::link() {
  for (auto& entity : schema_->entities_) {
    for (const auto& f : entity->fields) {
      for (size_t i = 0; i < f.targets.size(); ++i) {
        if (f.inverse[i].empty()) continue;
        for (auto& target : schema_->entities_) {
          if (target->id == f.targets[i])
            target->collections.push_back({f.inverse[i], entity->id, f.id});
        }
      }
    }
  }
  for (auto& child : schema_->entities_) {
    for (FieldId parent : child->parents) {
      const Field* field = child->field(parent);
      bool indexed = std::any_of(child->indexes.begin(), child->indexes.end(),
                                 [&](const Index& i) { return i.parent && i.fields[0] == parent; });
      if (field->type != ValueType::lookup || !indexed) {
        mistake(entities_.at(child->id)["parents"],
                child->name + "." + field->name +
                    ": a parent is a lookup with an index marked `parent: true`");
      }
      for (EntityId target : field->targets) {
        for (auto& e : schema_->entities_) {
          if (e->id == target) e->children.push_back({child->id, parent});
        }
      }
    }
  }
  for (auto& entity : schema_->entities_) {
    if (entity->virtual_set) continue;
    for (const auto& f : entity->fields) {
      for (EntityId target : f.targets) {
        for (auto& e : schema_->entities_) {
          if (e->id != target || !e->mergeable) continue;
          bool indexed =
              std::any_of(entity->indexes.begin(), entity->indexes.end(),
                          [&](const Index& i) { return i.parent && i.fields[0] == f.id; });
          if (!indexed) {
            mistake(entities_.at(entity->id)["fields"],
                    entity->name + "." + f.name + ": a lookup to " + e->name +
                        ", whose records can be merged, needs an index marked `parent: true`");
          }
          e->referrers.push_back({entity->id, f.id});
        }
      }
    }
  }
  struct Fixed {
    EntityId id;
    const char* name;
  };
  for (auto [id, name] :
       {Fixed{entity_id::kAccount, "account"}, Fixed{entity_id::kContact, "contact"},
        Fixed{entity_id::kUser, "systemuser"}, Fixed{entity_id::kTerritory, "territory"},
        Fixed{entity_id::kServer, "server"}, Fixed{entity_id::kApiToken, "apitoken"},
        Fixed{entity_id::kTopology, "topology"}, Fixed{entity_id::kConflict, "conflict"},
        Fixed{entity_id::kEscrowShare, "escrowshare"}, Fixed{entity_id::kAnnotation, "annotation"},
        Fixed{entity_id::kFate, "fate"}}) {
    const Entity* e = schema_->entity(id);
    if (!e || e->name != name) {
      mistake(e ? entities_.at(id)["name"] : list_, "entity " + std::to_string(id.value) +
                                                        " must be `" + name +
                                                        "`, which Branchline itself uses");
    }
  }
  check_companions();
}

// The merge keeps records of its own beside those that have such fields.
void SchemaParser::check_companions() const {
  struct Companion {
    Policy policy;
    EntityId entity;
    std::vector<std::pair<const char*, ValueType>> fields;
  };
  const Companion companions[] = {{Policy::ask,
                                   entity_id::kConflict,
                                   {{"objectid", ValueType::lookup},
                                    {"fieldname", ValueType::text},
                                    {"statecode", ValueType::option},
                                    {"contenders", ValueType::row}}},
                                  {Policy::escrow,
                                   entity_id::kEscrowShare,
                                   {{"objectid", ValueType::lookup},
                                    {"fieldname", ValueType::text},
                                    {"servernumber", ValueType::integer},
                                    {"chain", ValueType::text},
                                    {"share", ValueType::decimal}}}};
  for (const auto& c : companions) {
    const Entity& companion = *schema_->entity(c.entity);
    const YAML::Node& node = entities_.at(c.entity);
    for (const auto& [name, type] : c.fields) {
      const Field* field = companion.field(name);
      if (!field || field->type != type || field->group != 0) {
        mistake(node["fields"], companion.name + " needs a field `" + name + "` of type " +
                                    std::string(to_string(type)) +
                                    ", which Branchline itself writes");
      }
    }
    const Field& object = *companion.field("objectid");
    if (companion.territory != TerritoryRule::child || companion.parents.size() != 1 ||
        companion.parents[0] != object.id) {
      mistake(node["parents"], companion.name + " is a child of its `objectid`");
    }
    for (const auto& entity : schema_->entities_) {
      for (const auto& f : entity->fields) {
        bool named = std::find(object.targets.begin(), object.targets.end(), entity->id) !=
                     object.targets.end();
        if (f.policy == c.policy && !named) {
          mistake(entities_.at(entity->id)["fields"],
                  entity->name + "." + f.name + ": policy " + std::string(to_string(c.policy)) +
                      " needs `" + entity->name + "` among the targets of " + companion.name +
                      ".objectid");
        }
      }
    }
  }
}

FieldId SchemaParser::field_named(const YAML::Node& at, const Entity& entity,
                                  const std::string& name) const {
  for (const auto& f : entity.fields) {
    if (f.name == name) return f.id;
  }
  mistake(at, "entity " + entity.name + " has no field `" + name + "`");
}

EntityId SchemaParser::entity_named(const YAML::Node& at, const std::string& name) const {
  const Entity* e = schema_->entity(name);
  if (!e) mistake(at, "there is no entity `" + name + "`");
  return e->id;
}

}  // namespace branchline
