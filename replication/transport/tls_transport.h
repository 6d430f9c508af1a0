// Links over TLS and TCP: dialled by a branch, accepted by its upstream server.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <chrono>
#include <memory>
#include <stop_token>
#include <string>

#include "common/base/error.h"
#include "common/base/limits.h"
#include "common/tls/link_context.h"
#include "replication/transport/transport.h"

namespace boost::asio {
class io_context;
}

namespace branchline {

struct LinkOptions {
  std::chrono::milliseconds handshake{10'000};  // connect and handshake together
  std::chrono::milliseconds linger{5'000};      // for what is queued when close() is called
  // What was sent must be acknowledged by the peer's kernel within, and its window may be shut so
  // long. A backstop: sessions give up on a silent peer earlier.
  std::chrono::milliseconds unacknowledged{20'000};
  size_t max_queued_bytes = limits::kMaxLinkQueueBytes;
  int send_buffer_bytes = limits::kLinkSendBufferBytes;
};

// Connects, shakes hands, and checks that the other end is `expected_peer`. I/O thread, where
// `stop` must be requested too: it ends the attempt at once.
// Errors: unavailable "link.unreachable", "link.timeout", "link.broken"; shutdown "link.closed" if
// stopped; what TlsEngine::handshake() reports. That the acceptor refuses our own certificate shows
// only when the link is read ("tls.refused").
boost::asio::awaitable<Result<std::unique_ptr<Link>>> tls_dial(
    boost::asio::io_context& io, boost::asio::ip::tcp::endpoint endpoint,
    std::shared_ptr<const LinkContext> context, std::string expected_peer, LinkOptions options = {},
    std::stop_token stop = {});

// As above, for the name of a host: its addresses are tried in turn, each with its share of the
// time. Beware: a name server that does not answer holds up the end of the process, as
// getaddrinfo() cannot be interrupted.
// Errors: also unavailable "link.unknown_host".
boost::asio::awaitable<Result<std::unique_ptr<Link>>> tls_dial(
    boost::asio::io_context& io, std::string host, uint16_t port,
    std::shared_ptr<const LinkContext> context, std::string expected_peer, LinkOptions options = {},
    std::stop_token stop = {});

struct AcceptorOptions {
  LinkOptions link;
  // Connections that have not shown a certificate yet. When all places are taken, one that has held
  // its place for `grace` makes room for the next: silent connections cannot keep servers out, and
  // a rush of honest ones is served in turn.
  size_t max_handshakes = limits::kMaxHandshakes;
  std::chrono::milliseconds grace{2'000};
};

struct AcceptorCounters {
  uint64_t connections = 0;  // TCP
  uint64_t accepted = 0;     // verified servers
  uint64_t refused = 0;      // no TLS, no certificate, a wrong one; those who hung up
  uint64_t timed_out = 0;    // no handshake within its time, or pushed out after the grace
};

// I/O thread only. Handshakes run beside each other. A refusal is logged with the peer's address
// and the reason (a few lines a second at most) and counted.
class TlsAcceptor {
 public:
  // Errors: unavailable "link.cannot_listen", with the address and why.
  static Result<std::unique_ptr<TlsAcceptor>> listen(boost::asio::io_context& io,
                                                     boost::asio::ip::tcp::endpoint endpoint,
                                                     std::shared_ptr<const LinkContext> context,
                                                     AcceptorOptions options = {});
  ~TlsAcceptor();  // close()
  TlsAcceptor(const TlsAcceptor&) = delete;
  TlsAcceptor& operator=(const TlsAcceptor&) = delete;

  // The next verified peer. Whether link->peer() may do what it wants is for the caller to decide.
  // Errors: shutdown "link.closed" after close().
  boost::asio::awaitable<Result<std::unique_ptr<Link>>> accept();

  // Stops listening, drops handshakes and links that nobody has taken yet. Links taken by accept()
  // live on.
  void close();

  uint16_t port() const;
  const AcceptorCounters& counters() const;
  // Places taken at present.
  size_t handshakes() const;

 private:
  struct State;
  explicit TlsAcceptor(std::shared_ptr<State> state);
  std::shared_ptr<State> state_;
};

}  // namespace branchline
