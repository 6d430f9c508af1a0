#include "master/ingest/attempt_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstring>

namespace branchline {

// What is being decided, and the last few that ended the process while they were.
struct AttemptFile::Page {
  static constexpr size_t kSuspects = 16;
  struct Entry {
    MutationId id;
    uint32_t crashes = 0;
  };
  uint64_t magic = 0;
  std::atomic<uint32_t> busy{0};
  MutationId now;
  Entry suspects[kSuspects];
  uint32_t next = 0;
};

namespace {

constexpr uint64_t kMagic = 0x424c415454303100ull;  // "BLATT01"

std::unexpected<Error> io(const std::string& path) {
  return fail(ErrorKind::unavailable, "attempts.io", path + ": " + std::strerror(errno));
}

}  // namespace

Result<std::unique_ptr<AttemptFile>> AttemptFile::open(const std::string& path) {
  int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (fd < 0) return io(path);
  bool sized = ::ftruncate(fd, sizeof(Page)) == 0;
  void* at =
      sized ? ::mmap(nullptr, sizeof(Page), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) : MAP_FAILED;
  ::close(fd);
  if (at == MAP_FAILED) return io(path);
  std::unique_ptr<AttemptFile> out(new AttemptFile());
  out->page_ = static_cast<Page*>(at);
  Page& p = *out->page_;
  if (p.magic != kMagic) {
    std::memset(at, 0, sizeof(Page));
    p.magic = kMagic;
  }
  if (p.busy.load() != 0) {
    Page::Entry* entry = nullptr;
    for (auto& e : p.suspects) {
      if (e.crashes > 0 && e.id == p.now) entry = &e;
    }
    if (!entry) {
      entry = &p.suspects[p.next++ % Page::kSuspects];
      entry->id = p.now;
      entry->crashes = 0;
    }
    ++entry->crashes;
    p.busy.store(0);
  }
  return out;
}

AttemptFile::~AttemptFile() {
  if (page_) ::munmap(page_, sizeof(Page));
}

void AttemptFile::begin(const MutationId& id) {
  page_->now = id;
  page_->busy.store(1, std::memory_order_release);
}

void AttemptFile::done() { page_->busy.store(0, std::memory_order_release); }

int AttemptFile::crashes(const MutationId& id) const {
  for (const auto& e : page_->suspects) {
    if (e.crashes > 0 && e.id == id) return static_cast<int>(e.crashes);
  }
  return 0;
}

}  // namespace branchline
