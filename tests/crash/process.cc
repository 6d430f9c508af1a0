#include "tests/crash/process.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <sstream>
#include <thread>

namespace branchline::crash {
namespace {

std::vector<char*> pointers(std::vector<std::string>& arguments) {
  std::vector<char*> out;
  for (auto& a : arguments) out.push_back(a.data());
  out.push_back(nullptr);
  return out;
}

int code_of(int status) { return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status); }

}  // namespace

void fail_with(std::string what) { throw Failure{std::move(what)}; }

void eventually(std::string_view what, const std::function<bool()>& condition,
                std::chrono::seconds patience) {
  auto deadline = std::chrono::steady_clock::now() + patience;
  while (!condition()) {
    if (std::chrono::steady_clock::now() > deadline) fail_with("never: " + std::string(what));
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
}

Process::Process(std::vector<std::string> arguments, std::string log_file)
    : name_(arguments.front()) {
  auto argv = pointers(arguments);
  pid_t parent = ::getpid();
  pid_ = ::fork();
  if (pid_ < 0) fail_with(std::string("fork: ") + std::strerror(errno));
  if (pid_ == 0) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);  // a test that dies leaves nothing behind
    if (::getppid() != parent) ::_exit(127);
    int log = ::open(log_file.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0600);
    if (log >= 0) {
      ::dup2(log, 1);
      ::dup2(log, 2);
    }
    ::execv(argv[0], argv.data());
    ::_exit(127);
  }
}

Process::~Process() {
  if (!exit_ && pid_ > 0) {
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }
}

void Process::signal(int number) {
  if (!exit_) ::kill(pid_, number);
}

std::optional<int> Process::poll() {
  int status = 0;
  if (!exit_ && ::waitpid(pid_, &status, WNOHANG) == pid_) exit_ = code_of(status);
  return exit_;
}

bool Process::running() { return !poll(); }

int Process::wait(std::chrono::seconds patience) {
  eventually("the end of " + name_, [this] { return poll().has_value(); }, patience);
  return *exit_;
}

size_t Process::peak_memory() const {
  std::ifstream status("/proc/" + std::to_string(pid_) + "/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with("VmHWM:")) return std::strtoull(line.c_str() + 6, nullptr, 10) * 1024;
  }
  return 0;
}

Finished run(std::vector<std::string> arguments) {
  int pipe_ends[2];
  if (::pipe2(pipe_ends, O_CLOEXEC) != 0) fail_with(std::string("pipe: ") + std::strerror(errno));
  auto argv = pointers(arguments);
  pid_t pid = ::fork();
  if (pid < 0) fail_with(std::string("fork: ") + std::strerror(errno));
  if (pid == 0) {
    ::dup2(pipe_ends[1], 1);
    ::dup2(pipe_ends[1], 2);
    ::execvp(argv[0], argv.data());
    ::_exit(127);
  }
  ::close(pipe_ends[1]);
  Finished out;
  char buffer[4096];
  for (ssize_t n; (n = ::read(pipe_ends[0], buffer, sizeof buffer)) > 0;)
    out.output.append(buffer, size_t(n));
  ::close(pipe_ends[0]);
  int status = 0;
  ::waitpid(pid, &status, 0);
  out.code = code_of(status);
  return out;
}

std::string read_file(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  std::ostringstream out;
  out << in.rdbuf();
  return out.str();
}

void write_file(const std::string& path, std::string_view text) {
  std::ofstream out(path, std::ios::binary | std::ios::trunc);
  out << text;
  if (!out.flush()) fail_with("cannot write " + path);
}

std::string program(const std::string& name) {
  return std::string(BRANCHLINE_BIN_DIR) + "/" + name;
}

}  // namespace branchline::crash
