// How sessions of several servers share one link: the frames of channels, and what the two ends of
// the link do with them. Pure.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "replication/relay/block_window.h"
#include "replication/wire/frame.h"

namespace branchline {

struct ChannelOpen {
  uint64_t channel = 0;
  // Whose session it is, then the hubs between it and the sender, lowest first.
  std::vector<std::string> path;
};
std::string encode_channel_open(const ChannelOpen& open);
Result<ChannelOpen> decode_channel_open(std::string_view payload);

// Channel 0 is the session of the link's own lower end.
struct ChannelFrame {
  uint64_t channel = 0;
  Frame frame;
};
Result<ChannelFrame> decode_channel_frame(std::string_view payload);
std::string encode_channel_frame(uint64_t channel, FrameType type, std::string_view payload);
std::string encode_channel_closed(uint64_t channel);
Result<uint64_t> decode_channel_closed(std::string_view payload);

bool is_channel_frame(FrameType type);

// The upper end of a link: what goes down. Where the peer has opened channels, feeds go by way of
// a window of blocks, its own too.
class TrunkSender {
 public:
  // `bytes` as encode_frame() made them.
  std::string send(uint64_t channel, std::string bytes);
  void opened() { shared_ = true; }
  uint64_t named_bytes() const { return window_.named_bytes(); }

 private:
  bool shared_ = false;
  BlockWindowSender window_;
};

// The lower end: what came down.
class TrunkReceiver {
 public:
  // Of a frame of type channel.
  Result<ChannelFrame> receive(std::string_view payload);

 private:
  BlockWindowReceiver window_;
};

}  // namespace branchline
