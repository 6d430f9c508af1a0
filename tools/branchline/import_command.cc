// branchline import csv: rows of a file become records at a branch.
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <thread>

#include "common/base/limits.h"
#include "tools/branchline/commands.h"
#include "tools/branchline/file_commands.h"
#include "tools/branchline/import/import_report.h"
#include "tools/branchline/import/import_requests.h"
#include "tools/branchline/import/import_run.h"
#include "tools/branchline/import/text_encoding.h"

namespace branchline {
namespace {

using namespace import;

struct Options {
  std::string file, map, errors, encoding = "utf-8", delimiter = ",";
  std::vector<std::string> where;
  RunOptions run;
  int64_t patience_s = 600;
};

int wrong(const std::string& message) {
  std::fprintf(stderr, "%s\n", message.c_str());
  return 2;
}

Result<std::string> read_file(const std::string& path) {
  std::error_code ec;
  auto status = std::filesystem::status(path, ec);
  if (!std::filesystem::exists(status))
    return fail(ErrorKind::not_found, "file.missing", path + ": there is no such file");
  if (std::filesystem::is_directory(status))
    return fail(ErrorKind::invalid, "file.folder", path + ": this is a folder");
  std::ifstream in(path, std::ios::binary);
  std::ostringstream text;
  text << in.rdbuf();
  if (!in) {
    if (in.eof() || text.str().empty()) {  // rdbuf() of an empty file sets failbit
      if (std::filesystem::file_size(path, ec) == 0 && !ec) return std::string();
    }
    return fail(ErrorKind::denied, "file.unreadable",
                path + ": cannot be read; check who may read it");
  }
  return std::move(text).str();
}

std::optional<char> delimiter_of(const std::string& text) {
  if (text == "tab" || text == "\\t") return '\t';
  bool usable = text.size() == 1 && text[0] != '"' && text[0] != '\n' && text[0] != '\r';
  return usable ? std::optional(text[0]) : std::nullopt;
}

// Shows how it goes on stderr: at once on a terminal, after two seconds elsewhere.
class ProgressLine {
 public:
  ProgressLine(const Progress& progress, bool json)
      : progress_(progress), json_(json), tty_(!json && isatty(STDERR_FILENO)) {}
  ~ProgressLine() {
    thread_.request_stop();
    thread_.join();
    if (tty_ && shown_) std::fprintf(stderr, "\r\x1b[K");
  }

 private:
  void watch(std::stop_token stop) {
    auto begin = std::chrono::steady_clock::now();
    auto next = begin + (tty_ ? std::chrono::milliseconds(200)
                              : std::chrono::milliseconds(json_ ? 500 : 2000));
    while (!stop.stop_requested()) {
      std::this_thread::sleep_for(std::chrono::milliseconds(25));
      auto now = std::chrono::steady_clock::now();
      if (now < next) continue;
      next = now + std::chrono::milliseconds(tty_ ? 200 : json_ ? 500 : 2000);
      show(std::chrono::duration<double>(now - begin).count());
    }
  }
  void show(double seconds) {
    uint64_t work = progress_.total, total = progress_.rows, rejected = progress_.rejected;
    if (work == 0) return;
    uint64_t done = progress_.done * total / work;
    const char* waiting = progress_.waiting;
    shown_ = true;
    double rate = seconds > 0 ? static_cast<double>(done) / seconds : 0;
    if (json_) {
      std::fprintf(stderr, "{\"done\":%llu,\"total\":%llu,\"rate\":%.0f,\"rejected\":%llu}\n",
                   static_cast<unsigned long long>(done), static_cast<unsigned long long>(total),
                   rate, static_cast<unsigned long long>(rejected));
      return;
    }
    std::fprintf(stderr, "%s%llu of %llu rows, %.0f rows/s, %llu rejected%s%s%s",
                 tty_ ? "\r\x1b[K" : "", static_cast<unsigned long long>(done),
                 static_cast<unsigned long long>(total), rate,
                 static_cast<unsigned long long>(rejected), waiting ? "; waiting: " : "",
                 waiting ? waiting : "", tty_ ? "" : "\n");
  }

  const Progress& progress_;
  bool json_, tty_;
  std::atomic<bool> shown_ = false;
  std::jthread thread_{[this](std::stop_token stop) { watch(stop); }};
};

// Whether the file is there.
bool write_errors(const std::string& path, const std::string& text, char delimiter) {
  auto moved = put_error_file(path, text, delimiter);
  if (!moved) {
    std::fprintf(stderr, "%s\n", moved.error().message.c_str());
    if (!text.empty()) std::fprintf(stderr, "here are the rejected rows:\n%s", text.c_str());
  } else if (!moved->empty()) {
    std::fprintf(stderr, "%s of an earlier run is now %s\n", path.c_str(), moved->c_str());
  }
  return moved && !text.empty();
}

int run_import(const CommandContext& context, const Options& o) {
  auto begin = std::chrono::steady_clock::now();
  auto encoding = parse_encoding(o.encoding);
  auto delimiter = delimiter_of(o.delimiter);
  if (!delimiter) return wrong("--delimiter is one character, or `tab`");
  Where where;
  for (const auto& w : o.where) {
    size_t equals = w.find('=');
    if (equals == std::string::npos || equals == 0)
      return wrong("--where takes column=value, e.g. --where region=South");
    where.emplace_back(w.substr(0, equals), w.substr(equals + 1));
  }
  if (auto problem = base_url_problem(o.run.url))
    return wrong("--url " + o.run.url + ": " + *problem);
  auto map_text = read_file(o.map);
  if (!map_text) return wrong(map_text.error().message);
  auto schema = Schema::built_in();
  auto mapping = parse_mapping(*map_text, o.map, *schema);
  if (!mapping) return wrong(mapping.error().message);
  auto file = read_file(o.file);
  if (!file) return wrong(file.error().message);

  std::string errors_file = o.errors.empty() ? o.file + ".errors.csv" : o.errors;
  std::error_code ec;
  if (std::filesystem::equivalent(o.file, errors_file, ec))
    return wrong("--errors names the file that is imported; choose another");
  if (auto problem = error_file_problem(errors_file)) {
    return wrong("the file of rejected rows, " + *problem +
                 "; name another with --errors (nothing was imported)");
  }

  std::string_view text = *file;
  auto settled = settle_encoding(text, *encoding);
  if (!settled) return wrong(o.file + ": " + settled.error().message);
  std::string converted;
  if (*settled == Encoding::latin1) {
    converted = utf8_from_latin1(text);
    text = converted;
  }
  CsvReader reader(text, {.delimiter = *delimiter, .max_field_bytes = limits::kMaxValueBytes});
  auto header = reader.next();
  if (!header) return wrong(o.file + ": the file is empty; its first line must name the columns");
  auto planner = Planner::create(*mapping, *header, where);
  if (!planner) return wrong(o.file + ": " + planner.error().message);
  while (auto row = reader.next()) planner->add(std::move(*row));
  Plan plan = planner->finish();

  Progress progress;
  RunResult result;
  {
    ProgressLine line(progress, context.json);
    result = run_plan(*mapping, plan, o.run, progress);
  }
  if (result.no_office) return wrong("--url " + o.run.url + ": " + result.gave_up);
  std::vector<Rejection> rejections;
  std::merge(plan.rejections.begin(), plan.rejections.end(), result.rejections.begin(),
             result.rejections.end(), std::back_inserter(rejections),
             [](const Rejection& a, const Rejection& b) { return a.row < b.row; });
  Summary summary;
  summary.file = o.file;
  summary.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  bool written = write_errors(
      errors_file,
      rejections.empty() ? std::string() : error_csv(plan, header->fields, rejections, *delimiter),
      *delimiter);
  if (written) summary.errors_file = errors_file;
  std::string report = context.json ? summary_json(plan, result, rejections.size(), summary)
                                    : summary_text(plan, result, rejections.size(), summary);
  std::fputs(report.c_str(), stdout);
  if (!result.gave_up.empty()) return result.no_answer ? 3 : 2;
  return rejections.empty() ? 0 : 1;
}

}  // namespace

void add_import_command(CLI::App& app, CommandContext& context) {
  auto* import = app.add_subcommand(
      "import", "take in a file of `branchline export`, or (csv) bring records in from a table");
  import->require_subcommand(0, 1);
  auto exported = std::make_shared<FileImport>();
  auto* file = import->add_option("FILE", exported->file, "what `branchline export` wrote");
  import->add_option("--at", exported->at,
                     "the server to give it to (default: the one that it is for)");
  add_server_access(*import, context, false);
  import->footer(
      "Examples:\n"
      "  branchline import --topology company.yaml east-monday.blf\n"
      "  branchline import csv customers.csv --map customers.yaml --url http://127.0.0.1:7440\n"
      "Exit codes of the first: 0 all of it is in (new or known), 1 it is damaged, not for that "
      "server or does not fit, 2\nwrong use or the token is refused, 3 the server does not "
      "answer. Nothing is ever taken twice.");
  auto* csv = import->add_subcommand("csv",
                                     "make or update records at a branch from the rows of a CSV "
                                     "file; run again, it changes only what differs and doubles "
                                     "nothing");
  auto o = std::make_shared<Options>();
  csv->add_option("FILE", o->file, "the CSV file; its first line names the columns")->required();
  csv->add_option("--map", o->map,
                  "the mapping: what a row becomes (tools/branchline/import/README.md)")
      ->required();
  csv->add_option("--url", o->run.url, "the branch, e.g. http://127.0.0.1:7440")->required();
  csv->add_option("--token", o->run.token,
                  "a token that may write there; default: $BRANCHLINE_TOKEN")
      ->envname("BRANCHLINE_TOKEN");
  csv->add_option("--where", o->where,
                  "only rows with this value, e.g. region=South; repeatable, all must hold");
  csv->add_option("--encoding", o->encoding, "of the file")
      ->check(CLI::IsMember({"utf-8", "latin-1", "auto"}))
      ->capture_default_str();
  csv->add_option("--delimiter", o->delimiter, "between fields: one character, or tab")
      ->capture_default_str();
  csv->add_option("--errors", o->errors, "where to put rejected rows; default: FILE.errors.csv");
  csv->add_option("--jobs", o->run.jobs, "connections to the branch")
      ->check(CLI::Range(1, 64))
      ->capture_default_str();
  csv->add_option("--patience", o->patience_s,
                  "seconds to wait for a branch that does not answer or has no room")
      ->capture_default_str();
  csv->footer(
      "Example:\n"
      "  branchline import csv customers.csv --map customers.yaml --url http://127.0.0.1:7440 "
      "--where Region=South\n"
      "Exit codes: 0 all rows imported, 1 some were rejected, 2 wrong use (nothing was imported), "
      "3 the branch does not answer.");
  import->callback([&context, import, csv, file, exported] {
    if (import->got_subcommand(csv)) return;
    if (file->empty()) throw CLI::RequiredError("FILE, or the subcommand csv");
    if (context.topology.empty()) throw CLI::RequiredError("--topology");
    context.run = [&context, exported] { return run_file_import(context, *exported); };
  });
  csv->callback([&context, o] {
    context.run = [&context, o] {
      o->run.patience = std::chrono::seconds(o->patience_s);
      return run_import(context, *o);
    };
  });
}

}  // namespace branchline
