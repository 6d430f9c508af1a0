#include "tests/support/unsynced_file_system.h"

#include <mutex>

namespace branchline {
namespace {

using rocksdb::IODebugContext;
using rocksdb::IOOptions;
using rocksdb::IOStatus;

class UnsyncedFile : public rocksdb::FSWritableFileOwnerWrapper {
 public:
  UnsyncedFile(std::unique_ptr<rocksdb::FSWritableFile>&& real, bool log,
               std::shared_ptr<DiskFault> fault, bool forget)
      : FSWritableFileOwnerWrapper(std::move(real)),
        log_(log),
        fault_(std::move(fault)),
        forget_(forget) {}

  IOStatus Append(const rocksdb::Slice& data, const IOOptions& options,
                  IODebugContext* debug) override {
    if (auto bad = fails(true); !bad.ok()) return bad;
    if (!forget_) return target()->Append(data, options, debug);
    std::lock_guard lock(mutex_);
    unsynced_.append(data.data(), data.size());
    return IOStatus::OK();
  }
  IOStatus Append(const rocksdb::Slice& data, const IOOptions& options,
                  const rocksdb::DataVerificationInfo&, IODebugContext* debug) override {
    return Append(data, options, debug);
  }
  IOStatus Flush(const IOOptions&, IODebugContext*) override { return IOStatus::OK(); }
  IOStatus Sync(const IOOptions& options, IODebugContext* debug) override {
    if (auto bad = fails(false); !bad.ok()) return bad;
    if (auto written = write_through(options, debug); !written.ok()) return written;
    return target()->Sync(options, debug);
  }
  IOStatus Fsync(const IOOptions& options, IODebugContext* debug) override {
    if (auto bad = fails(false); !bad.ok()) return bad;
    if (auto written = write_through(options, debug); !written.ok()) return written;
    return target()->Fsync(options, debug);
  }
  bool IsSyncThreadSafe() const override { return true; }
  IOStatus RangeSync(uint64_t, uint64_t, const IOOptions&, IODebugContext*) override {
    return IOStatus::OK();
  }
  IOStatus Close(const IOOptions& options, IODebugContext* debug) override {
    // Tables and the like are read back after they were closed; a log is not.
    if (!log_) {
      if (auto written = write_through(options, debug); !written.ok()) return written;
    }
    return target()->Close(options, debug);
  }
  uint64_t GetFileSize(const IOOptions& options, IODebugContext* debug) override {
    std::lock_guard lock(mutex_);
    return target()->GetFileSize(options, debug) + unsynced_.size();
  }

 private:
  IOStatus fails(bool write) const {
    if (!fault_) return IOStatus::OK();
    if (fault_->full && write) return IOStatus::NoSpace("no space left on device");
    if (log_ && write && fault_->write_fails)
      return IOStatus::IOError("planted: input/output error on write");
    if (log_ && !write && fault_->sync_fails)
      return IOStatus::IOError("planted: input/output error on sync");
    return IOStatus::OK();
  }
  IOStatus write_through(const IOOptions& options, IODebugContext* debug) {
    std::lock_guard lock(mutex_);
    IOStatus written =
        unsynced_.empty() ? IOStatus::OK() : target()->Append(unsynced_, options, debug);
    unsynced_.clear();
    return written;
  }

  std::mutex mutex_;  // RocksDB may sync a log while it is written
  std::string unsynced_;
  bool log_;
  std::shared_ptr<DiskFault> fault_;
  bool forget_;
};

}  // namespace

IOStatus UnsyncedFileSystem::NewWritableFile(const std::string& name,
                                             const rocksdb::FileOptions& options,
                                             std::unique_ptr<rocksdb::FSWritableFile>* result,
                                             IODebugContext* debug) {
  std::unique_ptr<rocksdb::FSWritableFile> real;
  IOStatus made = target()->NewWritableFile(name, options, &real, debug);
  if (made.ok())
    *result =
        std::make_unique<UnsyncedFile>(std::move(real), name.ends_with(".log"), fault_, forget_);
  return made;
}

std::unique_ptr<rocksdb::Env> UnsyncedFileSystem::make_env(std::shared_ptr<DiskFault> fault,
                                                           bool forget) {
  return rocksdb::NewCompositeEnv(std::make_shared<UnsyncedFileSystem>(std::move(fault), forget));
}

}  // namespace branchline
