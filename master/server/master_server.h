// Wires a master together and runs it.
#pragma once

#include "common/program/server_config.h"

namespace branchline {

// Returns the process's exit code: 0 after an orderly stop.
int run_master(const ServerConfig& config);

}  // namespace branchline
