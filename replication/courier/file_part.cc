#include "replication/courier/file_part.h"

#include "common/base/limits.h"
#include "replication/line/compress.h"
#include "replication/proto/link.pb.h"
#include "replication/wire/frame.h"

namespace branchline {
namespace {

constexpr std::string_view kMagic = "BRANCHLINE";
constexpr uint8_t kVersion = 1;
static_assert(kMagic.size() + 1 == kFileBeginBytes);

Error malformed(const char* what) {
  return {ErrorKind::invalid, "file.malformed", std::string("malformed file: ") + what};
}

Error newer(const char* what) {
  return {ErrorKind::invalid, "file.newer",
          std::string(what) +
              ": the file was written by a newer version of Branchline; upgrade this server, or "
              "export again with the older one"};
}

std::optional<FileKind> kind_of(uint32_t number) {
  auto kind = static_cast<FileKind>(number);
  if (kind == FileKind::pending || kind == FileKind::feed) return kind;
  return std::nullopt;
}

std::string encode_head(const FileHead& head) {
  proto::FileHead m;
  m.set_kind(static_cast<uint32_t>(head.kind));
  m.set_from(head.from);
  m.set_to(head.to);
  m.set_line(head.line.value);
  m.set_file(head.file);
  m.set_part(head.part);
  m.set_last(head.last);
  m.set_origin(head.origin.value);
  for (auto t : head.territories) m.add_territories(t.value);
  m.set_begin(head.begin.value);
  m.set_end(head.end.value);
  if (head.kind == FileKind::feed) m.set_begin_chain(std::string(head.begin_chain.view()));
  return m.SerializeAsString();
}

Result<FileHead> decode_head(std::string_view bytes) {
  proto::FileHead m;
  if (!m.ParseFromArray(bytes.data(), static_cast<int>(bytes.size())))
    return std::unexpected(malformed("its head"));
  auto kind = kind_of(m.kind());
  if (!kind) return std::unexpected(newer("a kind that is not known here"));
  if (m.file().size() != 16 || m.origin() > 0xffff || m.end() < m.begin())
    return std::unexpected(malformed("its head"));
  FileHead head;
  head.kind = *kind;
  head.from = m.from();
  head.to = m.to();
  head.line = LineId(m.line());
  head.file = m.file();
  head.part = m.part();
  head.last = m.last();
  head.origin = OriginId(static_cast<uint16_t>(m.origin()));
  for (uint32_t t : m.territories()) head.territories.emplace_back(t);
  head.begin = Csn(m.begin());
  head.end = Csn(m.end());
  if (head.kind == FileKind::feed) {
    auto chain = Digest::from(m.begin_chain());
    if (!chain) return std::unexpected(malformed("its head"));
    head.begin_chain = *chain;
  }
  return head;
}

}  // namespace

std::string_view to_string(FileKind kind) { return kind == FileKind::pending ? "pending" : "feed"; }

std::string encode_file_part(const FilePart& part, int64_t wall_ms) {
  std::string out = encode_frame(FrameType::file_head, encode_head(part.head));
  if (part.head.kind == FileKind::pending) {
    if (part.introduction)
      out += encode_frame(FrameType::hello, encode_hello(*part.introduction, wall_ms));
    StreamCompressor compressor;
    for (const auto& block : part.blocks)
      out += encode_frame(FrameType::mutations, compressor.compress(block));
    return out;
  }
  for (const auto& range : part.ranges) {
    for (const auto& payload : encode_feed(range)) out += encode_frame(FrameType::feed, payload);
  }
  return out;
}

Result<FilePart> decode_file_part(std::string_view bytes) {
  FilePart part;
  FrameDecoder frames;
  frames.append(bytes);
  StreamDecompressor decompressor;
  std::optional<FeedAssembler> assembler;
  size_t read = 0;
  bool open = false;  // a range of which a part is missing
  for (bool first = true;; first = false) {
    auto next = frames.next();
    if (!next && next.error().code == "frame.unknown")
      return std::unexpected(newer("a frame that is not known here"));
    if (!next) return std::unexpected(malformed("its frames"));
    if (!*next) break;
    const Frame& frame = **next;
    read += encode_frame(frame.type, frame.payload).size();
    if (first != (frame.type == FrameType::file_head))
      return std::unexpected(malformed("the order of its frames"));
    bool pending = !first && part.head.kind == FileKind::pending;
    if (first) {
      BL_ASSIGN(part.head, decode_head(frame.payload));
      assembler.emplace(part.head.line);
    } else if (pending && frame.type == FrameType::hello && !part.introduction &&
               part.blocks.empty()) {
      BL_ASSIGN(part.introduction, decode_hello(frame.payload));
    } else if (pending && frame.type == FrameType::mutations && part.introduction) {
      BL_ASSIGN(std::string block, decompressor.decompress(frame.payload, limits::kMaxBlockBytes));
      part.blocks.push_back(std::move(block));
    } else if (!pending && frame.type == FrameType::feed) {
      BL_ASSIGN(auto range, assembler->add(frame.payload));
      open = !range;
      if (!range) continue;
      range->with_own = true;
      part.ranges.push_back(std::move(*range));
    } else {
      return std::unexpected(malformed("a frame that does not belong there"));
    }
  }
  if (read != bytes.size() || open) return std::unexpected(malformed("it ends in the middle"));
  if (!assembler || (part.head.kind == FileKind::pending && !part.introduction))
    return std::unexpected(malformed("it says nothing of its sender"));
  Csn at = part.head.begin;
  for (const auto& range : part.ranges) {
    if (range.from != at) return std::unexpected(malformed("a gap between its ranges"));
    at = range.to.csn;
  }
  if (part.head.kind == FileKind::feed && at != part.head.end)
    return std::unexpected(malformed("its ranges end elsewhere than its head says"));
  return part;
}

std::string frame_sealed_part(const SealedPart& part) {
  std::string content;
  Writer w(content);
  w.u8(kVersion);
  w.u8(static_cast<uint8_t>(part.kind));
  w.blob(part.from);
  w.blob(part.to);
  w.blob(part.cms);
  std::string out;
  Writer framed(out);
  framed.blob(content);
  framed.bytes(sha256(content).view());
  return out;
}

Result<size_t> framed_size(std::string_view bytes) {
  Reader r(bytes);
  uint64_t size = r.varint();
  if (!r.ok()) {
    return fail(ErrorKind::corrupt, "file.truncated",
                "the file ends early: it was not copied whole; copy or export it again");
  }
  if (size == 0) return size_t{0};
  if (size > limits::kMaxFilePartBytes) {
    return fail(ErrorKind::corrupt, "file.damaged",
                "a part of " + std::to_string(size) + " bytes, and " +
                    std::to_string(limits::kMaxFilePartBytes) +
                    " are allowed: the file is damaged; copy or export it again");
  }
  return bytes.size() - r.remaining() + size + 32;
}

Result<SealedPart> read_sealed_part(std::string_view framed) {
  BL_ASSIGN(size_t size, framed_size(framed));
  if (size == 0 || framed.size() < size) {
    return fail(ErrorKind::corrupt, "file.truncated",
                "a part ends early: the file was not copied whole; copy or export it again");
  }
  Reader outer(framed);
  std::string_view content = outer.blob();
  std::string_view hash = outer.bytes(32);
  if (!outer.done() || hash != sha256(content).view()) {
    return fail(ErrorKind::corrupt, "file.damaged",
                "the file is damaged: a part is not as it was written; copy or export it again");
  }
  Reader r(content);
  if (uint8_t version = r.u8(); version != kVersion) {
    if (version > kVersion) return std::unexpected(newer("a part of a later format"));
    return std::unexpected(malformed("the version of a part"));
  }
  auto kind = kind_of(r.u8());
  if (!kind) return std::unexpected(newer("a kind that is not known here"));
  SealedPart part;
  part.kind = *kind;
  part.from = r.blob();
  part.to = r.blob();
  part.cms = r.blob();
  if (!r.done()) return std::unexpected(malformed("an envelope"));
  return part;
}

std::string file_begin() {
  std::string out(kMagic);
  out.push_back(static_cast<char>(kVersion));
  return out;
}

Result<void> check_file_begin(std::string_view bytes) {
  if (bytes.size() < kFileBeginBytes || !bytes.starts_with(kMagic)) {
    return fail(ErrorKind::invalid, "file.other",
                "this is no file of `branchline export` (or its beginning is damaged)");
  }
  uint8_t version = static_cast<uint8_t>(bytes[kMagic.size()]);
  if (version > kVersion) return std::unexpected(newer("a later format of files"));
  if (version < kVersion) return std::unexpected(malformed("its version"));
  return {};
}

Result<void> check_envelope(const SealedPart& envelope, const FilePart& part,
                            std::string_view signer) {
  const FileHead& head = part.head;
  if (signer != head.from) {
    return fail(ErrorKind::denied, "file.signer",
                "the file says that it is from " + head.from + ", and " + std::string(signer) +
                    " signed it");
  }
  bool same = envelope.kind == head.kind && envelope.from == head.from && envelope.to == head.to;
  bool greeted = !part.introduction || part.introduction->server == head.from;
  if (same && greeted) return {};
  return fail(ErrorKind::denied, "file.envelope",
              "what " + std::string(signer) + " signed is not what the outside of the file says: " +
                  "it was altered on its way");
}

}  // namespace branchline
