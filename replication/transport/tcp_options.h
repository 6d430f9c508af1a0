// For .cc files of this folder.
#pragma once

#include <boost/asio/ip/tcp.hpp>
#include <string>

#include "replication/transport/tls_transport.h"

namespace branchline {

// What every link's socket is told; before it connects or as soon as it is accepted.
void set_tcp_options(boost::asio::ip::tcp::socket& socket, const LinkOptions& options);

// "10.0.0.1:7001", "[fe80::1]:7001"
std::string to_text(const boost::asio::ip::tcp::endpoint& endpoint);

}  // namespace branchline
