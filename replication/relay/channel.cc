#include "replication/relay/channel.h"

#include "common/base/bytes.h"
#include "common/base/check.h"
#include "replication/proto/link.pb.h"

namespace branchline {
namespace {

std::unexpected<Error> malformed(const char* what) {
  return fail(ErrorKind::invalid, "channel.malformed", std::string("malformed ") + what);
}

}  // namespace

std::string encode_channel_open(const ChannelOpen& open) {
  proto::ChannelOpen m;
  m.set_channel(open.channel);
  for (const auto& name : open.path) m.add_path(name);
  return m.SerializeAsString();
}

Result<ChannelOpen> decode_channel_open(std::string_view payload) {
  proto::ChannelOpen m;
  if (!m.ParseFromArray(payload.data(), static_cast<int>(payload.size())))
    return malformed("opening of a channel");
  ChannelOpen open{m.channel(), {m.path().begin(), m.path().end()}};
  if (open.channel == 0 || open.path.empty() || open.path.size() > limits::kMaxHubsBetween)
    return malformed("opening of a channel: number or path");
  return open;
}

std::string encode_channel_frame(uint64_t channel, FrameType type, std::string_view payload) {
  std::string out;
  out.reserve(payload.size() + 8);
  Writer w(out);
  w.varint(channel);
  w.u8(static_cast<uint8_t>(type));
  w.bytes(payload);
  return encode_frame(FrameType::channel, out);
}

Result<ChannelFrame> decode_channel_frame(std::string_view payload) {
  Reader r(payload);
  ChannelFrame out;
  out.channel = r.varint();
  uint8_t type = r.u8();
  out.frame.type = static_cast<FrameType>(type);
  // Channels do not nest: each hop numbers its own.
  if (!r.ok() || !is_frame_type(type) || is_channel_frame(out.frame.type))
    return malformed("frame in a channel");
  out.frame.payload = std::string(r.rest());
  return out;
}

std::string encode_channel_closed(uint64_t channel) {
  std::string out;
  Writer(out).varint(channel);
  return encode_frame(FrameType::channel_closed, out);
}

Result<uint64_t> decode_channel_closed(std::string_view payload) {
  Reader r(payload);
  uint64_t channel = r.varint();
  if (!r.done() || channel == 0) return malformed("end of a channel");
  return channel;
}

bool is_channel_frame(FrameType type) {
  return type == FrameType::channel_open || type == FrameType::channel ||
         type == FrameType::channel_closed;
}

std::string TrunkSender::send(uint64_t channel, std::string bytes) {
  FrameView frame = view_frame(bytes);
  if (frame.type == FrameType::feed && shared_) {
    auto shrunk = window_.shrink(frame.payload);
    BL_CHECK(shrunk);  // sessions of this side made it
    return encode_channel_frame(channel, frame.type, *shrunk);
  }
  if (channel == 0) return bytes;
  return encode_channel_frame(channel, frame.type, frame.payload);
}

Result<ChannelFrame> TrunkReceiver::receive(std::string_view payload) {
  BL_ASSIGN(ChannelFrame out, decode_channel_frame(payload));
  if (out.frame.type == FrameType::feed) {
    BL_ASSIGN(out.frame.payload, window_.restore(out.frame.payload));
  }
  return out;
}

}  // namespace branchline
