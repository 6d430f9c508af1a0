// A file system that keeps in its own memory what was not synced: a process that dies, or a copy of
// the folder, loses that, as a power cut would. The real one under it has synced bytes only.
#pragma once

#include <rocksdb/env.h>
#include <rocksdb/file_system.h>

#include <atomic>
#include <functional>
#include <memory>
#include <string>

namespace branchline {

// What goes wrong from when it is armed.
struct DiskFault {
  std::atomic<bool> write_fails{false};  // EIO, of the write-ahead log alone
  std::atomic<bool> sync_fails{false};
  std::atomic<bool> full{false};  // ENOSPC, of every file
};

class UnsyncedFileSystem : public rocksdb::FileSystemWrapper {
 public:
  explicit UnsyncedFileSystem(std::shared_ptr<DiskFault> fault = nullptr, bool forget = true)
      : FileSystemWrapper(rocksdb::FileSystem::Default()),
        fault_(std::move(fault)),
        forget_(forget) {}
  const char* Name() const override { return "UnsyncedFileSystem"; }

  rocksdb::IOStatus NewWritableFile(const std::string& name, const rocksdb::FileOptions& options,
                                    std::unique_ptr<rocksdb::FSWritableFile>* result,
                                    rocksdb::IODebugContext* debug) override;

  // An Env for RocksOptions; outlives the stores on it.
  static std::unique_ptr<rocksdb::Env> make_env(std::shared_ptr<DiskFault> fault = nullptr,
                                                bool forget = true);

 private:
  std::shared_ptr<DiskFault> fault_;
  bool forget_;
};

}  // namespace branchline
