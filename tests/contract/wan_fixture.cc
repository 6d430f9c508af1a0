#include "tests/contract/wan_fixture.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <set>
#include <stdexcept>
#include <thread>

#include <boost/json/parse.hpp>
#include <boost/json/value.hpp>

namespace wan_test {

namespace {

[[noreturn]] void throw_errno(const std::string& what) {
  throw std::runtime_error(what + ": " + std::strerror(errno));
}

sockaddr_in loopback(uint16_t port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return address;
}

int new_socket() {
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) throw_errno("socket");
  return fd;
}

void no_delay(int fd) {
  const int on = 1;
  ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

void wait_for(int fd, short events, const char* what) {
  pollfd p{fd, events, 0};
  const int n = ::poll(&p, 1, std::chrono::milliseconds(kPatience).count());
  if (n < 0) throw_errno(what);
  if (n == 0) throw std::runtime_error(std::string(what) + ": nothing happened for too long");
}

}  // namespace

void eventually(std::string_view what, const std::function<bool()>& condition) {
  const auto deadline = Clock::now() + kPatience;
  while (!condition()) {
    if (Clock::now() > deadline) throw std::runtime_error("never: " + std::string(what));
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
}

Socket& Socket::operator=(Socket&& other) noexcept {
  if (this != &other) {
    close();
    fd_ = std::exchange(other.fd_, -1);
  }
  return *this;
}

void Socket::close() {
  if (fd_ >= 0) ::close(std::exchange(fd_, -1));
}

void Socket::reset() {
  const linger l{1, 0};
  ::setsockopt(fd_, SOL_SOCKET, SO_LINGER, &l, sizeof l);
  close();
}

void Socket::shutdown_write() {
  if (::shutdown(fd_, SHUT_WR) != 0) throw_errno("shutdown");
}

bool Socket::readable_within(std::chrono::milliseconds time) const {
  pollfd p{fd_, POLLIN, 0};
  return ::poll(&p, 1, static_cast<int>(time.count())) > 0;
}

size_t Socket::send_some(std::string_view bytes) {
  const ssize_t n = ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
  if (n < 0 && errno != EAGAIN) throw_errno("send");
  return n < 0 ? 0 : static_cast<size_t>(n);
}

void Socket::send(std::string_view bytes) {
  while (!bytes.empty()) {
    wait_for(fd_, POLLOUT, "send");
    bytes.remove_prefix(send_some(bytes));
  }
}

std::string Socket::receive_some(size_t most) {
  wait_for(fd_, POLLIN, "receive");
  std::string bytes(most, '\0');
  const ssize_t n = ::recv(fd_, bytes.data(), bytes.size(), 0);
  if (n < 0) throw_errno("recv");
  bytes.resize(static_cast<size_t>(n));
  return bytes;
}

std::string Socket::receive(size_t exactly) {
  std::string bytes;
  while (bytes.size() < exactly) {
    const std::string more = receive_some(exactly - bytes.size());
    if (more.empty()) throw std::runtime_error("the connection ended early");
    bytes += more;
  }
  return bytes;
}

std::string Socket::receive_all() {
  std::string bytes;
  for (std::string more = receive_some(); !more.empty(); more = receive_some()) bytes += more;
  return bytes;
}

bool Socket::broken() {
  for (;;) {
    wait_for(fd_, POLLIN, "end of the connection");
    char byte;
    const ssize_t n = ::recv(fd_, &byte, 1, 0);
    if (n == 0) return false;
    if (n < 0 && errno == ECONNRESET) return true;
    if (n < 0) throw_errno("recv");
  }
}

Listener::Listener(uint16_t port) : socket_(new_socket()) {
  const int on = 1;
  ::setsockopt(socket_.fd(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  sockaddr_in address = loopback(port);
  socklen_t length = sizeof address;
  auto* generic = reinterpret_cast<sockaddr*>(&address);
  if (::bind(socket_.fd(), generic, length) != 0) throw_errno("bind");
  if (::listen(socket_.fd(), 1024) != 0) throw_errno("listen");
  if (::getsockname(socket_.fd(), generic, &length) != 0) throw_errno("getsockname");
  port_ = ntohs(address.sin_port);
}

Socket Listener::accept() {
  wait_for(socket_.fd(), POLLIN, "accept");
  const int fd = ::accept4(socket_.fd(), nullptr, nullptr, SOCK_CLOEXEC);
  if (fd < 0) throw_errno("accept");
  no_delay(fd);
  return Socket(fd);
}

uint16_t free_port() {
  static std::set<uint16_t> given;  // the system may name one twice before it is used
  for (;;) {
    uint16_t port = Listener().port();
    if (given.insert(port).second) return port;
  }
}

std::optional<Socket> try_connect(uint16_t port) {
  Socket s(new_socket());
  const sockaddr_in address = loopback(port);
  if (::connect(s.fd(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    if (errno == ECONNREFUSED) return std::nullopt;
    throw_errno("connect");
  }
  no_delay(s.fd());
  return s;
}

Socket connect_to(uint16_t port) {
  auto s = try_connect(port);
  if (!s) throw std::runtime_error("connection refused");
  return std::move(*s);
}

HttpAnswer http_raw(uint16_t port, std::string_view request) {
  Socket s = connect_to(port);
  s.send(request);
  std::string text;
  size_t head = std::string::npos;
  while ((head = text.find("\r\n\r\n")) == std::string::npos) {
    const std::string more = s.receive_some();
    if (more.empty()) throw std::runtime_error("no answer: " + text);
    text += more;
  }
  HttpAnswer answer;
  answer.head = text.substr(0, head);
  answer.status = std::stoi(text.substr(9, 3));
  const size_t length = answer.head.find("Content-Length: ");
  if (length == std::string::npos) throw std::runtime_error("no length: " + text);
  std::string body = text.substr(head + 4);
  const size_t size = std::stoul(answer.head.substr(length + 16));
  if (body.size() < size) body += s.receive(size - body.size());
  answer.body = boost::json::parse(body).as_object();
  return answer;
}

HttpAnswer http(uint16_t port, std::string_view method, std::string_view target,
                std::string_view body) {
  std::string request(method);
  request.append(" ").append(target).append(" HTTP/1.1\r\nHost: wan\r\nContent-Length: ");
  request.append(std::to_string(body.size())).append("\r\n\r\n").append(body);
  return http_raw(port, request);
}

Child::Child(const std::vector<std::string>& arguments) {
  output_ = ::memfd_create("output", MFD_CLOEXEC);
  if (output_ < 0) throw_errno("memfd_create");
  // Made before the fork: after it the child may not allocate.
  std::vector<char*> argv;
  for (const auto& a : arguments) argv.push_back(const_cast<char*>(a.c_str()));
  argv.push_back(nullptr);
  const pid_t parent = ::getpid();
  pid_ = ::fork();
  if (pid_ < 0) throw_errno("fork");
  if (pid_ > 0) return;
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != parent) ::_exit(127);
  ::dup2(output_, STDOUT_FILENO);
  ::dup2(output_, STDERR_FILENO);
  ::execv(argv[0], argv.data());
  ::_exit(127);
}

Child::~Child() {
  if (running()) {
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }
  ::close(output_);
}

void Child::signal(int number) { ::kill(pid_, number); }

std::optional<int> Child::poll_exit() {
  int status = 0;
  if (!exit_ && ::waitpid(pid_, &status, WNOHANG) == pid_) {
    exit_ = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  }
  return exit_;
}

bool Child::running() { return !poll_exit(); }

int Child::wait() {
  eventually("the program ends", [&] { return !running(); });
  return *exit_;
}

std::string Child::output() const {
  std::string text(static_cast<size_t>(::lseek(output_, 0, SEEK_END)), '\0');
  const ssize_t n = ::pread(output_, text.data(), text.size(), 0);
  text.resize(n < 0 ? 0 : static_cast<size_t>(n));
  return text;
}

size_t Child::resident_kb() const {
  std::ifstream status("/proc/" + std::to_string(pid_) + "/status");
  for (std::string word; status >> word;) {
    size_t kb = 0;
    if (word == "VmRSS:" && status >> kb) return kb;
  }
  throw std::runtime_error("no VmRSS: the program has ended");
}

std::string wan_program() { return BRANCHLINE_BIN_DIR "/branchline-wan"; }

Wan::Wan(const std::vector<std::string>& shape) {
  far_.emplace();
  // Between choosing a port and the program's bind somebody else may take it.
  for (int attempt = 0; attempt < 10; ++attempt) {
    {
      const Listener near, control;  // both at once, so that they differ
      port_ = near.port();
      control_ = control.port();
    }
    const auto at = [](uint16_t port) { return "127.0.0.1:" + std::to_string(port); };
    std::vector<std::string> arguments{wan_program(),    "--listen",  at(port_),   "--connect",
                                       at(far_->port()), "--control", at(control_)};
    arguments.insert(arguments.end(), shape.begin(), shape.end());
    child_.emplace(arguments);
    bool ready = false;
    eventually("the control server answers", [&] {
      if (!child_->running()) return true;
      auto s = try_connect(control_);
      ready = s.has_value();
      return ready;
    });
    if (ready) return;
    if (child_->output().find("in use") == std::string::npos) break;
  }
  throw std::runtime_error("branchline-wan does not start: " + child_->output());
}

std::pair<Socket, Socket> Wan::connect() {
  Socket near = connect_to(port_);
  Socket far = far_->accept();
  return {std::move(near), std::move(far)};
}

boost::json::object Wan::stats() {
  HttpAnswer answer = http(control_, "GET", "/stats");
  if (answer.status != 200) throw std::runtime_error("stats: " + answer.head);
  return answer.body;
}

int64_t Wan::stat(std::string_view name) { return stats().at(name).to_number<int64_t>(); }

}  // namespace wan_test
