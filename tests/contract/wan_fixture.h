// What the tests of branchline-wan need: the program as a child, and plain TCP with deadlines.
// Failures throw std::runtime_error, which fails the test.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <boost/json/object.hpp>

namespace wan_test {

using Clock = std::chrono::steady_clock;
// How long a thing that must happen may take on a loaded machine, under a sanitizer.
inline constexpr std::chrono::seconds kPatience{30};

// Looks again and again until it is so; throws after kPatience.
void eventually(std::string_view what, const std::function<bool()>& condition);

class Socket {
 public:
  Socket() = default;
  explicit Socket(int fd) : fd_(fd) {}
  Socket(Socket&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Socket& operator=(Socket&& other) noexcept;
  ~Socket() { close(); }

  int fd() const { return fd_; }
  void close();
  // Closes with a reset instead of a FIN.
  void reset();
  void shutdown_write();
  bool readable_within(std::chrono::milliseconds time) const;

  void send(std::string_view bytes);
  // What the kernel takes at once; 0 if nothing.
  size_t send_some(std::string_view bytes);
  // What is there; waits until something is. Empty: the other side has ended. Throws on a reset.
  std::string receive_some(size_t most = 65536);
  std::string receive(size_t exactly);
  std::string receive_all();
  // Waits for the end of the connection; true if it was a reset.
  bool broken();

 private:
  int fd_ = -1;
};

class Listener {
 public:
  // Port 0: any free one.
  explicit Listener(uint16_t port = 0);
  uint16_t port() const { return port_; }
  Socket accept();

 private:
  Socket socket_;
  uint16_t port_ = 0;
};

uint16_t free_port();
// Nothing if the connection is refused.
std::optional<Socket> try_connect(uint16_t port);
Socket connect_to(uint16_t port);

struct HttpAnswer {
  int status = 0;
  std::string head;
  boost::json::object body;
};
// Sends `request` as it is and reads one answer.
HttpAnswer http_raw(uint16_t port, std::string_view request);
HttpAnswer http(uint16_t port, std::string_view method, std::string_view target,
                std::string_view body = {});

// A program, its standard error (and output) in a file. Killed when this goes.
class Child {
 public:
  explicit Child(const std::vector<std::string>& arguments);
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;
  ~Child();

  void signal(int number);
  bool running();
  // Waits; the exit status, or 128 + the signal that ended it.
  int wait();
  std::string output() const;
  size_t resident_kb() const;

 private:
  std::optional<int> poll_exit();
  pid_t pid_ = -1;
  std::optional<int> exit_;
  int output_ = -1;
};

std::string wan_program();

// branchline-wan between `port()` and a listener of the test.
class Wan {
 public:
  // `shape`: more options, e.g. {"--rtt", "80ms"}.
  explicit Wan(const std::vector<std::string>& shape);

  uint16_t port() const { return port_; }
  uint16_t control() const { return control_; }
  Listener& far() { return *far_; }
  // Stops listening behind the line.
  void close_far() { far_.reset(); }
  Child& child() { return *child_; }

  // A connection through the line: its near and its far end.
  std::pair<Socket, Socket> connect();
  boost::json::object stats();
  int64_t stat(std::string_view name);
  HttpAnswer post(std::string_view target) { return http(control_, "POST", target); }

 private:
  std::optional<Listener> far_;
  uint16_t port_ = 0;
  uint16_t control_ = 0;
  std::optional<Child> child_;
};

}  // namespace wan_test
