#include <boost/asio/as_tuple.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <vector>

#include "replication/transport/tcp_options.h"
#include "replication/transport/tls_connection.h"
#include "replication/transport/tls_link.h"
#include "replication/transport/tls_transport.h"

namespace branchline {
namespace {

using boost::asio::ip::tcp;
using std::chrono::steady_clock;
constexpr auto kAwait = boost::asio::as_tuple(boost::asio::use_awaitable);

// One dial under way, and the only ways to end it early: the clock and the caller.
struct Attempt {
  explicit Attempt(boost::asio::io_context& io)
      : socket(io), resolver(io), timer(io), shaken(io.get_executor()) {}

  tcp::socket socket;
  tcp::resolver resolver;
  boost::asio::steady_timer timer;
  uint64_t timer_round = 0;
  bool timed_out = false;
  bool stopped = false;
  std::shared_ptr<TlsConnection> connection;
  std::optional<Result<void>> result;  // of the handshake
  Event shaken;

  void cancel_io() {
    boost::system::error_code ignored;
    resolver.cancel();
    socket.close(ignored);
  }
  void stop() {
    stopped = true;
    cancel_io();
    if (connection) connection->drop({ErrorKind::shutdown, "link.closed", "dialling was stopped"});
  }
  Error ended(const std::string& where, const boost::system::error_code& error) const {
    if (stopped) return {ErrorKind::shutdown, "link.closed", "dialling was stopped"};
    if (timed_out) return {ErrorKind::unavailable, "link.timeout", where + ": no answer in time"};
    return {ErrorKind::unavailable, "link.unreachable", where + ": " + error.message()};
  }
};

// A deadline closes the socket: Boost 1.81 has no cancel_after.
void arm(const std::shared_ptr<Attempt>& attempt, steady_clock::time_point deadline) {
  uint64_t round = ++attempt->timer_round;
  attempt->timed_out = false;
  attempt->timer.expires_at(deadline);
  attempt->timer.async_wait([attempt, round](const boost::system::error_code& error) {
    if (error || attempt->timer_round != round) return;
    attempt->timed_out = true;
    attempt->cancel_io();
  });
}

void disarm(Attempt& attempt) {
  ++attempt.timer_round;
  attempt.timer.cancel();
}

struct Target {
  std::shared_ptr<const LinkContext> context;
  std::string expected_peer;
  LinkOptions options;
};

boost::asio::awaitable<Result<std::unique_ptr<Link>>> shake_hands(
    std::shared_ptr<Attempt> attempt, tcp::endpoint endpoint, const Target& target,
    steady_clock::time_point deadline) {
  attempt->result.reset();
  attempt->connection =
      std::make_shared<TlsConnection>(std::move(attempt->socket), target.context, TlsRole::client,
                                      target.expected_peer, target.options);
  attempt->connection->handshake(
      deadline,
      [attempt](Result<void> result) {
        attempt->result = std::move(result);
        attempt->shaken.notify();
      },
      nullptr);
  while (!attempt->result) co_await attempt->shaken.wait();
  std::shared_ptr<TlsConnection> connection = std::exchange(attempt->connection, nullptr);
  if (!*attempt->result) {
    Error why = attempt->result->error();
    why.message = to_text(endpoint) + ": " + why.message;
    co_return std::unexpected(std::move(why));
  }
  std::unique_ptr<Link> link = std::make_unique<TlsLink>(std::move(connection));
  co_return link;
}

boost::asio::awaitable<Result<std::unique_ptr<Link>>> dial_in_turn(
    boost::asio::io_context& io, std::shared_ptr<Attempt> attempt,
    std::vector<tcp::endpoint> endpoints, const Target& target, steady_clock::time_point deadline) {
  Result<std::unique_ptr<Link>> out =
      fail(ErrorKind::unavailable, "link.unknown_host", "the host has no address");
  for (size_t i = 0; i < endpoints.size(); ++i) {
    if (attempt->stopped) {
      out = std::unexpected(attempt->ended({}, {}));
      break;
    }
    const tcp::endpoint& endpoint = endpoints[i];
    auto now = steady_clock::now();
    // An address that swallows packets must not use up the time of the next.
    auto until = now + (deadline - now) / static_cast<int64_t>(endpoints.size() - i);
    boost::system::error_code opened;
    attempt->socket = tcp::socket(io);
    attempt->socket.open(endpoint.protocol(), opened);
    if (opened) {
      out = std::unexpected(attempt->ended(to_text(endpoint), opened));
      continue;
    }
    set_tcp_options(attempt->socket, target.options);
    arm(attempt, until);
    auto [error] = co_await attempt->socket.async_connect(endpoint, kAwait);
    disarm(*attempt);
    if (error || attempt->timed_out || attempt->stopped) {
      out = std::unexpected(attempt->ended(to_text(endpoint), error));
      continue;
    }
    out = co_await shake_hands(attempt, endpoint, target, until);
    // Who answers and is the wrong one ends the search: another address would hide a mistake.
    if (out || out.error().kind != ErrorKind::unavailable) break;
  }
  co_return out;
}

}  // namespace

boost::asio::awaitable<Result<std::unique_ptr<Link>>> tls_dial(
    boost::asio::io_context& io, tcp::endpoint endpoint, std::shared_ptr<const LinkContext> context,
    std::string expected_peer, LinkOptions options, std::stop_token stop) {
  auto deadline = steady_clock::now() + options.handshake;
  Target target{std::move(context), std::move(expected_peer), options};
  auto attempt = std::make_shared<Attempt>(io);
  std::stop_callback on_stop(std::move(stop), [attempt] { attempt->stop(); });
  std::vector<tcp::endpoint> endpoints(1, endpoint);
  co_return co_await dial_in_turn(io, attempt, std::move(endpoints), target, deadline);
}

boost::asio::awaitable<Result<std::unique_ptr<Link>>> tls_dial(
    boost::asio::io_context& io, std::string host, uint16_t port,
    std::shared_ptr<const LinkContext> context, std::string expected_peer, LinkOptions options,
    std::stop_token stop) {
  auto deadline = steady_clock::now() + options.handshake;
  Target target{std::move(context), std::move(expected_peer), options};
  auto attempt = std::make_shared<Attempt>(io);
  std::stop_callback on_stop(std::move(stop), [attempt] { attempt->stop(); });
  std::string service = std::to_string(port);
  arm(attempt, deadline);
  auto [error, found] = co_await attempt->resolver.async_resolve(host, service, kAwait);
  disarm(*attempt);
  if (error || attempt->timed_out || attempt->stopped) {
    Error why = attempt->ended(host + ":" + service, error);
    if (why.code == "link.unreachable") why.code = "link.unknown_host";
    co_return std::unexpected(std::move(why));
  }
  std::vector<tcp::endpoint> endpoints;
  for (const auto& entry : found) endpoints.push_back(entry.endpoint());
  co_return co_await dial_in_turn(io, attempt, std::move(endpoints), target, deadline);
}

}  // namespace branchline
