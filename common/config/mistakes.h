// The mistakes in a file that a person wrote: collected, so that all of them are told at once.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace branchline {

class Mistakes {
 public:
  explicit Mistakes(std::string origin) : origin_(std::move(origin)) {}

  // `what` says what is wrong and, after a semicolon, how to mend it. It is one line: what comes
  // from the file goes through quoted().
  void add(int line, std::string what);
  bool none() const { return found_.empty(); }
  // limits::kMaxTopologyMistakes are kept; the rest is counted only.
  bool full() const;
  // One per line, in the order of the file: "origin:line: what; mend".
  std::string text() const;

 private:
  struct Mistake {
    int line;
    std::string what;
    bool operator==(const Mistake&) const = default;
  };
  std::string origin_;
  std::vector<Mistake> found_;  // by line; of a line, as they were found
  size_t more_ = 0;
};

// UTF-8 on one line: control characters as \xNN, cut when long.
std::string one_line(std::string_view text);
// The same within backquotes.
std::string quoted(std::string_view text);

// The candidate that `word` most likely means, if it is at most two slips of the finger away; else
// nothing ("").
std::string nearest(std::string_view word, const std::vector<std::string_view>& candidates);

}  // namespace branchline
