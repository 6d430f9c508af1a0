#include "tools/branchline/import/import_report.h"

#include <algorithm>
#include <cstdio>

#include "common/json/json_writer.h"
#include "tools/branchline/import/text_encoding.h"

namespace branchline::import {
namespace {

constexpr size_t kRepeatsShown = 10;
const std::vector<std::string> kErrorColumns{"row", "line", "column", "value", "reason"};

std::string repeat_text(const Repeat& r) {
  return r.set + " " + r.key + ": row " + std::to_string(r.other_row) + " says " + r.field + " " +
         r.other + ", row " + std::to_string(r.kept_row) + " said " + r.kept + ", which is kept";
}

}  // namespace

std::string error_csv_beginning(char delimiter) {
  std::string line = csv_line(kErrorColumns, delimiter);
  return line.substr(0, line.size() - 2);
}

std::string error_csv(const Plan& plan, const std::vector<std::string>& header,
                      const std::vector<Rejection>& rejections, char delimiter) {
  std::vector<std::string> line = kErrorColumns;
  line.insert(line.end(), header.begin(), header.end());
  std::string out = csv_line(line, delimiter);
  for (const auto& r : rejections) {
    const Plan::Row& row = plan.rows[r.row];
    // The branch names a field; what stood in its column is here.
    auto at =
        static_cast<size_t>(std::find(header.begin(), header.end(), r.column) - header.begin());
    const std::string& value = r.value.empty() && at < row.fields.size() ? row.fields[at] : r.value;
    line = {std::to_string(row.number), std::to_string(row.line), r.column, visible(value),
            r.reason};
    for (const auto& f : row.fields) line.push_back(visible(f));
    out += csv_line(line, delimiter);
  }
  return out;
}

std::string summary_json(const Plan& plan, const RunResult& result, size_t rejected,
                         const Summary& summary) {
  std::string out;
  JsonWriter w(out);
  char seconds[32];
  std::snprintf(seconds, sizeof seconds, "%.3f", summary.seconds);
  w.begin_object();
  w.member("file", summary.file)
      .member("rows", uint64_t{plan.rows_read})
      .member("chosenRows", uint64_t{plan.rows.size()});
  w.member("rejectedRows", uint64_t{rejected}).member("mutations", result.mutations);
  w.key("seconds").raw(seconds);
  w.key("sets").begin_object();
  for (const auto& [set, c] : result.sets) {
    w.key(set).begin_object();
    w.member("created", c.created).member("updated", c.updated).member("unchanged", c.unchanged);
    w.member("rejected", c.rejected).member("deletedSince", c.deleted);
    w.end_object();
  }
  w.end_object();
  w.member("repeatedKeys", uint64_t{plan.repeat_count});
  w.key("repeats").begin_array();
  for (const auto& r : plan.repeats) {
    w.begin_object().member("set", r.set).member("key", r.key).member("field", r.field);
    w.member("keptRow", uint64_t{r.kept_row}).member("row", uint64_t{r.other_row});
    w.key("kept").raw(r.kept).key("ignored").raw(r.other).end_object();
  }
  w.end_array();
  if (!summary.errors_file.empty()) w.member("errorsFile", summary.errors_file);
  if (!result.gave_up.empty()) w.member("gaveUp", result.gave_up);
  w.end_object();
  return out + "\n";
}

std::string summary_text(const Plan& plan, const RunResult& result, size_t rejected,
                         const Summary& summary) {
  std::string out;
  char line[200];
  for (const auto& [set, c] : result.sets) {
    std::snprintf(
        line, sizeof line, "%-20s %llu created, %llu updated, %llu unchanged, %llu rejected",
        set.c_str(), static_cast<unsigned long long>(c.created),
        static_cast<unsigned long long>(c.updated), static_cast<unsigned long long>(c.unchanged),
        static_cast<unsigned long long>(c.rejected));
    out += line;
    if (c.deleted > 0)
      out += ", " + std::to_string(c.deleted) + " deleted here since they were imported (left so)";
    out += "\n";
  }
  for (size_t i = 0; i < plan.repeats.size() && i < kRepeatsShown; ++i)
    out += repeat_text(plan.repeats[i]) + "\n";
  if (plan.repeat_count > kRepeatsShown) {
    out += "and " + std::to_string(plan.repeat_count - kRepeatsShown) +
           " more rows that contradict an earlier one (--output json lists them)\n";
  }
  std::snprintf(line, sizeof line, "%zu rows of %zu, %zu rejected, %llu changes in %.1f s\n",
                plan.rows.size(), plan.rows_read, rejected,
                static_cast<unsigned long long>(result.mutations), summary.seconds);
  out += line;
  if (!summary.errors_file.empty())
    out += "the rejected rows are in " + summary.errors_file +
           "; mend them there and import that file\n";
  if (!result.gave_up.empty()) {
    out += "NOT FINISHED: " + result.gave_up +
           "\nThe same command again goes on from here; nothing is doubled.\n";
  }
  return out;
}

}  // namespace branchline::import
