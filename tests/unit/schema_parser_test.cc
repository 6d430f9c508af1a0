// Every mistake in a schema is answered with its file, its line and what would be right.
#include <algorithm>
#include <catch2/catch.hpp>
#include <fstream>
#include <sstream>

#include "common/schema/schema.h"

namespace branchline {
namespace {

std::string built_in_text() {
  std::ifstream in(std::string(BRANCHLINE_SOURCE_DIR) + "/common/schema/crm.yaml",
                   std::ios::binary);
  std::stringstream text;
  text << in.rdbuf();
  return text.str();
}

// The built-in schema with one place changed: errors must name that line.
struct Change {
  std::string from, to;
};

std::string replaced(const Change& c, size_t& line) {
  std::string text = built_in_text();
  size_t at = text.find(c.from);
  if (at == std::string::npos) FAIL("the built-in schema has no \"" << c.from << "\"");
  line = size_t(std::count(text.begin(), text.begin() + static_cast<long>(at), '\n')) + 1;
  return text.replace(at, c.from.size(), c.to);
}

std::string message(const std::string& text) {
  auto schema = Schema::parse(text, "crm.yaml");
  if (schema) return "accepted";
  CHECK(schema.error().kind == ErrorKind::invalid);
  CHECK(schema.error().code == "schema.invalid");
  return schema.error().message;
}

void refused(const Change& change, const std::string& part, size_t lines_below = 0) {
  size_t line = 0;
  std::string got = message(replaced(change, line));
  INFO(got);
  CHECK(got.find("crm.yaml:" + std::to_string(line + lines_below) + ": ") == 0);
  CHECK(got.find(part) != std::string::npos);
}

const std::string kName =
    "{id: 16, name: name, label: Account name, type: text, max: 160, required: true}";
const std::string kCity =
    "{id: 24, name: address1_city, label: City, type: text, max: 80, group: address1}";
const std::string kOwner =
    "{id: 33, name: ownerid, label: Owner, type: lookup, targets: [systemuser], policy: first}";

TEST_CASE("schema: the built-in one is accepted, and its numbers are found") {
  auto schema = Schema::parse(built_in_text(), "crm.yaml");
  REQUIRE(schema);
  CHECK((*schema)->digest() == Schema::built_in()->digest());
  CHECK((*schema)->entity("account")->id == entity_id::kAccount);
  CHECK((*schema)->set("tasks")->subtype != nullptr);
  CHECK_FALSE((*schema)->set("nothing"));
}

TEST_CASE("schema: policies that do not fit their field, and unknown ones, are refused by name") {
  refused({kName, "{id: 16, name: name, label: N, type: text, policy: escrow}"},
          "account.name: policy escrow is for decimal");
  refused({kName, "{id: 16, name: name, label: N, type: text, policy: newest}"},
          "unknown policy `newest`");
}

TEST_CASE("schema: fields") {
  refused({kName, "{id: 16, name: name, label: N, type: string}"}, "unknown type `string`");
  refused({kName, "{id: 16, name: name, label: N, type: \"null\"}"}, "unknown type `null`");
  refused({kName, "{id: 16, name: name, label: N}"}, "account.name lacks `type`");
  refused({kName, "{id: 16, label: N, type: text}"}, "lacks `name`");
  refused({kName, "{id: 15, name: name, label: N, type: text}"}, "field ids start at 16");
  refused({kName, "{id: 70000, name: name, label: N, type: text}"},
          "`id` of a field of entity account has the wrong type");
  refused({kName, "{id: 16, name: name, label: N, type: text, max: many}"},
          "`max` of account.name has the wrong type");
  refused({kName, "{id: 16, name: name, label: N, type: text, colour: red}"},
          "unknown key `colour`");
  refused({kName, "{id: 16, id: 17, name: name, label: N, type: text}"}, "`id` stands twice");
  refused({kName, "name"}, "must be a map");
  refused({kCity, "{id: 16, name: city, label: C, type: text}"},
          "field id 16 is account.name's; ids are never reused");
  refused({kCity, "{id: 24, name: name, label: C, type: text}"}, "account.name stands twice");
  refused({kOwner, "{id: 33, name: ownerid, label: O, type: lookup, targets: [user]}"},
          "there is no entity `user`");
  refused({kOwner, "{id: 33, name: ownerid, label: O, type: lookup}"},
          "`targets` belongs to, and only to, a lookup");
  refused({kName, "{id: 16, name: name, label: N, type: text, targets: [contact]}"},
          "only to, a lookup");
  refused({kName, "{id: 16, name: name, label: N, type: option}"},
          "`options` belongs to, and only to, an option");
  refused({kName, "{id: 16, name: name, label: N, type: text, policy: sum}"},
          "policy sum is for integer and decimal");
  refused({kName, "{id: 16, name: name, label: N, type: text, policy: max}"},
          "policies max and min are for");
  refused({kName, "{id: 16, name: name, label: N, type: text, policy: append}"},
          "type row and policy append belong together");
  refused({kName, "{id: 16, name: name, label: N, type: row}"},
          "type row and policy append belong together");
  refused({kName, "{id: 16, name: name, label: N, type: integer, policy: set}"},
          "sets hold texts so far");
  refused({kName, "{id: 16, name: name, label: N, type: integer, policy: sum, group: g}"},
          "fields of a group merge as one");
  refused({kName, "{id: 16, name: name, label: N, type: text, default: 1}"},
          "a default is for options and integers");
  refused(
      {kOwner,
       "{id: 33, name: ownerid, label: O, type: lookup, targets: [systemuser], hierarchy: true}"},
      "a hierarchy is a lookup to its own entity");
  refused({kOwner,
           "{id: 33, name: ownerid, label: O, type: lookup, targets: [systemuser], inverse: "
           "{account: x}}"},
          "names an entity that is no target");
}

TEST_CASE("schema: entities") {
  refused({"    set: accounts\n", "    set: accounts\n    colour: red\n"},
          "unknown key `colour` in an entity", 1);
  refused({"    territory: root\n", "    territory: tree\n"}, "is one of root, child, reference");
  refused({"    territory: root\n", "    territory: root\n    delete: never\n"},
          "is edit_wins or delete_wins", 1);
  refused({"    label: [Account, Accounts]\n", "    label: [Account]\n"}, "is [singular, plural]");
  refused({"  - id: 2\n", "  - id: 1\n"}, "entity id 1 is taken; ids are never reused");
  refused({"  - id: 2\n", "  - id: 0\n"}, "entity ids start at 1");
  refused({"    name: contact\n", "    name: account\n"}, "entity account stands twice");
  refused({"    set: contacts\n", "    set: accounts\n"}, "entity set accounts stands twice");
  refused({"    primary_name: fullname\n", "    primary_name: title\n"},
          "entity contact has no field `title`");
  refused({"    parents: [parentcustomerid]\n", "    parents: [owner]\n"},
          "entity contact has no field `owner`");
}

TEST_CASE("schema: what is found when all entities are read has its line too") {
  size_t line = 0;
  std::string text =
      replaced({"    parents: [parentcustomerid]\n", "    parents: [parentcustomerid]\n"}, line);
  size_t at = text.find("parent: true", text.find("    parents: [parentcustomerid]\n"));
  text.replace(at, 12, "parent: false");
  CHECK(message(text).find("crm.yaml:" + std::to_string(line) +
                           ": contact.parentcustomerid: a parent is a lookup with an index") == 0);
  refused({"    name: topology\n", "    name: topologia\n"},
          "entity 13 must be `topology`, which Branchline itself uses");
}

TEST_CASE("schema: indexes") {
  const std::string key = "{id: 1, fields: [accountnumber], unique: true}";
  refused({key, "{id: 1, fields: [number]}"}, "entity account has no field `number`");
  refused({key, "{id: 1, fields: [tags]}"}, "collections are not indexed");
  refused({key, "{id: 2, fields: [accountnumber]}"}, "id 2 is taken", 1);
  refused({key, "{id: 1, fields: []}"}, "names no field");
  refused({key, "{id: 1, fields: [accountnumber, name], unique: true}"},
          "unique and parent indexes have one field");
}

TEST_CASE("schema: the file as a whole") {
  CHECK(message("").find("crm.yaml") == 0);
  CHECK(message("[]").find("must be a map") != std::string::npos);
  CHECK(message("version: 1\ncurrency: US\nentities: []\n")
            .find("crm.yaml:2: `currency` is a code of three letters") == 0);
  CHECK(message("version: 1\ncurrency: USD\n").find("`entities` must be a list") !=
        std::string::npos);
  CHECK(message("version: one\ncurrency: USD\nentities: []\n").find("crm.yaml:1: `version`") == 0);
  CHECK(message("version: 1\ncurrency: USD\nentities: []\nmore: 1\n")
            .find("crm.yaml:4: unknown key `more`") == 0);
  CHECK(message("version: 1\n\tcurrency: USD\n").find("crm.yaml:2: ") == 0);
  CHECK(message("version: [1\n").find("crm.yaml:") == 0);
  // An entity that the code itself refers to must keep its number and name.
  CHECK(message("version: 1\ncurrency: USD\nentities: []\n").find("entity 1 must be `account`") !=
        std::string::npos);
}

TEST_CASE(
    "schema: any text cut short or garbled is refused or accepted, and never ends the process") {
  std::string text = built_in_text();
  for (size_t n = 0; n < text.size(); n += 101) (void)Schema::parse(text.substr(0, n), "crm.yaml");
  static constexpr std::string_view kPieces[] = {"[",  "}",      ": ", "\n", "- ", "&a ",
                                                 "*a", "!!int ", "\t", "~",  "{}", "id: 1"};
  for (size_t i = 0; i < 200; ++i) {
    std::string garbled = text;
    garbled.insert(i * 7919 % garbled.size(), kPieces[i % std::size(kPieces)]);
    (void)Schema::parse(garbled, "crm.yaml");
  }
}

}  // namespace
}  // namespace branchline
