// One direction of a line: a queue, a serializer that sends at `rate_bits`, and the way itself,
// which takes `delay`. A state machine without sockets, clock or bytes: bytes of one flow (a
// connection) never overtake each other, so the line only says how many of whose bytes are out at
// the other end; whoever drives it keeps them.
//
//   enqueue --> [ waiting, per flow ] --> ( serving ) --> [ in flight ] --> ready
//   offer         <= queue_bytes       1 packet, at rate     delay
//
// Bytes of connections are held back where the queue is full (room, enqueue); the serializer takes
// turns, a packet of at most kPacketBytes from each flow that has some. Packets of a network are
// offered: served in the order in which they came, and lost where the queue has no room for them,
// or by chance on the way. A line carries one or the other. Times
// are computed in the line's own time, so a driver that wakes late delivers late but loses no rate.
// `now` must not go back; it counts from any start. Not thread-safe.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>
#include <unordered_map>

#include "common/base/random.h"
#include "common/base/strong.h"

namespace branchline::wan {

using Nanos = std::chrono::nanoseconds;
using FlowId = Strong<struct FlowTag, uint64_t>;

inline constexpr size_t kPacketBytes = 1500;
// What is in flight is rate x delay; this bounds it where the rate is unlimited or absurd. With a
// delay of 40 ms it lets 6.7 Gbit/s through.
inline constexpr size_t kMaxFlightBytes = 32 * 1024 * 1024;

struct LineSettings {
  Nanos delay{0};
  uint64_t rate_bits = 0;  // per second; 0: unlimited
  size_t queue_bytes = 256 * 1024;
  uint32_t loss_ppm = 0;  // of offered packets, millionths: each by itself
};

// What becomes of a packet that is offered.
enum class Fate : uint8_t {
  carried,
  lost,     // by chance: takes its place in the queue and its time, and does not arrive
  dropped,  // the queue had no room for all of it
};

// How a flow ends: after its last byte (`fin`), or broken off (`reset`).
enum class Ending : uint8_t { none, fin, reset };

// `bytes` more of this flow are out at the other end, then `ending`.
struct Arrival {
  FlowId flow;
  size_t bytes = 0;
  Ending ending = Ending::none;
};

class LineDirection {
 public:
  // The same seed loses the same packets of a sequence of offers, whenever they are made.
  explicit LineDirection(const LineSettings& settings, uint64_t seed = 0);

  // A flow must be open for every call that names it.
  void open(FlowId flow);
  // Forgets a flow: what of it waits is gone, what is in flight will not be reported.
  void drop(FlowId flow);

  // How much the flow may enqueue now: 0, which is backpressure, or a packet at least. Never lets
  // the queue grow beyond queue_bytes, and a few busy flows leave room for one that has nothing
  // queued; in a crowd ask for those first that wait longest.
  size_t room(FlowId flow) const;
  // 0 < bytes <= room(flow).
  void enqueue(FlowId flow, size_t bytes, Nanos now);
  // Travels behind what the flow has enqueued. A reset may follow a fin; nothing follows a reset.
  void end(FlowId flow, Ending ending, Nanos now);

  // A packet, by a name that no other had. Arrives whole. A stalled line takes packets until its
  // queue is full.
  Fate offer(FlowId packet, size_t bytes, Nanos now);
  // All packets and flows are gone, waiting or in flight; nothing arrives until there are new ones.
  void clear(Nanos now);

  // The next arrival that is due; call until it answers nothing.
  std::optional<Arrival> ready(Nanos now);
  // When to call ready() and look at room() again; nothing: only an enqueue, end or resume changes
  // anything.
  std::optional<Nanos> next_due() const;

  // Takes effect at once, for what is under way as well: a packet in the serializer goes on at the
  // new rate, what is in flight arrives `delay` after it left the serializer. A smaller queue
  // drains, it drops nothing.
  void change(const LineSettings& settings, Nanos now);
  // While stalled, time stands still on the line; both may be called again without effect.
  void stall(Nanos now);
  void resume(Nanos now);

  const LineSettings& settings() const { return settings_; }
  bool stalled() const { return stalled_at_.has_value(); }
  size_t waiting_bytes() const { return waiting_bytes_; }
  size_t in_flight_bytes() const { return in_flight_bytes_; }

 private:
  struct Flow {
    size_t waiting = 0;
    Ending ending = Ending::none;  // waits behind the bytes
    bool in_turn = false;          // is in turns_
    bool packet = false;           // was offered: goes in one piece, and is forgotten then
    bool lost = false;
  };
  struct Packet {
    FlowId flow;
    size_t bytes = 0;
    Ending ending = Ending::none;
    Nanos departs{0};  // leaves the serializer
  };

  Nanos line_time(Nanos now) const;
  Nanos serializing(size_t bytes) const;
  void advance(Nanos t);
  bool serve_next();
  void take_turn(FlowId id, Flow& flow, Nanos t);
  void idle_until(Nanos t);

  LineSettings settings_;
  SeededRandom chance_;
  std::unordered_map<FlowId, Flow> flows_;
  std::deque<FlowId> turns_;  // flows with something to send, each once; may name dropped ones
  size_t waiting_bytes_ = 0;
  std::optional<Packet> serving_;
  Nanos free_at_{0};  // the serializer has been idle since, unless it is serving
  std::deque<Packet> flight_;
  size_t in_flight_bytes_ = 0;
  std::optional<Nanos> stalled_at_;  // by the driver's clock
  Nanos stalled_for_{0};             // sum of past stalls: line time = now - this
};

}  // namespace branchline::wan
