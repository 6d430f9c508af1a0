// A file system that fails one operation: the n-th write, sync or read since it was armed. What the
// store makes of that is tests/faults' to judge.
#pragma once

#include <rocksdb/env.h>
#include <rocksdb/file_system.h>

#include <array>
#include <atomic>
#include <memory>
#include <string>

namespace branchline {

enum class FileOperation { write, sync, read };
inline constexpr size_t kFileOperations = 3;

// Counts operations by kind, and says which one fails. Any thread.
class FaultPlan {
 public:
  // Of this kind the n-th from now on, the first is 1; that one alone, the next succeeds.
  void arm(FileOperation kind, uint64_t n);
  // Whether this operation is the one.
  bool fails(FileOperation kind);
  uint64_t count(FileOperation kind) const { return counts_[size_t(kind)]; }
  bool fired() const { return fired_; }
  void reset();

 private:
  std::array<std::atomic<uint64_t>, kFileOperations> counts_{};
  std::atomic<int> kind_{-1};
  std::atomic<uint64_t> at_{0};
  std::atomic<bool> fired_{false};
};

// `under`: what it wraps. Writes are appends, truncations, renames, links and new files; syncs are
// those of files and folders.
class FaultyFileSystem : public rocksdb::FileSystemWrapper {
 public:
  FaultyFileSystem(std::shared_ptr<rocksdb::FileSystem> under, std::shared_ptr<FaultPlan> plan)
      : FileSystemWrapper(std::move(under)), plan_(std::move(plan)) {}
  const char* Name() const override { return "FaultyFileSystem"; }

  rocksdb::IOStatus NewWritableFile(const std::string& name, const rocksdb::FileOptions& options,
                                    std::unique_ptr<rocksdb::FSWritableFile>* result,
                                    rocksdb::IODebugContext* debug) override;
  rocksdb::IOStatus NewSequentialFile(const std::string& name, const rocksdb::FileOptions& options,
                                      std::unique_ptr<rocksdb::FSSequentialFile>* result,
                                      rocksdb::IODebugContext* debug) override;
  rocksdb::IOStatus NewRandomAccessFile(const std::string& name,
                                        const rocksdb::FileOptions& options,
                                        std::unique_ptr<rocksdb::FSRandomAccessFile>* result,
                                        rocksdb::IODebugContext* debug) override;
  rocksdb::IOStatus NewDirectory(const std::string& name, const rocksdb::IOOptions& options,
                                 std::unique_ptr<rocksdb::FSDirectory>* result,
                                 rocksdb::IODebugContext* debug) override;
  rocksdb::IOStatus RenameFile(const std::string& from, const std::string& to,
                               const rocksdb::IOOptions& options,
                               rocksdb::IODebugContext* debug) override;

 private:
  std::shared_ptr<FaultPlan> plan_;
};

}  // namespace branchline
