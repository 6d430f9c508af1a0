#include "tools/benchmarks/process.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <stdexcept>
#include <utility>

namespace branchline::bench {

Process::Process(const std::vector<std::string>& command, const std::string& log, bool capture,
                 const std::vector<std::pair<std::string, std::string>>& environment) {
  std::vector<char*> argv;
  for (const auto& a : command) argv.push_back(const_cast<char*>(a.c_str()));
  argv.push_back(nullptr);
  int pipe_fds[2] = {-1, -1};
  if (capture && ::pipe2(pipe_fds, O_CLOEXEC) != 0) throw std::runtime_error("pipe");
  pid_t parent = ::getpid();
  pid_ = ::fork();
  if (pid_ < 0) throw std::runtime_error("fork");
  if (pid_ == 0) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (::getppid() != parent) ::_exit(127);
    int fd = ::open(log.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0644);
    ::dup2(fd, 2);
    ::dup2(capture ? pipe_fds[1] : fd, 1);
    for (const auto& [name, value] : environment) ::setenv(name.c_str(), value.c_str(), 1);
    ::execv(argv[0], argv.data());
    ::_exit(127);
  }
  if (capture) ::close(pipe_fds[1]);
  out_ = pipe_fds[0];
}

Process::~Process() { terminate(); }

Process::Process(Process&& other) noexcept
    : pid_(std::exchange(other.pid_, -1)), out_(std::exchange(other.out_, -1)) {}

Process& Process::operator=(Process&& other) noexcept {
  std::swap(pid_, other.pid_);
  std::swap(out_, other.out_);
  return *this;
}

bool Process::running() {
  if (pid_ < 0) return false;
  int status = 0;
  if (::waitpid(pid_, &status, WNOHANG) == 0) return true;
  pid_ = -1;
  return false;
}

void Process::ask_to_end() const {
  if (pid_ > 0) ::kill(pid_, SIGTERM);
}

void Process::terminate() {
  if (pid_ > 0) {
    ask_to_end();
    int status = 0;
    ::waitpid(pid_, &status, 0);
    pid_ = -1;
  }
  if (out_ >= 0) ::close(out_);
  out_ = -1;
}

std::string Process::finish() {
  std::string text;
  char chunk[4096];
  ssize_t n = 0;
  while ((n = ::read(out_, chunk, sizeof chunk)) > 0) text.append(chunk, static_cast<size_t>(n));
  int status = 0;
  ::waitpid(pid_, &status, 0);
  pid_ = -1;
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
    throw std::runtime_error("a floor's process failed; see its log");
  return text;
}

namespace {

uint64_t status_bytes(const std::string& pid, const std::string& name) {
  std::ifstream file("/proc/" + pid + "/status");
  std::string line;
  while (std::getline(file, line)) {
    if (line.starts_with(name + ":"))
      return std::strtoull(line.c_str() + name.size() + 1, nullptr, 10) * 1024;
  }
  return 0;
}

}  // namespace

uint64_t peak_bytes_of(const std::string& pid) { return status_bytes(pid, "VmHWM"); }

uint64_t Process::anonymous_bytes() const { return status_bytes(std::to_string(pid_), "RssAnon"); }

double Process::cpu_seconds() const {
  // Of the threads that live: the exact times, which /proc/PID/stat only samples.
  double ns = 0;
  std::error_code ignored;
  for (const auto& task :
       std::filesystem::directory_iterator("/proc/" + std::to_string(pid_) + "/task", ignored)) {
    double one = 0;
    std::ifstream(task.path() / "schedstat") >> one;
    ns += one;
  }
  return ns / 1e9;
}

uint16_t free_port() {
  constexpr uint32_t kFirst = 10'000;
  uint32_t end = 0;
  std::ifstream("/proc/sys/net/ipv4/ip_local_port_range") >> end;
  if (end <= kFirst) end = 32'768;
  // Where others of this kind are looking at the same time, they begin elsewhere.
  static uint32_t next = static_cast<uint32_t>(::getpid()) * 601u;
  for (uint32_t tries = kFirst; tries < end; ++tries) {
    auto port = static_cast<uint16_t>(kFirst + next++ % (end - kFirst));
    int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons(port);
    int on = 1;
    ::setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    bool free = ::bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0;
    ::close(fd);
    if (free) return port;
  }
  throw std::runtime_error("no free port on 127.0.0.1");
}

namespace {

std::map<uint16_t, const wan::Descriptor*>& networks() {
  static std::map<uint16_t, const wan::Descriptor*> of_ports;
  return of_ports;
}

}  // namespace

void port_lives_in(uint16_t port, const wan::Descriptor& network) { networks()[port] = &network; }

void port_lives_here(uint16_t port) { networks().erase(port); }

std::unique_ptr<wan::Inside> inside_of(uint16_t port) {
  const auto at = networks().find(port);
  return at == networks().end() ? nullptr : std::make_unique<wan::Inside>(*at->second);
}

std::string program_folder() {
  return std::filesystem::read_symlink("/proc/self/exe").parent_path().string();
}

}  // namespace branchline::bench
