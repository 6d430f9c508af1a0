#include "branch/api/odata_options.h"

#include <algorithm>

#include "branch/api/apply_parser.h"
#include "branch/api/odata_names.h"
#include "common/base/limits.h"

namespace branchline {
namespace {

std::unexpected<Error> wrong(const std::string& option, const std::string& what) {
  return fail(ErrorKind::invalid, "option.malformed", option + ": " + what);
}

std::string trimmed(std::string_view s) {
  while (!s.empty() && s.front() == ' ') s.remove_prefix(1);
  while (!s.empty() && s.back() == ' ') s.remove_suffix(1);
  return std::string(s);
}

// Splits at `separator` outside of parentheses and quotes.
std::vector<std::string> split(std::string_view text, char separator) {
  std::vector<std::string> out;
  size_t depth = 0, start = 0;
  bool quoted = false;
  for (size_t i = 0; i <= text.size(); ++i) {
    char c = i < text.size() ? text[i] : separator;
    if (c == '\'') quoted = !quoted;
    if (!quoted && c == '(') ++depth;
    if (!quoted && c == ')' && depth > 0) --depth;
    if (i == text.size() || (c == separator && depth == 0 && !quoted)) {
      std::string part = trimmed(text.substr(start, i - start));
      if (!part.empty()) out.push_back(part);
      start = i + 1;
    }
  }
  return out;
}

std::string timeline_of(const Entity& entity) {
  for (const auto& c : entity.collections) {
    if (c.entity == entity_id::kAnnotation) return c.name;
  }
  return "its notes";
}

Result<std::vector<Column>> parse_select(const Entity& entity, std::string_view text) {
  std::vector<Column> out;
  for (const auto& name : split(text, ',')) {
    if (name == "*") return std::vector<Column>{};
    BL_ASSIGN(Column c, column_named(entity, name));
    if (c.field && c.field->policy == Policy::append && entity.id != entity_id::kConflict) {
      return wrong("$select", name + " is a timeline: expand " + timeline_of(entity) +
                                  ", or read annotations");
    }
    bool twice =
        std::any_of(out.begin(), out.end(), [&](const Column& o) { return o.name == c.name; });
    if (!twice) out.push_back(std::move(c));
  }
  return out;
}

Result<std::vector<OrderBy>> parse_order(const Entity& entity, std::string_view text) {
  std::vector<OrderBy> out;
  for (const auto& part : split(text, ',')) {
    auto words = split(part, ' ');
    if (words.size() > 2 || (words.size() == 2 && words[1] != "asc" && words[1] != "desc")) {
      return wrong("$orderby", "`" + shortened(part) +
                                   "` is not `property`, `property asc` or `property desc`");
    }
    OrderBy o;
    BL_ASSIGN(o.column, column_named(entity, words[0]));
    if (o.column.field && o.column.field->is_collection())
      return wrong("$orderby", words[0] + " is a collection");
    o.descending = words.size() == 2 && words[1] == "desc";
    out.push_back(std::move(o));
  }
  if (out.size() > 8) return wrong("$orderby", "at most 8 properties");
  return out;
}

Result<uint64_t> parse_count(const std::string& option, const std::string& text) {
  if (text.empty() || text.size() > 12 ||
      !std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; })) {
    return wrong(option, "`" + shortened(text) + "` is no number of records");
  }
  return std::stoull(text);
}

Result<ExpandOption> bind_expand(const Schema& schema, const Entity& entity,
                                 const std::string& name) {
  ExpandOption e;
  e.name = name;
  if ((e.collection = entity.collection(name))) return e;
  for (const auto& f : entity.fields) {
    if (f.type != ValueType::lookup) continue;
    if (f.name == name) {
      e.lookup = &f;
      if (f.targets.size() == 1) e.target = f.targets[0];
      return e;
    }
    for (EntityId t : f.targets) {
      if (f.name + "_" + schema.entity(t)->name == name) {
        e.lookup = &f;
        e.target = t;
        return e;
      }
    }
  }
  std::string known;
  for (const auto& f : entity.fields) {
    if (f.type == ValueType::lookup) known += (known.empty() ? "" : ", ") + f.name;
  }
  for (const auto& c : entity.collections) known += (known.empty() ? "" : ", ") + c.name;
  return wrong("$expand", "`" + shortened(name) + "` is no navigation property of " +
                              entity.set_name + "; there are: " + known);
}

Result<ExpandOption> parse_expand_one(const Schema& schema, const Entity& entity,
                                      const std::string& text, const TerritoryNumber& territory) {
  size_t open = text.find('(');
  std::string name = trimmed(text.substr(0, open));
  BL_ASSIGN(ExpandOption e, bind_expand(schema, entity, name));
  if (open == std::string::npos) return e;
  if (text.back() != ')')
    return wrong("$expand", "`" + shortened(text) + "` lacks its closing parenthesis");
  const Entity* target =
      e.collection ? schema.entity(e.collection->entity) : schema.entity(e.target);
  if (!target)
    return wrong("$expand", name + " may lead to several entities; name one: " + name + "_account");
  for (const auto& option : split(text.substr(open + 1, text.size() - open - 2), ';')) {
    size_t eq = option.find('=');
    std::string key = option.substr(0, eq),
                value = eq == std::string::npos ? "" : option.substr(eq + 1);
    e.parameters.emplace_back(key, value);
    if (key == "$select") {
      BL_ASSIGN(e.select, parse_select(*target, value));
    } else if (key == "$filter" && e.collection) {
      BL_ASSIGN(e.filter, parse_filter(value, *target, territory));
    } else if (key == "$orderby" && e.collection) {
      BL_ASSIGN(e.order, parse_order(*target, value));
    } else if (key == "$top" && e.collection) {
      BL_ASSIGN(e.top, parse_count("$top", value));
    } else if (key == "$expand") {
      return wrong("$expand", "one level deep so far; expand " + name + " in a request of its own");
    } else {
      return wrong("$expand", "`" + shortened(key) + "` is not possible inside " + name);
    }
  }
  return e;
}

}  // namespace

Result<QueryOptions> parse_options(const Schema& schema, const Schema::Set& set,
                                   const UrlParts& url, const TerritoryNumber& territory,
                                   OptionScope scope) {
  QueryOptions out;
  const Entity& entity = *set.entity;
  Query& q = out.query;
  q.entity = &entity;
  for (const auto& [name, value] : url.parameters) {
    if (scope == OptionScope::record && name.starts_with('$') && name != "$select" &&
        name != "$expand" && name != "$format") {
      return wrong(name, "a single record takes $select and $expand only");
    }
    bool beside_apply =
        name == "$apply" || name == "$filter" || name == "$format" || !name.starts_with('$');
    if (!beside_apply && url.parameter("$apply")) {
      return wrong(name,
                   "cannot stand beside $apply so far: filter inside it, and sort what it answers");
    }
    if (name == "$select") {
      BL_ASSIGN(out.select, parse_select(entity, value));
    } else if (name == "$filter") {
      BL_ASSIGN(q.filter, parse_filter(value, entity, territory));
    } else if (name == "$orderby") {
      BL_ASSIGN(q.order, parse_order(entity, value));
    } else if (name == "$top") {
      BL_ASSIGN(q.top, parse_count(name, value));
    } else if (name == "$skip") {
      BL_ASSIGN(q.skip, parse_count(name, value));
    } else if (name == "$count") {
      if (value != "true" && value != "false")
        return wrong(name, "`" + shortened(value) + "` is neither true nor false");
      q.count = value == "true";
    } else if (name == "$expand") {
      for (const auto& part : split(value, ',')) {
        BL_ASSIGN(auto e, parse_expand_one(schema, entity, part, territory));
        bool twice = std::any_of(out.expand.begin(), out.expand.end(),
                                 [&](const auto& o) { return o.name == e.name; });
        if (twice) return wrong(name, "`" + e.name + "` is given twice");
        out.expand.push_back(std::move(e));
      }
      if (out.expand.size() > 8) return wrong(name, "at most 8 navigation properties");
    } else if (name == "$apply") {
      BL_ASSIGN(out.apply, parse_apply(value, entity, territory));
    } else if (name == "$skiptoken") {
      std::string bytes;
      for (size_t i = 0; i + 1 < value.size(); i += 2) {
        int high = hex_digit(value[i]), low = hex_digit(value[i + 1]);
        if (high < 0 || low < 0) return wrong(name, "not a continuation of this service");
        bytes.push_back(static_cast<char>(high << 4 | low));
      }
      if (bytes.empty() || value.size() % 2 != 0)
        return wrong(name, "not a continuation of this service");
      q.continue_at = bytes;
    } else if (name == "$search" || name == "$deltatoken") {
      return fail(
          ErrorKind::invalid, "feature.not_built",
          name + " is not built yet; there is $filter" +
              (name == "$search" ? " with contains(..)" : ", and /api/changes for what changed"));
    } else if (!name.empty() && name[0] == '$' && name != "$format") {
      return wrong(shortened(name),
                   "this option is not supported; there are $select, $filter, $orderby, $top, "
                   "$skip, $count, $expand, $apply");
    }
  }
  if (set.subtype) {
    Expression type;
    type.kind = Expression::Kind::equal;
    type.column.field = entity.field(set.subtype->field);
    type.column.id = set.subtype->field;
    type.column.type = ValueType::option;
    type.column.name = type.column.field->name;
    type.values.push_back({ValueType::option, encode_integer(set.subtype->value)});
    if (q.filter.kind == Expression::Kind::always) {
      q.filter = std::move(type);
    } else {
      Expression both;
      both.kind = Expression::Kind::all_of;
      both.operands.push_back(std::move(type));
      both.operands.push_back(std::move(q.filter));
      q.filter = std::move(both);
    }
    q.filter.finish();
  }
  return out;
}

}  // namespace branchline
