#include "common/runtime/listen_address.h"

#include <boost/asio/io_context.hpp>

namespace branchline {

Result<boost::asio::ip::tcp::endpoint> listen_address(const std::string& host, uint16_t port) {
  using boost::asio::ip::tcp;
  boost::system::error_code ec;
  if (auto address = boost::asio::ip::make_address(host, ec); !ec)
    return tcp::endpoint(address, port);
  boost::asio::io_context io;
  tcp::resolver resolver(io);
  auto found = resolver.resolve(host, std::to_string(port), tcp::resolver::passive, ec);
  if (ec || found.empty()) {
    return fail(ErrorKind::invalid, "address.unknown",
                "`" + host +
                    "`, where this server is to listen, is no IP address and no name that this "
                    "machine knows; mend "
                    "the topology, or the name's entry in DNS or /etc/hosts");
  }
  return found.begin()->endpoint();
}

}  // namespace branchline
