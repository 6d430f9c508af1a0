// CSV as it comes from spreadsheets: RFC 4180, any line ends, and a way on after each damaged row.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace branchline::import {

struct CsvRow {
  size_t number = 0;                // as a spreadsheet counts: the header is row 1
  size_t line = 0;                  // the line of the file on which it begins, from 1
  std::vector<std::string> fields;  // as far as they could be read
  std::string problem;              // why it cannot be taken as it is; empty: it can
  size_t problem_field = 0;         // its place, from 1; 0: the row as a whole
};

class CsvReader {
 public:
  struct Options {
    char delimiter = ',';
    size_t max_field_bytes = 1024 * 1024;
    size_t max_fields = 1000;
  };
  // `text` outlives the reader; a byte order mark is gone from it.
  CsvReader(std::string_view text, Options options);

  // Nothing at the end. Blank lines are skipped, yet count. Of a row with a quote that is never
  // closed, or a field over the limit, the first line is given with the problem, and reading goes
  // on at the next line: one stray quote costs one row, not the rest of the file.
  std::optional<CsvRow> next();

  // Bytes read so far, for progress.
  size_t position() const { return at_; }

 private:
  enum class Stop { delimiter, line, end };
  struct Field {
    std::string text;
    Stop stop = Stop::end;
    const char* problem = nullptr;
  };
  Field field();
  Field quoted_field();
  Stop stop_here();
  void count_line(size_t from);
  CsvRow first_line_only(size_t begin, size_t line, const char* problem, size_t place);

  std::string_view text_;
  Options options_;
  size_t at_ = 0;
  size_t line_ = 1;
  size_t row_ = 0;
};

// One row, quoted where needed, with CRLF as RFC 4180 has it.
std::string csv_line(const std::vector<std::string>& fields, char delimiter = ',');

}  // namespace branchline::import
