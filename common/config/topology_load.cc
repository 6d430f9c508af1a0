#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <system_error>

#include "common/base/limits.h"
#include "common/config/topology.h"

namespace branchline {

Result<Topology> load_topology(const std::string& path) {
  auto unreadable = [&](ErrorKind kind, const std::string& why) {
    return fail(kind, "topology.unreadable",
                path + ": cannot be read, " + why + "; check the path and who may read it");
  };
  std::error_code error;
  auto status = std::filesystem::status(path, error);
  if (!std::filesystem::exists(status) && !error)
    error = std::make_error_code(std::errc::no_such_file_or_directory);
  if (error == std::errc::no_such_file_or_directory)
    return unreadable(ErrorKind::not_found, error.message());
  if (error) return unreadable(ErrorKind::denied, error.message());
  // A pipe or a device could keep the server waiting for ever.
  if (!std::filesystem::is_regular_file(status))
    return unreadable(ErrorKind::invalid, "it is no regular file");
  std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::fopen(path.c_str(), "rb"), std::fclose);
  if (!file) return unreadable(ErrorKind::denied, std::generic_category().message(errno));
  // One byte more than the limit is enough for the parser to refuse the file.
  std::string text(limits::kMaxTopologyBytes + 1, '\0');
  text.resize(std::fread(text.data(), 1, text.size(), file.get()));
  if (std::ferror(file.get()))
    return unreadable(ErrorKind::unavailable, std::generic_category().message(errno));
  return parse_topology(text, path);
}

}  // namespace branchline
