// What a client wants written, typed and checked against the schema, but not yet against the data.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "common/record/operation.h"
#include "common/schema/schema.h"

namespace branchline {

struct OwnedValue {
  ValueType type = ValueType::null;
  std::string payload;
  Value view() const { return {type, payload}; }
};

struct FieldInput {
  const Field* field = nullptr;
  enum class Kind {
    set,        // the value; for `sum` and `escrow` the difference from the view is shipped
    add,        // a difference, explicitly (field@Branchline.add); under `escrow` below zero: spent
    give_back,  // escrow: what this office does not need of its share (field@Branchline.giveback)
    correct,    // max, min: also against their direction (field@Branchline.correct)
    elements,   // set: what it shall hold; the difference from the view is shipped
    append,     // one element of a timeline
  } kind = Kind::set;
  OwnedValue value;
  std::vector<OwnedValue> elements;
};

// A record by id or by the value of a unique key.
struct RecordAddress {
  std::optional<RecordId> id;
  const Index* key = nullptr;
  OwnedValue key_value;
};

struct RecordInput {
  const Entity* entity = nullptr;
  const SubType* subtype = nullptr;  // the set it was addressed through
  RecordAddress address;             // empty: a new record under a new id
  std::vector<FieldInput> fields;
  std::string territory;      // by name; empty: the office's, or the parent's
  bool no_territory = false;  // it shall have none: refused by name
  // The further territories that work with it, by name: all of them, or what to add and take away.
  std::optional<std::vector<std::string>> also_in;
  std::vector<std::string> also_in_add, also_in_remove;
  // Records to be created with it, each looking up to it by `lookup`.
  struct Child {
    FieldId lookup;
    std::vector<RecordInput> records;
  };
  std::vector<Child> children;
};

}  // namespace branchline
