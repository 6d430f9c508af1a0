#include <spdlog/spdlog.h>

#include <algorithm>
#include <boost/asio/io_context.hpp>
#include <deque>
#include <list>

#include "replication/transport/tcp_options.h"
#include "replication/transport/tls_connection.h"
#include "replication/transport/tls_link.h"
#include "replication/transport/tls_transport.h"

namespace branchline {
namespace {

using boost::asio::ip::tcp;
using std::chrono::steady_clock;

// While file descriptors are short, accept() fails at once again and again.
constexpr std::chrono::milliseconds kAcceptPause{100};

// Anybody who reaches the port can cause a refusal: what is logged of them is bounded.
class RefusalLog {
 public:
  void refused(const std::string& who, const std::string& why) {
    auto now = steady_clock::now();
    if (now - window_ >= std::chrono::seconds(1)) {
      if (unlogged_ > 0)
        spdlog::warn("{} more connections were refused, not logged one by one", unlogged_);
      window_ = now;
      logged_ = unlogged_ = 0;
    }
    if (logged_ < kLinesPerSecond) {
      ++logged_;
      spdlog::warn("refused a connection from {}: {}", who, why);
    } else {
      ++unlogged_;
    }
  }

 private:
  static constexpr uint64_t kLinesPerSecond = 5;
  steady_clock::time_point window_{};
  uint64_t logged_ = 0;
  uint64_t unlogged_ = 0;
};

}  // namespace

struct TlsAcceptor::State : std::enable_shared_from_this<State> {
  State(boost::asio::io_context& io, std::shared_ptr<const LinkContext> c, const AcceptorOptions& o)
      : executor(io.get_executor()),
        socket(io),
        context(std::move(c)),
        options(o),
        timer(io),
        ready_or_closed(executor) {}

  boost::asio::any_io_executor executor;
  tcp::acceptor socket;
  std::shared_ptr<const LinkContext> context;
  AcceptorOptions options;
  // A place is taken from accept() until the peer is verified, or refused and gone.
  struct Place {
    std::shared_ptr<TlsConnection> connection;
    steady_clock::time_point since;
  };
  std::list<Place> places;  // oldest first
  std::deque<std::unique_ptr<Link>> ready;
  boost::asio::steady_timer timer;
  Event ready_or_closed;
  bool accepting = false;
  bool closed = false;
  AcceptorCounters counters;
  RefusalLog log;

  void next();
  void make_room();
  void retry_after(steady_clock::duration pause);
  void accepted(tcp::socket peer);
  void close();
};

void TlsAcceptor::State::next() {
  if (accepting || closed) return;
  // Verified links that nobody takes hold places too: then the peers wait in the kernel's queue.
  if (places.size() + ready.size() >= options.max_handshakes) return make_room();
  accepting = true;
  socket.async_accept(
      [self = shared_from_this()](const boost::system::error_code& error, tcp::socket peer) {
        self->accepting = false;
        if (self->closed) return;
        if (!error) {
          self->accepted(std::move(peer));
          return self->next();
        }
        spdlog::warn("a connection could not be accepted: {}", error.message());
        self->retry_after(kAcceptPause);
      });
}

// All places are taken.
void TlsAcceptor::State::make_room() {
  if (places.empty()) return;  // accept() calls next() again
  auto due = places.front().since + options.grace;
  auto now = steady_clock::now();
  if (now < due) return retry_after(due - now);
  // Frees its place by on_closed, which calls next().
  auto oldest = places.front().connection;
  oldest->drop({ErrorKind::unavailable, "link.timeout",
                "no handshake so far, and others wait for the place"});
}

void TlsAcceptor::State::retry_after(steady_clock::duration pause) {
  timer.expires_after(pause);
  timer.async_wait([self = shared_from_this()](const boost::system::error_code& error) {
    if (!error) self->next();
  });
}

void TlsAcceptor::State::accepted(tcp::socket peer) {
  ++counters.connections;
  boost::system::error_code error;
  tcp::endpoint from = peer.remote_endpoint(error);
  if (error) return;  // gone already
  set_tcp_options(peer, options.link);
  auto now = steady_clock::now();
  auto connection = std::make_shared<TlsConnection>(std::move(peer), context, TlsRole::server,
                                                    std::string(), options.link);
  places.push_back({connection, now});
  auto place = std::prev(places.end());
  // A place is given up exactly once: when its peer is verified, or else when its connection has
  // ended.
  auto held = std::make_shared<bool>(true);
  auto give_up = [self = shared_from_this(), place, held] {
    if (!std::exchange(*held, false)) return;
    self->places.erase(place);
    self->next();
  };
  connection->handshake(
      now + options.link.handshake,
      [self = shared_from_this(), place, give_up, who = to_text(from)](Result<void> result) {
        if (self->closed) return;
        if (result) {
          ++self->counters.accepted;
          self->ready.push_back(std::make_unique<TlsLink>(place->connection));
          self->ready_or_closed.notify();
          return give_up();
        }
        ++(result.error().code == "link.timeout" ? self->counters.timed_out
                                                 : self->counters.refused);
        self->log.refused(who, result.error().message);
      },
      give_up);
}

void TlsAcceptor::State::close() {
  if (closed) return;
  closed = true;
  boost::system::error_code ignored;
  socket.close(ignored);
  timer.cancel();
  while (!places.empty()) {
    auto connection = places.front().connection;
    connection->drop({ErrorKind::shutdown, "link.closed", "this server stops accepting"});
  }
  ready.clear();
  ready_or_closed.notify();
}

TlsAcceptor::TlsAcceptor(std::shared_ptr<State> state) : state_(std::move(state)) {}
TlsAcceptor::~TlsAcceptor() { close(); }

Result<std::unique_ptr<TlsAcceptor>> TlsAcceptor::listen(boost::asio::io_context& io,
                                                         tcp::endpoint endpoint,
                                                         std::shared_ptr<const LinkContext> context,
                                                         AcceptorOptions options) {
  auto state = std::make_shared<State>(io, std::move(context), options);
  boost::system::error_code error;
  state->socket.open(endpoint.protocol(), error);
  if (!error) state->socket.set_option(tcp::acceptor::reuse_address(true), error);
  if (!error) state->socket.bind(endpoint, error);
  if (!error) state->socket.listen(boost::asio::socket_base::max_listen_connections, error);
  if (error) {
    return branchline::fail(ErrorKind::unavailable, "link.cannot_listen",
                            "cannot listen on " + to_text(endpoint) + ": " + error.message());
  }
  state->next();
  return std::unique_ptr<TlsAcceptor>(new TlsAcceptor(std::move(state)));
}

boost::asio::awaitable<Result<std::unique_ptr<Link>>> TlsAcceptor::accept() {
  auto state = state_;
  while (state->ready.empty() && !state->closed) co_await state->ready_or_closed.wait();
  if (state->closed)
    co_return branchline::fail(ErrorKind::shutdown, "link.closed", "this server stops accepting");
  std::unique_ptr<Link> link = std::move(state->ready.front());
  state->ready.pop_front();
  state->next();
  co_return link;
}

void TlsAcceptor::close() { state_->close(); }

uint16_t TlsAcceptor::port() const {
  boost::system::error_code error;
  return state_->socket.local_endpoint(error).port();
}

const AcceptorCounters& TlsAcceptor::counters() const { return state_->counters; }
size_t TlsAcceptor::handshakes() const { return state_->places.size(); }

}  // namespace branchline
