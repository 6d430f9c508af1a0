#include "tools/branchline/import/import_requests.h"

#include <algorithm>

#include "branch/api/odata_names.h"
#include "branch/api/odata_url.h"
#include "common/base/hash.h"
#include "common/config/topology.h"
#include "common/json/json_writer.h"
#include "common/record/mutation.h"
#include "common/schema/index_key.h"

namespace branchline::import {
namespace {

std::string literal(std::string_view text) {
  std::string out = "'";
  for (char c : text) {
    out.push_back(c);
    if (c == '\'') out.push_back('\'');
  }
  return out + "'";
}

// Keys that the server compares without regard to case are the same identity here.
std::string folded_key(const RecordMap& map, const std::string& key) {
  return map.key.field ? fold_case(key) : key;
}

void put_cells(JsonWriter& w, const std::string& mapping,
               const std::vector<const PlannedCell*>& cells) {
  for (const PlannedCell* cell : cells) {
    if (cell->map->target) {
      w.member(cell->map->property + "@odata.bind", binding_of(mapping, *cell));
      continue;
    }
    std::string value;
    append_json_value(value, cell->value.view());
    w.key(cell->map->field->name).raw(value);
  }
}

void put_identity(JsonWriter& w, const std::string& mapping, const PlannedRecord& record) {
  if (!record.map->key.field) {
    w.member(record.map->entity->primary_key,
             to_string(derived_id(mapping, record.map->set, record.key)));
    return;
  }
  std::string value;
  append_json_value(value, record.key_value.view());
  w.key(record.map->key.field->name).raw(value);
}

std::vector<const PlannedCell*> all_cells(const PlannedRecord& record) {
  std::vector<const PlannedCell*> out;
  for (const auto& c : record.cells) out.push_back(&c);
  return out;
}

}  // namespace

RecordId derived_id(const std::string& mapping, const std::string& set, const std::string& key) {
  return keyed_record_id({}, "import:" + mapping + "\n" + set + "\n" + key, 0);
}

std::string address_of(const std::string& mapping, const PlannedRecord& record) {
  const RecordMap& map = *record.map;
  if (!map.key.field)
    return map.set + "(" + to_string(derived_id(mapping, map.set, record.key)) + ")";
  return map.set + "(" + map.key.field->name + "=" + percent_encode(literal(record.key)) + ")";
}

namespace {

std::string lookup_target(const std::string& mapping, const PlannedCell& lookup, bool url) {
  const FieldMap& map = *lookup.map;
  if (!map.target_key.field) {
    return map.target->set_name + "(" +
           to_string(derived_id(mapping, map.target->set_name, lookup.lookup_key)) + ")";
  }
  std::string key = literal(lookup.lookup_key);
  return map.target->set_name + "(" + map.target_key.field->name + "=" +
         (url ? percent_encode(key) : key) + ")";
}

}  // namespace

std::string binding_of(const std::string& mapping, const PlannedCell& lookup) {
  return "/" + lookup_target(mapping, lookup, false);
}
std::string lookup_address(const std::string& mapping, const PlannedCell& lookup) {
  return lookup_target(mapping, lookup, true);
}

std::optional<std::string> base_url_problem(std::string_view url) {
  constexpr std::string_view kExpected = "expected http://host:port, e.g. http://127.0.0.1:7440";
  if (url.starts_with("https://"))
    return "offices speak plain HTTP on their own network; " + std::string(kExpected);
  if (!url.starts_with("http://")) return std::string(kExpected);
  url.remove_prefix(std::string_view("http://").size());
  if (url.ends_with('/')) url.remove_suffix(1);
  if (!parse_endpoint(url)) return std::string(kExpected);
  return std::nullopt;
}

std::string create_body(const std::string& mapping, const PlannedMutation& mutation) {
  std::string body;
  JsonWriter w(body);
  w.begin_object();
  put_identity(w, mapping, mutation.record);
  if (!mutation.record.territory.empty())
    w.member("Branchline.territory", mutation.record.territory);
  put_cells(w, mapping, all_cells(mutation.record));
  for (const auto& map : mutation.record.map->children) {
    bool open = false;
    for (const auto& child : mutation.children) {
      if (child.map != &map) continue;
      if (!open) w.key(map.collection).begin_array();
      open = true;
      w.begin_object();
      put_identity(w, mapping, child.record);
      put_cells(w, mapping, all_cells(child.record));
      w.end_object();
    }
    if (open) w.end_array();
  }
  w.end_object();
  return body;
}

std::string create_child_body(const std::string& mapping, const PlannedChild& child,
                              const std::string& parent_set, const std::string& parent_id) {
  std::string body;
  JsonWriter w(body);
  w.begin_object();
  put_identity(w, mapping, child.record);
  w.member(child.map->property + "@odata.bind", "/" + parent_set + "(" + parent_id + ")");
  put_cells(w, mapping, all_cells(child.record));
  w.end_object();
  return body;
}

std::string update_body(const std::string& mapping, const std::vector<const PlannedCell*>& cells) {
  std::string body;
  JsonWriter w(body);
  w.begin_object();
  put_cells(w, mapping, cells);
  w.end_object();
  return body;
}

std::string operation_key(const std::string& mapping, const std::string& set,
                          const std::string& key, const std::string& body,
                          const std::string& etag) {
  Sha256 sha;
  sha.add(mapping).add("\n").add(set).add("\n").add(key).add("\n").add(etag).add("\n").add(body);
  return "import:" + mapping + ":" + hex(sha.finish().view().substr(0, 16));
}

Result<std::vector<const PlannedCell*>> differences(const PlannedRecord& record, const Json& there,
                                                    const LookupId& lookup_id) {
  std::vector<const PlannedCell*> out;
  for (const auto& cell : record.cells) {
    const Field& field = *cell.map->field;
    if (cell.map->target) {
      BL_ASSIGN(std::string id, lookup_id(cell));
      if (text_member(there, "_" + field.name + "_value") != id) out.push_back(&cell);
      continue;
    }
    const Json* held = there.member(field.name);
    auto value = held ? value_from_json(field, *held) : Result<OwnedValue>(OwnedValue{});
    if (value && value->type == cell.value.type) {
      if (value->payload == cell.value.payload) continue;
      // A maximum that stands higher already would not take the file's value.
      int order = field.policy == Policy::max || field.policy == Policy::min
                      ? compare_ordered(value->view(), cell.value.view())
                      : 0;
      if ((field.policy == Policy::max && order > 0) || (field.policy == Policy::min && order < 0))
        continue;
    }
    out.push_back(&cell);
  }
  return out;
}

const Json* find_child(const std::string& mapping, const PlannedChild& child,
                       const Json& collection) {
  const RecordMap& map = child.map->record;
  std::string id = map.key.field ? "" : to_string(derived_id(mapping, map.set, child.record.key));
  for (const auto& item : collection.items) {
    if (!map.key.field) {
      if (text_member(item, map.entity->primary_key) == id) return &item;
      continue;
    }
    const Json* held = item.member(map.key.field->name);
    if (!held) continue;
    auto value = value_from_json(*map.key.field, *held);
    if (value && value->type == child.record.key_value.type &&
        folded_key(map, value->payload) == folded_key(map, child.record.key_value.payload))
      return &item;
  }
  return nullptr;
}

std::string text_member(const Json& object, std::string_view name) {
  const Json* m = object.member(name);
  return m && m->kind == Json::Kind::string ? m->text : std::string();
}

}  // namespace branchline::import
