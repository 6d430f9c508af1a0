// Whether a server may take new work, by the room on its disk; and a ballast: a file that holds
// room for the moment when others have filled the disk, so that a store that needs some to open, to
// compact or to stop in order still finds it.
#pragma once

#include <cstdint>
#include <string>

#include "common/program/server_config.h"
#include "common/store/store.h"

namespace branchline {

// Not thread-safe.
class DiskWatch {
 public:
  static constexpr uint64_t kBallastBytes = 32ull << 20;

  explicit DiskWatch(const ServerConfig& config);

  // Asks the disk; gives the ballast up, or lays it again, as its room demands. Whether full() has
  // changed. Where the disk cannot be asked nothing changes. A few system calls.
  bool look();
  bool full() const { return full_; }
  uint64_t free_bytes() const { return free_; }

 private:
  void give_up_ballast();
  void lay_ballast();

  const ServerConfig& config_;
  std::string ballast_;
  bool laid_ = false;
  bool full_ = false;
  uint64_t free_ = 0;
};

// Tells the log what was found damaged in a store: once, since each further read finds it, too.
// Not thread-safe.
class DamageWatch {
 public:
  void look(const Store& store);

 private:
  bool told_ = false;
};

}  // namespace branchline
