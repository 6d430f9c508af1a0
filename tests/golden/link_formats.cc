#include "common/base/limits.h"
#include "common/store/mem_store.h"
#include "replication/courier/file_part.h"
#include "replication/courier/peer_row.h"
#include "replication/line/compress.h"
#include "replication/line/mutation_block.h"
#include "replication/merge/element.h"
#include "replication/relay/channel.h"
#include "replication/session/lookup.h"
#include "replication/session/verification.h"
#include "replication/snapshot/snapshot.h"
#include "replication/wire/frame.h"
#include "tests/golden/formats.h"
#include "tests/support/samples.h"

namespace branchline::golden {
namespace {

using namespace samples;

constexpr int64_t kWall = 1'795'341'600'250;

std::unexpected<Error> bad(const char* what) {
  return fail(ErrorKind::corrupt, "golden.refused", what);
}

// A frame is cut off the stream, its payload goes through `recode`, and a frame is made again.
Case frame_case(FrameType type, const std::string& payload, Recode recode, bool foreign) {
  return {std::string(to_string(type)), encode_frame(type, payload),
          [type, recode](std::string_view in) -> Result<std::string> {
            FrameDecoder decoder;
            decoder.append(in);
            BL_ASSIGN(auto frame, decoder.next());
            if (!frame) return bad("not a whole frame");
            BL_ASSIGN(auto rest, decoder.next());
            if (rest || frame->type != type) return bad("another frame");
            BL_ASSIGN(auto again, recode(frame->payload));
            return encode_frame(type, again);
          },
          false, foreign};
}

template <typename Decode, typename Encode>
Recode through(Decode decode, Encode encode) {
  return [=](std::string_view in) -> Result<std::string> {
    BL_ASSIGN(auto x, decode(in));
    return encode(x);
  };
}

// A zstd stream that holds `raw` in one block as it is, flushed and not ended: what a level 0 of
// zstd would send.
std::string raw_stream(std::string_view raw) {
  std::string out("\x28\xb5\x2f\xfd\x00\x38", 6);  // magic, no options, window of 2^17
  auto head = static_cast<uint32_t>(raw.size() << 3);
  for (int i = 0; i < 3; ++i) out.push_back(static_cast<char>(head >> (8 * i)));
  return out.append(raw);
}

Recode mutations_recode() {
  return [](std::string_view in) -> Result<std::string> {
    StreamDecompressor decompressor;
    BL_ASSIGN(auto raw, decompressor.decompress(in, limits::kMaxBlockBytes));
    if (raw.empty()) return bad("nothing in it");
    BL_ASSIGN(auto block, decode_mutation_block(raw));
    return raw_stream(raw);
  };
}

Recode feed_recode() {
  return [](std::string_view in) -> Result<std::string> {
    FeedAssembler assembler(cursor().line);
    BL_ASSIGN(auto range, assembler.add(in));
    if (!range) return bad("a part of a range");
    auto parts = encode_feed(*range);
    return parts.front();
  };
}

// The rows of one chunk, as they lie in its container.
std::string chunk_rows() {
  MemStore store;
  Batch batch;
  Record r = record(), t = api_token();
  batch.put(Table::records, keys::record(0, r.key()), r.encode());
  batch.put(Table::records, keys::record(0, t.key()), t.encode());
  batch.put(Table::elements, keys::element(0, r.key(), FieldId(38), {other_version().id, 2}),
            encode_element(Element::make(other_version(), values()[1])));
  (void)store.write(batch, Sync::yes);
  SnapshotWriter writer(store.snapshot(), 0,
                        [](TerritoryId, const std::vector<TerritoryId>&) { return true; });
  auto chunk = writer.next();
  if (!chunk || !*chunk) return "";
  Reader number(**chunk);
  number.varint();
  return decompress(number.rest(), limits::kMaxFrameBytes).value_or("");
}

// Stored without zstd, whose bytes may differ from version to version; readers take both.
std::string stored_chunk(std::string_view rows) {
  std::string out;
  Writer w(out);
  w.varint(0);
  w.u8(0);
  w.bytes(rows);
  return out;
}

Recode chunk_recode() {
  return [](std::string_view in) -> Result<std::string> {
    SnapshotReader reader;
    std::string rows;
    Writer w(rows);
    BL_TRY(reader.open(
        in, [&](Table table, std::string_view key, std::string_view value) -> Result<void> {
          w.u8(static_cast<uint8_t>(table));
          w.blob(key);
          w.blob(value);
          return {};
        }));
    return stored_chunk(rows);
  };
}

Recode refused_recode() {
  return
      [](std::string_view in) -> Result<std::string> { return encode_refused(decode_refused(in)); };
}

Format file_format() {
  Format f{"file", 1, "docs/formats.md, Files", {}};
  FilePart part;
  part.head.kind = FileKind::feed;
  part.head.from = "master";
  part.head.to = "east";
  part.head.line = cursor().line;
  for (char c = 0x30; c < 0x40; ++c) part.head.file.push_back(c);
  part.head.part = 1;
  part.head.last = true;
  part.head.origin = OriginId(3);
  part.head.territories = {TerritoryId(4), TerritoryId(9)};
  FeedRange& quiet = part.ranges.emplace_back();
  quiet.from = part.head.begin = Csn(1233);
  quiet.to = cursor();
  part.head.begin_chain = digest(0x03);
  part.head.end = quiet.to.csn;
  f.cases.push_back(
      {"feed", encode_file_part(part, kWall),
       through(decode_file_part, [](const FilePart& p) { return encode_file_part(p, kWall); }),
       false, true});
  FilePart pending;
  pending.head = part.head;
  pending.head.kind = FileKind::pending;
  pending.head.from = "east";
  pending.head.to = "master";
  pending.introduction = introduction();
  f.cases.push_back(
      {"pending", encode_file_part(pending, kWall),
       through(decode_file_part, [](const FilePart& p) { return encode_file_part(p, kWall); }),
       false, true});
  f.cases.push_back({"envelope", frame_sealed_part({FileKind::pending, "east", "master", "CMS"}),
                     through(read_sealed_part, frame_sealed_part)});
  f.cases.push_back(
      {"peer", encode_peer_row({Csn(1300), "cert"}), through(decode_peer_row, encode_peer_row)});
  return f;
}

}  // namespace

std::vector<Format> link_formats() {
  Format f{"frames", 1, "replication/wire/WIRE.md", {}};
  auto add = [&](FrameType type, const std::string& payload, Recode recode) {
    bool binary = type == FrameType::feed || type == FrameType::snapshot_chunk ||
                  type == FrameType::channel || type == FrameType::channel_closed;
    f.cases.push_back(frame_case(type, payload, std::move(recode), !binary));
  };
  add(FrameType::hello, encode_hello(introduction(), kWall),
      through(decode_hello, [](const Introduction& i) { return encode_hello(i, kWall); }));
  add(FrameType::welcome, encode_welcome(registration(), kWall),
      through(decode_welcome,
              [](const Welcome& w) { return encode_welcome(w.registration, w.wall_ms); }));
  add(FrameType::refused, encode_refused({ErrorKind::conflict, "session.schema", "another schema"}),
      refused_recode());
  add(FrameType::heartbeat,
      encode_heartbeat({1'000'001, 2'000'002, kWall, Csn(1300), Csn(1299), 42, 1500}),
      through(decode_heartbeat, encode_heartbeat));
  add(FrameType::mutations, raw_stream(mutation_block()), mutations_recode());
  add(FrameType::ack, encode_ack({{OriginId(0), incarnation().incarnation, Lane::bulk}, Seq(6)}),
      through(decode_ack, encode_ack));
  add(FrameType::feed, encode_feed(feed_range()).front(), feed_recode());
  add(FrameType::progress, encode_progress({Csn(1300), 17}),
      through(decode_progress, encode_progress));
  add(FrameType::snapshot_head, encode_snapshot_head(snapshot_head()),
      through(decode_snapshot_head, encode_snapshot_head));
  add(FrameType::snapshot_chunk, stored_chunk(chunk_rows()), chunk_recode());
  add(FrameType::snapshot_end, encode_snapshot_end(snapshot_end()),
      through(decode_snapshot_end, encode_snapshot_end));
  LookupRequest lookup;
  lookup.number = 3;
  lookup.token = "t";
  lookup.entity = EntityId(1);
  lookup.id = record().key().id;
  lookup.timeline = true;
  lookup.lookups = {FieldId(23)};
  lookup.children = {{EntityId(2), FieldId(24)}};
  add(FrameType::lookup, encode_lookup_request(lookup),
      through(decode_lookup_request, encode_lookup_request));
  LookupAnswer answer;
  answer.number = 3;
  answer.line = cursor().line;
  answer.csn = Csn(1300);
  answer.id = lookup.id;
  answer.rows = std::string(1, '\0');
  answer.decisions = {{Csn(1300), false}, {Csn(0), true}};
  add(FrameType::lookup_answer, encode_lookup_answer(answer),
      through(decode_lookup_answer, encode_lookup_answer));
  add(FrameType::channel_open, encode_channel_open({5, {"south", "region"}}),
      through(decode_channel_open, encode_channel_open));
  auto payload = [](const std::string& bytes) { return std::string(view_frame(bytes).payload); };
  add(FrameType::channel,
      payload(encode_channel_frame(5, FrameType::progress, encode_progress({Csn(1300), 17}))),
      [payload](std::string_view in) -> Result<std::string> {
        BL_ASSIGN(auto c, decode_channel_frame(in));
        return payload(encode_channel_frame(c.channel, c.frame.type, c.frame.payload));
      });
  add(FrameType::channel_closed, payload(encode_channel_closed(5)),
      [payload](std::string_view in) -> Result<std::string> {
        BL_ASSIGN(uint64_t channel, decode_channel_closed(in));
        return payload(encode_channel_closed(channel));
      });
  VerifyRequest verify{4, {KeyRange{"", range_key(record().key())}}, {only(record().key())}};
  add(FrameType::verify, encode_verify_request(verify),
      through(decode_verify_request, encode_verify_request));
  VerifyPoint point;
  point.number = 4;
  point.at = cursor();
  point.totals[TerritoryId(2)] = Sum128{.low = 2, .high = 1};
  point.rows = std::string(1, '\0');
  add(FrameType::verify_point, encode_verify_point(point),
      through(decode_verify_point, encode_verify_point));
  add(FrameType::verify_sums, encode_verify_sums({4, {Sum128{.low = 4, .high = 3}}, {}}),
      through(decode_verify_sums, encode_verify_sums));
  return {f, file_format()};
}

const std::vector<Format>& formats() {
  static const std::vector<Format> all = [] {
    std::vector<Format> out;
    for (auto part : {store_formats, record_formats, line_formats, link_formats}) {
      for (auto& f : part()) out.push_back(std::move(f));
    }
    return out;
  }();
  return all;
}

}  // namespace branchline::golden
