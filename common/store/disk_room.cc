#include "common/store/disk_room.h"

#include <sys/statvfs.h>

#include <algorithm>

namespace branchline {
namespace {

constexpr uint64_t kReserve = 2ull << 30;
// Of a small disk a tenth is less than what the store may want at once (write buffers, their log, a
// compaction), and a store that finds the disk full in the middle of that aborts.
constexpr uint64_t kLeast = 128ull << 20;

}  // namespace

std::optional<DiskRoom> disk_room(const std::string& directory) {
  struct statvfs disk;
  if (statvfs(directory.c_str(), &disk) != 0) return std::nullopt;
  return DiskRoom{uint64_t{disk.f_blocks} * disk.f_frsize, uint64_t{disk.f_bavail} * disk.f_frsize};
}

bool nearly_full(const DiskRoom& room) {
  return room.free < std::max(kLeast, std::min(room.size / 10, kReserve));
}

}  // namespace branchline
