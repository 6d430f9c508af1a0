#include "common/program/disk_watch.h"

#include <fcntl.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include "common/store/store_fault.h"

namespace branchline {

DiskWatch::DiskWatch(const ServerConfig& config)
    : config_(config),
      ballast_(config.data_directory + "/ballast"),
      laid_(::access(ballast_.c_str(), F_OK) == 0) {}

void DamageWatch::look(const Store& store) {
  if (told_) return;
  auto damage = store.damage();
  if (!damage) return;
  told_ = true;
  spdlog::error("{}", damage_text(*damage));
}

bool DiskWatch::look() {
  const std::string& directory = config_.data_directory;
  auto room = config_.disk_room ? config_.disk_room(directory) : disk_room(directory);
  if (!room) return false;
  free_ = room->free;
  bool was = full_;
  full_ = nearly_full(*room);
  if (laid_ && room->free < kBallastBytes) give_up_ballast();
  if (!laid_ && room->free > kBallastBytes &&
      !nearly_full({room->size, room->free - kBallastBytes})) {
    lay_ballast();
  }
  return full_ != was;
}

void DiskWatch::give_up_ballast() {
  if (::unlink(ballast_.c_str()) != 0) return;
  laid_ = false;
  spdlog::error(
      "the disk of {} is full ({} KiB left): gave up {} MiB that were kept for this; free space at "
      "once, or the server will stop",
      config_.data_directory, free_ >> 10, kBallastBytes >> 20);
}

// Where the file system cannot set room aside there is no ballast: a file of holes would hold none.
void DiskWatch::lay_ballast() {
  int file = ::open(ballast_.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
  if (file < 0) return;
  laid_ = true;  // also where it stays empty: to try again each second is of no use
  if (::fallocate(file, 0, 0, static_cast<off_t>(kBallastBytes)) != 0) {
    spdlog::info("no ballast in {}: this file system cannot set room aside",
                 config_.data_directory);
  }
  ::close(file);
}

}  // namespace branchline
