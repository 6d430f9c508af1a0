#include <catch2/catch.hpp>

#include "tools/branchline/import/mapping.h"

namespace branchline::import {
namespace {

// The lines of the cases below are appended to line 5.
const std::string kHead = R"(version: 1
name: t
records:
  - set: accounts
    key: {accountnumber: "{Id}"}
)";

std::string complaint(const std::string& text) {
  auto mapping = parse_mapping(text, "m.yaml", *Schema::built_in());
  return mapping ? "" : mapping.error().message;
}

const Field& field_of(const char* entity, const char* name) {
  return *Schema::built_in()->entity(entity)->field(name);
}

std::string as_json(const Result<OwnedValue>& v) {
  if (!v) return "! " + v.error().message;
  switch (v->type) {
    case ValueType::null:
      return "null";
    case ValueType::date:
      return format_date(decode_integer(v->payload));
    case ValueType::money:
      return decode_money(v->payload).amount.to_string();
    case ValueType::boolean:
      return decode_boolean(v->payload) ? "true" : "false";
    case ValueType::option:
      return std::to_string(decode_integer(v->payload));
    default:
      return v->payload;
  }
}

}  // namespace

TEST_CASE("a mapping names its columns once, in order", "[import]") {
  auto m =
      parse_mapping(kHead + "    fields: {name: \"{Name} ({Id})\", description: \"from {Name}\"}\n",
                    "m.yaml", *Schema::built_in());
  REQUIRE(m);
  CHECK(m->columns == std::vector<std::string>{"Id", "Name"});
  CHECK(m->records[0].key.field->name == "accountnumber");
  CHECK(m->records[0].fields.size() == 2);
}

TEST_CASE("mistakes of a mapping are told with line and mend", "[import]") {
  struct Case {
    std::string text, expected;
  };
  const Case cases[] = {
      {"", "m.yaml:1: the file is empty"},
      {"version: 2\nname: t\nrecords: []\n", "m.yaml:1: `version`"},
      {"version: 1\nname: T x\nrecords: []\n", "m.yaml:2: `name`"},
      {"version: 1\nname: t\nfile: x\nrecords: []\n",
       "m.yaml:3: unknown key `file` in the mapping"},
      {"version: 1\nname: t\nrecords: []\n", "m.yaml:3: `records` is empty"},
      {"version: 1\nname: t\nrecords:\n  - set: acounts\n    key: \"{Id}\"\n    fields: {name: "
       "x}\n",
       "m.yaml:4: there is no entity set `acounts` that can be imported; did you mean `accounts`?"},
      {"version: 1\nname: t\nrecords:\n  - set: apitokens\n    key: \"{Id}\"\n    fields: {name: "
       "x}\n",
       "m.yaml:4: there is no entity set `apitokens`"},
      {"version: 1\nname: t\nrecords:\n  - set: accounts\n    fields: {name: x}\n",
       "m.yaml:4: accounts lack `key`"},
      {"version: 1\nname: t\nrecords:\n  - set: accounts\n    key: {name: \"{Id}\"}\n    fields: "
       "{name: x}\n",
       "m.yaml:5: `name` is no unique field of accounts; unique are: accountnumber"},
      {"version: 1\nname: t\nrecords:\n  - set: accounts\n    key: {accountnumber: \"one\"}\n    "
       "fields: {name: x}\n",
       "m.yaml:5: `key` names no column"},
      {kHead + "    fields: {nmae: x}\n",
       "m.yaml:6: accounts have no field `nmae`; did you mean `name`?"},
      {kHead + "    fields: {accountnumber: x}\n", "m.yaml:6: `accountnumber` is the key already"},
      {kHead + "    fields: {tags: x}\n", "m.yaml:6: `tags` cannot be imported"},
      {kHead + "    fields: {name: \"{Name\"}\n", "m.yaml:6: `{Name`: a `{` without its `}`"},
      {kHead + "    fields: {name: {value: x, colour: y}}\n",
       "m.yaml:6: unknown key `colour` in field name"},
      {kHead + "    fields: {name: {required: true}}\n",
       "m.yaml:6: field name takes `value` or `formula`"},
      {kHead + "    fields: {name: {value: x, date: M/D/YYYY}}\n", "m.yaml:6: `name` is no date"},
      {kHead + "    fields: {lastcontacted: {value: \"{On}\", date: M/D}}\n",
       "m.yaml:6: `M/D`: a date format names year, month and day"},
      {kHead + "    fields: {customertypecode: {value: \"{S}\", choice: {A: 99}}}\n",
       "m.yaml:6: customertypecode: `99` is none of its options"},
      {kHead + "    fields: {parentaccountid: \"{P}\"}\n",
       "m.yaml:6: field parentaccountid is a lookup; write e.g."},
      {kHead + "    fields: {parentaccountid: {value: \"{P}\", lookup: contacts}}\n",
       "m.yaml:6: `parentaccountid` cannot refer to `contacts`; it can to: accounts"},
      {kHead + "    fields: {creditlimit: {formula: \"{A} +\"}}\n",
       "m.yaml:6: formula: at character 6 a number"},
      {kHead + "    fields: {creditlimit: {formula: \"[revenue] * 2\"}}\n",
       "m.yaml:6: formula: no number `revenue` stands before it"},
      {kHead + "    fields: {name: {formula: \"{A}\"}}\n", "m.yaml:6: `name` is no number"},
      {kHead + "    repeated: last\n    fields: {name: x}\n",
       "m.yaml:6: `repeated` of the record is `last`, not one of report, first, reject"},
      {kHead + "    fields: {name: x}\n    children:\n      - collection: orders\n        key: "
               "\"{Id}\"\n",
       "m.yaml:8: accounts have no collection `orders`; there are: "},
  };
  for (const auto& c : cases) {
    INFO(c.text);
    std::string told = complaint(c.text);
    INFO(told);
    CHECK(told.find(c.expected) != std::string::npos);
  }
}

TEST_CASE("all mistakes are told at once", "[import]") {
  std::string told = complaint(kHead + "    fields: {nmae: x, nam: y}\n    colour: red\n");
  CHECK(std::count(told.begin(), told.end(), '\n') == 2);
}

TEST_CASE("dates in the ways people write them", "[import]") {
  auto iso = [](const char* format, const char* text) {
    return DateFormat::parse(format)->iso_date(text).value_or("none");
  };
  CHECK(iso("M/D/YYYY", "1/2/2017") == "2017-01-02");
  CHECK(iso("M/D/YYYY", "12/31/2017") == "2017-12-31");
  CHECK(iso("DD.MM.YYYY", "31.12.2017") == "2017-12-31");
  CHECK(iso("D-MMM-YY", "5-Jan-69") == "2069-01-05");
  CHECK(iso("D-MMM-YY", "5-jan-70") == "1970-01-05");
  CHECK(iso("YYYYMMDD", "20170102") == "2017-01-02");
  CHECK(iso("M/D/YYYY", "29/2/2016") == "none");
  CHECK(iso("M/D/YYYY", "2/29/2016") == "2016-02-29");
  CHECK(iso("M/D/YYYY", "2/29/2017") == "none");
  CHECK(iso("M/D/YYYY", "2/0/2017") == "none");
  CHECK(iso("M/D/YYYY", "2/1/17") == "none");
  CHECK(iso("M/D/YYYY", "2/1/2017 10:00") == "none");
  CHECK(iso("M/D/YYYY", "") == "none");
}

TEST_CASE("cells become values of their field's type", "[import]") {
  CHECK(as_json(convert(field_of("salesorder", "orderdate"), {}, " 2016-11-08 ")) == "2016-11-08");
  CHECK(as_json(convert(field_of("salesorder", "orderdate"), {}, "11/08/2016"))
            .starts_with("! orderdate: "));
  CHECK(as_json(convert(field_of("account", "creditlimit"), {}, "12.50")) == "12.5");
  CHECK(as_json(convert(field_of("account", "creditlimit"), {}, "12,50")).starts_with("! "));
  Conversion comma;
  comma.decimal_mark = ',';
  CHECK(as_json(convert(field_of("account", "creditlimit"), comma, "12,50")) == "12.5");
  CHECK(as_json(convert(field_of("account", "creditlimit"), comma, "1.200")).starts_with("! "));
  CHECK(as_json(convert(field_of("contact", "donotemail"), {}, "Yes")) == "true");
  CHECK(as_json(convert(field_of("contact", "donotemail"), {}, "0")) == "false");
  CHECK(as_json(convert(field_of("contact", "donotemail"), {}, "maybe")).starts_with("! "));
  CHECK(as_json(convert(field_of("account", "customertypecode"), {}, "Consumer")) == "1");
  Conversion choice;
  choice.choice = {{"B2C", "Consumer"}, {"B2B", "2"}};
  CHECK(as_json(convert(field_of("account", "customertypecode"), choice, "B2B")) == "2");
  CHECK(as_json(convert(field_of("account", "customertypecode"), choice, "X")).find("B2B, B2C") !=
        std::string::npos);
  CHECK(as_json(convert(field_of("account", "telephone1"), {}, "  ")) == "null");
  CHECK(as_json(convert(field_of("account", "name"), {}, "")).find("required") !=
        std::string::npos);
}

TEST_CASE("formulas are exact", "[import]") {
  auto result = [](std::string_view text) {
    auto f = Formula::parse(
        text, [](std::string_view name) { return name == "A" ? size_t{0} : size_t{1}; });
    if (!f) return "! " + f.error().message;
    Formula::Inputs in;
    in.column = [](size_t c) -> Result<Decimal> {
      return *Decimal::parse(c == 0 ? "957.5775" : "0.45");
    };
    in.field = [](const std::string&) -> Result<Decimal> { return Decimal(7, 0); };
    auto v = f->evaluate(in);
    return v ? v->to_string() : "! " + v.error().message;
  };
  CHECK(result("1 + 2 * 3") == "7");
  CHECK(result("(1 + 2) * 3") == "9");
  CHECK(result("10 - 4 - 3") == "3");
  CHECK(result("100 / 10 / 5") == "2");
  CHECK(result("-(2 - 5) * 2") == "6");
  CHECK(result("{A} / (5 * (1 - {B}))") == "348.21");
  CHECK(result("[x] * 0.1") == "0.7");
  CHECK(result("1 / 3") == "0.3333333333");
  CHECK(result("1 / ([x] - 7)").find("zero") != std::string::npos);
  CHECK(result("1 +").find("at character 4") != std::string::npos);
  CHECK(result("(1").find("`)`") != std::string::npos);
  CHECK(result("1 2").find("at character 3") != std::string::npos);
  CHECK(result(std::string(100, '(') + "1").find("nests too deeply") != std::string::npos);
  CHECK(result("9000000000000 * 9000000000000").find("too large") != std::string::npos);
}

TEST_CASE("templates", "[import]") {
  auto column = [](std::string_view name) { return name == "Id" ? size_t{0} : size_t{1}; };
  auto cell = [](size_t c) -> std::string_view { return c == 0 ? "CG-1" : "South"; };
  CHECK(Template::parse("{Id}/{Region}", column)->fill(cell) == "CG-1/South");
  CHECK(Template::parse("{{{Id}}}", column)->fill(cell) == "{CG-1}");
  auto name = [](size_t) -> std::string_view { return "Darrin Van  Huff"; };
  CHECK(Template::parse("{Id|last word}", column)->fill(name) == "Huff");
  CHECK(Template::parse("{Id|all but last word}", column)->fill(name) == "Darrin Van");
  CHECK(Template::parse("{Id|last word}", column)->fill(cell) == "CG-1");
  CHECK(Template::parse("{Id|all but last word}", column)->fill(cell) == "");
  CHECK_FALSE(Template::parse("{Id", column));
  CHECK_FALSE(Template::parse("Id}", column));
  CHECK_FALSE(Template::parse("{}", column));
}

}  // namespace branchline::import
