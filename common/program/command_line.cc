#include "common/program/command_line.h"

#include <sys/resource.h>
#include <CLI/CLI.hpp>

#include <cstdio>

#include "common/logging/logging.h"

namespace branchline {
namespace {

// The usual 1024 are fewer than limits::kMaxHttpConnections and the store's files take; a failure
// changes nothing.
void raise_file_limit() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
}

}  // namespace

std::optional<int> read_command_line(CLI::App& app, int argc, char** argv, ServerConfig& config) {
  std::string topology_file, log_format = "text", log_level = "info";
  app.add_option("--topology", topology_file,
                 "the topology file, the same at every server (topology/README.md)")
      ->required();
  app.add_option("--server", config.server, "which of its servers this one is")->required();
  app.add_option("--data", config.data_directory,
                 "the data directory; created where it is missing, used by one process at a time")
      ->required();
  app.add_option(
      "--tls", config.tls_directory,
      "folder of ca.pem, server.pem, server.key (branchline ca issue); default: DATA/tls");
  app.add_flag("--accept-lost-log", config.accept_lost_log,
               "start although acknowledged or confirmed changes are missing (only after the "
               "complete data directory is lost for good)");
  app.add_option("--log-format", log_format, "text or json, one line per event on stderr")
      ->check(CLI::IsMember({"text", "json"}))
      ->capture_default_str();
  app.add_option("--log-level", log_level, "debug, info, warn or error")->capture_default_str();
  app.set_version_flag("--version", "branchline 0.1.0");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    return app.exit(e) == 0 ? 0 : 2;
  }
  raise_file_limit();
  auto read = [&]() -> Result<void> {
    BL_TRY(setup_logging(log_format, log_level, config.server));
    BL_ASSIGN(config.topology, load_topology(topology_file));
    return {};
  }();
  if (!read) {
    std::fprintf(stderr, "%s\n", read.error().message.c_str());
    return 2;
  }
  if (config.tls_directory.empty()) config.tls_directory = config.data_directory + "/tls";
  return std::nullopt;
}

}  // namespace branchline
