// A tunnel as a child process, and sockets in its ends.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tests/crash/http.h"
#include "tests/crash/process.h"
#include "tests/support/temp_folder.h"
#include "tools/wan/ends.h"

namespace network_test {

using Millis = std::chrono::duration<double, std::milli>;

class Tunnel {
 public:
  // `options` of `branchline-wan tun`; `name` empty: one of its own.
  explicit Tunnel(std::vector<std::string> options, std::string name = "");

  const std::string& name() const { return name_; }
  const branchline::wan::Descriptor& a() const { return a_; }
  const branchline::wan::Descriptor& b() const { return b_; }
  branchline::crash::Process& process() { return *process_; }
  std::string log() const { return branchline::crash::read_file(log_file_); }

  branchline::Json stats() const;
  uint64_t stat(const std::string& name) const;
  void post(const std::string& target);

 private:
  branchline::TempFolder folder_;
  std::string name_, log_file_;
  uint16_t control_ = 0;
  branchline::wan::Descriptor a_, b_;
  std::unique_ptr<branchline::crash::Process> process_;
};

// Of branchline-wan, run to its end.
struct Ended {
  int code = 0;
  std::string output;
};
Ended run_wan(std::vector<std::string> arguments);

// Numbered datagrams, and when the kernel took each in.
class Datagrams {
 public:
  // Throws Failure where an address is not there.
  explicit Datagrams(const branchline::wan::Descriptor& network, uint16_t port = 0);
  // Of `bytes` with IP and UDP headers.
  void send(const std::string& address, uint16_t port, uint32_t number, size_t bytes);
  struct Arrived {
    uint32_t number = 0;
    Millis way{0};  // from send() to the receiving kernel
    std::chrono::nanoseconds at{0};
  };
  // What arrives until `most` have, or nothing has for `quiet`.
  std::vector<Arrived> receive(std::chrono::milliseconds quiet, size_t most = SIZE_MAX);

 private:
  branchline::wan::Descriptor socket_;
};

// TCP, with deadlines.
class Stream {
 public:
  explicit Stream(int fd) : socket_(fd) {}
  void send(std::string_view bytes);
  std::string receive(size_t exactly);
  bool readable_within(std::chrono::milliseconds time) const;
  uint32_t retransmitted() const;

 private:
  branchline::wan::Descriptor socket_;
};
struct Pair {
  Stream near, far;
};
// From one end to a listener at `address` in the other.
Pair connect(const branchline::wan::Descriptor& from, const branchline::wan::Descriptor& to,
             const std::string& address);

}  // namespace network_test
