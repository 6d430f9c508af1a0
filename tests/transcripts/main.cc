// Runs transcripts: what is done, and what came of it, as text (README.md). Exits 1 where the
// outcome differs from the file; with --rewrite the file is made to say what came.
#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <sstream>
#include <vector>

#include "tests/support/session_lab.h"

namespace branchline {
namespace {

std::string read_file(const std::filesystem::path& path) {
  std::ifstream in(path);
  std::ostringstream out;
  out << in.rdbuf();
  return out.str();
}

// The transcript with the outcomes that came. An exception is the outcome of its command.
std::string replay(const std::string& text) {
  SessionLab lab;
  std::istringstream in(text);
  std::ostringstream out;
  std::string outcome;
  bool answered = true;
  for (std::string line; std::getline(in, line);) {
    if (line == "----") {
      out << "----\n" << outcome << "\n";
      outcome.clear();
      answered = true;
      // What came before: up to an empty line.
      while (std::getline(in, line) && !line.empty()) {
      }
      continue;
    }
    out << line << "\n";
    if (line.empty() || line[0] == '#') continue;
    answered = false;
    std::string came;
    try {
      came = lab.run(line);
    } catch (const std::exception& e) {
      came = std::string("error: ") + e.what() + "\n";
    }
    // `ok` is said only where nothing else is.
    if (came != "ok\n") {
      outcome = outcome == "ok\n" ? came : outcome + came;
    } else if (outcome.empty()) {
      outcome = came;
    }
  }
  if (!answered) out << "----\n" << outcome << "\n";
  std::string all = out.str();
  while (all.ends_with("\n\n")) all.pop_back();
  return all;
}

// The first lines that differ.
void show_difference(const std::string& expected, const std::string& came) {
  std::istringstream a(expected), b(came);
  std::string x, y;
  for (int line = 1;; ++line) {
    bool more_a = static_cast<bool>(std::getline(a, x)),
         more_b = static_cast<bool>(std::getline(b, y));
    if (!more_a && !more_b) return;
    if (more_a != more_b || x != y) {
      std::cout << "  line " << line << "\n  expected: " << (more_a ? x : "(end)")
                << "\n  came:     " << (more_b ? y : "(end)") << "\n";
      return;
    }
  }
}

int run(std::vector<std::string> arguments) {
  bool rewrite = std::erase(arguments, "--rewrite") > 0;
  std::vector<std::filesystem::path> files(arguments.begin(), arguments.end());
  if (files.empty()) {
    for (const auto& entry : std::filesystem::directory_iterator(BRANCHLINE_TRANSCRIPTS)) {
      bool transcript =
          entry.path().extension() == ".txt" && entry.path().filename() != "CMakeLists.txt";
      if (transcript) files.push_back(entry.path());
    }
    std::sort(files.begin(), files.end());
  }
  int wrong = 0;
  for (const auto& file : files) {
    std::string expected = read_file(file);
    std::string came = replay(expected);
    if (came == expected) continue;
    if (rewrite) {
      std::ofstream(file) << came;
      std::cout << "rewritten: " << file.filename().string() << "\n";
      continue;
    }
    ++wrong;
    std::cout << file.string() << " differs\n";
    show_difference(expected, came);
  }
  std::cout << files.size() << " transcripts, " << wrong << " differ\n";
  return wrong == 0 && !files.empty() ? 0 : 1;
}

}  // namespace
}  // namespace branchline

int main(int argc, char** argv) { return branchline::run({argv + 1, argv + argc}); }
