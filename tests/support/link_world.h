// Two servers on loopback with real certificates, for tests of links. Everything of ours runs on
// the test's thread; foreign peers that need blocking sockets run on a thread beside it.
#pragma once

#include <openssl/err.h>
#include <sys/socket.h>
#include <unistd.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <catch2/catch.hpp>
#include <chrono>
#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "common/base/check.h"
#include "common/tls/authority.h"
#include "common/tls/openssl.h"
#include "replication/transport/tls_transport.h"
#include "tests/support/fixed_clock.h"
#include "tests/support/temp_folder.h"

namespace branchline::link_test {

using boost::asio::awaitable;
using boost::asio::ip::tcp;
using std::chrono::steady_clock;

inline constexpr int64_t kDayMs = 86'400'000;
inline const tcp::endpoint kAnyPort(boost::asio::ip::address_v4::loopback(), 0);

using LinkResult = Result<std::unique_ptr<Link>>;
using Frames = Result<std::vector<Frame>>;

// Made once: keys cost time.
struct Identities {
  TempFolder folder;
  SystemClock clock;
  std::shared_ptr<const LinkContext> master, hamburg;

  Identities() {
    BL_CHECK(create_authority(folder / "ca", clock));
    BL_CHECK(create_authority(folder / "other-ca", clock));
    master = make("master");
    hamburg = make("hamburg");
  }
  std::shared_ptr<const LinkContext> make(const std::string& server, const std::string& ca = "ca") {
    BL_CHECK(issue_server(folder / ca, server, folder / server, clock,
                          {.overwrite = Overwrite::replace}));
    return *load_link_context(folder / server, clock);
  }
  // No longer valid: issued, by an authority of that time (ca-then), and loaded three days ago.
  std::shared_ptr<const LinkContext> expired(const std::string& server) {
    FixedClock then(clock.wall_ms() - 3 * kDayMs);
    BL_CHECK(create_authority(folder / "ca-then", then, {.overwrite = Overwrite::replace}));
    BL_CHECK(issue_server(folder / "ca-then", server, folder / server, then,
                          {.validity_days = 1, .overwrite = Overwrite::replace}));
    return *load_link_context(folder / server, then);
  }
  // Shows the certificate in `server`, trusts the authority in `ca`: what no honest server does.
  std::shared_ptr<const LinkContext> mixed(const std::string& server, const std::string& ca) {
    SslCtxPtr context(SSL_CTX_new(TLS_method()));
    BL_CHECK(SSL_CTX_use_certificate_file(context.get(), (folder / server / "server.pem").c_str(),
                                          SSL_FILETYPE_PEM) == 1);
    BL_CHECK(SSL_CTX_use_PrivateKey_file(context.get(), (folder / server / "server.key").c_str(),
                                         SSL_FILETYPE_PEM) == 1);
    BL_CHECK(SSL_CTX_load_verify_locations(context.get(), (folder / ca / "ca.pem").c_str(),
                                           nullptr) == 1);
    return std::make_shared<const LinkContext>(context.release(),
                                               CertificateInfo{.server = server});
  }
};

inline Identities& ids() {
  static Identities identities;
  return identities;
}

struct World {
  boost::asio::io_context io{1};
  boost::asio::executor_work_guard<boost::asio::io_context::executor_type> work{io.get_executor()};
  std::unique_ptr<TlsAcceptor> acceptor;

  explicit World(AcceptorOptions options = {},
                 std::shared_ptr<const LinkContext> context = ids().master) {
    auto listening = TlsAcceptor::listen(io, kAnyPort, std::move(context), options);
    REQUIRE(listening);
    acceptor = std::move(*listening);
  }
  ~World() {
    acceptor.reset();
    io.restart();
    io.poll();  // what was closed finishes
  }

  // Runs the loop until `condition`; a bound for a broken build, not a wait.
  void until(const std::function<bool()>& condition) {
    auto limit = steady_clock::now() + std::chrono::seconds(60);
    while (!condition()) {
      if (io.run_one_until(limit) == 0) FAIL("nothing happened within a minute");
    }
  }
  template <typename T>
  T wait(awaitable<T> task) {
    std::optional<T> out;
    start(std::move(task), [&](T value) { out.emplace(std::move(value)); });
    until([&] { return out.has_value(); });
    return std::move(*out);
  }
  void wait(awaitable<void> task) {
    bool done = false;
    boost::asio::co_spawn(io, std::move(task), [&](const std::exception_ptr& e) {
      if (e) std::rethrow_exception(e);
      done = true;
    });
    until([&] { return done; });
  }
  template <typename T>
  void start(awaitable<T> task, std::type_identity_t<std::function<void(T)>> then) {
    boost::asio::co_spawn(io, std::move(task),
                          [then = std::move(then)](const std::exception_ptr& e, T value) {
                            if (e) std::rethrow_exception(e);
                            then(std::move(value));
                          });
  }
  // Runs `peer` on a thread beside the loop, and the loop until it has ended.
  void beside(std::function<void()> peer) {
    bool ended = false;
    std::thread thread([&] {
      peer();
      boost::asio::post(io, [&] { ended = true; });
    });
    until([&] { return ended; });
    thread.join();
  }

  tcp::endpoint endpoint() const {
    return {boost::asio::ip::address_v4::loopback(), acceptor->port()};
  }
  LinkResult dial(std::shared_ptr<const LinkContext> context = ids().hamburg,
                  const std::string& expected = "master", LinkOptions options = {}) {
    return wait(tls_dial(io, endpoint(), std::move(context), expected, options));
  }
  tcp::socket plain() {
    tcp::socket socket(io);
    socket.connect(endpoint());
    return socket;
  }
};

struct Ends {
  std::unique_ptr<Link> branch, master;
};

inline Ends connect(World& world, LinkOptions options = {}) {
  LinkResult dialled = world.dial(ids().hamburg, "master", options);
  REQUIRE(dialled);
  LinkResult accepted = world.wait(world.acceptor->accept());
  REQUIRE(accepted);
  return {std::move(*dialled), std::move(*accepted)};
}

inline std::string payload(size_t size, char seed) {
  std::string out(size, seed);
  for (size_t i = 0; i < size; i += 1021) out[i] = static_cast<char>(i ^ static_cast<size_t>(seed));
  return out;
}

// Reads until there are `count` frames.
inline std::vector<Frame> read_frames(World& world, Link& link, size_t count) {
  std::vector<Frame> out;
  while (out.size() < count) {
    Frames frames = world.wait(link.read());
    REQUIRE(frames);
    REQUIRE_FALSE(frames->empty());
    for (Frame& frame : *frames) out.push_back(std::move(frame));
  }
  return out;
}

// How the link ends for a reader, after whatever frames there are.
inline Error read_end(World& world, Link& link) {
  for (;;) {
    Frames frames = world.wait(link.read());
    if (!frames) return frames.error();
  }
}

// A peer that speaks TLS by OpenSSL alone, blocking, on the calling thread.
class RawPeer {
 public:
  RawPeer(const tcp::endpoint& endpoint, SSL_CTX* context) {
    fd_ = ::socket(AF_INET, SOCK_STREAM, 0);
    BL_CHECK(::connect(fd_, endpoint.data(), static_cast<socklen_t>(endpoint.size())) == 0);
    ssl_.reset(SSL_new(context));
    SSL_set_fd(ssl_.get(), fd_);
  }
  ~RawPeer() { ::close(fd_); }
  bool connect() { return SSL_connect(ssl_.get()) == 1; }
  bool write(const std::string& bytes) {
    return SSL_write(ssl_.get(), bytes.data(), static_cast<int>(bytes.size())) > 0;
  }
  // Past TLS, as they are.
  void write_wire(const std::string& bytes) {
    BL_CHECK(::write(fd_, bytes.data(), bytes.size()) == static_cast<ssize_t>(bytes.size()));
  }
  // The reason for which reading ends; what comes before it is added to `out`.
  std::string read_end(std::string* out = nullptr) {
    char buffer[4096];
    int size = 0;
    do {
      ERR_clear_error();
      size = SSL_read(ssl_.get(), buffer, sizeof buffer);
      if (size > 0 && out) out->append(buffer, static_cast<size_t>(size));
    } while (size > 0);
    return SSL_get_error(ssl_.get(), size) == SSL_ERROR_ZERO_RETURN ? "goodbye"
                                                                    : take_openssl_errors();
  }

 private:
  int fd_;
  SslPtr ssl_;
};

}  // namespace branchline::link_test
