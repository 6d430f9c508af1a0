#include "tools/branchline/import/mapping.h"

#include <algorithm>
#include <charconv>

#include "common/config/mistakes.h"
#include "common/config/yaml_fields.h"

namespace branchline::import {
namespace {

using Kind = YamlNode::Kind;

std::optional<int> parse_version(std::string_view text) {
  return text == "1" ? std::optional(1) : std::nullopt;
}

std::optional<int> parse_scale(std::string_view text) {
  int n = 0;
  auto [after, error] = std::from_chars(text.data(), text.data() + text.size(), n);
  bool good = error == std::errc() && after == text.data() + text.size() && n >= 0 &&
              n <= Decimal::kMaxScale;
  return good ? std::optional(n) : std::nullopt;
}

std::optional<bool> parse_flag(std::string_view text) {
  if (text == "true") return true;
  if (text == "false") return false;
  return std::nullopt;
}

std::optional<std::string> parse_name(std::string_view text) {
  bool good =
      !text.empty() && text.size() <= 40 && std::all_of(text.begin(), text.end(), [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-';
      });
  return good ? std::optional(std::string(text)) : std::nullopt;
}

std::optional<Repeated> parse_repeated(std::string_view text) {
  if (text == "report") return Repeated::report;
  if (text == "first") return Repeated::first;
  if (text == "reject") return Repeated::reject;
  return std::nullopt;
}

class MappingParser {
 public:
  MappingParser(const Schema& schema, Mistakes& mistakes) : schema_(schema), mistakes_(mistakes) {}

  Mapping read(const YamlNode& root) {
    Fields top(root, "the mapping", {"version", "name", "records"}, mistakes_);
    top.parsed<int>("version", "1", "1, the version that this program reads", parse_version);
    if (auto name = top.parsed<std::string>(
            "name", "customers", "a name of up to 40 lower-case letters, digits and hyphens",
            parse_name)) {
      out_.name = *name;
    }
    if (const YamlNode* list = top.list("records", "[{set: accounts, ...}]")) {
      for (const YamlNode& item : list->items) out_.records.push_back(top_record(item));
      if (list->items.empty())
        mistakes_.add(list->line, "`records` is empty; list what a row becomes");
    }
    return std::move(out_);
  }

 private:
  RecordMap top_record(const YamlNode& node) {
    RecordMap record;
    Fields f(node, "the record", {"set", "key", "repeated", "territory", "fields", "children"},
             mistakes_);
    if (auto set = f.text("set", "accounts")) {
      auto found = schema_.set(*set);
      if (!found || found->entity->virtual_set || found->entity->master_only) {
        mistakes_.add(f.line("set"), "there is no entity set " + quoted(*set) +
                                         " that can be imported; " + known_sets(*set));
        return record;
      }
      record.set = *set;
      record.entity = found->entity;
      record.subtype = found->subtype;
    }
    if (!record.entity) return record;
    if (auto territory = f.text("territory", "\"{Region}\"", Need::optional)) {
      record.territory = source(f.line("territory"), *territory);
    }
    common(f, node, record);
    if (const YamlNode* list =
            f.list("children", "[{collection: order_details, ...}]", Need::optional)) {
      for (const YamlNode& item : list->items) child(item, record);
    }
    return record;
  }

  void child(const YamlNode& node, RecordMap& parent) {
    RecordMap::Child child;
    Fields f(node, "the child", {"collection", "key", "repeated", "fields"}, mistakes_);
    auto name = f.text("collection", "order_details");
    if (!name) return;
    const auto* collection = parent.entity->collection(*name);
    if (!collection) {
      std::string known;
      for (const auto& c : parent.entity->collections)
        known += (known.empty() ? "" : ", ") + c.name;
      mistakes_.add(f.line("collection"),
                    parent.set + " have no collection " + quoted(*name) + "; there are: " + known);
      return;
    }
    child.collection = *name;
    child.record.entity = schema_.entity(collection->entity);
    child.record.set = child.record.entity->set_name;
    child.lookup = child.record.entity->field(collection->field);
    child.property =
        child.lookup->name + (child.lookup->targets.size() > 1 ? "_" + parent.entity->name : "");
    common(f, node, child.record);
    parent.children.push_back(std::move(child));
  }

  void common(Fields& f, const YamlNode& node, RecordMap& record) {
    if (auto repeated = f.parsed<Repeated>("repeated", "report", "one of report, first, reject",
                                           parse_repeated, Need::optional)) {
      record.repeated = *repeated;
    }
    if (const YamlNode* found = find(node, "key")) {
      key(*found, record);
    } else if (node.kind == Kind::map) {
      mistakes_.add(node.line, record.set +
                                   " lack `key`; add e.g. `key: {accountnumber: \"{Customer "
                                   "ID}\"}`, or `key: \"{Row ID}\"` where no field is unique");
    }
    const YamlNode* fields = f.map("fields", "{name: \"{Customer Name}\"}");
    if (!fields) return;
    for (size_t i = 0; i < fields->keys.size(); ++i)
      field(fields->keys[i], fields->items[i], record);
  }

  static const YamlNode* find(const YamlNode& map, std::string_view key) {
    for (size_t i = 0; i < map.keys.size(); ++i) {
      if (map.keys[i].kind == Kind::scalar && map.keys[i].text == key) return &map.items[i];
    }
    return nullptr;
  }

  void key(const YamlNode& node, RecordMap& record) {
    if (node.kind == Kind::scalar) {
      if (auto text = source(node.line, node.text)) record.key.text = *text;
    } else if (node.kind == Kind::map && node.keys.size() == 1 &&
               node.items[0].kind == Kind::scalar) {
      unique_field(*record.entity, node.keys[0].text, node.line, record.key);
      if (auto text = source(node.line, node.items[0].text)) record.key.text = *text;
    } else {
      mistakes_.add(node.line,
                    "`key` must be a text, or one unique field and a text; write e.g. `key: "
                    "{accountnumber: \"{Customer ID}\"}`");
      return;
    }
    if (record.key.text.columns().empty()) {
      mistakes_.add(
          node.line,
          "`key` names no column, so all rows would be one record; write e.g. \"{Customer ID}\"");
    }
  }

  void unique_field(const Entity& entity, const std::string& name, int line, KeyMap& out) {
    std::string known;
    for (const auto& index : entity.indexes) {
      if (!index.unique) continue;
      const Field* f = entity.field(index.fields[0]);
      known += (known.empty() ? "" : ", ") + f->name;
      if (f->name != name) continue;
      out.field = f;
      out.index = &index;
      return;
    }
    mistakes_.add(
        line, quoted(name) + " is no unique field of " + entity.set_name + "; " +
                  (known.empty() ? "it has none, write a text as key" : "unique are: " + known));
  }

  void field(const YamlNode& key, const YamlNode& value, RecordMap& record) {
    if (key.kind != Kind::scalar) {
      mistakes_.add(key.line, "a field's name must be a word");
      return;
    }
    FieldMap out;
    if (!name_field(key, record, out)) return;
    std::string what = "field " + key.text;
    if (std::any_of(record.fields.begin(), record.fields.end(),
                    [&](const FieldMap& f) { return f.field == out.field; })) {
      mistakes_.add(key.line, quoted(key.text) + " stands twice in " + record.set + "; keep one");
      return;
    }
    if (value.kind == Kind::scalar && !value.text.empty()) {
      if (out.field->type == ValueType::lookup) {
        mistakes_.add(value.line,
                      what + " is a lookup; write e.g. `" + key.text +
                          ": {lookup: accounts(accountnumber), value: \"{Customer ID}\"}`");
        return;
      }
      if (auto text = source(value.line, value.text)) out.text = *text;
    } else if (value.kind == Kind::map) {
      details(value, what, record, out);
    } else {
      mistakes_.add(value.line,
                    what + " must be a text or a map; write e.g. `" + key.text + ": \"{Column}\"`");
      return;
    }
    const auto& columns = out.formula ? out.formula->columns() : out.text.columns();
    if (!columns.empty()) out.column = out_.columns[columns[0]];
    record.fields.push_back(std::move(out));
  }

  bool name_field(const YamlNode& key, const RecordMap& record, FieldMap& out) {
    std::vector<std::string_view> known;
    for (const auto& f : record.entity->fields) {
      bool match = f.name == key.text;
      for (EntityId t : f.targets)
        match = match || f.name + "_" + schema_.entity(t)->name == key.text;
      if (match) out.field = &f;
      if (!f.read_only && !f.is_collection()) known.push_back(f.name);
    }
    if (!out.field) {
      std::string near = nearest(key.text, known);
      mistakes_.add(key.line, record.set + " have no field " + quoted(key.text) + "; " +
                                  (near.empty() ? "common/schema/crm.yaml lists them"
                                                : "did you mean `" + near + "`?"));
      return false;
    }
    out.property = key.text;
    bool writable = !out.field->read_only && !out.field->is_collection();
    if (!writable)
      mistakes_.add(
          key.line,
          quoted(key.text) + " cannot be imported (it is computed, or a collection); leave it out");
    if (out.field == record.key.field) {
      mistakes_.add(key.line, quoted(key.text) + " is the key already; leave it out here");
      return false;
    }
    return writable;
  }

  void details(const YamlNode& node, const std::string& what, const RecordMap& record,
               FieldMap& out) {
    Fields f(node, what,
             {"value", "formula", "scale", "lookup", "date", "choice", "decimal_mark", "required"},
             mistakes_);
    bool formula = f.has("formula");
    if (formula == f.has("value"))
      mistakes_.add(node.line, what + " takes `value` or `formula`, one of them");
    if (auto text = f.text("value", "\"{Column}\"", Need::optional)) {
      if (auto parsed = source(f.line("value"), *text)) out.text = *parsed;
    }
    if (auto text = f.text("formula", "\"{Sales} / {Quantity}\"", Need::optional))
      read_formula(f.line("formula"), *text, record, out);
    if (auto scale = f.parsed<int>("scale", "2", "a number of decimals, 0 to 10", parse_scale,
                                   Need::optional))
      out.scale = *scale;
    if (!formula) f.forbid("scale", "it belongs to a formula; remove it");
    if (auto required =
            f.parsed<bool>("required", "true", "true or false", parse_flag, Need::optional))
      out.conversion.required = *required;
    if (auto mark = f.text("decimal_mark", "\",\"", Need::optional)) {
      if (mark->size() != 1)
        mistakes_.add(f.line("decimal_mark"), "`decimal_mark` is one character; write e.g. \",\"");
      out.conversion.decimal_mark = (*mark)[0];
    }
    if (auto date = f.text("date", "M/D/YYYY", Need::optional)) {
      auto format = DateFormat::parse(*date);
      bool dated = out.field->type == ValueType::date || out.field->type == ValueType::instant;
      if (!dated)
        mistakes_.add(f.line("date"), quoted(out.field->name) + " is no date; remove `date`");
      if (!format) {
        mistakes_.add(f.line("date"), quoted(*date) + ": " + format.error().message);
      } else {
        out.conversion.date = *format;
      }
    }
    if (const YamlNode* choice = f.map("choice", "{Consumer: 1}", Need::optional))
      read_choice(*choice, what, out);
    bool is_lookup = out.field->type == ValueType::lookup;
    if (!is_lookup) f.forbid("lookup", "the field is no lookup; remove it");
    if (is_lookup) {
      if (auto text = f.text("lookup", "accounts(accountnumber)"))
        read_lookup(f.line("lookup"), *text, out);
    }
  }

  void read_formula(int line, const std::string& text, const RecordMap& record, FieldMap& out) {
    auto formula = Formula::parse(text, [this](std::string_view name) { return column(name); });
    if (!formula) {
      mistakes_.add(line, "formula: " + formula.error().message);
      return;
    }
    auto number = [](const Field& f) {
      return f.type == ValueType::money || f.type == ValueType::decimal ||
             f.type == ValueType::integer;
    };
    if (!number(*out.field))
      mistakes_.add(line,
                    quoted(out.field->name) + " is no number; a formula cannot make its value");
    for (const auto& name : formula->fields()) {
      bool before = std::any_of(record.fields.begin(), record.fields.end(), [&](const FieldMap& f) {
        return f.field->name == name && number(*f.field);
      });
      if (!before)
        mistakes_.add(
            line, "formula: no number " + quoted(name) +
                      " stands before it among these fields; put it there, or name a column in {}");
    }
    out.formula = std::move(*formula);
  }

  void read_choice(const YamlNode& choice, const std::string& what, FieldMap& out) {
    for (size_t i = 0; i < choice.keys.size(); ++i) {
      if (choice.keys[i].kind != Kind::scalar || choice.items[i].kind != Kind::scalar) {
        mistakes_.add(
            choice.keys[i].line,
            "`choice` of " + what + " maps one text to one value each; write e.g. `Consumer: 1`");
        continue;
      }
      // What a choice leads to must be a value of the field, whatever the file holds.
      auto value = convert(*out.field, {}, choice.items[i].text);
      if (!value) mistakes_.add(choice.items[i].line, value.error().message);
      out.conversion.choice.emplace(choice.keys[i].text, choice.items[i].text);
    }
  }

  void read_lookup(int line, const std::string& text, FieldMap& out) {
    size_t open = text.find('(');
    std::string set_name = text.substr(0, open);
    auto set = schema_.set(set_name);
    bool allowed = set && std::find(out.field->targets.begin(), out.field->targets.end(),
                                    set->entity->id) != out.field->targets.end();
    if (!allowed) {
      std::string known;
      for (EntityId t : out.field->targets)
        known += (known.empty() ? "" : ", ") + schema_.entity(t)->set_name;
      mistakes_.add(line, quoted(out.field->name) + " cannot refer to " + quoted(set_name) +
                              "; it can to: " + known);
      return;
    }
    out.target = set->entity;
    if (out.field->targets.size() > 1) out.property = out.field->name + "_" + set->entity->name;
    if (open == text.npos) return;  // by derived id
    if (text.back() != ')') {
      mistakes_.add(line, quoted(text) +
                              " lacks its closing parenthesis; write e.g. accounts(accountnumber)");
      return;
    }
    unique_field(*set->entity, text.substr(open + 1, text.size() - open - 2), line, out.target_key);
  }

  std::optional<Template> source(int line, std::string_view text) {
    auto parsed = Template::parse(text, [this](std::string_view name) { return column(name); });
    if (parsed) return std::move(*parsed);
    mistakes_.add(line, quoted(text) + ": " + parsed.error().message);
    return std::nullopt;
  }

  size_t column(std::string_view name) {
    auto at = std::find(out_.columns.begin(), out_.columns.end(), name);
    if (at == out_.columns.end()) at = out_.columns.insert(at, std::string(name));
    return static_cast<size_t>(at - out_.columns.begin());
  }

  std::string known_sets(const std::string& wrong) {
    std::vector<std::string_view> names;
    for (const auto& e : schema_.entities()) {
      if (e->virtual_set || e->master_only) continue;
      names.push_back(e->set_name);
      for (const auto& s : e->subtypes) names.push_back(s.set_name);
    }
    std::string near = nearest(wrong, names), list;
    for (auto n : names) list += (list.empty() ? "" : ", ") + std::string(n);
    return near.empty() ? "there are: " + list : "did you mean `" + near + "`?";
  }

  const Schema& schema_;
  Mistakes& mistakes_;
  Mapping out_;
};

}  // namespace

Result<Mapping> parse_mapping(std::string_view text, const std::string& origin,
                              const Schema& schema) {
  Mistakes mistakes(origin);
  auto root = read_yaml(text, mistakes);
  Mapping mapping;
  if (root) mapping = MappingParser(schema, mistakes).read(*root);
  if (!mistakes.none()) return fail(ErrorKind::invalid, "mapping.invalid", mistakes.text());
  return mapping;
}

}  // namespace branchline::import
