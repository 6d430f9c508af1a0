// Frames of the link: varint length of what follows, a byte of type, the payload.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "common/base/error.h"

namespace branchline {

// Numbers are part of the formats: never reused.
enum class FrameType : uint8_t {
  hello = 1,
  welcome = 2,
  refused = 3,
  heartbeat = 4,
  mutations = 5,  // branch -> master: a mutation block, in the connection's compression stream
  ack = 6,
  feed = 7,  // master -> branch: a feed range or a part of one
  progress = 8,
  snapshot_head = 9,
  snapshot_chunk = 10,
  snapshot_end = 11,
  lookup = 20,  // branch -> master: for somebody who waits there
  lookup_answer = 21,
  file_head = 28,  // in files only: replication/courier
  verify = 32,     // branch -> master: how do you stand?
  verify_point = 33,
  verify_sums = 34,
  // Between a hub and its upstream: see replication/relay.
  channel_open = 36,
  channel = 37,
  channel_closed = 38,
};
std::string_view to_string(FrameType type);
bool is_frame_type(uint8_t type);

struct Frame {
  FrameType type;
  std::string payload;
};

std::string encode_frame(FrameType type, std::string_view payload);
// Of what encode_frame() made, without copying the payload.
struct FrameView {
  FrameType type;
  std::string_view payload;
};
FrameView view_frame(std::string_view bytes);

// Cuts a byte stream into frames. Holds at most one frame's bytes beyond what was appended last.
class FrameDecoder {
 public:
  void append(std::string_view bytes) { buffer_.append(bytes); }
  // A frame, or nothing yet. `invalid` with code "frame.empty", "frame.too_large" or
  // "frame.unknown": the connection must be closed, since what follows cannot be cut any more. The
  // sender is told why.
  Result<std::optional<Frame>> next();

 private:
  std::string buffer_;
  size_t at_ = 0;
};

}  // namespace branchline
