// A branch as upstream for others: what comes from beneath goes up in channels of the hub's own
// link, what comes down is handed on. One object per process; called by one thread. Pure.
//
// Sessions of those beneath end at the master: numbers, high-waters and acknowledgements are
// between it and them, so that nothing leaves an outbox on a hub's word (SEMANTICS 33).
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "replication/line/compress.h"
#include "replication/relay/channel.h"
#include "replication/session/link_budget.h"

namespace branchline {

// What the owner has to do, in this order.
struct RelayEffects {
  std::vector<std::string> up;  // frames for the upstream
  struct Down {
    uint64_t leaf;
    std::string frame;
  };
  std::vector<Down> down;
  std::vector<uint64_t> closed;  // links of leaves to close, after sending; they are forgotten
  std::optional<Error> broken;   // what the upstream sent is no channel's: its link must be closed
  std::vector<Frame> own;        // for the hub's own session
};

class HubRelay {
 public:
  // `budget`, of the line up, outlives this; it may be null.
  HubRelay(std::string server, std::string upstream, LinkBudget* budget);

  // The hub's own session was welcomed by an upstream that takes so many channels.
  RelayEffects on_upstream_up(uint32_t channels);
  // The link up is gone: so are the sessions on it. Their owners dial again.
  RelayEffects on_upstream_down(const Error& why);
  // A channel frame that the upstream sent.
  RelayEffects on_upstream(const Frame& frame, int64_t now_us, int64_t wall_ms);

  // A link from `peer`, the name in its certificate. `leaf`: the owner's number for it.
  RelayEffects on_connected(uint64_t leaf, const std::string& peer);
  RelayEffects on_leaf(uint64_t leaf, const Frame& frame, int64_t now_us, int64_t wall_ms);
  // What it sends cannot be read.
  RelayEffects on_leaf_broken(uint64_t leaf, const Error& error);
  RelayEffects on_leaf_gone(uint64_t leaf);
  // What waits for the line, at most 10 ms apart while anything does.
  RelayEffects tick(int64_t now_us, int64_t wall_ms);

  size_t channels() const { return channels_.size(); }
  // Compressed anew, and raw while it waits.
  size_t waiting_bytes() const;

 private:
  struct Leaf {
    std::string peer;
    TrunkSender down;
    std::map<uint64_t, uint64_t> channels;  // its number -> ours; 0: its own session
    uint64_t last = 0;                      // channel that it opened
  };
  // A session from beneath. Each hop compresses anew: within one stream the lanes could not pass
  // one another.
  struct Channel {
    uint64_t leaf;
    uint64_t below;  // its number there
    StreamDecompressor in;
    StreamCompressor out;
    size_t waiting = 0;
  };
  struct Waiting {
    uint64_t channel;
    std::string block;
  };
  Result<void> open(uint64_t leaf, uint64_t below, std::vector<std::string> path,
                    RelayEffects& out);
  Result<void> take(uint64_t leaf, const Frame& frame, RelayEffects& out);
  Result<void> forward(uint64_t channel, const Frame& frame, RelayEffects& out);
  void hand_down(uint64_t channel, std::string frame, RelayEffects& out);
  // The upstream has ended it.
  void end(uint64_t channel, RelayEffects& out);
  void forget_leaf(uint64_t leaf, RelayEffects& out);
  void send_up(std::string frame, RelayEffects& out);
  void pump(RelayEffects& out);

  std::string server_, upstream_;
  LinkBudget no_limits_;
  LinkBudget& budget_;
  bool up_ = false;
  Error down_because_;
  uint32_t most_channels_ = 0;
  uint64_t next_channel_ = 1;
  TrunkReceiver receiver_;
  std::map<uint64_t, Leaf> leaves_;
  std::map<uint64_t, std::unique_ptr<Channel>> channels_;
  std::deque<Waiting> interactive_, bulk_;
  int64_t now_us_ = 0, wall_ms_ = 0;
};

}  // namespace branchline
