#include "common/program/server_options.h"

#include <sys/resource.h>
#include <CLI/CLI.hpp>

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

void add_server_options(CLI::App& app, ServerOptions& options) {
  app.add_option("--topology", options.topology_file,
                 "the topology file, the same at every server (topology/README.md)")
      ->required();
  app.add_option("--server", options.server, "which of its servers this one is")->required();
  app.add_option("--data", options.data_directory,
                 "the data directory; created where it is missing, used by one process at a time")
      ->required();
  app.add_option(
      "--tls", options.tls_directory,
      "folder of ca.pem, server.pem, server.key (branchline ca issue); default: DATA/tls");
  app.add_option("--log-format", options.log_format, "text or json, one line per event on stderr")
      ->check(CLI::IsMember({"text", "json"}))
      ->capture_default_str();
  app.add_option("--log-level", options.log_level, "debug, info, warn or error")
      ->capture_default_str();
  app.set_version_flag("--version", "branchline 0.1.0");
}

Result<Topology> finish_server_options(ServerOptions& options) {
  raise_file_limit();
  BL_TRY(setup_logging(options.log_format, options.log_level, options.server));
  if (options.tls_directory.empty()) options.tls_directory = options.data_directory + "/tls";
  return load_topology(options.topology_file);
}

}  // namespace branchline
