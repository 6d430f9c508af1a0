#include "common/store/directory_owner.h"

#include <cerrno>
#include <cstring>
#include <fstream>

namespace branchline {

Result<void> claim_directory(const std::string& directory, const std::string& server) {
  std::string path = directory + "/server", name;
  auto unusable = [&] {
    return fail(ErrorKind::unavailable, "store.directory", path + ": " + std::strerror(errno));
  };
  errno = 0;
  if (std::ifstream in(path); in) {
    std::getline(in, name);
    if (in.bad()) return unusable();
  } else if (errno != ENOENT) {
    return unusable();
  }
  if (name == server) return {};
  if (!name.empty()) {
    return fail(ErrorKind::invalid, "store.other_server",
                directory + " is the data directory of `" + name + "`, this is `" + server +
                    "`; name its own with --data");
  }
  std::ofstream out(path);
  out << server << '\n';
  out.close();
  if (!out) return unusable();
  return {};
}

}  // namespace branchline
