// The two ends of a line of packets, a and b: a network namespace each, in which there is nothing
// but its loopback and a TUN device. What a program sends from one end is read from its device.
//
// A namespace is kept by descriptors of the process that made it and by the programs inside, and a
// device by its descriptor; so all of it goes with the process, kill -9 included. What stays then
// is a small file that nobody holds locked, which the next line that starts removes.
//
//   a: 192.0.2.(4n+1) --- wanN ===== line ===== wanN --- b: 192.0.2.(4n+2)
//
// n is 0, unless the line ends in the b of another one; then it is the next that is free there.
#pragma once

#include <array>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "common/base/error.h"

namespace branchline::wan {

class Descriptor {
 public:
  Descriptor() = default;
  explicit Descriptor(int fd) : fd_(fd) {}
  Descriptor(Descriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Descriptor& operator=(Descriptor&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~Descriptor();
  int get() const { return fd_; }
  int release() { return std::exchange(fd_, -1); }

 private:
  int fd_ = -1;
};

// The calling thread is in a network namespace while this lives: sockets that it makes meanwhile,
// and programs that it starts, belong there for good. Throws std::runtime_error where it may not.
class Inside {
 public:
  explicit Inside(const Descriptor& network);
  Inside(const Inside&) = delete;
  Inside& operator=(const Inside&) = delete;
  ~Inside();

 private:
  Descriptor home_;
};

// The network namespace of end `end` ("a" or "b") of a line that runs. Errors say what runs.
Result<Descriptor> network_of(std::string_view line, std::string_view end);

class Ends {
 public:
  // Errors: denied where this process may not make networks, conflict where a line of this name
  // runs. `b_of`: a line whose end b this one shares; empty: none.
  static Result<Ends> make(std::string_view name, std::string_view b_of);

  Ends(Ends&&) noexcept;
  ~Ends();

  // Of a and b, to be read and written without waiting; given away.
  std::array<int, 2> take_devices();
  const std::array<std::string, 2>& addresses() const { return addresses_; }
  // From here on network_of() and `branchline-wan exec` know the line.
  Result<void> announce();

 private:
  class Held;
  Ends();
  static Result<std::unique_ptr<Held>> hold(std::string_view name);

  std::array<Descriptor, 2> networks_;
  std::array<Descriptor, 2> devices_;
  std::array<std::string, 2> addresses_;
  std::unique_ptr<Held> name_;
};

// `branchline-wan exec NAME a|b -- COMMAND...`: becomes the command. Returns only if it cannot.
Error become(std::string_view line, std::string_view end, char** command);

}  // namespace branchline::wan
