// One TCP connection with TLS and frames, from its first byte to its end. For .cc files of this
// folder.
//
//   handshaking ──verified──▶ open ──close(), or the peer's goodbye──▶ closing ──EOF, or linger
//   over──▶ closed
//        └───refused: the alert is sent───────────────────────────────────▲
//   open, and what came is no frame: nothing more is read; the owner says why, then close()
//   any state ──broken, dropped──▶ closed
#pragma once

#include <array>
#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "common/runtime/event.h"
#include "common/tls/engine.h"
#include "replication/transport/tls_transport.h"
#include "replication/wire/frame.h"

namespace branchline {

// Plain handlers rather than coroutines within: each holds a shared_ptr, so that a close may
// outlive the Link, and an exception leaves through the I/O loop instead of vanishing. I/O thread
// only.
class TlsConnection : public std::enable_shared_from_this<TlsConnection> {
 public:
  using Tcp = boost::asio::ip::tcp;
  using TimePoint = std::chrono::steady_clock::time_point;

  TlsConnection(Tcp::socket socket, std::shared_ptr<const LinkContext> context, TlsRole role,
                std::string expected_peer, const LinkOptions& options);

  // Calls `on_done` once: with success, or with why the peer was refused. Then, later, `on_closed`
  // once.
  void handshake(TimePoint deadline, std::function<void(Result<void>)> on_done,
                 std::function<void()> on_closed);

  boost::asio::awaitable<Result<std::vector<Frame>>> read();
  Result<void> send(std::string frame);
  void close();
  boost::asio::awaitable<void> closed();
  // Closes the socket now, for the reason given.
  void drop(Error why);

  const std::string& peer() const { return engine_.peer(); }
  std::string peer_certificate() const { return engine_.peer_certificate(); }
  size_t queued_bytes() const { return queued_bytes_; }
  LinkCounters counters() const;
  bool is_open() const { return stage_ == Stage::open; }

 private:
  enum class Stage { handshaking, open, closing, closed };

  void continue_handshake();
  void handshake_done(Result<void> result);
  void receive();
  void on_received(const boost::system::error_code& error, size_t size);
  void decrypt();
  void stop_reading(Error why);
  void flush_soon();
  void flush();
  Result<void> encrypt();
  void on_sent(const boost::system::error_code& error);
  void start_closing(Error why, std::chrono::milliseconds linger);
  void send_eof();
  void clear_queue();
  void keep_begun_frame();
  void arm(TimePoint deadline);

  Tcp::socket socket_;
  TlsEngine engine_;
  LinkOptions options_;
  Stage stage_ = Stage::handshaking;
  std::optional<Error> over_;        // set when stage_ leaves open
  std::optional<Error> unreadable_;  // what the peer sent cannot be cut into frames
  std::function<void(Result<void>)> on_handshake_;
  std::function<void()> on_closed_;
  boost::asio::steady_timer deadline_;

  std::array<char, 32 * 1024> incoming_;
  bool receiving_ = false;
  bool peer_eof_ = false;  // or an error: nothing more will come
  std::string plain_;
  FrameDecoder decoder_;
  Event readable_;

  std::deque<std::string> queue_;
  size_t front_sent_ = 0;  // bytes of the first that are encrypted already
  size_t queued_bytes_ = 0;
  size_t in_flight_ = 0;  // of queued_bytes_, in the write that is under way
  std::string gathered_;
  std::string cipher_;
  bool sending_ = false;
  bool flush_posted_ = false;
  bool closed_here_ = false;
  bool goodbye_said_ = false;
  bool eof_sent_ = false;
  bool send_failed_ = false;
  Event gone_;

  LinkCounters counters_;
};

}  // namespace branchline
