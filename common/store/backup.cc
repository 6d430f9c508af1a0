#include "common/store/backup.h"

#include <rocksdb/db.h>
#include <rocksdb/env.h>
#include <rocksdb/utilities/backup_engine.h>

#include <algorithm>
#include <filesystem>
#include <memory>

namespace branchline {
namespace {

namespace fs = std::filesystem;
using rocksdb::BackupEngine;

constexpr uint64_t kProgressBytes = 1024 * 1024;

Error error_of(const rocksdb::Status& status, const std::string& doing) {
  ErrorKind kind = status.IsCorruption() ? ErrorKind::corrupt
                   : status.IsNoSpace()  ? ErrorKind::exhausted
                                         : ErrorKind::unavailable;
  return {kind, "backup.io", doing + ": " + status.ToString()};
}

// Files of a backup hold all that the server knows: for its user alone.
Result<void> make_private(const std::string& directory) {
  std::error_code ec;
  fs::create_directories(directory, ec);
  if (!ec) fs::permissions(directory, fs::perms::owner_all, ec);
  if (ec) {
    return fail(ErrorKind::unavailable, "backup.directory",
                "cannot create " + directory + ": " + ec.message());
  }
  return {};
}

rocksdb::BackupEngineOptions options_of(const std::string& directory) {
  rocksdb::BackupEngineOptions options(directory);
  options.share_table_files = true;
  options.share_files_with_checksum = true;
  options.sync = true;  // what is called a backup survives a power cut
  options.max_background_operations = 1;
  options.callback_trigger_interval_size = kProgressBytes;
  return options;
}

Result<std::unique_ptr<rocksdb::BackupEngineReadOnly>> open_read_only(
    const std::string& directory) {
  if (!fs::exists(directory + "/meta")) {
    return fail(ErrorKind::not_found, "backup.none",
                directory +
                    " holds no backup; name the folder that was given to `branchline backup "
                    "create`");
  }
  rocksdb::BackupEngineReadOnly* engine = nullptr;
  auto status =
      rocksdb::BackupEngineReadOnly::Open(options_of(directory), rocksdb::Env::Default(), &engine);
  if (!status.ok()) return std::unexpected(error_of(status, "opening the backups in " + directory));
  return std::unique_ptr<rocksdb::BackupEngineReadOnly>(engine);
}

template <typename Engine>
std::vector<BackupInfo> infos(const Engine& engine) {
  std::vector<rocksdb::BackupInfo> all;
  engine.GetBackupInfo(&all);
  std::vector<BackupInfo> out;
  for (const auto& b : all) out.push_back({b.backup_id, b.timestamp, b.size, b.app_metadata});
  std::sort(out.begin(), out.end(),
            [](const auto& a, const auto& b) { return a.number < b.number; });
  return out;
}

Result<BackupInfo> find(const rocksdb::BackupEngineReadOnly& engine, uint32_t number,
                        const std::string& directory) {
  auto all = infos(engine);
  if (number == 0 && !all.empty()) return all.back();
  for (const auto& b : all) {
    if (b.number == number) return b;
  }
  return fail(ErrorKind::not_found, "backup.none",
              number == 0 ? directory + " holds no complete backup"
                          : directory + " holds no complete backup " + std::to_string(number) +
                                "; `branchline backup list` tells which there are");
}

Result<BackupInfo> check(const rocksdb::BackupEngineReadOnly& engine, uint32_t number,
                         const std::string& directory) {
  BL_ASSIGN(BackupInfo info, find(engine, number, directory));
  auto status = engine.VerifyBackup(info.number, true);
  if (!status.ok()) {
    return fail(ErrorKind::corrupt, "backup.damaged",
                "backup " + std::to_string(info.number) + " in " + directory +
                    " is damaged: " + status.ToString() +
                    "; use another one (`branchline backup list`), and check that disk");
  }
  return info;
}

}  // namespace

Result<uint32_t> add_backup(rocksdb::DB& db, const BackupRequest& request) {
  if (request.directory.empty() || request.directory.front() != '/') {
    return fail(ErrorKind::invalid, "backup.directory",
                "the folder for backups must be an absolute path on the server's machine, got `" +
                    request.directory + "`");
  }
  std::error_code ec;
  bool fresh = !fs::exists(request.directory, ec) || fs::is_empty(request.directory, ec);
  if (!fresh && !fs::exists(request.directory + "/meta", ec)) {
    return fail(ErrorKind::conflict, "backup.directory",
                request.directory +
                    " holds other files; name an empty folder, or one with backups "
                    "of this server");
  }
  BL_TRY(make_private(request.directory));
  BackupEngine* opened = nullptr;
  auto status = BackupEngine::Open(options_of(request.directory), rocksdb::Env::Default(), &opened);
  if (!status.ok())
    return std::unexpected(error_of(status, "opening the backups in " + request.directory));
  std::unique_ptr<BackupEngine> engine(opened);
  auto before = infos(*engine);
  // The label's first line says whose it is: backups of two servers do not share a folder.
  auto first_line = [](const std::string& s) { return s.substr(0, s.find('\n')); };
  if (!before.empty() && first_line(before.back().label) != first_line(request.label)) {
    return fail(ErrorKind::conflict, "backup.other_server",
                request.directory + " holds backups of another server (" +
                    first_line(before.back().label) + "); name a folder of its own");
  }
  rocksdb::CreateBackupOptions options;
  // Not flushed: the logs are copied to where they stand, and with them one consistent end.
  options.flush_before_backup = false;
  uint64_t copied = 0;
  if (request.progress) {
    options.progress_callback = [&] { request.progress(copied += kProgressBytes); };
  }
  rocksdb::BackupID number = 0;
  status = engine->CreateNewBackupWithMetadata(options, &db, request.label, &number);
  if (!status.ok()) {
    (void)engine->GarbageCollect();
    return std::unexpected(error_of(status, "making a backup in " + request.directory));
  }
  return number;
}

Result<std::vector<BackupInfo>> list_backups(const std::string& directory) {
  BL_ASSIGN(auto engine, open_read_only(directory));
  return infos(*engine);
}

Result<BackupInfo> check_backup(const std::string& directory, uint32_t number) {
  BL_ASSIGN(auto engine, open_read_only(directory));
  return check(*engine, number, directory);
}

Result<BackupInfo> restore_backup(const std::string& directory, uint32_t number,
                                  const std::string& target) {
  BL_ASSIGN(auto engine, open_read_only(directory));
  BL_ASSIGN(BackupInfo info, check(*engine, number, directory));
  std::error_code ec;
  if (fs::exists(target, ec) && !fs::is_empty(target, ec)) {
    return fail(ErrorKind::conflict, "restore.not_empty",
                target + " is not empty; restoring never writes over data. Move it away first");
  }
  fs::create_directories(target, ec);
  if (ec) {
    return fail(ErrorKind::unavailable, "restore.directory",
                "cannot create " + target + ": " + ec.message());
  }
  auto status = engine->RestoreDBFromBackup(rocksdb::RestoreOptions(), info.number, target, target);
  if (!status.ok()) return std::unexpected(error_of(status, "restoring into " + target));
  return info;
}

}  // namespace branchline
