// Programs as children, and waiting for things to become so.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace branchline::crash {

// What a campaign or a test found wrong.
struct Failure {
  std::string what;
};
[[noreturn]] void fail_with(std::string what);

// How long a thing that must happen may take on a loaded machine.
inline constexpr std::chrono::seconds kPatience{60};

// Looks again and again; throws Failure when it has not become so in time.
void eventually(std::string_view what, const std::function<bool()>& condition,
                std::chrono::seconds patience = kPatience);

// A child process; its standard output and error are appended to a file. Killed when this goes.
class Process {
 public:
  Process(std::vector<std::string> arguments, std::string log_file);
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;
  ~Process();

  pid_t pid() const { return pid_; }
  void signal(int number);
  bool running();
  // Waits; the exit code, or 128 + the signal that ended it. Throws after `patience`.
  int wait(std::chrono::seconds patience = kPatience);
  // Largest resident set so far, in bytes.
  size_t peak_memory() const;

 private:
  std::optional<int> poll();
  std::string name_;
  pid_t pid_ = -1;
  std::optional<int> exit_;
};

// Runs a program to its end; what it printed on its standard output.
struct Finished {
  int code = 0;
  std::string output;
};
Finished run(std::vector<std::string> arguments);

std::string read_file(const std::string& path);
void write_file(const std::string& path, std::string_view text);

// Programs of this build.
std::string program(const std::string& name);

}  // namespace branchline::crash
