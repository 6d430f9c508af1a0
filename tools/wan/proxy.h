// Joins TCP connections over a line: accepts on one address, connects each to another and carries
// bytes both ways through two LineDirections that all connections share. One thread: everything
// here runs on the io_context.
//
// A connection whose receiver does not read is no longer read itself; it holds at most
// kMaxUndelivered, its share of the queue and what it has in flight. A close travels behind the
// data, half-closed connections stay; a reset travels behind the data too, but does not wait for a
// receiver that does not read.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <unordered_map>
#include <utility>
#include <vector>

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>

#include "common/base/error.h"
#include "tools/wan/alarm.h"
#include "tools/wan/line.h"
#include "tools/wan/link.h"

namespace branchline::wan {

// Bytes out of the line that the receiver has not taken yet; at this many its sender is no longer
// read.
inline constexpr size_t kMaxUndelivered = 64 * 1024;
inline constexpr size_t kMaxConnections = 4096;  // beyond: accepted and reset

class Proxy : public Line {
 public:
  using Tcp = boost::asio::ip::tcp;

  // Does nothing until up(). `io` must outlive the proxy.
  Proxy(boost::asio::io_context& io, Tcp::endpoint listen, Tcp::endpoint connect,
        const LineShape& shape);
  ~Proxy() override;
  Proxy(const Proxy&) = delete;
  Proxy& operator=(const Proxy&) = delete;

  // Listens; unavailable if the address cannot be had. Without effect if it is up.
  Result<void> up() override;
  // Resets all connections; new ones are refused. The port stays bound, so that the system gives it
  // to no outgoing connection; a program that asks for it by number can still take it, and then
  // up() fails.
  void down() override;
  bool can_lose() const override { return false; }
  void set_shape(const LineShape& shape) override;
  // A stalled line keeps its connections, moves nothing and accepts nothing; new ones wait in the
  // backlog.
  void stall(bool on) override;
  // Bytes are payload. More: connections, accepted_total, refused_total (the far end refused).
  LineStats stats() const override;
  void reset_stats() override;
  // Resets all connections too.
  void close() override;

 private:
  struct Pipe;
  struct Connection;
  using ConnectionPtr = std::shared_ptr<Connection>;

  Result<void> bind();
  std::unexpected<Error> unavailable(const boost::system::error_code& error);
  void accept();
  void on_accept(const boost::system::error_code& error, Tcp::socket socket);
  void connect_far_end(const ConnectionPtr& c);

  void read_later(const ConnectionPtr& c, Pipe& pipe);
  void on_readable(const ConnectionPtr& c, Pipe& pipe);
  void write_out(const ConnectionPtr& c, Pipe& pipe);
  size_t readable(const Pipe& pipe, FlowId id) const;
  // The socket that `dead` reads from is gone.
  void lose_end(const ConnectionPtr& c, Pipe& dead);
  void finish(const ConnectionPtr& c, bool reset);
  void finish_all();

  void pump();
  void resume_readers();

  LineDirection& line(Way way) { return lines_[static_cast<size_t>(way)]; }
  const LineDirection& line(Way way) const { return lines_[static_cast<size_t>(way)]; }

  boost::asio::io_context& io_;
  const Tcp::endpoint listen_;
  const Tcp::endpoint connect_;
  LineShape shape_;
  std::array<LineDirection, 2> lines_;
  Tcp::acceptor acceptor_;
  boost::asio::steady_timer accept_pause_;
  bool listening_ = false;
  bool accepting_ = false;

  std::unordered_map<FlowId, ConnectionPtr> connections_;
  FlowId last_id_{0};
  // Pipes that could be read but for backpressure, the longest waiting first. Each at most once.
  std::deque<std::pair<ConnectionPtr, Pipe*>> paused_;
  std::vector<std::pair<ConnectionPtr, Pipe*>> arrived_;  // pump()'s, kept for its memory

  Alarm alarm_;

  std::vector<char> scratch_;
  std::array<uint64_t, 2> bytes_{};
  uint64_t accepted_total_ = 0;
  uint64_t refused_total_ = 0;
};

}  // namespace branchline::wan
