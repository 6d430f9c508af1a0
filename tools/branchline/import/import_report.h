// What an import tells: the file of rejected rows, the summary, the line of progress.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "tools/branchline/import/import_plan.h"
#include "tools/branchline/import/import_run.h"

namespace branchline::import {

// CSV: row, line, column, value, reason, then the row as it was. Mended in place, it can be
// imported itself: the mapping ignores the first columns. It is UTF-8 and begins with a byte order
// mark, so that spreadsheets and a later import read it as such. Bytes that are no UTF-8 stand as
// \xNN.
std::string error_csv(const Plan& plan, const std::vector<std::string>& header,
                      const std::vector<Rejection>& rejections, char delimiter);
// Whether `text` is an error file, by how it begins.
bool is_error_csv(std::string_view text, char delimiter);

// What would keep put_error_file() from writing to `path`, naming it; nothing: it can, as things
// stand. Leaves no file behind.
std::optional<std::string> error_file_problem(const std::string& path);

// Puts the error file of a run at `path`; `text` is empty after a run without rejections. What
// stands there with other bytes may be mended by hand and not imported yet, so it is never lost: it
// becomes PATH.1, PATH.2, ..., whichever is free. After a run without rejections that is done to
// error files only. The value is the new name of what was there, empty where nothing was moved.
Result<std::string> put_error_file(const std::string& path, const std::string& text,
                                   char delimiter);

struct Summary {
  std::string file, errors_file;
  double seconds = 0;
};
std::string summary_json(const Plan& plan, const RunResult& result, size_t rejected,
                         const Summary& summary);
std::string summary_text(const Plan& plan, const RunResult& result, size_t rejected,
                         const Summary& summary);

}  // namespace branchline::import
