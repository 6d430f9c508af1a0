#include "common/program/backup_job.h"

#include <spdlog/spdlog.h>

#include <algorithm>

#include "common/json/json_writer.h"

namespace branchline {

BackupJob::~BackupJob() {
  if (thread_.joinable()) thread_.join();
}

HttpResponse BackupJob::start(const std::string& directory, const std::string& label) {
  std::lock_guard lock(mutex_);
  if (state_ == "running") {
    return error_response({ErrorKind::conflict, "backup.running",
                           "a backup into " + directory_ + " is under way; wait for its end"});
  }
  if (thread_.joinable()) thread_.join();
  state_ = "running";
  directory_ = directory;
  bytes_ = 0;
  number_ = 0;
  error_ = {};
  begun_ms_ = clock_.wall_ms();
  ended_ms_ = 0;
  thread_ = std::thread([this, directory, label] {
    BackupRequest request{directory, label, [this](uint64_t bytes) {
                            std::lock_guard inner(mutex_);
                            bytes_ = bytes;
                          }};
    auto number = store_.backup(request);
    std::lock_guard inner(mutex_);
    ended_ms_ = clock_.wall_ms();
    if (number) {
      state_ = "done";
      number_ = *number;
      spdlog::info("backup {} made in {}", number_, directory);
    } else {
      state_ = "failed";
      error_ = number.error();
      spdlog::error("backup into {}: {}", directory, error_.message);
    }
  });
  return json_response(describe(), 202);
}

HttpResponse BackupJob::status() const {
  std::lock_guard lock(mutex_);
  return json_response(describe());
}

std::string BackupJob::describe() const {
  std::string body;
  JsonWriter w(body);
  w.begin_object().member("state", state_);
  if (state_ != "none") {
    int64_t end = ended_ms_ > 0 ? ended_ms_ : clock_.wall_ms();
    w.member("directory", directory_).member("bytes", bytes_);
    w.member("seconds", static_cast<uint64_t>(std::max<int64_t>(end - begun_ms_, 0) / 1000));
  }
  if (number_ > 0) w.member("number", uint64_t{number_});
  if (state_ == "failed") w.member("code", error_.code).member("problem", error_.message);
  w.end_object();
  return body;
}

}  // namespace branchline
