// The command line that every server program shares.
#pragma once

#include <optional>

#include "common/program/server_config.h"

namespace CLI {
class App;
}

namespace branchline {

// Adds --topology, --server, --data, --tls, --accept-lost-log and the logging options to those that
// `app` has already, parses, sets up logging, reads and checks the topology. Fills `config` and
// returns nothing; or has told why not on stderr and returns the exit code (0 after --help).
std::optional<int> read_command_line(CLI::App& app, int argc, char** argv, ServerConfig& config);

}  // namespace branchline
