// Child processes: servers, floors. They end with their parent.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "tools/wan/ends.h"

namespace branchline::bench {

// VmHWM of a process ("self" or a number), in bytes.
uint64_t peak_bytes_of(const std::string& pid);

class Process {
 public:
  Process() = default;
  // Its stderr goes to `log`; its stdout too, unless `capture`.
  Process(const std::vector<std::string>& command, const std::string& log, bool capture = false,
          const std::vector<std::pair<std::string, std::string>>& environment = {});
  ~Process();
  Process(Process&& other) noexcept;
  Process& operator=(Process&& other) noexcept;

  bool running();
  void ask_to_end() const;  // SIGTERM
  void terminate();         // the same, and waits
  // Captured stdout until it ends; throws unless it ended with 0.
  std::string finish();
  pid_t pid() const { return pid_; }
  // The most memory it ever held.
  uint64_t peak_bytes() const { return peak_bytes_of(std::to_string(pid_)); }
  // Of its memory, what is its own: no programs, libraries or files.
  uint64_t anonymous_bytes() const;
  // What it and its threads have computed so far: the machine's other work does not show in it.
  double cpu_seconds() const;

 private:
  pid_t pid_ = -1;
  int out_ = -1;
};

// A free port of 127.0.0.1 (bound once and let go), none that this process was given before, and
// below those that the kernel takes for connections: with hundreds of servers to be started, it
// would soon take one of theirs.
uint16_t free_port();
// Clients of these ports open their sockets in this network, which outlives them.
void port_lives_in(uint16_t port, const wan::Descriptor& network);
void port_lives_here(uint16_t port);  // again
// While it lives, the thread is where the port is; nothing where that is here.
std::unique_ptr<wan::Inside> inside_of(uint16_t port);
// Folder of the running program.
std::string program_folder();

}  // namespace branchline::bench
