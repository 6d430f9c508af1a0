// Branchline-Session: what comes out went in, and nothing else is taken for one.
#include "branch/api/session_token.h"

#include <catch2/catch.hpp>

#include "common/base/limits.h"
#include "common/base/random.h"

namespace branchline {
namespace {

SessionToken sample() {
  SessionToken t;
  t.line = LineId(0xa1a2a3a4a5a6a7a8);
  t.csn = Csn(1300);
  t.streams[{OriginId(4), Incarnation(0x1122334455667788), Lane::interactive}] = Seq(300);
  t.streams[{OriginId(5), Incarnation(0x99), Lane::bulk}] = Seq(1);
  return t;
}

}  // namespace

TEST_CASE("a roaming token survives the journey and is short", "[session]") {
  for (SessionToken t : {sample(), SessionToken{LineId(1), Csn(0), {}}}) {
    std::string text = encode_session(t);
    CHECK(text.size() <= 64);
    auto back = decode_session(text);
    REQUIRE(back);
    CHECK(back->line == t.line);
    CHECK(back->csn == t.csn);
    CHECK(back->streams == t.streams);
    CHECK(encode_session(*back) == text);
  }
  // As docs/formats.md shows it.
  CHECK(
      encode_session({LineId(0xa1a2a3a4a5a6a7a8), Csn(1300), {}}).starts_with("AaGio6SlpqeolAoA"));
}

TEST_CASE("nothing but a roaming token is taken for one", "[session]") {
  std::string text = encode_session(sample());
  for (size_t cut = 0; cut < text.size(); ++cut) {
    INFO(cut);
    auto short_one = decode_session(text.substr(0, cut));
    REQUIRE_FALSE(short_one);
    CHECK(short_one.error().code == "session.malformed");
  }
  for (size_t i = 0; i < text.size(); ++i) {
    for (char c : {'A', '_', '=', '\\', ' ', '\0'}) {
      if (text[i] == c) continue;
      std::string other = text;
      other[i] = c;
      CHECK_FALSE(decode_session(other));
    }
  }
  CHECK_FALSE(decode_session(text + "A"));
  CHECK_FALSE(decode_session(std::string(100'000, 'A')));
  SessionToken many = sample();
  for (uint16_t n = 1; n <= limits::kMaxSessionStreams; ++n)
    many.streams[{OriginId(n), Incarnation(1), Lane::interactive}] = Seq(1);
  CHECK_FALSE(decode_session(encode_session(many)));
  SessionToken no_line = sample();
  no_line.line = LineId(0);
  CHECK_FALSE(decode_session(encode_session(no_line)));
}

}  // namespace branchline
