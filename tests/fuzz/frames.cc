// A byte stream from a peer: cut into frames, each payload through the decoder of its type.
#include "common/base/limits.h"
#include "replication/courier/file_part.h"
#include "replication/line/compress.h"
#include "replication/line/mutation_block.h"
#include "replication/relay/channel.h"
#include "replication/session/greeting.h"
#include "replication/session/lookup.h"
#include "replication/session/verification.h"
#include "replication/snapshot/ranges.h"
#include "replication/snapshot/snapshot.h"
#include "replication/wire/feed_frame.h"
#include "replication/wire/frame.h"
#include "tests/fuzz/target.h"

using namespace branchline;

namespace {

struct Peer {
  FeedAssembler feed{LineId(1)};
  SnapshotReader snapshot;
  StreamDecompressor stream;
  TrunkReceiver trunk;

  void take(const Frame& frame) {
    const std::string& p = frame.payload;
    switch (frame.type) {
      case FrameType::hello:
        (void)decode_hello(p);
        break;
      case FrameType::welcome:
        (void)decode_welcome(p);
        break;
      case FrameType::refused:
        (void)decode_refused(p);
        break;
      case FrameType::heartbeat:
        (void)decode_heartbeat(p);
        break;
      case FrameType::mutations:
        if (auto raw = stream.decompress(p, limits::kMaxBlockBytes))
          (void)decode_mutation_block(std::move(*raw));
        break;
      case FrameType::ack:
        (void)decode_ack(p);
        break;
      case FrameType::feed:
        if (auto range = feed.add(p); range && *range) {
          for (const auto& block : (*range)->blocks) {
            if (auto raw = decompress(block, limits::kMaxBlockBytes))
              (void)decode_commit_block(std::move(*raw));
          }
        }
        break;
      case FrameType::progress:
        (void)decode_progress(p);
        break;
      case FrameType::snapshot_head:
        (void)decode_snapshot_head(p);
        break;
      case FrameType::snapshot_chunk:
        (void)snapshot.open(p, [](Table, std::string_view, std::string_view value) -> Result<void> {
          (void)Record::decode({}, std::string(value));
          return {};
        });
        break;
      case FrameType::snapshot_end:
        (void)decode_snapshot_end(p);
        break;
      case FrameType::lookup:
        (void)decode_lookup_request(p);
        break;
      case FrameType::lookup_answer:
        if (auto answer = decode_lookup_answer(p))
          (void)decompress(answer->rows, limits::kMaxLookupRowBytes);
        break;
      case FrameType::verify:
        (void)decode_verify_request(p);
        break;
      case FrameType::verify_point:
        if (auto point = decode_verify_point(p)) {
          (void)open_rows(point->rows,
                          [](Table, std::string_view, std::string_view value) -> Result<void> {
                            (void)Record::decode({}, std::string(value));
                            return {};
                          });
        }
        break;
      case FrameType::verify_sums:
        (void)decode_verify_sums(p);
        break;
      case FrameType::channel_open:
        (void)decode_channel_open(p);
        break;
      case FrameType::channel:
        // As either end takes it.
        (void)decode_channel_frame(p);
        (void)trunk.receive(p);
        break;
      case FrameType::channel_closed:
        (void)decode_channel_closed(p);
        break;
      case FrameType::file_head:
        (void)decode_file_part(encode_frame(frame.type, p));
        break;
    }
  }
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  FrameDecoder decoder;
  Peer peer;
  // In pieces, as a network delivers them.
  for (size_t at = 0; at < size; at += 97) {
    decoder.append(fuzz::text(data + at, std::min<size_t>(97, size - at)));
    for (;;) {
      auto frame = decoder.next();
      if (!frame) return 0;
      if (!*frame) break;
      peer.take(**frame);
    }
  }
  return 0;
}
