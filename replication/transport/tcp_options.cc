#include "replication/transport/tcp_options.h"

#include <netinet/tcp.h>
#include <sys/socket.h>

namespace branchline {
namespace {

void set(int fd, int level, int option, int value) {
  // A kernel that lacks one of them costs a slower notice of a dead peer; sessions have their own.
  ::setsockopt(fd, level, option, &value, sizeof value);
}

}  // namespace

void set_tcp_options(boost::asio::ip::tcp::socket& socket, const LinkOptions& options) {
  int fd = socket.native_handle();
  set(fd, IPPROTO_TCP, TCP_NODELAY, 1);
  // What is in the kernel's buffer cannot be counted, and a heartbeat waits behind it.
  set(fd, SOL_SOCKET, SO_SNDBUF, options.send_buffer_bytes);
  set(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
  set(fd, IPPROTO_TCP, TCP_KEEPIDLE, 10);
  set(fd, IPPROTO_TCP, TCP_KEEPINTVL, 5);
  set(fd, IPPROTO_TCP, TCP_KEEPCNT, 3);
  set(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, static_cast<int>(options.unacknowledged.count()));
}

std::string to_text(const boost::asio::ip::tcp::endpoint& endpoint) {
  std::string address = endpoint.address().to_string();
  if (endpoint.address().is_v6()) address = "[" + address + "]";
  return address + ":" + std::to_string(endpoint.port());
}

}  // namespace branchline
