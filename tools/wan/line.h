// A line between two sites as its control server steers it: the proxy (proxy.h) and the tunnel
// (tunnel.h) are one each.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <utility>
#include <vector>

#include "common/base/error.h"
#include "tools/wan/link.h"

namespace branchline::wan {

// Up: from the --listen side to the --connect side, from end a to end b.
enum class Way : uint8_t { up = 0, down = 1 };

// As people set it, by Way.
using LineShape = std::array<LineSettings, 2>;

struct LineStats {
  bool up = false;
  bool stalled = false;
  LineShape shape;
  std::array<uint64_t, 2> bytes{};  // by Way: delivered
  std::array<size_t, 2> queued{};   // by Way: waiting for the serializer
  // What only this kind of line counts.
  std::vector<std::pair<std::string_view, uint64_t>> more;
};

class Line {
 public:
  virtual ~Line() = default;
  // Carries again; without effect if it does. Fails where it cannot.
  virtual Result<void> up() = 0;
  // Carries nothing: what is under way is gone.
  virtual void down() = 0;
  // Whether it carries packets, which can be lost, or bytes, which cannot.
  virtual bool can_lose() const = 0;
  virtual void set_shape(const LineShape& shape) = 0;
  // Time stands still on a stalled line.
  virtual void stall(bool on) = 0;
  virtual LineStats stats() const = 0;
  // Zeroes bytes and totals.
  virtual void reset_stats() = 0;
  // Ends for good: cancels everything that is pending on the io_context.
  virtual void close() = 0;
};

}  // namespace branchline::wan
