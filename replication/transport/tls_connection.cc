#include "replication/transport/tls_connection.h"

#include <boost/asio/buffer.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/write.hpp>

#include "common/base/check.h"

namespace branchline {
namespace {

// For those who were refused, or have said goodbye themselves: time for the alert to arrive.
// Closing at once would send a reset, which takes the alert with it.
constexpr std::chrono::milliseconds kFarewell{1'000};
constexpr size_t kMaxHeaderBytes = 4;  // varint of kMaxFrameBytes
static_assert(limits::kMaxFrameBytes < size_t{1} << 28);

Error closed_here() {
  return {ErrorKind::shutdown, "link.closed", "the link was closed on this side"};
}

Error broken(const boost::system::error_code& error) {
  std::string why =
      error == boost::asio::error::eof ? "the peer vanished without a goodbye" : error.message();
  return {ErrorKind::unavailable, "link.broken", "the connection is lost: " + why};
}

}  // namespace

TlsConnection::TlsConnection(Tcp::socket socket, std::shared_ptr<const LinkContext> context,
                             TlsRole role, std::string expected_peer, const LinkOptions& options)
    : socket_(std::move(socket)),
      engine_(std::move(context), role,
              TlsEngine::Options{.expected_peer = std::move(expected_peer)}),
      options_(options),
      deadline_(socket_.get_executor()),
      readable_(socket_.get_executor()),
      gone_(socket_.get_executor()) {}

void TlsConnection::handshake(TimePoint deadline, std::function<void(Result<void>)> on_done,
                              std::function<void()> on_closed) {
  on_handshake_ = std::move(on_done);
  on_closed_ = std::move(on_closed);
  arm(deadline);
  continue_handshake();
}

void TlsConnection::continue_handshake() {
  Result<bool> done = engine_.handshake();
  if (!done) {
    Error why = std::move(done).error();
    start_closing(why, kFarewell);
    handshake_done(std::unexpected(std::move(why)));
    return;
  }
  flush();
  if (stage_ != Stage::handshaking) return;
  if (!*done) return receive();
  stage_ = Stage::open;
  arm(TimePoint::max());
  // The peer's first frames may have come along with the end of its handshake.
  decrypt();
  handshake_done({});
}

void TlsConnection::handshake_done(Result<void> result) {
  if (auto done = std::exchange(on_handshake_, nullptr)) done(std::move(result));
}

void TlsConnection::receive() {
  if (receiving_ || peer_eof_ || stage_ == Stage::closed) return;
  receiving_ = true;
  socket_.async_read_some(
      boost::asio::buffer(incoming_),
      [self = shared_from_this()](const boost::system::error_code& error, size_t size) {
        self->on_received(error, size);
      });
}

void TlsConnection::on_received(const boost::system::error_code& error, size_t size) {
  receiving_ = false;
  if (stage_ == Stage::closed) return;
  if (error) {
    peer_eof_ = true;
    // While we close, EOF says that the peer will send no more; what is queued for it may still go
    // out.
    bool half_closed = stage_ == Stage::closing && error == boost::asio::error::eof && !eof_sent_;
    if (!half_closed) drop(broken(error));
    return;
  }
  if (stage_ == Stage::closing) return receive();
  engine_.received({incoming_.data(), size});
  if (stage_ == Stage::handshaking) return continue_handshake();
  decrypt();
  flush();  // an answer of TLS itself
}

void TlsConnection::decrypt() {
  plain_.clear();
  Result<TlsEngine::Reading> reading = engine_.read(plain_);
  counters_.payload_bytes_in += plain_.size();
  decoder_.append(plain_);
  readable_.notify();
  if (!reading) {
    start_closing(std::move(reading).error(), kFarewell);
  } else if (*reading == TlsEngine::Reading::ended) {
    start_closing({ErrorKind::unavailable, "link.ended", "the peer has closed the link"},
                  kFarewell);
  }
}

boost::asio::awaitable<Result<std::vector<Frame>>> TlsConnection::read() {
  auto self = shared_from_this();
  for (;;) {
    std::vector<Frame> frames;
    // What came before the peer's goodbye counts; after our own nobody is interested any more.
    while (!closed_here_ && !unreadable_) {
      Result<std::optional<Frame>> next = decoder_.next();
      if (!next && frames.empty()) stop_reading(std::move(next).error());
      if (!next || !*next) break;
      frames.push_back(std::move(**next));
    }
    if (!frames.empty()) {
      counters_.frames_in += frames.size();
      co_return frames;
    }
    if (unreadable_) co_return std::unexpected(*unreadable_);
    if (over_) co_return std::unexpected(*over_);
    receive();
    co_await readable_.wait();
  }
}

// The line itself holds, so that the owner can tell the peer why, and then close.
void TlsConnection::stop_reading(Error why) {
  why.message = "'" + peer() + "' sent " + why.message;
  unreadable_ = std::move(why);
  if (stage_ != Stage::open) return;
  keep_begun_frame();
  arm(std::chrono::steady_clock::now() + options_.linger);
}

Result<void> TlsConnection::send(std::string frame) {
  if (over_) return std::unexpected(*over_);
  BL_CHECK(stage_ == Stage::open);
  // The reader finds out why; until then nothing more is taken.
  if (send_failed_) return fail(ErrorKind::unavailable, "link.broken", "the connection is lost");
  if (frame.size() > limits::kMaxFrameBytes + kMaxHeaderBytes) {
    return fail(ErrorKind::invalid, "frame.too_large",
                "a frame of " + std::to_string(frame.size()) + " bytes cannot be sent; " +
                    std::to_string(limits::kMaxFrameBytes) + " are allowed");
  }
  if (queued_bytes_ + frame.size() > options_.max_queued_bytes) {
    return fail(ErrorKind::exhausted, "link.queue_full",
                "'" + peer() + "' does not read: " + std::to_string(queued_bytes_) +
                    " bytes wait to be sent, and " + std::to_string(options_.max_queued_bytes) +
                    " may");
  }
  queued_bytes_ += frame.size();
  ++counters_.frames_out;
  queue_.push_back(std::move(frame));
  flush_soon();
  return {};
}

// At the end of this turn of the loop, so that frames sent one after the other share a record.
void TlsConnection::flush_soon() {
  if (sending_ || flush_posted_) return;
  flush_posted_ = true;
  boost::asio::post(socket_.get_executor(), [self = shared_from_this()] {
    self->flush_posted_ = false;
    self->flush();
  });
}

void TlsConnection::flush() {
  if (sending_ || stage_ == Stage::closed) return;
  if (Result<void> encrypted = encrypt(); !encrypted) return drop(std::move(encrypted).error());
  bool last = stage_ == Stage::closing && queue_.empty();
  if (last && !goodbye_said_) {
    goodbye_said_ = true;
    engine_.finish();
  }
  cipher_ = engine_.take_output();
  if (cipher_.empty()) {
    if (last) send_eof();
    return;
  }
  sending_ = true;
  // All at once: Asio's own condition would pass 64 KiB on, and the records' 88 bytes more in a
  // second call.
  auto whole = [](const boost::system::error_code& error, size_t) {
    return error ? size_t{0} : SIZE_MAX;
  };
  boost::asio::async_write(socket_, boost::asio::buffer(cipher_), whole,
                           [self = shared_from_this()](const boost::system::error_code& error,
                                                       size_t) { self->on_sent(error); });
}

// Up to kLinkWriteBytes of the queue become records.
Result<void> TlsConnection::encrypt() {
  if (queue_.empty()) return {};
  size_t room = limits::kLinkWriteBytes;
  auto take = [&] {
    std::string_view piece = std::string_view(queue_.front()).substr(front_sent_, room);
    room -= piece.size();
    front_sent_ += piece.size();
    return piece;
  };
  auto drop_if_sent = [&] {
    if (front_sent_ < queue_.front().size()) return;
    queue_.pop_front();
    front_sent_ = 0;
  };
  Result<void> written;
  if (queue_.front().size() - front_sent_ >= room) {
    written = engine_.write(take());  // a large frame needs no gathering
    drop_if_sent();
  } else {
    gathered_.clear();
    while (!queue_.empty() && room > 0) {
      gathered_.append(take());
      drop_if_sent();
    }
    written = engine_.write(gathered_);
  }
  in_flight_ = limits::kLinkWriteBytes - room;
  counters_.payload_bytes_out += in_flight_;
  return written;
}

void TlsConnection::on_sent(const boost::system::error_code& error) {
  sending_ = false;
  if (stage_ == Stage::closed) return;
  queued_bytes_ -= in_flight_;
  in_flight_ = 0;
  if (!error) return flush();
  if (stage_ != Stage::open) return drop(broken(error));
  // The peer may have said why before it hung up (an alert: it does not take our certificate); that
  // stands in the receive buffer. So the reader reports the end, with the better reason.
  send_failed_ = true;
  clear_queue();
  receive();
}

void TlsConnection::clear_queue() {
  queue_.clear();
  front_sent_ = 0;
  queued_bytes_ = in_flight_;
}

// The rest would only keep the last word waiting; this one must be whole, or that word could not be
// cut.
void TlsConnection::keep_begun_frame() {
  if (front_sent_ == 0) return clear_queue();
  queue_.resize(1);
  queued_bytes_ = in_flight_ + queue_.front().size() - front_sent_;
}

void TlsConnection::close() {
  if (over_) return;
  closed_here_ = true;
  start_closing(unreadable_.value_or(closed_here()), options_.linger);
}

void TlsConnection::start_closing(Error why, std::chrono::milliseconds linger) {
  if (over_) return;
  over_ = std::move(why);
  stage_ = Stage::closing;
  if (!closed_here_) clear_queue();
  arm(std::chrono::steady_clock::now() + linger);
  readable_.notify();
  flush();
  // From now on what arrives is thrown away. Were it left lying, two ends that close at once with
  // full queues would wait for each other's buffers, and our close would turn into a reset.
  receive();
}

// Everything is with the kernel. Reading goes on until the peer has closed too.
void TlsConnection::send_eof() {
  if (eof_sent_) return;
  eof_sent_ = true;
  boost::system::error_code error;
  socket_.shutdown(Tcp::socket::shutdown_send, error);
  if (error || peer_eof_) drop(*over_);
}

void TlsConnection::drop(Error why) {
  if (stage_ == Stage::closed) return;
  stage_ = Stage::closed;
  if (!over_) over_ = unreadable_.value_or(std::move(why));
  boost::system::error_code ignored;
  socket_.close(ignored);
  deadline_.cancel();
  in_flight_ = 0;
  clear_queue();
  readable_.notify();
  gone_.notify();
  auto self = shared_from_this();  // the callbacks may let go of this
  handshake_done(std::unexpected(*over_));
  if (auto done = std::exchange(on_closed_, nullptr)) done();
}

boost::asio::awaitable<void> TlsConnection::closed() {
  auto self = shared_from_this();
  while (stage_ != Stage::closed) co_await gone_.wait();
}

void TlsConnection::arm(TimePoint deadline) {
  deadline_.expires_at(deadline);
  if (deadline == TimePoint::max()) return;
  deadline_.async_wait([self = shared_from_this()](const boost::system::error_code& error) {
    // A handler that was queued before the deadline was moved finds it moved.
    if (error || self->deadline_.expiry() > std::chrono::steady_clock::now()) return;
    self->drop(
        {ErrorKind::unavailable, "link.timeout", "the peer did not finish the handshake in time"});
  });
}

LinkCounters TlsConnection::counters() const {
  LinkCounters out = counters_;
  out.bytes_in = engine_.bytes_in();
  out.bytes_out = engine_.bytes_out();
  return out;
}

}  // namespace branchline
