// Wires a branch together and runs it.
#pragma once

#include <functional>
#include <string>

#include "common/http/http.h"
#include "common/program/server_config.h"

namespace branchline {

struct BranchConfig : ServerConfig {
  std::string web_directory;  // the built web app
  // Tests put handlers that fail or lie between the office's HTTP address and its API; empty: none.
  std::function<HttpServer::Handler(HttpServer::Handler)> wrap_office;
};

// Returns the process's exit code: 0 after an orderly stop.
int run_branch(const BranchConfig& config);

}  // namespace branchline
