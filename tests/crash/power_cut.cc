#include "tests/crash/power_cut.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace branchline::crash {
namespace {

// linux/fs.h does not name it for all file systems; ext4 and XFS share the number.
constexpr unsigned long kShutdown = _IOR('X', 125, uint32_t);
constexpr uint32_t kNoLogFlush = 2;

void must(std::vector<std::string> arguments) {
  std::string what = arguments[0] + " " + arguments.back();
  Finished f = run(std::move(arguments));
  if (f.code != 0) fail_with(what + ": " + f.output);
}

}  // namespace

void cut_power(Company& company, const std::vector<std::string>& victims, const std::string& image,
               const std::string& mount) {
  std::vector<std::string> running;
  for (const auto& s : company.servers()) {
    if (company.has(s)) running.push_back(s);
  }
  // Frozen first: a server that sees its disk fail could still answer a client.
  for (const auto& s : running) company.process(s).signal(SIGSTOP);
  int fd = ::open(mount.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  uint32_t how = kNoLogFlush;
  if (fd < 0 || ::ioctl(fd, kShutdown, &how) != 0)
    fail_with(std::string("cutting the power: ") + std::strerror(errno));
  ::close(fd);
  for (const auto& s : running) company.process(s).signal(SIGKILL);
  for (const auto& s : running) company.kill(s);
  must({"umount", mount});
  must({"mount", "-o", "loop", image, mount});
  for (const auto& s : running) {
    if (std::find(victims.begin(), victims.end(), s) == victims.end()) company.start(s);
  }
  for (const auto& s : running) {
    if (std::find(victims.begin(), victims.end(), s) == victims.end()) company.wait_ready(s);
  }
}

}  // namespace branchline::crash
