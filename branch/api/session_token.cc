#include "branch/api/session_token.h"

#include "common/base/bytes.h"
#include "common/base/hash.h"
#include "common/base/limits.h"

namespace branchline {
namespace {

constexpr uint8_t kFormat = 1;
constexpr size_t kCheckBytes = 4;
constexpr size_t kMaxText = 4096;
constexpr std::string_view kLetters =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

// RFC 4648, "base64url", without padding.
std::string to_letters(std::string_view bytes) {
  std::string out;
  uint32_t bits = 0;
  int held = 0;
  for (char c : bytes) {
    bits = bits << 8 | static_cast<uint8_t>(c);
    for (held += 8; held >= 6; held -= 6) out.push_back(kLetters[bits >> (held - 6) & 63]);
  }
  if (held > 0) out.push_back(kLetters[bits << (6 - held) & 63]);
  return out;
}

std::optional<std::string> from_letters(std::string_view text) {
  std::string out;
  uint32_t bits = 0;
  int held = 0;
  for (char c : text) {
    size_t at = kLetters.find(c);
    if (at == std::string_view::npos) return std::nullopt;
    bits = bits << 6 | static_cast<uint32_t>(at);
    held += 6;
    if (held < 8) continue;
    held -= 8;
    out.push_back(static_cast<char>(bits >> held));
  }
  // What is left over must be nothing: a second way to write the same is none.
  if (held >= 6 || (bits & ((1u << held) - 1)) != 0) return std::nullopt;
  return out;
}

uint32_t check_of(std::string_view bytes) { return static_cast<uint32_t>(hash64(bytes) >> 32); }

}  // namespace

std::string encode_session(const SessionToken& token) {
  std::string out;
  Writer w(out);
  w.u8(kFormat);
  w.fixed64(token.line.value);
  w.varint(token.csn.value);
  w.varint(token.streams.size());
  for (const auto& [stream, seq] : token.streams) {
    w.varint(stream.origin.value);
    w.fixed64(stream.incarnation.value);
    w.u8(static_cast<uint8_t>(stream.lane));
    w.varint(seq.value);
  }
  w.fixed32(check_of(out));
  return to_letters(out);
}

Result<SessionToken> decode_session(std::string_view text) {
  auto malformed = [](const char* what) {
    return fail(ErrorKind::invalid, "session.malformed",
                std::string("Branchline-Session: ") + what +
                    "; send the header of an earlier answer as it was, or leave it out");
  };
  if (text.size() > kMaxText) return malformed("longer than any that is given out");
  auto bytes = from_letters(text);
  if (!bytes || bytes->size() <= kCheckBytes) return malformed("not a token of an office");
  std::string_view body = std::string_view(*bytes).substr(0, bytes->size() - kCheckBytes);
  if (Reader(std::string_view(*bytes).substr(body.size())).fixed32() != check_of(body))
    return malformed("not a token of an office, or cut off");
  Reader r(body);
  if (r.u8() != kFormat) return malformed("of another version than this office reads");
  SessionToken token;
  token.line = LineId(r.fixed64());
  token.csn = Csn(r.varint());
  uint64_t count = r.varint_max(limits::kMaxSessionStreams);
  const Stream* last = nullptr;
  for (uint64_t i = 0; i < count && r.ok(); ++i) {
    Stream stream;
    stream.origin = OriginId(static_cast<uint16_t>(r.varint_max(0xffff)));
    stream.incarnation = Incarnation(r.fixed64());
    stream.lane = static_cast<Lane>(r.flag());
    Seq seq(r.varint());
    if (seq.value == 0 || (last && !(*last < stream))) r.fail();
    last = &token.streams.emplace(stream, seq).first->first;
  }
  if (!r.done() || token.line.value == 0) return malformed("not a token of an office");
  return token;
}

}  // namespace branchline
