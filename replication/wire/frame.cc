#include "replication/wire/frame.h"

#include "common/base/bytes.h"
#include "common/base/check.h"
#include "common/base/limits.h"

namespace branchline {

std::string_view to_string(FrameType type) {
  switch (type) {
    case FrameType::hello:
      return "hello";
    case FrameType::welcome:
      return "welcome";
    case FrameType::refused:
      return "refused";
    case FrameType::heartbeat:
      return "heartbeat";
    case FrameType::mutations:
      return "mutations";
    case FrameType::ack:
      return "ack";
    case FrameType::feed:
      return "feed";
    case FrameType::progress:
      return "progress";
    case FrameType::snapshot_head:
      return "snapshot_head";
    case FrameType::snapshot_chunk:
      return "snapshot_chunk";
    case FrameType::snapshot_end:
      return "snapshot_end";
    case FrameType::lookup:
      return "lookup";
    case FrameType::lookup_answer:
      return "lookup_answer";
    case FrameType::channel_open:
      return "channel_open";
    case FrameType::channel:
      return "channel";
    case FrameType::channel_closed:
      return "channel_closed";
    case FrameType::file_head:
      return "file_head";
    case FrameType::verify:
      return "verify";
    case FrameType::verify_point:
      return "verify_point";
    case FrameType::verify_sums:
      return "verify_sums";
  }
  return "unknown";
}

bool is_frame_type(uint8_t type) { return to_string(static_cast<FrameType>(type)) != "unknown"; }

std::string encode_frame(FrameType type, std::string_view payload) {
  std::string out;
  out.reserve(payload.size() + 8);
  Writer w(out);
  w.varint(payload.size() + 1);
  w.u8(static_cast<uint8_t>(type));
  w.bytes(payload);
  return out;
}

FrameView view_frame(std::string_view bytes) {
  Reader r(bytes);
  uint64_t length = r.varint();
  BL_CHECK(length >= 1 && r.remaining() == length);
  auto type = static_cast<FrameType>(r.u8());
  return {type, r.rest()};
}

Result<std::optional<Frame>> FrameDecoder::next() {
  std::string_view rest = std::string_view(buffer_).substr(at_);
  Reader r(rest);
  uint64_t length = r.varint();
  if (!r.ok()) {
    // A varint of ten bytes that does not end is no length.
    if (rest.size() >= 10)
      return fail(ErrorKind::invalid, "frame.too_large", "a frame whose length is malformed");
    return std::optional<Frame>();
  }
  if (length == 0) {
    return fail(ErrorKind::invalid, "frame.empty",
                "a frame of no bytes; each has at least the one of its type");
  }
  if (length > limits::kMaxFrameBytes) {
    return fail(ErrorKind::invalid, "frame.too_large",
                "a frame of " + std::to_string(length) + " bytes; " +
                    std::to_string(limits::kMaxFrameBytes) + " are allowed");
  }
  if (r.remaining() < length) return std::optional<Frame>();
  uint8_t type = r.u8();
  if (!is_frame_type(type)) {
    return fail(ErrorKind::invalid, "frame.unknown",
                "a frame of unknown type " + std::to_string(type) + " (of a newer version?)");
  }
  Frame frame{static_cast<FrameType>(type), std::string(r.bytes(length - 1))};
  at_ = buffer_.size() - r.remaining();
  if (at_ == buffer_.size()) {
    buffer_.clear();
    at_ = 0;
  } else if (at_ > 64 * 1024) {
    buffer_.erase(0, at_);
    at_ = 0;
  }
  return std::optional<Frame>(std::move(frame));
}

}  // namespace branchline
