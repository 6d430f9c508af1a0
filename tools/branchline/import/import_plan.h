// Rows to mutations: what shall be there when the import is done, without asking any server.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "tools/branchline/import/csv_reader.h"
#include "tools/branchline/import/mapping.h"

namespace branchline::import {

struct PlannedCell {
  const FieldMap* map = nullptr;
  OwnedValue value;        // null for lookups
  std::string lookup_key;  // lookups: the other record's key
};

struct PlannedRecord {
  const RecordMap* map = nullptr;
  std::string key;
  OwnedValue key_value;  // where the key is a field
  std::string territory;
  std::vector<PlannedCell> cells;  // empty cells of the file say nothing and are not here
  uint32_t row = 0;                // the first that gave it, an index into Plan::rows
};

struct PlannedChild {
  const RecordMap::Child* map = nullptr;
  PlannedRecord record;
};

// One mutation: a record and what is created with it.
struct PlannedMutation {
  PlannedRecord record;
  std::vector<PlannedChild> children;
  std::vector<uint32_t> rows;  // all that gave something to it
};

struct Rejection {
  uint32_t row = 0;
  std::string column;  // empty: the row as a whole
  std::string value;
  std::string reason;
};

// A key came again with other content, and the first row won.
struct Repeat {
  std::string set, key, field;
  size_t kept_row = 0, other_row = 0;  // as a spreadsheet counts
  std::string kept, other;
};

struct Plan {
  struct Row {
    size_t number = 0, line = 0;
    std::vector<std::string> fields;
  };
  std::vector<Row> rows;                            // all that --where let through
  std::vector<std::vector<PlannedMutation>> steps;  // per record of the mapping, in its order
  std::vector<Rejection> rejections;                // by row; one per row
  std::vector<Repeat> repeats;                      // kMaxRepeats of them
  size_t repeat_count = 0;
  size_t rows_read = 0;
  static constexpr size_t kMaxRepeats = 1000;
};

using Where = std::vector<std::pair<std::string, std::string>>;

class Planner {
 public:
  // `mapping` outlives the planner and its plan. `utf8`: reject rows that are no UTF-8. `invalid`
  // where the file lacks columns that the mapping or `where` names (the message lists those that it
  // has).
  static Result<Planner> create(const Mapping& mapping, const CsvRow& header, const Where& where);

  void add(CsvRow row);
  Plan finish();

 private:
  Planner(const Mapping& mapping, size_t columns) : mapping_(mapping), columns_(columns) {}
  struct Problem {
    std::string column, value, reason;
  };
  using Problems = std::vector<Problem>;
  static Problem problem_of(const FieldMap& map, std::string value, std::string reason);

  bool wanted(const CsvRow& row) const;
  std::string_view cell(size_t mapping_column) const;
  bool record_of(const RecordMap& map, PlannedRecord& out, Problems& problems) const;
  void cell_of(const FieldMap& map, PlannedRecord& out, Problems& problems) const;
  bool has_inputs(const Formula& formula, const PlannedRecord& record) const;
  Result<OwnedValue> calculate(const FieldMap& map, const PlannedRecord& record) const;
  void reject(uint32_t row, Problems problems);
  void check_repeat(const PlannedRecord& kept, const PlannedRecord& other,
                    std::vector<Repeat>& found) const;
  void check_repeats(const std::vector<PlannedMutation>& made, std::vector<Repeat>& reported,
                     Problems& problems) const;
  void merge(size_t step, PlannedMutation made);

  const Mapping& mapping_;
  size_t columns_;
  std::vector<size_t> binding_;  // mapping's column -> file's
  std::vector<std::string> header_;
  std::vector<std::pair<size_t, std::string>> where_;  // file's column = value
  const CsvRow* row_ = nullptr;                        // being read
  Plan plan_;
  std::vector<std::unordered_map<std::string, size_t>> by_key_;  // per step
  std::vector<std::vector<std::unordered_map<std::string, size_t>>>
      child_by_key_;  // per step and mutation
};

}  // namespace branchline::import
