// What an import tells: the file of rejected rows, the summary, the line of progress.
#pragma once

#include <string>

#include "tools/branchline/import/import_plan.h"
#include "tools/branchline/import/import_run.h"

namespace branchline::import {

// CSV: row, line, column, value, reason, then the row as it was. Mended in place, it can be
// imported itself: the mapping ignores the first columns. Bytes that are no UTF-8 stand as \xNN.
std::string error_csv(const Plan& plan, const std::vector<std::string>& header,
                      const std::vector<Rejection>& rejections, char delimiter);
// It begins so: a file that does not is none of ours.
std::string error_csv_beginning(char delimiter);

struct Summary {
  std::string file, errors_file;
  double seconds = 0;
};
std::string summary_json(const Plan& plan, const RunResult& result, size_t rejected,
                         const Summary& summary);
std::string summary_text(const Plan& plan, const RunResult& result, size_t rejected,
                         const Summary& summary);

}  // namespace branchline::import
