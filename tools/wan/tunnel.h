// Carries packets between two TUN devices, through a LineDirection each way: what one network sends
// waits, is lost or arrives in the other, and TCP lives with it end to end. IPv4 only; what else
// a kernel says by itself (IPv6 looking for routers) is passed over. One thread: everything here
// runs on the io_context.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <vector>

#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>

#include "common/base/error.h"
#include "tools/wan/alarm.h"
#include "tools/wan/line.h"
#include "tools/wan/link.h"

namespace branchline::wan {

class Tunnel : public Line {
 public:
  // `devices`: of a and b, taken over; both must not block. The line is up. `seed`: of the losses.
  Tunnel(boost::asio::io_context& io, std::array<int, 2> devices, const LineShape& shape,
         uint64_t seed);

  Result<void> up() override;
  // Packets are taken from the devices and are gone: programs see a line that swallows everything.
  void down() override;
  bool can_lose() const override { return true; }
  void set_shape(const LineShape& shape) override;
  // Packets wait, and are dropped when the queue is full.
  void stall(bool on) override;
  // Bytes are those of IP packets, headers included. More, for each way: packets delivered, lost by
  // chance, dropped at a full queue, swallowed while down, and those that will arrive.
  LineStats stats() const override;
  void reset_stats() override;
  void close() override;

 private:
  struct Packet {
    FlowId id;
    std::vector<char> bytes;
  };
  struct Counts {
    uint64_t bytes = 0, packets = 0, lost = 0, dropped = 0, swallowed = 0;
  };

  void read_later(size_t end);
  void on_readable(size_t end);
  void take(size_t way, size_t bytes);
  void deliver(size_t way);
  void pump();

  std::array<boost::asio::posix::stream_descriptor, 2> devices_;
  LineShape shape_;
  std::array<LineDirection, 2> lines_;           // by Way
  std::array<std::deque<Packet>, 2> under_way_;  // those that will arrive, in their order
  std::array<Counts, 2> counts_;
  FlowId last_id_{0};
  bool up_ = true;
  Alarm alarm_;
  std::vector<char> scratch_;
};

}  // namespace branchline::wan
