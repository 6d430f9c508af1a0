// What a server is told when it starts: by its command line, and by tests.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "common/config/topology.h"
#include "common/store/disk_room.h"
#include "common/store/store.h"

namespace branchline {

class Schema;

struct ServerConfig {
  Topology topology;
  std::string server;  // which of the topology's servers this is
  std::string data_directory;
  std::string tls_directory;
  bool accept_lost_log = false;  // start although acknowledged work is missing
  // Tests put stores that fail or lie between the server and its disk; empty: RocksStore in the
  // data directory.
  std::function<Result<std::unique_ptr<Store>>(const std::string& directory)> open_store;
  // Tests say how full a disk is; empty: the disk itself is asked.
  std::function<std::optional<DiskRoom>(const std::string& directory)> disk_room;
  // Tests give servers the schema of another version; null: the built-in one.
  std::shared_ptr<const Schema> schema;
};

}  // namespace branchline
