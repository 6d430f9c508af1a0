#include "tests/support/next_schema.h"

#include <fstream>
#include <sstream>

#include "common/base/bytes.h"
#include "common/base/check.h"
#include "common/schema/schema.h"

namespace branchline {
namespace {

void insert_before(std::string& yaml, const std::string& place, const std::string& what) {
  size_t at = yaml.find(place);
  BL_CHECK(at != std::string::npos);
  yaml.insert(at, what);
}

void replace(std::string& yaml, const std::string& from, const std::string& to) {
  size_t at = yaml.find(from);
  BL_CHECK(at != std::string::npos);
  yaml.replace(at, from.size(), to);
}

}  // namespace

std::string next_schema_text() {
  std::ifstream file(BRANCHLINE_SOURCE_DIR "/common/schema/crm.yaml");
  std::stringstream text;
  text << file.rdbuf();
  std::string yaml = text.str();
  const Schema& before = *Schema::built_in();
  replace(yaml, "\nversion: " + std::to_string(before.version()) + "\n",
          "\nversion: " + std::to_string(before.version() + 1) + "\n");
  replace(yaml, "\nextends: " + hex(before.extends().view()),
          "\nextends: " + hex(before.digest().view()));
  insert_before(yaml, "      - {id: 16, name: name, label: Account name",
                "      - {id: 900, name: nickname, label: Nickname, type: text, since: 2}\n"
                "      - {id: 901, name: badges, label: Badges, type: text, policy: set, "
                "since: 2}\n");
  replace(yaml, "name: websiteurl, label: Website, type: url",
          "name: websiteurl, label: Website, type: url, policy: first");
  // In account, the first list of indexes.
  replace(yaml, "    indexes:\n", "    indexes:\n      - {id: 90, fields: [numberofemployees]}\n");
  insert_before(yaml, "  - id: 2\n    name: contact\n",
                "  - id: 90\n    name: gadget\n    set: gadgets\n    label: [Gadget, Gadgets]\n"
                "    primary_name: name\n    territory: child\n    parents: [accountid]\n"
                "    since: 2\n    fields:\n"
                "      - {id: 16, name: name, label: Name, type: text}\n"
                "      - {id: 17, name: accountid, label: Account, type: lookup, "
                "targets: [account], inverse: {account: account_gadgets}}\n"
                "    indexes:\n      - {id: 1, fields: [accountid], parent: true}\n"
                "      - {id: 2, fields: [name]}\n");
  return yaml;
}

}  // namespace branchline
