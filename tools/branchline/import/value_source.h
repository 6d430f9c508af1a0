// Where a field's value comes from in a row: templates of columns, and formulas over them.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "common/base/error.h"
#include "common/record/decimal.h"

namespace branchline::import {

// "{Customer ID}/{Region}": text with columns in braces; {{ and }} are braces themselves.
// "{Name|last word}" and
// "{Name|all but last word}" take names apart.
class Template {
 public:
  // The text of the column with this index.
  using Cell = std::function<std::string_view(size_t column)>;
  // `column_of` gives the index of a column's name. `invalid` says what is wrong with the text.
  static Result<Template> parse(std::string_view text,
                                const std::function<size_t(std::string_view)>& column_of);

  std::string fill(const Cell& cell) const;
  const std::vector<size_t>& columns() const { return columns_; }
  // All of its columns are empty (and it has any): then there is nothing to say.
  bool empty(const Cell& cell) const;

 private:
  enum class Take { all, last_word, but_last_word };
  struct Column {
    size_t index;
    Take take;
  };
  std::vector<std::variant<std::string, Column>> parts_;
  std::vector<size_t> columns_;
};

// "{Sales} / ({Quantity} * (1 - {Discount}))": + - * / and parentheses over numbers, columns in
// braces, and fields of the same record that stand before it, in brackets: "[priceperunit]". Exact
// decimals, except that a quotient is rounded, half to even, to Decimal::kMaxScale decimals.
class Formula {
 public:
  struct Inputs {
    // `invalid` where the column holds no number.
    std::function<Result<Decimal>(size_t column)> column;
    std::function<Result<Decimal>(const std::string& field)> field;
  };
  static Result<Formula> parse(std::string_view text,
                               const std::function<size_t(std::string_view)>& column_of);

  Result<Decimal> evaluate(const Inputs& inputs) const;
  const std::vector<size_t>& columns() const { return columns_; }
  const std::vector<std::string>& fields() const { return fields_; }

 private:
  friend class FormulaParser;
  struct Step {  // of a stack machine
    enum class Kind { number, column, field, add, subtract, multiply, divide, negate } kind;
    Decimal number;
    size_t index = 0;  // into the columns of the file, or into fields_
  };
  std::vector<Step> steps_;
  std::vector<size_t> columns_;
  std::vector<std::string> fields_;
};

}  // namespace branchline::import
