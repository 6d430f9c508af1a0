#include "common/tls/files.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

#include "common/base/bytes.h"
#include "common/base/random.h"

namespace branchline {
namespace {

constexpr size_t kMaxFileBytes = 1024 * 1024;

class Fd {
 public:
  explicit Fd(int fd) : fd_(fd) {}
  ~Fd() {
    if (fd_ >= 0) ::close(fd_);
  }
  Fd(const Fd&) = delete;
  Fd& operator=(const Fd&) = delete;
  int get() const { return fd_; }

 private:
  int fd_;
};

// Removes the temporary file unless it was moved to its name.
class Temporary {
 public:
  explicit Temporary(std::filesystem::path file) : file_(std::move(file)) {}
  ~Temporary() {
    if (!file_.empty()) ::unlink(file_.c_str());
  }
  Temporary(const Temporary&) = delete;
  Temporary& operator=(const Temporary&) = delete;
  const char* path() const { return file_.c_str(); }
  void moved() { file_.clear(); }

 private:
  std::filesystem::path file_;
};

ErrorKind kind_of(int error) {
  switch (error) {
    case EACCES:
    case EPERM:
    case EROFS:
      return ErrorKind::denied;
    case ENOSPC:
    case EDQUOT:
    case EMFILE:
    case ENFILE:
      return ErrorKind::exhausted;
    case ENOENT:
    case ENOTDIR:
      return ErrorKind::not_found;
    default:
      return ErrorKind::unavailable;
  }
}

std::unexpected<Error> failed_write(const std::filesystem::path& file, int error) {
  return fail(kind_of(error), "file.write",
              file.string() + ": cannot be written: " + std::strerror(error));
}

std::unexpected<Error> failed_read(const std::filesystem::path& file, int error) {
  ErrorKind kind = kind_of(error);
  if (kind == ErrorKind::not_found) {
    return fail(kind, "file.missing", file.string() + ": is missing");
  }
  return fail(kind, "file.read", file.string() + ": cannot be read: " + std::strerror(error));
}

Result<std::string> read_open(const std::filesystem::path& file, int fd) {
  std::string out;
  char buffer[8192];
  for (;;) {
    ssize_t n = ::read(fd, buffer, sizeof buffer);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return failed_read(file, errno);
    if (n == 0) return out;
    out.append(buffer, static_cast<size_t>(n));
    if (out.size() > kMaxFileBytes) {
      return fail(ErrorKind::invalid, "file.too_large",
                  file.string() + ": is larger than 1 MiB; no certificate or key is");
    }
  }
}

}  // namespace

Result<void> write_file(const std::filesystem::path& file, std::string_view bytes, mode_t mode,
                        Overwrite overwrite) {
  std::filesystem::path folder = file.has_parent_path() ? file.parent_path() : ".";
  Temporary temporary(
      folder / ("." + file.filename().string() + "." + hex(SystemRandom().bytes(8)) + ".tmp"));
  {
    Fd fd(::open(temporary.path(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
    if (fd.get() < 0) return failed_write(file, errno);
    for (std::string_view rest = bytes; !rest.empty();) {
      ssize_t n = ::write(fd.get(), rest.data(), rest.size());
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) return failed_write(file, errno);
      rest.remove_prefix(static_cast<size_t>(n));
    }
    if (::fchmod(fd.get(), mode) != 0 || ::fsync(fd.get()) != 0) return failed_write(file, errno);
  }
  if (overwrite == Overwrite::refuse) {
    // A link fails where the name is taken; a rename would replace what another process has just
    // written.
    if (::link(temporary.path(), file.c_str()) != 0) {
      if (errno != EEXIST) return failed_write(file, errno);
      return fail(ErrorKind::conflict, "file.exists",
                  file.string() + ": exists and is kept; --replace replaces it");
    }
  } else {
    if (::rename(temporary.path(), file.c_str()) != 0) return failed_write(file, errno);
    temporary.moved();
  }
  Fd directory(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (directory.get() < 0 || ::fsync(directory.get()) != 0) return failed_write(file, errno);
  return {};
}

Result<std::string> read_file(const std::filesystem::path& file) {
  Fd fd(::open(file.c_str(), O_RDONLY | O_CLOEXEC));
  if (fd.get() < 0) return failed_read(file, errno);
  return read_open(file, fd.get());
}

Result<std::string> read_key_file(const std::filesystem::path& file) {
  Fd fd(::open(file.c_str(), O_RDONLY | O_CLOEXEC));
  if (fd.get() < 0) return failed_read(file, errno);
  struct stat status;
  if (::fstat(fd.get(), &status) != 0) return failed_read(file, errno);
  if ((status.st_mode & 077) != 0) {
    char mode[8];
    std::snprintf(mode, sizeof mode, "%04o", static_cast<unsigned>(status.st_mode & 07777));
    return fail(ErrorKind::denied, "tls.key_readable",
                file.string() + ": others than its owner may use this key (mode " + mode +
                    "); chmod 600 " + file.string());
  }
  return read_open(file, fd.get());
}

Result<void> make_folder(const std::filesystem::path& folder) {
  std::error_code error;
  if (std::filesystem::is_directory(folder, error)) return {};
  std::filesystem::create_directories(folder, error);
  if (error) return failed_write(folder, error.value());
  if (::chmod(folder.c_str(), 0700) != 0) return failed_write(folder, errno);
  return {};
}

}  // namespace branchline
