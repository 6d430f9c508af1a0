// A framed connection to another server, as the shells see it.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <cstdint>
#include <string>
#include <vector>

#include "common/base/error.h"
#include "replication/wire/frame.h"

namespace branchline {

// Since the connection was made. Wire bytes are those of TLS, handshake included, without TCP and
// IP.
struct LinkCounters {
  uint64_t frames_in = 0, frames_out = 0;
  uint64_t payload_bytes_in = 0,
           payload_bytes_out = 0;        // frames with their headers, before encryption
  uint64_t bytes_in = 0, bytes_out = 0;  // on the wire
};

// I/O thread only. Destroying a Link that is not closed drops the connection; one that is closing
// goes on closing by itself. A read() or closed() under way may outlive it.
//
// How a link ends, as read() and send() report it ever after:
//   unavailable "link.ended"      the peer closed orderly, after its last frame
//   unavailable "link.broken"     connection lost, or the peer vanished without closing
//   shutdown "link.closed"        close() was called here
//   invalid "frame.too_large"     the peer sent what is no frame; nothing more can be read, but the
//                                 line holds: send() why, then close(). Who does not is cut off
//                                 after the linger time
//   invalid "frame.unknown"       likewise
//   denied "tls.refused"          the peer does not take our certificate (a dialler learns it here)
//   corrupt "tls.broken"          bytes were damaged or forged on the way
class Link {
 public:
  virtual ~Link() = default;

  // The verified name of the server at the other end.
  virtual const std::string& peer() const = 0;
  // Its certificate, DER: for files to it, when there is no link.
  virtual std::string peer_certificate() const = 0;

  // The next frames in order, one at least: all that have arrived. Nothing is read from the network
  // while nobody asks, so a reader that is busy slows the peer down. One read at a time.
  virtual boost::asio::awaitable<Result<std::vector<Frame>>> read() = 0;

  // Queues a frame as encode_frame() made it; what is queued within one turn of the loop goes out
  // together.
  // Errors: exhausted "link.queue_full", and the frame is not queued (the peer does not read: close
  // the link); invalid "frame.too_large"; how the link ended.
  virtual Result<void> send(std::string frame) = 0;

  // Frames' bytes that were taken by send() and are not yet with the kernel.
  virtual size_t queued_bytes() const = 0;

  virtual LinkCounters counters() const = 0;

  // Sends what is queued, then says goodbye, then closes; gives up after the linger time. A read()
  // under way returns at once. Idempotent.
  virtual void close() = 0;

  // Returns when the connection is gone, also when the peer ended it. For an orderly stop: close(),
  // then this.
  virtual boost::asio::awaitable<void> closed() = 0;
};

}  // namespace branchline
