// The hub's part of a link: what it passes on, in what order, and what each end remembers.
#include <catch2/catch.hpp>

#include "common/base/bytes.h"
#include "common/base/random.h"
#include "master/ingest/directory.h"
#include "replication/line/mutation_block.h"
#include "replication/relay/hub_relay.h"
#include "replication/session/greeting.h"
#include "replication/wire/feed_frame.h"

namespace branchline {
namespace {

constexpr int64_t kNow = 1'000'000, kWall = 1'780'000'000'000;

std::string feed(uint64_t from, std::vector<std::string> blocks) {
  FeedRange range;
  range.from = Csn(from);
  range.to.csn = Csn(from + 1);
  range.blocks = std::move(blocks);
  return encode_feed(range).front();
}

std::vector<Frame> frames(const std::vector<std::string>& bytes) {
  FrameDecoder decoder;
  for (const auto& b : bytes) decoder.append(b);
  std::vector<Frame> out;
  for (;;) {
    auto frame = decoder.next();
    REQUIRE(frame);
    if (!*frame) return out;
    out.push_back(std::move(**frame));
  }
}

std::string block_of(Lane lane, uint64_t seq, size_t bytes) {
  SeededRandom random(seq);
  Mutation m;
  m.id = {OriginId(4), Incarnation(7), lane, Seq(seq)};
  m.order = Order(seq);
  std::string key = hex(random.bytes(bytes / 2));
  m.operation_key = std::string_view(key).substr(0, 200);
  MutationBlockWriter w;
  w.add(m, 1);
  return w.finish({});
}

}  // namespace

TEST_CASE("a block crosses a link once, and comes out as it went in", "[relay]") {
  SeededRandom random(1);
  BlockWindowSender sender(4'000);
  BlockWindowReceiver receiver(4'000);
  std::vector<std::string> blocks;
  for (int i = 0; i < 40; ++i) blocks.push_back(random.bytes(1 + random.below(900)));
  // Some come again soon, some when they have left the window at both ends.
  for (uint64_t i = 0; i < 2'000; ++i) {
    std::vector<std::string> some;
    for (uint64_t n = random.below(4); n > 0; --n) some.push_back(blocks[random.below(40)]);
    std::string payload = feed(i, some);
    auto shrunk = sender.shrink(payload);
    REQUIRE(shrunk);
    auto restored = receiver.restore(*shrunk);
    REQUIRE(restored);
    REQUIRE(*restored == payload);
  }
  CHECK(sender.named_bytes() > 50'000);

  BlockWindowSender fresh;
  BlockWindowReceiver other;
  std::string large = random.bytes(50'000);
  REQUIRE(other.restore(*fresh.shrink(feed(1, {large}))));
  CHECK(fresh.shrink(feed(1, {large}))->size() < 60);
}

TEST_CASE("a window takes nothing that its sender did not make", "[relay]") {
  BlockWindowSender sender;
  (void)sender.shrink(feed(1, {"a block"}));
  std::string named = *sender.shrink(feed(2, {"a block"}));
  BlockWindowReceiver receiver;
  CHECK(receiver.restore(named).error().code == "channel.block");  // never sent here
  CHECK(receiver.restore(named.substr(0, named.size() - 1)).error().code == "channel.block");
  CHECK(receiver.restore(named + "x").error().code == "channel.block");
  // Names do not make a frame larger than may be.
  BlockWindowSender one;
  BlockWindowReceiver two;
  REQUIRE(two.restore(*one.shrink(feed(1, {std::string(1'000'000, 'x')}))));
  std::string forged, payload = feed(2, {"x"});
  Writer w(forged);
  w.blob(split_feed(payload)->head);
  w.varint(7);
  for (int i = 0; i < 7; ++i) w.varint(1);
  auto large = two.restore(forged);
  REQUIRE_FALSE(large);
  CHECK(large.error().code == "channel.block");
}

TEST_CASE("a hub without its upstream tells those beneath why", "[relay]") {
  HubRelay hub("hq", "master", nullptr);
  RelayEffects e = hub.on_connected(1, "east");
  REQUIRE(e.down.size() == 1);
  CHECK(e.closed == std::vector<uint64_t>{1});
  Error why = decode_refused(frames({e.down[0].frame})[0].payload);
  CHECK(why.code == "hub.upstream_down");
  CHECK(why.kind == ErrorKind::unavailable);

  (void)hub.on_upstream_up(0);
  e = hub.on_connected(2, "east");
  CHECK(decode_refused(frames({e.down[0].frame})[0].payload).code == "hub.upstream_older");

  (void)hub.on_upstream_up(8);
  e = hub.on_connected(3, "east");
  CHECK(e.closed.empty());
  CHECK(hub.channels() == 1);
  e = hub.on_upstream_down({ErrorKind::unavailable, "link.broken", "the line is cut"});
  CHECK(e.closed == std::vector<uint64_t>{3});
  CHECK(decode_refused(frames({e.down[0].frame})[0].payload).message.find("the line is cut") !=
        std::string::npos);
  CHECK(hub.channels() == 0);
}

TEST_CASE("beneath a hub people's work of one passes bulk work of another", "[relay]") {
  LinePolicy thin;
  thin.bytes_per_s = 2'000;
  LinkBudget budget(thin);
  HubRelay hub("hq", "master", &budget);
  (void)hub.on_upstream_up(8);
  (void)hub.on_connected(1, "east");
  (void)hub.on_connected(2, "west");
  StreamCompressor east, west;
  std::vector<std::string> up;
  std::map<std::string, uint64_t> numbers;
  auto take = [&](RelayEffects e) {
    for (auto& f : e.up) up.push_back(std::move(f));
  };
  auto send = [&](uint64_t leaf, StreamCompressor& stream, Lane lane, uint64_t seq) {
    std::string block = block_of(lane, seq, 400);
    numbers[block] = seq;
    Frame frame{FrameType::mutations, stream.compress(block)};
    take(hub.on_leaf(leaf, frame, kNow, kWall));
  };
  for (uint64_t i = 1; i <= 5; ++i) send(1, east, Lane::bulk, i);
  send(1, east, Lane::interactive, 6);
  send(2, west, Lane::interactive, 7);
  CHECK(hub.waiting_bytes() > 0);
  for (int64_t t = kNow; hub.waiting_bytes() > 0 && t < kNow + 60'000'000; t += 10'000)
    take(hub.tick(t, kWall));
  // Each channel is a stream of its own; the order is what the lanes say.
  std::map<uint64_t, StreamDecompressor> streams;
  std::vector<uint64_t> order;
  for (const auto& f : frames(up)) {
    if (f.type != FrameType::channel) continue;
    auto inner = decode_channel_frame(f.payload);
    REQUIRE(inner);
    auto raw = streams[inner->channel].decompress(inner->frame.payload, 1'000'000);
    REQUIRE(raw);
    order.push_back(numbers.at(*raw));
  }
  REQUIRE(order.size() == 7);
  auto place = [&](uint64_t seq) {
    return std::find(order.begin(), order.end(), seq) - order.begin();
  };
  CHECK(place(6) < place(2));
  CHECK(place(7) < place(2));
  for (uint64_t i = 1; i < 5; ++i) CHECK(place(i) < place(i + 1));
}

TEST_CASE("a session comes by the hubs that were committed for it, or not at all", "[relay]") {
  Directory directory;
  CHECK(check_path(directory, {}));
  CHECK(check_path(directory, {"east", "hq"}).error().code == "session.unknown");
}

}  // namespace branchline
