// The command line that every server program shares: --topology, --server, --data, --tls, logging.
#pragma once

#include <string>

#include "common/config/topology.h"

namespace CLI {
class App;
}

namespace branchline {

struct ServerOptions {
  std::string topology_file;
  std::string server;
  std::string data_directory;
  std::string tls_directory;  // default: DATA/tls
  std::string log_format = "text";
  std::string log_level = "info";
};

// Adds the options to `app`, with help that teaches.
void add_server_options(CLI::App& app, ServerOptions& options);
// After parsing: sets up logging, reads and checks the topology. On an error it has told why on
// stderr.
Result<Topology> finish_server_options(ServerOptions& options);

}  // namespace branchline
