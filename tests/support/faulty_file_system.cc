#include "tests/support/faulty_file_system.h"

namespace branchline {
namespace {

using rocksdb::IODebugContext;
using rocksdb::IOOptions;
using rocksdb::IOStatus;

using Plan = std::shared_ptr<FaultPlan>;

IOStatus planted(const char* what) {
  return IOStatus::IOError(std::string("planted: input/output error on ") + what);
}

class FaultyWritable : public rocksdb::FSWritableFileOwnerWrapper {
 public:
  FaultyWritable(std::unique_ptr<rocksdb::FSWritableFile>&& real, Plan plan)
      : FSWritableFileOwnerWrapper(std::move(real)), plan_(std::move(plan)) {}

  IOStatus Append(const rocksdb::Slice& data, const IOOptions& options,
                  IODebugContext* debug) override {
    if (plan_->fails(FileOperation::write)) {
      // As a disk does it: a part of it may be there.
      (void)target()->Append({data.data(), data.size() / 2}, options, debug);
      return planted("write");
    }
    return target()->Append(data, options, debug);
  }
  IOStatus Append(const rocksdb::Slice& data, const IOOptions& options,
                  const rocksdb::DataVerificationInfo&, IODebugContext* debug) override {
    return Append(data, options, debug);
  }
  IOStatus Truncate(uint64_t size, const IOOptions& options, IODebugContext* debug) override {
    if (plan_->fails(FileOperation::write)) return planted("truncation");
    return target()->Truncate(size, options, debug);
  }
  IOStatus Sync(const IOOptions& options, IODebugContext* debug) override {
    if (plan_->fails(FileOperation::sync)) return planted("sync");
    return target()->Sync(options, debug);
  }
  IOStatus Fsync(const IOOptions& options, IODebugContext* debug) override {
    if (plan_->fails(FileOperation::sync)) return planted("sync");
    return target()->Fsync(options, debug);
  }
  IOStatus RangeSync(uint64_t, uint64_t, const IOOptions&, IODebugContext*) override {
    return IOStatus::OK();
  }

 private:
  Plan plan_;
};

class FaultySequential : public rocksdb::FSSequentialFileOwnerWrapper {
 public:
  FaultySequential(std::unique_ptr<rocksdb::FSSequentialFile>&& real, Plan plan)
      : FSSequentialFileOwnerWrapper(std::move(real)), plan_(std::move(plan)) {}
  IOStatus Read(size_t n, const IOOptions& options, rocksdb::Slice* result, char* scratch,
                IODebugContext* debug) override {
    if (plan_->fails(FileOperation::read)) return planted("read");
    return target()->Read(n, options, result, scratch, debug);
  }
  IOStatus PositionedRead(uint64_t at, size_t n, const IOOptions& options, rocksdb::Slice* result,
                          char* scratch, IODebugContext* debug) override {
    if (plan_->fails(FileOperation::read)) return planted("read");
    return target()->PositionedRead(at, n, options, result, scratch, debug);
  }

 private:
  Plan plan_;
};

class FaultyRandomAccess : public rocksdb::FSRandomAccessFileOwnerWrapper {
 public:
  FaultyRandomAccess(std::unique_ptr<rocksdb::FSRandomAccessFile>&& real, Plan plan)
      : FSRandomAccessFileOwnerWrapper(std::move(real)), plan_(std::move(plan)) {}
  IOStatus Read(uint64_t at, size_t n, const IOOptions& options, rocksdb::Slice* result,
                char* scratch, IODebugContext* debug) const override {
    if (plan_->fails(FileOperation::read)) return planted("read");
    return target()->Read(at, n, options, result, scratch, debug);
  }
  IOStatus MultiRead(rocksdb::FSReadRequest* requests, size_t count, const IOOptions& options,
                     IODebugContext* debug) override {
    if (plan_->fails(FileOperation::read)) return planted("read");
    return target()->MultiRead(requests, count, options, debug);
  }
  IOStatus Prefetch(uint64_t, size_t, const IOOptions&, IODebugContext*) override {
    return IOStatus::NotSupported("not here");
  }

 private:
  Plan plan_;
};

class FaultyDirectory : public rocksdb::FSDirectoryWrapper {
 public:
  FaultyDirectory(std::unique_ptr<rocksdb::FSDirectory>&& real, Plan plan)
      : FSDirectoryWrapper(std::move(real)), plan_(std::move(plan)) {}
  IOStatus Fsync(const IOOptions& options, IODebugContext* debug) override {
    if (plan_->fails(FileOperation::sync)) return planted("sync of a folder");
    return FSDirectoryWrapper::Fsync(options, debug);
  }
  IOStatus FsyncWithDirOptions(const IOOptions& options, IODebugContext* debug,
                               const rocksdb::DirFsyncOptions& what) override {
    if (plan_->fails(FileOperation::sync)) return planted("sync of a folder");
    return FSDirectoryWrapper::FsyncWithDirOptions(options, debug, what);
  }

 private:
  Plan plan_;
};

}  // namespace

void FaultPlan::arm(FileOperation kind, uint64_t n) {
  reset();
  at_ = n;
  kind_ = static_cast<int>(kind);
}

bool FaultPlan::fails(FileOperation kind) {
  uint64_t now = ++counts_[size_t(kind)];
  if (static_cast<int>(kind) != kind_ || now != at_) return false;
  fired_ = true;
  return true;
}

void FaultPlan::reset() {
  for (auto& c : counts_) c = 0;
  kind_ = -1;
  fired_ = false;
}

IOStatus FaultyFileSystem::NewWritableFile(const std::string& name,
                                           const rocksdb::FileOptions& options,
                                           std::unique_ptr<rocksdb::FSWritableFile>* result,
                                           IODebugContext* debug) {
  if (plan_->fails(FileOperation::write)) return planted("making a file");
  std::unique_ptr<rocksdb::FSWritableFile> real;
  IOStatus made = target()->NewWritableFile(name, options, &real, debug);
  if (made.ok()) *result = std::make_unique<FaultyWritable>(std::move(real), plan_);
  return made;
}

IOStatus FaultyFileSystem::NewSequentialFile(const std::string& name,
                                             const rocksdb::FileOptions& options,
                                             std::unique_ptr<rocksdb::FSSequentialFile>* result,
                                             IODebugContext* debug) {
  std::unique_ptr<rocksdb::FSSequentialFile> real;
  IOStatus made = target()->NewSequentialFile(name, options, &real, debug);
  if (made.ok()) *result = std::make_unique<FaultySequential>(std::move(real), plan_);
  return made;
}

IOStatus FaultyFileSystem::NewRandomAccessFile(const std::string& name,
                                               const rocksdb::FileOptions& options,
                                               std::unique_ptr<rocksdb::FSRandomAccessFile>* result,
                                               IODebugContext* debug) {
  std::unique_ptr<rocksdb::FSRandomAccessFile> real;
  IOStatus made = target()->NewRandomAccessFile(name, options, &real, debug);
  if (made.ok()) *result = std::make_unique<FaultyRandomAccess>(std::move(real), plan_);
  return made;
}

IOStatus FaultyFileSystem::NewDirectory(const std::string& name, const IOOptions& options,
                                        std::unique_ptr<rocksdb::FSDirectory>* result,
                                        IODebugContext* debug) {
  std::unique_ptr<rocksdb::FSDirectory> real;
  IOStatus made = target()->NewDirectory(name, options, &real, debug);
  if (made.ok()) *result = std::make_unique<FaultyDirectory>(std::move(real), plan_);
  return made;
}

IOStatus FaultyFileSystem::RenameFile(const std::string& from, const std::string& to,
                                      const IOOptions& options, IODebugContext* debug) {
  if (plan_->fails(FileOperation::write)) return planted("renaming a file");
  return target()->RenameFile(from, to, options, debug);
}

}  // namespace branchline
