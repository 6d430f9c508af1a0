// A server's disk fills, by it or by others, and empties again.
#include "common/program/disk_watch.h"

#include <sys/stat.h>
#include <catch2/catch.hpp>

#include "tests/support/temp_folder.h"

namespace branchline {
namespace {

constexpr uint64_t kGiB = 1ull << 30;

struct Disk {
  TempFolder folder;
  DiskRoom room{100 * kGiB, 50 * kGiB};
  ServerConfig config;

  Disk() {
    config.data_directory = (folder / "data").string();
    std::filesystem::create_directories(config.data_directory);
    config.disk_room = [this](const std::string&) { return room; };
  }
  // Bytes that the ballast really takes of the disk; nothing where it is not there.
  std::optional<uint64_t> ballast() const {
    struct stat file;
    if (::stat((config.data_directory + "/ballast").c_str(), &file) != 0) return std::nullopt;
    return static_cast<uint64_t>(file.st_blocks) * 512;
  }
};

TEST_CASE("disk watch: tells once when the disk is nearly full, and once when it has room again") {
  Disk disk;
  DiskWatch watch(disk.config);
  CHECK_FALSE(watch.look());
  CHECK_FALSE(watch.full());
  disk.room.free = kGiB;
  CHECK(watch.look());
  CHECK(watch.full());
  CHECK(watch.free_bytes() == kGiB);
  CHECK_FALSE(watch.look());
  disk.room.free = 40 * kGiB;
  CHECK(watch.look());
  CHECK_FALSE(watch.full());
}

TEST_CASE("disk watch: a ballast is laid while there is room, and given up when there is none") {
  Disk disk;
  DiskWatch watch(disk.config);
  watch.look();
  CHECK(disk.ballast().value_or(0) >= DiskWatch::kBallastBytes);
  disk.room.free = kGiB;  // writes are refused already; the ballast is for worse
  watch.look();
  CHECK(disk.ballast());
  disk.room.free = 4096;
  watch.look();
  CHECK_FALSE(disk.ballast());
  disk.room.free = kGiB;  // not while the disk is nearly full: that room is for finishing work
  watch.look();
  CHECK_FALSE(disk.ballast());
  disk.room.free = 50 * kGiB;
  watch.look();
  CHECK(disk.ballast());
}

TEST_CASE("disk watch: a server that starts on a full disk finds the ballast of its last run") {
  Disk disk;
  DiskWatch(disk.config).look();
  REQUIRE(disk.ballast());
  disk.room.free = 0;
  DiskWatch(disk.config).look();
  CHECK_FALSE(disk.ballast());
}

}  // namespace
}  // namespace branchline
