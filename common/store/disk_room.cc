#include "common/store/disk_room.h"

#include <sys/statvfs.h>

#include <algorithm>

namespace branchline {
namespace {

constexpr uint64_t kReserve = 2ull << 30;

}  // namespace

std::optional<DiskRoom> disk_room(const std::string& directory) {
  struct statvfs disk;
  if (statvfs(directory.c_str(), &disk) != 0) return std::nullopt;
  return DiskRoom{uint64_t{disk.f_blocks} * disk.f_frsize, uint64_t{disk.f_bavail} * disk.f_frsize};
}

bool nearly_full(const DiskRoom& room) { return room.free < std::min(room.size / 10, kReserve); }

}  // namespace branchline
