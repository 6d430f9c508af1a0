// Wires a branch together and runs it.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "common/config/topology.h"
#include "common/http/http.h"
#include "common/store/disk_room.h"
#include "common/store/store.h"

namespace branchline {

struct BranchConfig {
  Topology topology;
  std::string server;
  std::string data_directory;
  std::string tls_directory;
  std::string web_directory;  // the built web app
  bool accept_lost_log = false;
  // Tests put stores that fail or lie between the server and its disk; empty: RocksStore in the
  // data directory.
  std::function<Result<std::unique_ptr<Store>>(const std::string& directory)> open_store;
  // Tests say how full a disk is; empty: the disk itself is asked.
  std::function<std::optional<DiskRoom>(const std::string& directory)> disk_room;
  // Tests put handlers that fail or lie between the office's HTTP address and its API; empty: none.
  std::function<HttpServer::Handler(HttpServer::Handler)> wrap_office;
};

// Returns the process's exit code: 0 after an orderly stop.
int run_branch(const BranchConfig& config);

}  // namespace branchline
