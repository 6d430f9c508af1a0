#include "branch/api/odata_names.h"

#include <algorithm>

#include "common/base/limits.h"

namespace branchline {
namespace {

std::unexpected<Error> invalid(const char* code, std::string message) {
  return fail(ErrorKind::invalid, code, std::move(message));
}

// Levenshtein, for "did you mean".
size_t distance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      size_t above = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, diagonal + (a[i - 1] == b[j - 1] ? 0 : 1)});
      diagonal = above;
    }
  }
  return row[b.size()];
}

// The scheme of an address that a browser runs instead of going there; empty: none of those.
// Browsers ignore case, blanks and control characters in and before it, and so does this.
std::string script_scheme(std::string_view url) {
  std::string bare;
  for (char c : url) {
    auto u = static_cast<unsigned char>(c);
    if (u > 0x20 && u != 0x7f) bare.push_back(static_cast<char>(std::tolower(u)));
    if (c == ':') break;
  }
  for (const char* scheme : {"javascript:", "data:", "vbscript:"}) {
    if (bare == scheme) return bare;
  }
  return {};
}

Result<OwnedValue> text_value(const Field& field, const std::string& text) {
  if (!is_utf8(text))
    return invalid("value.encoding", field.name + ": the text is not valid UTF-8");
  if (text.find('\0') != std::string::npos) {
    return invalid("value.encoding",
                   field.name + ": the text holds the character NUL (\\u0000); leave it out");
  }
  if (text.size() > limits::kMaxValueBytes) {
    return invalid("value.too_long", field.name + ": longer than " +
                                         std::to_string(limits::kMaxValueBytes) + " bytes");
  }
  if (field.max_length != 0 && code_points(text) > field.max_length) {
    return invalid("value.too_long", field.name + ": " + std::to_string(code_points(text)) +
                                         " characters, at most " +
                                         std::to_string(field.max_length) + " are allowed");
  }
  if (field.type == ValueType::email && !text.empty()) {
    size_t at = text.find('@');
    if (at == 0 || at == std::string::npos || at + 1 == text.size() ||
        text.find('@', at + 1) != std::string::npos) {
      return invalid("value.email",
                     field.name + ": `" + shortened(text) + "` is no e-mail address");
    }
  }
  if (field.type == ValueType::url) {
    std::string scheme = script_scheme(text);
    if (!scheme.empty()) {
      return invalid("value.url", field.name + ": a web address cannot begin with `" + scheme +
                                      "`, which a browser would run; write http:// or https://");
    }
  }
  return OwnedValue{field.type, text};
}

std::optional<int64_t> parse_int(std::string_view text) {
  auto d = Decimal::parse(text);
  if (!d || d->scale() != 0) return std::nullopt;
  return d->mantissa();
}

}  // namespace

size_t code_points(std::string_view utf8) {
  return static_cast<size_t>(
      std::count_if(utf8.begin(), utf8.end(), [](char c) { return (c & 0xc0) != 0x80; }));
}

std::string shortened(std::string_view text) {
  constexpr size_t kShown = 60;
  if (text.size() <= kShown) return std::string(text);
  size_t end = kShown;
  while (end > 0 && (text[end] & 0xc0) == 0x80) --end;
  return std::string(text.substr(0, end)) + "...";
}

std::string nearest_name(std::string_view name, const std::vector<std::string>& known) {
  std::string near;
  if (name.size() > 100) return near;
  size_t best = std::min<size_t>(4, name.size());  // no word is near that shares nothing with it
  for (const auto& k : known) {
    size_t d = distance(name, k);
    if (d < best) {
      best = d;
      near = k;
    }
  }
  return near;
}

std::string property_of(const Field& field) {
  return field.type == ValueType::lookup ? "_" + field.name + "_value" : field.name;
}

Result<Column> column_named(const Entity& entity, std::string_view property) {
  Column c;
  c.name = std::string(property);
  auto system = [&](FieldId id, ValueType type) {
    c.kind = Column::Kind::system;
    c.id = id;
    c.type = type;
    return c;
  };
  if (property == entity.primary_key) {
    c.kind = Column::Kind::id;
    c.type = ValueType::lookup;
    return c;
  }
  if (property == "createdon") return system(system_field::kCreatedOn, ValueType::instant);
  if (property == "modifiedon") return system(system_field::kModifiedOn, ValueType::instant);
  if (property == "_createdby_value") return system(system_field::kCreatedBy, ValueType::lookup);
  if (property == "_modifiedby_value") return system(system_field::kModifiedBy, ValueType::lookup);
  if (property == "_territoryid_value") return system(system_field::kTerritory, ValueType::integer);
  if (property == "branchline_revivedon")
    return system(system_field::kRevivedOn, ValueType::instant);
  if (property == "_branchline_duplicateof_value")
    return system(system_field::kDuplicateOf, ValueType::lookup);
  std::string_view name = property;
  bool lookup = name.size() > 7 && name.starts_with("_") && name.ends_with("_value");
  if (lookup) name = name.substr(1, name.size() - 7);
  const Field* field = entity.field(name);
  if (field && (field->type == ValueType::lookup) == lookup) {
    c.field = field;
    c.id = field->id;
    c.type = field->type;
    return c;
  }
  std::string message = "`" + shortened(property) + "` is no property of " + entity.set_name;
  if (field) {
    message += "; write " + property_of(*field);
  } else {
    std::vector<std::string> known{entity.primary_key, "createdon",         "modifiedon",
                                   "_createdby_value", "_modifiedby_value", "_territoryid_value"};
    for (const auto& f : entity.fields) known.push_back(property_of(f));
    std::string near = nearest_name(property, known);
    if (!near.empty()) message += "; did you mean " + near + "?";
  }
  return invalid("property.unknown", message);
}

Result<OwnedValue> value_from_text(const Field& field, const std::string& text) {
  auto expected = [&](const char* what) {
    return invalid("value.type", field.name + ": `" + shortened(text) + "` is no " + what);
  };
  switch (field.type) {
    case ValueType::integer:
    case ValueType::duration: {
      auto v = parse_int(text);
      if (!v) return expected("whole number");
      return OwnedValue{field.type, encode_integer(*v)};
    }
    case ValueType::option: {
      auto v = parse_int(text);
      for (const auto& o : field.options) {
        if ((v && o.value == *v) || o.label == text)
          return OwnedValue{field.type, encode_integer(o.value)};
      }
      std::string known;
      for (const auto& o : field.options)
        known += (known.empty() ? "" : ", ") + std::to_string(o.value) + " (" + o.label + ")";
      return invalid("value.option",
                     field.name + ": `" + shortened(text) + "` is none of its options: " + known);
    }
    case ValueType::decimal: {
      auto v = Decimal::parse(text);
      if (!v) return expected("decimal number of up to 10 decimals");
      return OwnedValue{field.type, encode_decimal(*v)};
    }
    case ValueType::money: {
      auto v = Decimal::parse(text);
      if (!v) return expected("amount of up to 10 decimals");
      Money m;
      m.amount = *v;
      m.currency = field.currency;
      return OwnedValue{field.type, encode_money(m)};
    }
    case ValueType::boolean:
      if (text != "true" && text != "false") return expected("boolean (true or false)");
      return OwnedValue{field.type, encode_boolean(text == "true")};
    case ValueType::date: {
      auto v = parse_date(std::string_view(text).substr(0, 10));
      if (!v || (text.size() > 10 && !parse_instant(text))) return expected("date (YYYY-MM-DD)");
      return OwnedValue{field.type, encode_integer(*v)};
    }
    case ValueType::instant: {
      auto v = parse_instant(text);
      if (!v) return expected("point in time (YYYY-MM-DDTHH:MM:SSZ)");
      return OwnedValue{field.type, encode_integer(*v)};
    }
    case ValueType::lookup: {
      auto id = parse_record_id(text);
      if (!id) return expected("record id");
      return OwnedValue{
          field.type,
          encode_lookup({field.targets.size() == 1 ? field.targets[0] : EntityId(0), *id})};
    }
    default:
      return text_value(field, text);
  }
}

Result<OwnedValue> value_from_json(const Field& field, const Json& json) {
  auto expected = [&](const char* what) {
    return invalid("value.type", field.name + ": expected " + what);
  };
  if (json.kind == Json::Kind::null) return OwnedValue{};
  bool number = json.kind == Json::Kind::number;
  bool string = json.kind == Json::Kind::string;
  switch (field.type) {
    case ValueType::integer:
    case ValueType::duration:
    case ValueType::option:
      if (!number) return expected("a whole number");
      return value_from_text(field, json.text);
    case ValueType::decimal:
    case ValueType::money:
      // As text too: JSON readers elsewhere lose digits (OData's IEEE754Compatible).
      if (!number && !string) return expected("a number");
      return value_from_text(field, json.text);
    case ValueType::boolean:
      if (json.kind != Json::Kind::boolean) return expected("true or false");
      return OwnedValue{field.type, encode_boolean(json.boolean)};
    default:
      if (!string)
        return expected(field.type == ValueType::date ? "a date as text (YYYY-MM-DD)"
                        : field.type == ValueType::instant
                            ? "a point in time as text (YYYY-MM-DDTHH:MM:SSZ)"
                            : "a text");
      return value_from_text(field, json.text);
  }
}

void append_json_value(std::string& out, const Value& v) {
  switch (v.type) {
    case ValueType::null:
      out += "null";
      break;
    case ValueType::integer:
    case ValueType::duration:
    case ValueType::option:
      out += std::to_string(decode_integer(v.payload));
      break;
    case ValueType::decimal:
      out += decode_decimal(v.payload).to_string();
      break;
    case ValueType::money:
      out += decode_money(v.payload).amount.to_string();
      break;
    case ValueType::boolean:
      out += decode_boolean(v.payload) ? "true" : "false";
      break;
    case ValueType::date:
      out.push_back('"');
      out += format_date(decode_integer(v.payload));
      out.push_back('"');
      break;
    case ValueType::instant:
    case ValueType::local_time:
      out.push_back('"');
      out += format_instant(decode_integer(v.payload));
      out.push_back('"');
      break;
    case ValueType::lookup:
      out.push_back('"');
      append_uuid(decode_lookup(v.payload).id, out);
      out.push_back('"');
      break;
    default:
      append_json_string(out, v.payload);
  }
}

}  // namespace branchline
