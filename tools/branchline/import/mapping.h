// What the rows of one kind of CSV file become: read from a YAML file, checked against the CRM's
// schema. README.md explains its keys.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "common/schema/schema.h"
#include "tools/branchline/import/conversion.h"
#include "tools/branchline/import/value_source.h"

namespace branchline::import {

// How a record is known again: by a unique field, or by an id that is derived from this text, the
// mapping's name and the entity set.
struct KeyMap {
  const Field* field = nullptr;  // null: a derived id
  const Index* index = nullptr;
  Template text;
};

struct FieldMap {
  const Field* field = nullptr;
  std::string column;  // for messages: the first column that it is made of; empty: none
  Template text;
  std::optional<Formula> formula;
  int scale = -1;  // of the formula's result; -1: as it comes
  Conversion conversion;
  // Lookups: the record is named by `text`, which is its key.
  std::string property;  // "customerid_account"
  const Entity* target = nullptr;
  KeyMap target_key;  // its text is not used
};

enum class Repeated { report, first, reject };

struct RecordMap {
  const Entity* entity = nullptr;
  const SubType* subtype = nullptr;
  std::string set;
  KeyMap key;
  Repeated repeated = Repeated::report;
  std::optional<Template> territory;
  std::vector<FieldMap> fields;
  struct Child;
  std::vector<Child> children;
};

// Records that are created with their parent, in the same mutation.
struct RecordMap::Child {
  std::string collection;
  const Field* lookup = nullptr;  // of the child: to its parent
  std::string property;           // the same as bound: "salesorderid"
  RecordMap record;
};

struct Mapping {
  std::string name;                  // part of every identity that imports make
  std::vector<std::string> columns;  // that it uses; templates and formulas have indexes into them
  std::vector<RecordMap> records;    // in the order in which they are imported
};

// `origin` is the file's name, for messages; `invalid` lists all mistakes, "file:line: what; mend"
// each.
Result<Mapping> parse_mapping(std::string_view text, const std::string& origin,
                              const Schema& schema);

}  // namespace branchline::import
