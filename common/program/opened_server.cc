#include "common/program/opened_server.h"

#include <spdlog/spdlog.h>

#include <filesystem>

#include "common/program/disk_watch.h"
#include "common/store/directory_owner.h"
#include "common/store/rocks_store.h"

namespace branchline {

std::string anchor_path(const ServerConfig& config) { return config.data_directory + "/anchor"; }

Result<OpenedServer> open_server(const ServerConfig& config, StoreRole role, Clock& clock,
                                 const AnchorCheck& check) {
  OpenedServer out;
  bool master = role == StoreRole::master;
  out.spec = config.topology.server(config.server);
  if (!out.spec || out.spec->kind != (master ? ServerKind::master : ServerKind::branch)) {
    return fail(ErrorKind::invalid, "server.unknown",
                std::string("the topology has no ") + (master ? "master" : "branch") + " named `" +
                    config.server + "`");
  }
  std::error_code ec;
  std::filesystem::create_directories(config.data_directory, ec);
  BL_ASSIGN(out.tls, load_link_context(config.tls_directory, clock));
  if (out.tls->server() != config.server) {
    return fail(ErrorKind::invalid, "tls.other_server",
                "the certificate in " + config.tls_directory + " is " + out.tls->server() +
                    "'s, not " + config.server + "'s");
  }
  DiskWatch(config).look();  // a disk that is full needs its ballast now
  std::string directory = config.data_directory + "/store";
  if (config.open_store) {
    BL_ASSIGN(out.store, config.open_store(directory));
  } else {
    BL_ASSIGN(out.store, RocksStore::open(directory, {}));
  }
  BL_TRY(check_store_identity(*out.store, role, directory));
  BL_TRY(claim_directory(config.data_directory, config.server));
  BL_ASSIGN(auto anchor, read_anchor(anchor_path(config)));
  if (!anchor || anchor->number == 0) return out;
  if (auto reaches = check(*out.store, *anchor, directory); !reaches) {
    if (!config.accept_lost_log) return std::unexpected(reaches.error());
    spdlog::warn("accepted by the operator: {}", reaches.error().message);
    out.lost_accepted = true;
  }
  return out;
}

}  // namespace branchline
