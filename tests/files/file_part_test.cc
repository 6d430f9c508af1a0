#include "replication/courier/file_part.h"

#include <catch2/catch.hpp>

#include "common/base/limits.h"
#include "replication/courier/feed_reader.h"
#include "replication/courier/peer_row.h"
#include "replication/courier/transfer.h"
#include "replication/wire/frame.h"
#include "tests/support/samples.h"

namespace branchline {
namespace {

FilePart pending_part() {
  FilePart part;
  part.head.kind = FileKind::pending;
  part.head.from = part.head.to = "master";
  part.introduction = samples::introduction();
  part.head.from = part.introduction->server;
  part.head.line = part.introduction->cursor.line;
  part.head.file = std::string(16, '\x2a');
  part.head.part = 3;
  part.blocks = {"a block", std::string(100'000, 'b')};
  return part;
}

FilePart feed_part() {
  FilePart part;
  part.head.kind = FileKind::feed;
  part.head.from = "master";
  part.head.to = "east";
  part.head.file = std::string(16, '\x2a');
  part.head.last = true;
  part.head.origin = OriginId(3);
  part.head.territories = {TerritoryId(4), TerritoryId(9)};
  part.ranges.push_back(samples::feed_range());
  part.head.line = part.ranges[0].to.line;
  part.head.begin = part.ranges[0].from;
  part.head.end = part.ranges[0].to.csn;
  return part;
}

template <typename T>
std::string code_of(const Result<T>& r) {
  return r ? "taken" : r.error().code;
}

TEST_CASE("a part of a file says again what was put in") {
  FilePart part = pending_part();
  std::string bytes = encode_file_part(part, 1);
  auto read = decode_file_part(bytes);
  REQUIRE(read);
  CHECK(read->blocks == part.blocks);
  CHECK(read->introduction->cursor == part.introduction->cursor);
  CHECK(encode_file_part(*read, 1) == bytes);
  FilePart feed = feed_part();
  bytes = encode_file_part(feed, 1);
  read = decode_file_part(bytes);
  REQUIRE(read);
  CHECK(read->head.territories == feed.head.territories);
  CHECK(read->ranges.at(0).with_own);
  CHECK(encode_file_part(*read, 1) == bytes);
}

TEST_CASE("a part that ends early, is of a newer version or out of order is refused by name") {
  for (const FilePart& part : {pending_part(), feed_part()}) {
    std::string bytes = encode_file_part(part, 1);
    size_t whole_without_last = 0;
    for (size_t n = 0; n < bytes.size(); ++n)
      whole_without_last += decode_file_part(bytes.substr(0, n)) ? 1 : 0;
    // Blocks may be any number: what is missing behind one is found by the signature.
    CHECK(whole_without_last <= 2);
  }
  std::string head = encode_file_part(
      [] {
        FilePart p = feed_part();
        p.ranges.clear();
        p.head.end = p.head.begin;
        return p;
      }(),
      1);
  CHECK(code_of(decode_file_part(head)) == "taken");  // there is nothing new
  CHECK(code_of(decode_file_part(head + head)) == "file.malformed");
  CHECK(code_of(decode_file_part(head + encode_frame(FrameType::ack, "x"))) == "file.malformed");
  CHECK(code_of(decode_file_part(head + encode_frame(static_cast<FrameType>(99), "x"))) ==
        "file.newer");
  FilePart gap = feed_part();
  gap.head.begin = Csn(gap.head.begin.value - 1);
  CHECK(code_of(decode_file_part(encode_file_part(gap, 1))) == "file.malformed");
  FilePart other = feed_part();
  other.head.kind = static_cast<FileKind>(7);
  CHECK(code_of(decode_file_part(encode_file_part(other, 1))) == "file.newer");

  CHECK(check_file_begin(file_begin()));
  std::string later = file_begin();
  later.back() = 2;
  CHECK(code_of(check_file_begin(later)) == "file.newer");
  CHECK(code_of(check_file_begin("BRANCH")) == "file.other");
  CHECK(code_of(framed_size("")) == "file.truncated");
  CHECK(framed_size(std::string(1, kFileEnd)).value_or(9) == 0);
  CHECK(code_of(framed_size("\xff\xff\xff\xff\x7f")) == "file.damaged");
}

TEST_CASE("an envelope, a signature and a content that do not agree are refused") {
  FilePart part = feed_part();
  SealedPart envelope{FileKind::feed, "master", "east", ""};
  CHECK(check_envelope(envelope, part, "master"));
  CHECK(code_of(check_envelope(envelope, part, "west")) == "file.signer");
  envelope.to = "west";
  CHECK(code_of(check_envelope(envelope, part, "master")) == "file.envelope");
  FilePart pending = pending_part();
  pending.introduction->server = "west";
  envelope = {FileKind::pending, pending.head.from, "master", ""};
  CHECK(code_of(check_envelope(envelope, pending, pending.head.from)) == "file.envelope");
}

TEST_CASE("a file goes on where the office stands, or says why it does not") {
  FilePart part = feed_part();
  part.head.begin_chain = samples::digest(0x44);
  FeedRange& second = part.ranges.emplace_back(samples::feed_range());
  second.from = part.ranges[0].to.csn;
  second.to = {second.to.line, Csn(second.from.value + 7), samples::digest(0x45)};
  part.head.end = second.to.csn;
  const LineCursor begin{part.head.line, part.head.begin, part.head.begin_chain};
  const LineCursor middle = part.ranges[0].to, end = second.to;
  CHECK(first_new(part, begin) == size_t{0});
  CHECK(first_new(part, middle) == size_t{1});
  CHECK(first_new(part, end) == size_t{2});
  CHECK(first_new(part, {end.line, end.csn.next(), {}}) == size_t{2});
  CHECK(code_of(first_new(part, {begin.line, Csn(begin.csn.value - 1), {}})) == "file.gap");
  // Another history of the same line: of other hashes, or whose batches end elsewhere.
  for (const LineCursor& at : {begin, middle, end})
    CHECK(code_of(first_new(part, {at.line, at.csn, samples::digest(0x46)})) == "file.off_line");
  CHECK(code_of(first_new(part, {begin.line, begin.csn.next(), begin.chain})) == "file.off_line");
}

TEST_CASE("pieces of a part come together, and tokens say where to go on") {
  PieceCollector pieces;
  CHECK(code_of(pieces.add("a", 0, 0, "x")) == "file.piece");
  CHECK(code_of(pieces.add("a", 0, limits::kMaxFilePartBytes + 65, "x")) == "file.piece");
  REQUIRE(pieces.add("a", 0, 5, "he"));
  CHECK(code_of(pieces.add("b", 2, 5, "llo")) == "file.interrupted");
  CHECK(code_of(pieces.add("a", 3, 5, "llo")) == "file.piece");
  CHECK(code_of(pieces.add("a", 2, 5, "llo!")) == "file.piece");
  auto whole = pieces.add("a", 2, 5, "llo");
  REQUIRE(whole);
  CHECK(**whole == "hello");
  ExportToken token{std::string(16, '\x7f'), 4, {1, 22, 333}};
  auto read = parse_export_token(to_string(token), 3);
  REQUIRE(read);
  CHECK(read->file == token.file);
  CHECK(read->part == 4);
  CHECK(read->position == token.position);
  CHECK_FALSE(parse_export_token(to_string(token), 2));
  for (const char* bad : {"", ".", "7f7f.1.2.3.4", "x.1.2.3"})
    CHECK_FALSE(parse_export_token(bad, 3));
  PeerRow row{Csn(17), "certificate"};
  CHECK(decode_peer_row(encode_peer_row(row)) == row);
  CHECK_FALSE(decode_peer_row("\x02"));
}

}  // namespace
}  // namespace branchline
