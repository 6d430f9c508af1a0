// Where a server listens: the address that the topology names for it.
#pragma once

#include <boost/asio/ip/tcp.hpp>
#include <cstdint>
#include <string>

#include "common/base/error.h"

namespace branchline {

// An IP address, or a host name that this machine resolves to one of its own. Blocks while it asks:
// at start only. `invalid` with code "address.unknown" where there is none.
Result<boost::asio::ip::tcp::endpoint> listen_address(const std::string& host, uint16_t port);

}  // namespace branchline
