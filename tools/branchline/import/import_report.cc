#include "tools/branchline/import/import_report.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "common/json/json_writer.h"
#include "tools/branchline/import/text_encoding.h"

namespace branchline::import {
namespace {

constexpr size_t kRepeatsShown = 10;
const std::vector<std::string> kErrorColumns{"row", "line", "column", "value", "reason"};

std::unexpected<Error> cannot(const std::string& path, const std::string& what) {
  return fail(ErrorKind::denied, "errors.unwritable", path + " could not " + what);
}

std::string repeat_text(const Repeat& r) {
  return r.set + " " + r.key + ": row " + std::to_string(r.other_row) + " says " + r.field + " " +
         r.other + ", row " + std::to_string(r.kept_row) + " said " + r.kept + ", which is kept";
}

}  // namespace

bool is_error_csv(std::string_view text, char delimiter) {
  if (text.starts_with(kByteOrderMark)) text.remove_prefix(kByteOrderMark.size());
  std::string line = csv_line(kErrorColumns, delimiter);
  return text.starts_with(std::string_view(line).substr(0, line.size() - 2));
}

std::optional<std::string> error_file_problem(const std::string& path) {
  auto problem = [&](const std::string& why) { return path + " cannot be written: " + why; };
  std::error_code ec;
  auto status = std::filesystem::status(path, ec);
  if (std::filesystem::is_directory(status)) return problem("it is a folder");
  if (std::filesystem::exists(status) && !std::filesystem::is_regular_file(status)) {
    if (::access(path.c_str(), W_OK) == 0) return std::nullopt;  // a device, a pipe
    return problem(std::strerror(errno));
  }
  if (std::filesystem::exists(status) && ::access(path.c_str(), R_OK) != 0)
    return problem("what is there cannot be read: " + std::string(std::strerror(errno)));
  std::filesystem::path folder = std::filesystem::path(path).parent_path();
  if (folder.empty()) folder = ".";
  if (!std::filesystem::is_directory(folder, ec))
    return problem("there is no folder " + folder.string());
  // Tried, not guessed: neither read-only file systems nor access lists show in the mode.
  std::string trial = path + ".XXXXXX";
  int fd = ::mkstemp(trial.data());
  if (fd < 0) return problem(std::strerror(errno));
  ::close(fd);
  ::unlink(trial.c_str());
  return std::nullopt;
}

Result<std::string> put_error_file(const std::string& path, const std::string& text,
                                   char delimiter) {
  std::error_code ec;
  std::string moved;
  if (std::filesystem::is_regular_file(path, ec)) {
    std::ifstream in(path, std::ios::binary);
    std::string old{std::istreambuf_iterator<char>(in), {}};
    if (!in.is_open()) return cannot(path, "be read");
    if (old == text) return moved;
    if (text.empty() && !is_error_csv(old, delimiter)) return moved;
    size_t n = 1;
    while (std::filesystem::exists(
        std::filesystem::symlink_status(path + "." + std::to_string(n), ec)))
      ++n;
    moved = path + "." + std::to_string(n);
    std::filesystem::rename(path, moved, ec);
    if (ec) return cannot(path, "be moved to " + moved);
  }
  if (text.empty()) return moved;
  std::ofstream out(path, std::ios::binary | std::ios::trunc);
  out << text;
  out.close();
  if (!out) return cannot(path, "be written");
  return moved;
}

std::string error_csv(const Plan& plan, const std::vector<std::string>& header,
                      const std::vector<Rejection>& rejections, char delimiter) {
  std::vector<std::string> line = kErrorColumns;
  line.insert(line.end(), header.begin(), header.end());
  std::string out = std::string(kByteOrderMark) + csv_line(line, delimiter);
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
