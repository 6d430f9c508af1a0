#include "branch/api/odata_body.h"

#include <algorithm>

#include "branch/api/odata_names.h"
#include "branch/api/odata_url.h"
#include "common/base/limits.h"

namespace branchline {
namespace {

std::unexpected<Error> invalid(const char* code, std::string message) {
  return fail(ErrorKind::invalid, code, std::move(message));
}

// The name of the territory that a binding's URL means; whether it is one, the command says.
Result<std::string> territory_at(const BodyContext& context, const std::string& name,
                                 const std::string& url) {
  BL_ASSIGN(std::string text, last_segment(url));
  BL_ASSIGN(ResourceSegment segment, parse_resource(text));
  std::string found;
  if (segment.name == "territories") {
    auto id = parse_record_id(segment.id);
    if (id) found = context.territory_name(*id);
    if (segment.keys.size() == 1 && segment.keys[0].first == "name") found = segment.keys[0].second;
  }
  if (found.empty())
    return invalid("territory.unknown", name + ": there is no territory " + shortened(url));
  return found;
}

class BodyReader {
 public:
  BodyReader(const BodyContext& context, const Schema::Set& set, bool create)
      : context_(context), entity_(*set.entity), create_(create) {
    input_.entity = set.entity;
    input_.subtype = set.subtype;
  }

  Result<RecordInput> read(const Json& body) {
    if (body.kind != Json::Kind::object)
      return invalid("body.object", "the body must be a JSON object");
    for (const auto& [name, value] : body.members) BL_TRY(member(name, value));
    return std::move(input_);
  }

 private:
  Result<void> member(const std::string& name, const Json& value) {
    if (name == entity_.primary_key) return primary_key(value);
    if (name == "Branchline.territory" || name == "territoryid@odata.bind")
      return territory(name, value);
    if (name == "Branchline.also_in" || name == "alsointerritories@odata.bind")
      return also_in(name, value);
    size_t at = name.find('@');
    if (at == 0) return {};  // @odata.type and the like
    std::string_view bare = std::string_view(name).substr(0, at);
    if (bare == "alsointerritories" || bare == "also_in") {
      return invalid("property.unknown",
                     "`" + name +
                         "`: say \"alsointerritories@odata.bind\": [\"/territories(id)\", ...] or "
                         "\"Branchline.also_in\": [\"name\", ...]");
    }
    if (at != std::string::npos) {
      std::string base = name.substr(0, at), annotation = name.substr(at + 1);
      if (annotation == "odata.bind") return bind(base, value);
      if (annotation == "Branchline.add") return add(base, value);
      if (annotation == "Branchline.giveback") return give_back(base, value);
      if (annotation == "Branchline.correct") return correct(base, value);
      return {};  // formatted values, types: what a client echoes
    }
    if (const auto* collection = entity_.collection(name)) return children(*collection, value);
    const Field* field = entity_.field(name);
    if (!field) return unknown(name);
    if (field->type == ValueType::lookup) {
      return invalid(
          "property.lookup",
          "`" + name + "` is a lookup: write \"" + name + "@odata.bind\": \"/" +
              (field->targets.empty() ? "" : context_.schema->entity(field->targets[0])->set_name) +
              "(id)\"");
    }
    BL_ASSIGN(FieldInput f, plain(*field, value));
    input_.fields.push_back(std::move(f));
    return once(*field);
  }

  std::unexpected<Error> unknown(const std::string& name) {
    if (name.size() > 7 && name.starts_with("_") && name.ends_with("_value")) {
      std::string base = name.substr(1, name.size() - 7);
      if (entity_.field(base))
        return invalid("property.lookup",
                       "`" + name + "` is read only: write \"" + base + "@odata.bind\"");
    }
    auto c = column_named(entity_, name);
    if (!c) return std::unexpected(c.error());
    return invalid("property.read_only", "`" + name + "` is set by Branchline");
  }

 public:
  Result<FieldInput> plain(const Field& field, const Json& value) {
    FieldInput f;
    f.field = &field;
    if (field.read_only)
      return invalid("property.read_only",
                     "`" + field.name + "` is computed and cannot be written");
    if (field.policy == Policy::append) {
      return invalid("property.append",
                     "`" + field.name + "` is a timeline: POST its notes to annotations");
    }
    if (field.policy == Policy::set) {
      f.kind = FieldInput::Kind::elements;
      if (value.kind == Json::Kind::null) return f;
      if (value.kind != Json::Kind::array)
        return invalid("value.type", field.name + ": expected an array of texts");
      for (const auto& item : value.items) {
        if (item.kind != Json::Kind::string)
          return invalid("value.type", field.name + ": expected an array of texts");
        BL_ASSIGN(OwnedValue v, value_from_text(field, item.text));
        f.elements.push_back(std::move(v));
      }
      return f;
    }
    BL_ASSIGN(f.value, value_from_json(field, value));
    return f;
  }

  Result<FieldInput> bound(const std::string& property, const Json& value) {
    FieldInput f;
    for (const auto& field : entity_.fields) {
      if (field.type != ValueType::lookup) continue;
      EntityId named;
      bool match = field.name == property;
      for (EntityId t : field.targets) {
        if (field.name + "_" + context_.schema->entity(t)->name == property) {
          match = true;
          named = t;
        }
      }
      if (!match) continue;
      f.field = &field;
      if (value.kind == Json::Kind::null) return f;
      if (value.kind != Json::Kind::string)
        return invalid("value.type", property + ": expected \"/entityset(id)\" or null");
      BL_ASSIGN(Lookup l, target(field, property, value.text));
      if (named.value != 0 && l.entity != named)
        return invalid("lookup.target", property + ": the record bound is of another entity");
      f.value = {ValueType::lookup, encode_lookup(l)};
      return f;
    }
    std::vector<std::string> known;
    for (const auto& field : entity_.fields) {
      if (field.type != ValueType::lookup) continue;
      known.push_back(field.name);
      for (EntityId t : field.targets)
        known.push_back(field.name + "_" + context_.schema->entity(t)->name);
    }
    std::string near = nearest_name(property, known);
    return invalid("property.unknown", "`" + shortened(property) + "@odata.bind`: " +
                                           entity_.set_name + " have no lookup of this name" +
                                           (near.empty() ? "" : "; did you mean " + near + "?"));
  }

 private:
  Result<Lookup> target(const Field& field, const std::string& property, const std::string& url) {
    // A full URL, as clients send it, ends in the resource.
    BL_ASSIGN(std::string text, last_segment(url));
    BL_ASSIGN(ResourceSegment segment, parse_resource(text));
    auto set = context_.schema->set(segment.name);
    if (!set)
      return invalid("lookup.target",
                     property + ": there is no entity set `" + shortened(segment.name) + "`");
    bool allowed = std::find(field.targets.begin(), field.targets.end(), set->entity->id) !=
                   field.targets.end();
    if (!allowed) return invalid("lookup.target", property + " cannot refer to " + segment.name);
    BL_ASSIGN(RecordAddress address, parse_address(*set->entity, segment));
    if (address.id) return Lookup{set->entity->id, *address.id};
    BL_ASSIGN(RecordId id, context_.resolve_key(*set->entity, *address.key, address.key_value));
    return Lookup{set->entity->id, id};
  }

  Result<void> bind(const std::string& property, const Json& value) {
    BL_ASSIGN(FieldInput f, bound(property, value));
    const Field& field = *f.field;
    if (field.read_only)
      return invalid("property.read_only",
                     "`" + field.name + "` is computed and cannot be written");
    input_.fields.push_back(std::move(f));
    return once(field);
  }

  Result<void> add(const std::string& name, const Json& value) {
    const Field* field = entity_.field(name);
    if (!field) return unknown(name);
    if (field->policy != Policy::sum && field->policy != Policy::escrow)
      return invalid("property.add",
                     "`" + name + "` is no counter: Branchline.add is for fields that add up");
    FieldInput f;
    f.field = field;
    f.kind = FieldInput::Kind::add;
    BL_ASSIGN(f.value, value_from_json(*field, value));
    if (f.value.type == ValueType::null)
      return invalid("value.type", name + "@Branchline.add: expected a number");
    input_.fields.push_back(std::move(f));
    return once(*field);
  }

  Result<void> give_back(const std::string& name, const Json& value) {
    const Field* field = entity_.field(name);
    if (!field) return unknown(name);
    if (field->policy != Policy::escrow)
      return invalid("property.giveback", "`" + name + "` is not shared out among offices");
    FieldInput f;
    f.field = field;
    f.kind = FieldInput::Kind::give_back;
    BL_ASSIGN(f.value, value_from_json(*field, value));
    if (f.value.type == ValueType::null || decode_decimal(f.value.payload).mantissa() <= 0)
      return invalid("value.type", name + "@Branchline.giveback: expected a number above zero");
    input_.fields.push_back(std::move(f));
    return once(*field);
  }

  Result<void> correct(const std::string& name, const Json& value) {
    const Field* field = entity_.field(name);
    if (!field) return unknown(name);
    if (field->policy != Policy::max && field->policy != Policy::min) {
      return invalid(
          "property.correct",
          "`" + name + "` may be written as it is; Branchline.correct is for maxima and minima");
    }
    FieldInput f;
    f.field = field;
    f.kind = FieldInput::Kind::correct;
    BL_ASSIGN(f.value, value_from_json(*field, value));
    input_.fields.push_back(std::move(f));
    return once(*field);
  }

  Result<void> once(const Field& field) {
    auto n = std::count_if(input_.fields.begin(), input_.fields.end(),
                           [&](const auto& f) { return f.field == &field; });
    return n > 1 ? Result<void>(invalid("property.twice", "`" + field.name + "` is given twice"))
                 : Result<void>{};
  }

  Result<void> primary_key(const Json& value) {
    auto id = value.kind == Json::Kind::string ? parse_record_id(value.text) : std::nullopt;
    if (!id || id->is_nil())
      return invalid("value.id", entity_.primary_key + ": expected a record id");
    if (create_) {
      input_.address.id = *id;
    } else if (input_.address.id && *input_.address.id != *id) {
      return invalid("value.id",
                     entity_.primary_key + " differs from the record's id and cannot be changed");
    }
    return {};
  }

  Result<void> territory(const std::string& name, const Json& value) {
    if (value.kind != Json::Kind::string) return invalid("value.type", name + ": expected a text");
    if (name == "Branchline.territory") {
      input_.territory = value.text;
      return {};
    }
    BL_ASSIGN(input_.territory, territory_at(context_, name, value.text));
    return {};
  }

  Result<void> also_in(const std::string& name, const Json& value) {
    if (value.kind != Json::Kind::array)
      return invalid("value.type", name + ": expected an array of texts");
    auto& names = input_.also_in.emplace();
    for (const auto& item : value.items) {
      if (item.kind != Json::Kind::string)
        return invalid("value.type", name + ": expected an array of texts");
      if (name == "Branchline.also_in") {
        names.push_back(item.text);
      } else {
        BL_ASSIGN(std::string found, territory_at(context_, name, item.text));
        names.push_back(std::move(found));
      }
    }
    return {};
  }

  Result<void> children(const Entity::Collection& collection, const Json& value) {
    if (!create_)
      return invalid("write.deep_update",
                     "`" + collection.name +
                         "` can be written when its parent is created, not with an update");
    if (value.kind != Json::Kind::array)
      return invalid("value.type", collection.name + ": expected an array of objects");
    const Entity* child = context_.schema->entity(collection.entity);
    if (child->virtual_set)
      return invalid("property.append", "`" + collection.name + "`: POST notes to annotations");
    RecordInput::Child c;
    c.lookup = collection.field;
    for (size_t i = 0; i < value.items.size(); ++i) {
      BodyReader reader(context_, {child, nullptr}, true);
      auto r = reader.read(value.items[i]);
      if (!r) {  // which of them
        Error e = r.error();
        e.message = collection.name + "[" + std::to_string(i) + "]: " + e.message;
        return std::unexpected(std::move(e));
      }
      if (!r->children.empty())
        return invalid("write.deep", "records can be nested one level deep");
      c.records.push_back(std::move(*r));
    }
    input_.children.push_back(std::move(c));
    return {};
  }

  const BodyContext& context_;
  const Entity& entity_;
  bool create_;
  RecordInput input_;
};

}  // namespace

Result<RecordInput> parse_record_body(const BodyContext& context, const Schema::Set& set,
                                      const Json& body, bool create) {
  return BodyReader(context, set, create).read(body);
}

Result<FieldInput> parse_property(const BodyContext& context, const Entity& entity,
                                  const std::string& property, const Json& value) {
  BodyReader reader(context, {&entity, nullptr}, false);
  const Field* field = entity.field(property);
  if (!field) {
    auto c = column_named(entity, property);
    if (!c) return std::unexpected(c.error());
    return invalid("property.read_only", "`" + property + "` is set by Branchline");
  }
  if (field->type == ValueType::lookup) return parse_reference(context, entity, property, value);
  return reader.plain(*field, value);
}

Result<FieldInput> parse_reference(const BodyContext& context, const Entity& entity,
                                   const std::string& property, const Json& target) {
  BL_ASSIGN(FieldInput f, BodyReader(context, {&entity, nullptr}, false).bound(property, target));
  if (f.field->read_only)
    return invalid("property.read_only",
                   "`" + f.field->name + "` is computed and cannot be written");
  return f;
}

Result<void> parse_territory_reference(const BodyContext& context, const Json& target,
                                       RecordInput& input) {
  if (target.kind == Json::Kind::null) {
    input.no_territory = true;
    return {};
  }
  BL_ASSIGN(input.territory, territory_at(context, "@odata.id", target.text));
  return {};
}

Result<std::string> parse_territory(const BodyContext& context, const std::string& url) {
  return territory_at(context, "@odata.id", url);
}

Result<RecordAddress> parse_address(const Entity& entity, const ResourceSegment& segment) {
  RecordAddress out;
  if (segment.keys.empty()) {
    auto id = parse_record_id(segment.id);
    if (!id || id->is_nil()) {
      return invalid(
          "key.malformed",
          "`" + shortened(segment.id) + "` is no record id (36 characters: 8-4-4-4-12 hex digits)");
    }
    out.id = *id;
    return out;
  }
  if (segment.keys.size() == 1 && segment.keys[0].first == entity.primary_key) {
    auto id = parse_record_id(segment.keys[0].second);
    if (!id) return invalid("key.malformed", entity.primary_key + ": no record id");
    out.id = *id;
    return out;
  }
  if (segment.keys.size() == 1) {
    const Field* field = entity.field(segment.keys[0].first);
    for (const auto& index : entity.indexes) {
      if (!field || !index.unique || index.fields[0] != field->id) continue;
      out.key = &index;
      BL_ASSIGN(out.key_value, value_from_text(*field, segment.keys[0].second));
      return out;
    }
  }
  std::string known;
  for (const auto& index : entity.indexes) {
    if (index.unique) known += (known.empty() ? "" : ", ") + entity.field(index.fields[0])->name;
  }
  return invalid("key.unknown", entity.set_name + " has no such key; " +
                                    (known.empty() ? "use the id" : "keys are: " + known));
}

}  // namespace branchline
