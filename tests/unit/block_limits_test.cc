// A small block must not be able to ask for much memory or time.
#include <catch2/catch.hpp>
#include <random>

#include "common/base/limits.h"
#include "replication/line/columns.h"
#include "replication/line/compress.h"
#include "replication/line/mutation_block.h"
#include "replication/wire/frame.h"
#include "tests/support/samples.h"

namespace branchline {
namespace {

using namespace std::string_literals;

// Columns of a block, to be changed and joined again.
std::vector<std::string> columns_of(const std::string& block) {
  std::vector<std::string> out;
  Reader r(block);
  while (r.ok() && r.remaining() > 0) out.emplace_back(r.blob());
  return out;
}
std::string join(const std::vector<std::string>& columns) {
  std::string out;
  Writer w(out);
  for (const auto& c : columns) w.blob(c);
  return out;
}

constexpr size_t kOpCounts = 8, kShapes = 12, kIndexes = 13, kCodes = 17, kTimes = 18,
                 kCounters = 19, kFirstCell = 21;

TEST_CASE("blocks: a wide shape that is named again and again is refused") {
  MutationBlockWriter writer;
  Mutation m = samples::next_mutation();
  m.operation_key = {};
  m.ops[0].record.id = samples::record_id(1);
  m.ops[0].cells = {{FieldId(16), CellOpKind::set, {}, {}}};
  writer.add(m, 0);
  auto columns = columns_of(writer.finish({}));
  // One shape of 50,000 cells without values, and 5,000 operations of it: a quarter of a gigabyte
  // of cells.
  std::string& shapes = columns[kShapes];
  shapes.clear();
  Writer s(shapes);
  s.u8(static_cast<uint8_t>(RecordOpKind::create));
  s.varint(2);
  s.u8(0);
  constexpr size_t kCells = 50'000, kOps = 5'000;
  s.varint(kCells);
  for (size_t i = 0; i < kCells; ++i) {
    s.varint(16);
    s.u8(static_cast<uint8_t>(CellOpKind::set));
    s.u8(0);
  }
  columns.resize(kFirstCell);
  columns.resize(kFirstCell + 2 * kCells);
  columns[kOpCounts].clear();
  Writer(columns[kOpCounts]).varint(kOps);
  columns[kIndexes].assign(kOps, '\0');
  columns[kCodes].assign(kOps, '\2');
  columns[kTimes] += std::string(kOps - 1, '\0');
  columns[kCounters].assign(kOps, '\1');
  std::string block = join(columns);
  CHECK(block.size() < limits::kMaxBlockBytes);
  auto got = decode_mutation_block(block);
  REQUIRE_FALSE(got);
  CHECK(got.error().kind == ErrorKind::corrupt);
  // With few operations it is a block like any other.
  columns[kOpCounts].clear();
  Writer(columns[kOpCounts]).varint(2);
  columns[kIndexes].resize(2);
  columns[kCodes].resize(2);
  columns[kTimes].resize(columns[kTimes].size() - (kOps - 2));
  columns[kCounters].resize(2);
  CHECK(decode_mutation_block(join(columns)));
}

TEST_CASE("blocks: columns left over, missing or swapped are refused") {
  auto columns = columns_of(samples::mutation_block());
  REQUIRE(decode_mutation_block(join(columns)));
  for (size_t i = 0; i < columns.size(); ++i) {
    INFO("column " << i);
    auto longer = columns;
    longer[i].push_back('\0');
    CHECK_FALSE(decode_mutation_block(join(longer)));
    auto fewer = columns;
    fewer.erase(fewer.begin() + static_cast<long>(i));
    CHECK_FALSE(decode_mutation_block(join(fewer)));
  }
}

TEST_CASE("containers: more than the limit is refused before it is made") {
  std::string zeros(1'000'000, '\0');
  std::string container = compress(zeros);
  CHECK(container.size() < 1000);
  CHECK(decompress(container, zeros.size()) == zeros);
  CHECK_FALSE(decompress(container, zeros.size() - 1));
  CHECK_FALSE(decompress(compress("short"), 4));
  CHECK_FALSE(decompress("", 100));
  CHECK_FALSE(decompress("\2x", 100));
  // A size that is not what comes out.
  std::string lies = container;
  lies[1] = static_cast<char>(lies[1] ^ 1);
  CHECK_FALSE(decompress(lies, 2 * zeros.size()));
  StreamCompressor sender;
  StreamDecompressor receiver;
  CHECK_FALSE(receiver.decompress(sender.compress(zeros), zeros.size() / 2));
}

TEST_CASE("streams: what goes in comes out, however columns divide it") {
  std::mt19937 dice(7);
  auto text = [&](size_t size, unsigned first, unsigned count) {
    std::string out(size, '\0');
    for (char& c : out) c = static_cast<char>(first + dice() % count);
    return out;
  };
  StreamCompressor sender;
  StreamDecompressor receiver;
  auto sent = [&](const std::string& block) {
    std::string bytes = sender.compress(block);
    auto back = receiver.decompress(bytes, block.size());
    REQUIRE(back);
    CHECK(*back == block);
    return bytes.size();
  };
  // Nothing that zstd could make shorter, in as many blocks as there can be.
  std::vector<std::string> random;
  for (size_t size : {511, 512, 513, 0, 1, 512, 512, 600})
    for (int i = 0; i < 30; ++i) random.push_back(text(size, 0, 256));
  sent(join(random));
  // No columns at all, a column that ends later than the block, and nothing.
  for (const std::string& odd : {text(3000, 'a', 3), text(700, 0x80, 128), "\xff\x7fx"s, ""s})
    sent(odd);
  // Digits and letters by themselves need 3.4 and 4.8 bits each; mixed, 5.
  std::vector<std::string> mixed;
  for (int i = 0; i < 8; ++i)
    mixed.push_back(text(4000, i % 2 == 0 ? '0' : 'a', i % 2 == 0 ? 10 : 27));
  CHECK(sent(join(mixed)) < 4 * 4000 * (3.45 + 4.85) / 8 + 1000);
  CHECK(compress(join(mixed)).size() > 4 * 4000 * (3.45 + 4.85) / 8 + 1000);
}

TEST_CASE("frames: cut anywhere and refused where they must be") {
  std::string stream;
  for (const char* payload : {"", "a", "bc"}) stream += encode_frame(FrameType::progress, payload);
  for (size_t step = 1; step < stream.size(); ++step) {
    FrameDecoder decoder;
    std::string got;
    int frames = 0;
    for (size_t at = 0; at < stream.size(); at += step) {
      decoder.append(std::string_view(stream).substr(at, step));
      for (;;) {
        auto frame = decoder.next();
        REQUIRE(frame);
        if (!*frame) break;
        got += (*frame)->payload;
        ++frames;
      }
    }
    CHECK(frames == 3);
    CHECK(got == "abc");
  }
  auto code = [](std::string_view bytes) {
    FrameDecoder decoder;
    decoder.append(bytes);
    auto frame = decoder.next();
    return frame ? (*frame ? "a frame" : "more") : frame.error().code;
  };
  CHECK(code({"\0", 1}) == "frame.empty");
  CHECK(code({"\1\0", 2}) == "frame.unknown");
  CHECK(code("\1\x0c") == "frame.unknown");
  CHECK(code("\xff\xff\xff\x7f") == "frame.too_large");
  CHECK(code("\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff") == "frame.too_large");
  CHECK(code("\xff\xff") == "more");
  CHECK(code("\1\1") == "a frame");
  std::string largest;
  Writer(largest).varint(limits::kMaxFrameBytes + 1);
  CHECK(code(largest) == "frame.too_large");
}

}  // namespace
}  // namespace branchline
