// How every server begins: who it is, with which certificate, on which data.
#pragma once

#include <functional>
#include <memory>
#include <optional>

#include "common/program/server_config.h"
#include "common/store/anchor.h"
#include "common/store/identity.h"
#include "common/time/clock.h"
#include "common/tls/link_context.h"

namespace branchline {

struct OpenedServer {
  const ServerSpec* spec = nullptr;  // in the config's topology
  std::shared_ptr<const LinkContext> tls;
  std::unique_ptr<Store> store;
  // The log does not reach its anchor and the operator accepts that: write a new anchor, or the
  // next start would be refused again.
  bool lost_accepted = false;
  bool anchor_missing = false;  // there is none, so there is none to be kept: write one soon
};

// Whether the log in `store` reaches `anchor`: what was acknowledged must still be there (DESIGN
// 2.1). `where` names the store in messages.
using AnchorCheck = std::function<Result<void>(const StoreView& store, const Anchor& anchor,
                                               const std::string& where)>;

// Where the store has a history and no anchor, a warning says so: the servers write one within a
// second of their start. Errors: "server.unknown" where the topology has no
// such server of this role; those of load_link_context(), RocksStore::open(),
// check_store_identity(), claim_directory(), read_anchor() and, unless `config.accept_lost_log`, of
// `check`. To damage of the store or the anchor the message adds the mend for this role.
Result<OpenedServer> open_server(const ServerConfig& config, StoreRole role, Clock& clock,
                                 const AnchorCheck& check);
// DATA/anchor.
std::string anchor_path(const ServerConfig& config);

}  // namespace branchline
