// Conditions of queries, bound to the fields of an entity: OData's comparison, logic, text
// functions and `in`, with its rules for null. Immutable once built; evaluated on any thread.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "branch/crm/input.h"
#include "common/record/record.h"
#include "common/schema/schema.h"

namespace branchline {

// Where a query's values come from: a stored field, a system property or the record's id.
struct Column {
  enum class Kind { field, system, id } kind = Kind::field;
  FieldId id;
  const Field* field = nullptr;
  ValueType type = ValueType::text;
  std::string name;  // as the client wrote it
};

// The value of a column; null where it has none. Points into the record, the schema or `scratch`.
Value column_value(const Record& record, const Column& column, std::string& scratch);

struct Expression {
  enum class Kind {
    always,
    all_of,     // operands
    any_of,     // operands
    negate,     // one operand
    equal,      // column = one of `values`; a null value means "is null"
    not_equal,  // column <> values[0]; true for null where the value is not null
    less,
    less_equal,
    greater,
    greater_equal,  // values[0]; false for null
    contains,
    starts_with,
    ends_with,        // values[0], without regard to case
    columns_compare,  // column `op` other
  } kind = Kind::always;
  std::vector<Expression> operands;
  Column column;
  Column other;           // columns_compare
  Kind op = Kind::equal;  // columns_compare
  std::vector<OwnedValue> values;

  // Prepared by finish(): comparison keys of values, folded texts.
  std::vector<std::string> keys;
  void finish();
};

bool holds(const Expression& e, const Record& record);

}  // namespace branchline
