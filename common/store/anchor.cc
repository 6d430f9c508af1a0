#include "common/store/anchor.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "common/base/bytes.h"

namespace branchline {
namespace {

constexpr uint8_t kFormat = 1;

std::unexpected<Error> io(const std::string& path, const char* doing) {
  return fail(errno == ENOSPC ? ErrorKind::exhausted : ErrorKind::unavailable, "anchor.io",
              std::string(doing) + " " + path + ": " + std::strerror(errno));
}

}  // namespace

Result<void> write_anchor(const std::string& path, const Anchor& anchor) {
  std::string bytes;
  Writer w(bytes);
  w.u8(kFormat);
  w.fixed64(anchor.incarnation.value);
  w.fixed64(anchor.number);
  w.bytes(anchor.chain.view());
  bytes.append(sha256(bytes).view());
  std::string fresh = path + ".new";
  int fd = ::open(fresh.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (fd < 0) return io(fresh, "creating");
  bool written = ::write(fd, bytes.data(), bytes.size()) == static_cast<ssize_t>(bytes.size()) &&
                 ::fdatasync(fd) == 0;
  ::close(fd);
  if (!written) return io(fresh, "writing");
  if (::rename(fresh.c_str(), path.c_str()) != 0) return io(path, "renaming to");
  std::string folder = path.substr(0, path.rfind('/'));
  int dir = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (dir < 0) return io(folder, "opening");
  bool synced = ::fsync(dir) == 0;
  ::close(dir);
  return synced ? Result<void>{} : io(folder, "syncing");
}

Result<std::optional<Anchor>> read_anchor(const std::string& path) {
  int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) {
    if (errno == ENOENT) return std::optional<Anchor>();
    return io(path, "opening");
  }
  char buffer[256];
  ssize_t n = ::read(fd, buffer, sizeof buffer);
  ::close(fd);
  if (n < 0) return io(path, "reading");
  std::string_view bytes(buffer, static_cast<size_t>(n));
  auto damaged = [&] { return fail(ErrorKind::corrupt, "anchor.damaged", path + " is damaged"); };
  if (bytes.size() != 1 + 8 + 8 + 32 + 32 ||
      sha256(bytes.substr(0, bytes.size() - 32)).view() != bytes.substr(bytes.size() - 32)) {
    return damaged();
  }
  Reader r(bytes);
  if (r.u8() != kFormat) return damaged();
  Anchor a;
  a.incarnation = Incarnation(r.fixed64());
  a.number = r.fixed64();
  a.chain = *Digest::from(r.bytes(32));
  return std::optional<Anchor>(a);
}

}  // namespace branchline
