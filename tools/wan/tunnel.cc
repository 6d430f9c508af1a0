#include "tools/wan/tunnel.h"

#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include <spdlog/spdlog.h>
#include <boost/asio/error.hpp>

#include "common/base/check.h"

namespace branchline::wan {

namespace asio = boost::asio;
using boost::system::error_code;

namespace {

constexpr size_t kMaxPacketBytes = 64 * 1024;
// Packets that are read before what is due is delivered: one busy way does not hold up the other.
constexpr int kReadsInTurn = 64;

bool is_ipv4(char first) { return (static_cast<unsigned char>(first) >> 4) == 4; }

}  // namespace

Tunnel::Tunnel(asio::io_context& io, std::array<int, 2> devices, const LineShape& shape,
               uint64_t seed)
    : devices_{asio::posix::stream_descriptor(io, devices[0]),
               asio::posix::stream_descriptor(io, devices[1])},
      shape_(shape),
      lines_{LineDirection(shape[0], 2 * seed), LineDirection(shape[1], 2 * seed + 1)},
      alarm_(io, [this] { pump(); }),
      scratch_(kMaxPacketBytes) {
  for (size_t end = 0; end < devices_.size(); ++end) read_later(end);
}

Result<void> Tunnel::up() {
  up_ = true;
  return {};
}

void Tunnel::down() {
  if (!std::exchange(up_, false)) return;
  pump();
  for (size_t way = 0; way < lines_.size(); ++way) {
    counts_[way].swallowed += under_way_[way].size();
    under_way_[way].clear();
    lines_[way].clear(steady_now());
  }
}

void Tunnel::set_shape(const LineShape& shape) {
  pump();
  shape_ = shape;
  const Nanos now = steady_now();
  for (size_t way = 0; way < lines_.size(); ++way) lines_[way].change(shape[way], now);
  pump();
}

void Tunnel::stall(bool on) {
  pump();
  const Nanos now = steady_now();
  for (auto& line : lines_) on ? line.stall(now) : line.resume(now);
  pump();
}

void Tunnel::close() {
  error_code ignored;
  for (auto& device : devices_) device.close(ignored);
  alarm_.cancel();
}

// --- in: from a device into the line ---

void Tunnel::read_later(size_t end) {
  devices_[end].async_wait(asio::posix::stream_descriptor::wait_read,
                           [this, end](const error_code& error) {
                             if (error == asio::error::operation_aborted) return;
                             on_readable(end);
                           });
}

void Tunnel::on_readable(size_t end) {
  for (int i = 0; i < kReadsInTurn; ++i) {
    const ssize_t n = ::read(devices_[end].native_handle(), scratch_.data(), scratch_.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno != EAGAIN) {
      // The device was shut or deleted by somebody inside: its traffic cannot be had any more.
      spdlog::error("end {}: reading its device: {}; start the line again", end == 0 ? "a" : "b",
                    std::strerror(errno));
      pump();
      return;
    }
    if (n <= 0) break;
    take(end, static_cast<size_t>(n));
  }
  pump();
  read_later(end);
}

// What comes out of end a goes up.
void Tunnel::take(size_t way, size_t bytes) {
  if (!is_ipv4(scratch_.front())) return;
  Counts& counts = counts_[way];
  if (!up_) {
    ++counts.swallowed;
    return;
  }
  const FlowId id = ++last_id_;
  switch (lines_[way].offer(id, bytes, steady_now())) {
    case Fate::carried:
      under_way_[way].push_back(
          {id, {scratch_.begin(), scratch_.begin() + static_cast<ptrdiff_t>(bytes)}});
      break;
    case Fate::lost:
      ++counts.lost;
      break;
    case Fate::dropped:
      ++counts.dropped;
      break;
  }
}

// --- out: from the line into the other device ---

void Tunnel::deliver(size_t way) {
  const Packet packet = std::move(under_way_[way].front());
  under_way_[way].pop_front();
  const int device = devices_[1 - way].native_handle();
  ssize_t n = -1;
  do n = ::write(device, packet.bytes.data(), packet.bytes.size());
  while (n < 0 && errno == EINTR);
  if (n < 0) {
    ++counts_[way].swallowed;  // the device is shut, or the kernel out of memory
    return;
  }
  ++counts_[way].packets;
  counts_[way].bytes += packet.bytes.size();
}

void Tunnel::pump() {
  const Nanos now = steady_now();
  for (size_t way = 0; way < lines_.size(); ++way) {
    while (auto arrival = lines_[way].ready(now)) {
      BL_CHECK(!under_way_[way].empty() && under_way_[way].front().id == arrival->flow);
      deliver(way);
    }
  }
  alarm_.set(next_due(lines_));
}

// --- figures ---

LineStats Tunnel::stats() const {
  LineStats s;
  s.up = up_;
  s.stalled = lines_[0].stalled();
  s.shape = shape_;
  const Counts &up = counts_[0], &down = counts_[1];
  s.bytes = {up.bytes, down.bytes};
  s.queued = {lines_[0].waiting_bytes(), lines_[1].waiting_bytes()};
  s.more = {{"up_packets", up.packets},
            {"down_packets", down.packets},
            {"up_lost", up.lost},
            {"down_lost", down.lost},
            {"up_dropped", up.dropped},
            {"down_dropped", down.dropped},
            {"up_swallowed", up.swallowed},
            {"down_swallowed", down.swallowed},
            {"up_under_way", under_way_[0].size()},
            {"down_under_way", under_way_[1].size()}};
  return s;
}

void Tunnel::reset_stats() { counts_ = {}; }

}  // namespace branchline::wan
