#include "common/program/opened_server.h"

#include <spdlog/spdlog.h>

#include <filesystem>

#include "common/program/disk_watch.h"
#include "common/store/directory_owner.h"
#include "common/store/keyspace.h"
#include "common/store/rocks_store.h"

namespace branchline {

namespace {

// What whoever reads of damage can do. Certificates and tokens are in the data directory as well,
// so it is not the directory that makes room for a new join.
Error with_mend(Error e, bool master, const std::string& data) {
  if (e.kind != ErrorKind::corrupt) return e;
  e.message += "; the bytes on the disk are not those that were written. ";
  if (e.code == "anchor.damaged") {
    e.message += "Check the disk. The store may be whole: put the file back from a copy of " +
                 data +
                 " as it is now, or move it away and start again (then it is not noticed if the "
                 "end of the log is missing)";
  } else if (master) {
    e.message += "Check the disk, then put a copy of all of " + data +
                 " back. Offices refuse a copy that is older than what they have seen: they work "
                 "on and keep their changes meanwhile";
  } else {
    e.message += "Check the disk, then put a copy of all of " + data +
                 " back; or move its `store` and `anchor` away and start again: the office joins "
                 "anew from the master, and only what it had not shipped yet is lost";
  }
  return e;
}

}  // namespace

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
  auto opened = [&]() -> Result<std::unique_ptr<Store>> {
    if (config.open_store) return config.open_store(directory);
    BL_ASSIGN(auto store, RocksStore::open(directory, {}));
    if (store->torn_bytes() > 0) {
      spdlog::warn(
          "the power went while the log was written: its last {} bytes are not whole and were cut "
          "off. They had not been synced, so nothing in them had been acknowledged",
          store->torn_bytes());
    }
    return std::unique_ptr<Store>(std::move(store));
  }();
  if (!opened) return std::unexpected(with_mend(opened.error(), master, config.data_directory));
  out.store = std::move(*opened);
  BL_TRY(check_store_identity(*out.store, role, directory));
  BL_TRY(claim_directory(config.data_directory, config.server));
  auto read = read_anchor(anchor_path(config));
  if (!read) return std::unexpected(with_mend(read.error(), master, config.data_directory));
  const std::optional<Anchor>& anchor = *read;
  if (!anchor) {
    out.anchor_missing = true;
    BL_ASSIGN(auto state, out.store->get(Table::meta, keys::meta_state()));
    if (state) {
      spdlog::warn(
          "{} is missing although the store has a history: if the end of the log were lost, this "
          "start could not notice it (`branchline audit` compares with the other servers). The "
          "file is written anew. It is missing without harm where the first start ended within "
          "its first second",
          anchor_path(config));
    }
    return out;
  }
  if (anchor->number == 0) return out;
  if (auto reaches = check(*out.store, *anchor, directory); !reaches) {
    if (!config.accept_lost_log) return std::unexpected(reaches.error());
    spdlog::warn("accepted by the operator: {}", reaches.error().message);
    out.lost_accepted = true;
  }
  return out;
}

}  // namespace branchline
