#include "tools/wan/proxy.h"

#include <algorithm>
#include <chrono>
#include <span>
#include <string>
#include <utility>

#include <spdlog/spdlog.h>
#include <boost/asio/error.hpp>

#include "tools/wan/byte_queue.h"

namespace branchline::wan {

namespace asio = boost::asio;
using boost::system::error_code;

namespace {

// One read takes this much at most, so that a fast connection does not hold up the others.
constexpr size_t kReadBytes = 64 * 1024;
constexpr size_t kWriteBuffers = 32;
// The kernel's buffers before and behind the line (Linux doubles the number). Left to themselves
// they grow to megabytes, and a sender would see them vanish into a line whose queue is full or
// whose receiver does not read.
constexpr int kKernelBuffer = 128 * 1024;
constexpr auto kAcceptPause = std::chrono::milliseconds(100);

std::string text_of(const Proxy::Tcp::endpoint& endpoint) {
  const std::string host = endpoint.address().to_string();
  return (endpoint.address().is_v6() ? "[" + host + "]" : host) + ":" +
         std::to_string(endpoint.port());
}

template <typename Socket>
void limit_buffers(Socket& socket, error_code& error) {
  socket.set_option(asio::socket_base::receive_buffer_size(kKernelBuffer), error);
  if (!error) socket.set_option(asio::socket_base::send_buffer_size(kKernelBuffer), error);
}

void close_socket(Proxy::Tcp::socket& socket, bool reset) {
  error_code ignored;
  if (reset) socket.set_option(asio::socket_base::linger(true, 0), ignored);
  socket.close(ignored);
}

}  // namespace

// One way of one connection.
struct Proxy::Pipe {
  const Way way;
  Tcp::socket& from;
  Tcp::socket& to;
  ByteQueue bytes;               // read and not yet written: in the line, then `undelivered`
  size_t undelivered = 0;        // how many of them are out of the line
  Ending ending = Ending::none;  // out of the line, behind those
  bool read_over = false;        // `from` has ended, or nobody wants its bytes any more
  bool reset_sent = false;       // through the line
  bool lost = false;             // `to` is gone: nothing can be delivered
  bool over = false;             // the end of the bytes is delivered
  bool reading = false;          // waits until `from` is readable
  bool writing = false;          // waits until `to` is writable
  bool paused = false;           // is in paused_
  bool touched = false;          // is in arrived_
};

struct Proxy::Connection {
  Connection(FlowId flow, Tcp::socket accepted, asio::io_context& io)
      : id(flow), near(std::move(accepted)), far(io) {}

  Pipe& pipe(Way way) { return way == Way::up ? up : down; }

  const FlowId id;  // in both lines
  Tcp::socket near;
  Tcp::socket far;
  Pipe up{Way::up, near, far};
  Pipe down{Way::down, far, near};
  bool connected = false;
  bool closed = false;
};

Proxy::Proxy(asio::io_context& io, Tcp::endpoint listen, Tcp::endpoint connect,
             const LineShape& shape)
    : io_(io),
      listen_(std::move(listen)),
      connect_(std::move(connect)),
      shape_(shape),
      lines_{LineDirection(shape[0]), LineDirection(shape[1])},
      acceptor_(io),
      accept_pause_(io),
      alarm_(io, [this] { pump(); }),
      scratch_(kReadBytes) {}

Proxy::~Proxy() = default;

// --- up and down ---

Result<void> Proxy::bind() {
  if (acceptor_.is_open()) return {};
  error_code error;
  acceptor_.open(listen_.protocol(), error);
  if (!error) acceptor_.set_option(Tcp::acceptor::reuse_address(true), error);
  // Accepted sockets inherit the buffers; set later, the window offered at the handshake would be
  // larger.
  if (!error) limit_buffers(acceptor_, error);
  if (!error) acceptor_.bind(listen_, error);
  if (!error) acceptor_.non_blocking(true, error);
  if (error) return unavailable(error);
  return {};
}

// With SO_REUSEADDR somebody else's listener shows at bind or at listen, depending on its options.
std::unexpected<Error> Proxy::unavailable(const error_code& error) {
  error_code ignored;
  acceptor_.close(ignored);
  return fail(ErrorKind::unavailable, "wan.listen", text_of(listen_) + ": " + error.message());
}

Result<void> Proxy::up() {
  if (listening_) return {};
  BL_TRY(bind());
  error_code error;
  acceptor_.listen(asio::socket_base::max_listen_connections, error);
  if (error) return unavailable(error);
  listening_ = true;
  accept();
  return {};
}

void Proxy::down() {
  if (!listening_) return;
  listening_ = false;
  error_code ignored;
  acceptor_.close(ignored);
  accept_pause_.cancel();
  finish_all();
  // A bound socket that does not listen refuses, and keeps the port from being given to an outgoing
  // connection. If this fails, up() tries again.
  if (auto bound = bind(); !bound) spdlog::warn("while down: {}", bound.error().message);
}

void Proxy::close() {
  listening_ = false;
  error_code ignored;
  acceptor_.close(ignored);
  accept_pause_.cancel();
  finish_all();
  alarm_.cancel();
}

void Proxy::stall(bool on) {
  if (on == line(Way::up).stalled()) return;
  pump();
  const Nanos now = steady_now();
  for (auto& line : lines_) on ? line.stall(now) : line.resume(now);
  if (on) {
    error_code ignored;
    if (listening_) acceptor_.cancel(ignored);
    accept_pause_.cancel();
  } else {
    accept();
  }
  pump();
}

void Proxy::set_shape(const LineShape& shape) {
  pump();
  shape_ = shape;
  const Nanos now = steady_now();
  for (size_t way = 0; way < lines_.size(); ++way) lines_[way].change(shape[way], now);
  pump();
}

// --- connections ---

// Down, up, stall and resume may follow each other before the handler of a cancelled accept has
// run; so there is one accept under way at most, and each handler looks anew whether there should
// be another.
void Proxy::accept() {
  if (!listening_ || line(Way::up).stalled() || accepting_) return;
  accepting_ = true;
  acceptor_.async_accept([this](const error_code& error, Tcp::socket socket) {
    accepting_ = false;
    if (error == asio::error::operation_aborted) return accept();
    on_accept(error, std::move(socket));
  });
}

void Proxy::on_accept(const error_code& error, Tcp::socket socket) {
  if (error) {
    // Out of descriptors, most likely: the client waits in the backlog meanwhile.
    spdlog::warn("accept: {}", error.message());
    accept_pause_.expires_after(kAcceptPause);
    accept_pause_.async_wait([this](const error_code& cancelled) {
      if (!cancelled) accept();
    });
    return;
  }
  if (!listening_) return close_socket(socket, true);
  accept();
  if (connections_.size() >= kMaxConnections) {
    spdlog::warn("more than {} connections: reset one", kMaxConnections);
    return close_socket(socket, true);
  }
  ++accepted_total_;
  error_code failed;
  socket.set_option(Tcp::no_delay(true), failed);
  socket.non_blocking(true, failed);
  auto c = std::make_shared<Connection>(++last_id_, std::move(socket), io_);
  connections_.emplace(c->id, c);
  for (auto& line : lines_) line.open(c->id);
  connect_far_end(c);
  read_later(c, c->up);
}

void Proxy::connect_far_end(const ConnectionPtr& c) {
  error_code error;
  c->far.open(connect_.protocol(), error);
  if (!error) limit_buffers(c->far, error);
  if (!error) c->far.set_option(Tcp::no_delay(true), error);
  if (!error) c->far.non_blocking(true, error);
  if (error) {
    spdlog::warn("connect to {}: {}", text_of(connect_), error.message());
    ++refused_total_;
    return finish(c, true);
  }
  c->far.async_connect(connect_, [this, c](const error_code& refused) {
    if (c->closed) return;
    if (refused) {
      spdlog::warn("connect to {}: {}", text_of(connect_), refused.message());
      ++refused_total_;
      return finish(c, true);
    }
    c->connected = true;
    read_later(c, c->down);
    write_out(c, c->up);
    pump();
  });
}

void Proxy::lose_end(const ConnectionPtr& c, Pipe& dead) {
  Pipe& towards = c->pipe(dead.way == Way::up ? Way::down : Way::up);
  dead.read_over = true;
  if (!towards.lost) {
    towards.lost = true;
    towards.read_over = true;
    towards.undelivered = 0;
    towards.bytes.clear();
    line(towards.way).drop(c->id);
  }
  close_socket(dead.from, true);
  if (dead.lost) return finish(c, true);
  if (!std::exchange(dead.reset_sent, true)) line(dead.way).end(c->id, Ending::reset, steady_now());
}

void Proxy::finish(const ConnectionPtr& c, bool reset) {
  if (std::exchange(c->closed, true)) return;
  close_socket(c->near, reset);
  close_socket(c->far, reset);
  for (Pipe* pipe : {&c->up, &c->down}) {
    if (!pipe->lost) line(pipe->way).drop(c->id);
  }
  // The caller may hold a reference into the map.
  const FlowId id = c->id;
  connections_.erase(id);
}

void Proxy::finish_all() {
  while (!connections_.empty()) {
    const ConnectionPtr c = connections_.begin()->second;
    finish(c, true);
  }
  paused_.clear();
}

// --- in: from a socket into the line ---

size_t Proxy::readable(const Pipe& pipe, FlowId id) const {
  return pipe.undelivered >= kMaxUndelivered ? 0 : line(pipe.way).room(id);
}

void Proxy::read_later(const ConnectionPtr& c, Pipe& pipe) {
  if (c->closed || pipe.read_over || pipe.reading || pipe.paused) return;
  if (readable(pipe, c->id) == 0) {
    pipe.paused = true;
    paused_.emplace_back(c, &pipe);
    return;
  }
  pipe.reading = true;
  pipe.from.async_wait(Tcp::socket::wait_read, [this, c, &pipe](const error_code& error) {
    pipe.reading = false;
    if (error != asio::error::operation_aborted) on_readable(c, pipe);
  });
}

void Proxy::on_readable(const ConnectionPtr& c, Pipe& pipe) {
  if (c->closed || pipe.read_over) return;
  // Others may have taken the room since the wait began.
  if (const size_t room = readable(pipe, c->id); room > 0) {
    error_code error;
    const size_t n =
        pipe.from.read_some(asio::buffer(scratch_.data(), std::min(room, scratch_.size())), error);
    const Nanos now = steady_now();
    if (!error) {
      pipe.bytes.append({scratch_.data(), n});
      line(pipe.way).enqueue(c->id, n, now);
    } else if (error == asio::error::eof) {
      pipe.read_over = true;
      line(pipe.way).end(c->id, Ending::fin, now);
    } else if (error != asio::error::would_block) {
      lose_end(c, pipe);
    }
  }
  read_later(c, pipe);
  pump();
}

// One look at each; a pipe that still has no room goes behind those that have been waiting longer.
void Proxy::resume_readers() {
  for (size_t left = paused_.size(); left > 0; --left) {
    auto [c, pipe] = std::move(paused_.front());
    paused_.pop_front();
    pipe->paused = false;
    read_later(c, *pipe);
  }
}

// --- out: from the line to a socket ---

void Proxy::write_out(const ConnectionPtr& c, Pipe& pipe) {
  const bool reset = pipe.ending == Ending::reset;
  if (c->closed || pipe.lost || (pipe.writing && !reset)) return;
  const bool writable = pipe.way == Way::down || c->connected;
  std::array<asio::const_buffer, kWriteBuffers> buffers;
  while (writable && pipe.undelivered > 0) {
    const size_t count = pipe.bytes.front(pipe.undelivered, buffers);
    error_code error;
    const size_t n = pipe.to.write_some(std::span(buffers.data(), count), error);
    if (error == asio::error::would_block) {
      if (reset) break;
      pipe.writing = true;
      pipe.to.async_wait(Tcp::socket::wait_write, [this, c, &pipe](const error_code& aborted) {
        pipe.writing = false;
        if (aborted == asio::error::operation_aborted) return;
        write_out(c, pipe);
        pump();
      });
      return;
    }
    if (error) return lose_end(c, c->pipe(pipe.way == Way::up ? Way::down : Way::up));
    pipe.bytes.consume(n);
    pipe.undelivered -= n;
    bytes_[static_cast<size_t>(pipe.way)] += n;
  }
  if (reset) return finish(c, true);
  if (!writable || pipe.ending != Ending::fin || pipe.over) return;
  pipe.over = true;
  error_code ignored;
  pipe.to.shutdown(Tcp::socket::shutdown_send, ignored);
  if (c->up.over && c->down.over) finish(c, false);
}

// --- the line's time ---

void Proxy::pump() {
  const Nanos now = steady_now();
  for (const Way way : {Way::up, Way::down}) {
    while (auto arrival = line(way).ready(now)) {
      const ConnectionPtr& c = connections_.at(arrival->flow);
      Pipe& pipe = c->pipe(way);
      pipe.undelivered += arrival->bytes;
      if (arrival->ending != Ending::none) pipe.ending = arrival->ending;
      if (!std::exchange(pipe.touched, true)) arrived_.emplace_back(c, &pipe);
    }
  }
  for (auto& [c, pipe] : arrived_) {
    pipe->touched = false;
    write_out(c, *pipe);
  }
  arrived_.clear();
  resume_readers();
  alarm_.set(next_due(lines_));
}

// --- figures ---

LineStats Proxy::stats() const {
  LineStats s;
  s.up = listening_;
  s.stalled = line(Way::up).stalled();
  s.shape = shape_;
  s.bytes = bytes_;
  s.queued = {line(Way::up).waiting_bytes(), line(Way::down).waiting_bytes()};
  s.more = {{"connections", connections_.size()},
            {"accepted_total", accepted_total_},
            {"refused_total", refused_total_}};
  return s;
}

void Proxy::reset_stats() {
  bytes_ = {};
  accepted_total_ = 0;
  refused_total_ = 0;
}

}  // namespace branchline::wan
