// Every field of what is kept and shipped survives every codec it passes. tests/support/fields.h
// does not compile when a struct gains a field; the samples fill all fields, so that a codec that
// drops one fails here.
#include <catch2/catch.hpp>

#include <functional>

#include "common/base/limits.h"
#include "replication/line/compress.h"
#include "replication/line/mutation_block.h"
#include "replication/wire/frame.h"
#include "tests/support/fields.h"
#include "tests/support/samples.h"

namespace branchline {
namespace {

using fields::same;
using fields::unfilled;
using Paths = std::vector<std::string>;

template <typename Put>
std::string bytes_of(Put put) {
  std::string out;
  Writer w(out);
  put(w);
  return out;
}

TEST_CASE("fields: the samples leave none at its default") {
  // An image belongs to `arrive` alone, a part to rows of arrivals alone: move_test.cc.
  CHECK(unfilled(samples::mutation()) == Paths{"11[].7"});
  CHECK(unfilled(samples::commit()) == Paths{"5[].7"});
  CHECK(unfilled(samples::version()) == Paths{});
  CHECK(unfilled(samples::fates()) == Paths{});
  CHECK(unfilled(samples::batch_header()) == Paths{"5[].3"});
  CHECK(unfilled(samples::ledger()) == Paths{});
  CHECK(unfilled(samples::totals()) == Paths{});
  CHECK(unfilled(samples::incarnation()) == Paths{});
  CHECK(unfilled(samples::feed_range()) == Paths{"4"});  // not sent: known of a file's ranges
  CHECK(unfilled(samples::introduction()) == Paths{});
  CHECK(unfilled(samples::registration()) == Paths{});
  CHECK(unfilled(samples::snapshot_head()) == Paths{});
  CHECK(unfilled(samples::snapshot_end()) == Paths{});
  CHECK(unfilled(samples::anchor()) == Paths{});
  CHECK(unfilled(samples::replica_state()) == Paths{});
  CHECK(unfilled(samples::seed_row()) == Paths{});
  CHECK(unfilled(samples::trim_state()) == Paths{});
  CHECK(unfilled(samples::branch_progress()) == Paths{});
  CHECK(unfilled(samples::key_row()) == Paths{});
  CHECK(unfilled(samples::master_state()) == Paths{});
  CHECK(unfilled(samples::stream_state()) == Paths{});
  CHECK(unfilled(samples::origin_state()) == Paths{"10[].1"});  // of the first lane
  CHECK(unfilled(samples::reconciling()) == Paths{});
  CHECK(unfilled(samples::replica_history()) == Paths{"4.2"});  // a point in both lanes
}

TEST_CASE("fields: the samples hold every type of value and every kind of operation and effect") {
  std::set<ValueType> types;
  std::set<RecordOpKind> records;
  std::set<CellOpKind> cells;
  auto take = [&](const std::vector<RecordOp>& ops) {
    for (const auto& op : ops) {
      records.insert(op.kind);
      for (const auto& c : op.cells) {
        cells.insert(c.kind);
        types.insert(c.value.type);
        CHECK(valid(c.value));
      }
    }
  };
  take(samples::mutation().ops);
  take(samples::escrow_mutation().ops);
  take(samples::escrow_mutation().ops);
  take(samples::commit().effects);
  CHECK(types.size() == size_t(kLastValueType) + 1);
  CHECK(records.size() == 9);
  CHECK(cells.size() == 12);
}

TEST_CASE("fields: a mutation through its canonical bytes") {
  Mutation m = samples::mutation();
  std::string bytes = bytes_of([&](Writer& w) { put_mutation(w, m); });
  Reader r(bytes);
  auto back = get_mutation(r);
  REQUIRE(back);
  CHECK(r.done());
  CHECK(same(*back, m));
}

TEST_CASE("fields: a mutation through a block, its compression and its frame") {
  StreamCompressor compressor;
  StreamDecompressor decompressor;
  FrameDecoder decoder;
  std::string raw = samples::mutation_block();
  for (int connection = 0; connection < 3; ++connection) {  // later frames refer to earlier ones
    decoder.append(encode_frame(FrameType::mutations, compressor.compress(raw)));
    auto frame = decoder.next();
    REQUIRE((frame && *frame));
    auto plain = decompressor.decompress((*frame)->payload, limits::kMaxBlockBytes);
    REQUIRE(plain);
    auto block = decode_mutation_block(*plain);
    REQUIRE(block);
    REQUIRE(block->mutations.size() == 2);
    CHECK(same(block->mutations[0], samples::mutation()));
    CHECK(same(block->mutations[1], samples::next_mutation()));
    CHECK(block->stream == stream_of(samples::mutation_id()));
    CHECK(block->forecasts.size() == 1);
    CHECK(block->chain_check == 0x08090a0b);
  }
}

TEST_CASE("fields: a mutation through the outbox, with its forecasts, sums and pre-image") {
  OutboxBlock block = samples::outbox_block();
  auto back = decode_outbox_block(samples::outbox_last(), encode_outbox_block(block));
  REQUIRE(back);
  CHECK(back->generation == block.generation);
  CHECK(back->chain_before == block.chain_before);
  CHECK(back->chain_after == block.chain_after);
  REQUIRE(back->entries.size() == 2);
  for (size_t i = 0; i < 2; ++i) CHECK(same(back->entries[i], block.entries[i]));
  auto effects = decode_effects(back->entries[0].original);
  REQUIRE(effects);
  CHECK(same(*effects, samples::next_commit().effects));
}

TEST_CASE("fields: a commit through its block, container and feed frame") {
  FeedRange range = samples::feed_range();
  range.blocks = {compress(samples::commit_block())};
  FeedAssembler assembler(range.to.line);
  auto parts = encode_feed(range);
  REQUIRE(parts.size() == 1);
  auto back = assembler.add(parts[0]);
  REQUIRE((back && *back));
  CHECK(same(**back, range));
  auto raw = decompress((*back)->blocks[0], limits::kMaxBlockBytes);
  REQUIRE(raw);
  auto block = decode_commit_block(*raw);
  REQUIRE(block);
  REQUIRE(block->commits.size() == 2);
  CHECK(same(block->commits[0], samples::commit()));
  CHECK(same(block->commits[1], samples::next_commit()));
}

TEST_CASE("fields: a feed range in parts") {
  FeedRange range = samples::feed_range();
  range.blocks.assign(5, std::string(limits::kMaxFrameBytes / 4, 'x'));
  FeedAssembler assembler(range.to.line);
  auto parts = encode_feed(range);
  REQUIRE(parts.size() > 1);
  for (size_t i = 0; i < parts.size(); ++i) {
    CHECK(parts[i].size() < limits::kMaxFrameBytes);
    auto got = assembler.add(parts[i]);
    REQUIRE(got);
    CHECK(got->has_value() == (i + 1 == parts.size()));
    if (*got) CHECK(same(**got, range));
  }
  // A part of another range in between is refused.
  FeedRange other = range;
  other.from = Csn(1);
  REQUIRE(assembler.add(parts[0]));
  CHECK_FALSE(assembler.add(encode_feed(other)[1]));
}

template <typename T, typename Encode, typename Decode>
void round_trip(const T& sample, Encode encode, Decode decode) {
  auto back = decode(encode(sample));
  REQUIRE(back);
  CHECK(same(*back, sample));
}

TEST_CASE("fields: rows of the line, of a branch and of a master") {
  using namespace samples;
  round_trip(fates(), encode_fate_block, decode_fate_block);
  round_trip(batch_header(), encode_batch_header, decode_batch_header);
  round_trip(incarnation(), encode_incarnation, decode_incarnation);
  round_trip(replica_state(), encode_replica_state, decode_replica_state);
  // A generation that no key of the outbox could hold.
  ReplicaState beyond = replica_state();
  beyond.generation = 0x80000000;
  CHECK_FALSE(decode_replica_state(encode_replica_state(beyond)));
  round_trip(seed_row(), encode_seed_row, decode_seed_row);
  round_trip(trim_state(), encode_trim_state, decode_trim_state);
  round_trip(branch_progress(), encode_branch_progress, decode_branch_progress);
  round_trip(master_state(), encode_master_state, decode_master_state);
  round_trip(stream_state(), encode_stream_state, decode_stream_state);
  round_trip(origin_state(), encode_origin_state, decode_origin_state);
  round_trip(plain_origin_state(), encode_origin_state, decode_origin_state);
  round_trip(reconciling(), encode_reconciling, decode_reconciling);
  round_trip(replica_history(), encode_replica_history, decode_replica_history);
  round_trip(key_row(), [](const KeyRow& k) { return encode_key_row(k); }, decode_branch_key_row);
  for (const auto& f : fates()) {
    auto back = decode_fate_row(f.id, encode_fate_row(f, "content"));
    REQUIRE(back);
    CHECK(same(*back, FateRow{f, "content"}));
  }
  auto id = decode_key_row(encode_key_row(mutation_id(), version().hlc));
  REQUIRE(id);
  CHECK(*id == mutation_id());
}

TEST_CASE("fields: versions, records, elements") {
  std::string bytes = bytes_of([](Writer& w) { put_version(w, samples::version()); });
  Reader r(bytes);
  CHECK(get_version(r) == samples::version());
  CHECK(r.done());
  Record record = samples::record();
  auto back = Record::decode(record.key(), record.encode());
  REQUIRE(back);
  CHECK(back->territory() == record.territory());
  CHECK(back->also_in() == record.also_in());
  CHECK(back->pending() == record.pending());
  CHECK(back->created_version() == record.created_version());
  REQUIRE(back->cells().size() == samples::values().size());
  for (const auto& c : record.cells()) {
    CHECK(back->value(c.field) == record.value(c));
    CHECK(back->version(*back->find(c.field)) == record.version(c));
  }
  CHECK(record_sum(*back) == record_sum(record));
}

TEST_CASE("fields: greetings and the rare messages") {
  using namespace samples;
  auto hello = decode_hello(encode_hello(introduction(), 77));
  REQUIRE(hello);
  // The master knows the origin from the certificate's name: it is not sent.
  Introduction sent = introduction();
  sent.origin = {};
  for (auto& p : sent.pending) p.stream.origin = {};
  CHECK(same(*hello, sent));
  auto welcome = decode_welcome(encode_welcome(registration(), 77));
  REQUIRE(welcome);
  // The session's number and how the master came to its answer stay there.
  Registration told = registration();
  told.session = 0;
  told.rolled_back = false;
  told.installed.clear();
  CHECK(same(*welcome, Welcome{told, 77}));
  round_trip(snapshot_head(), encode_snapshot_head, decode_snapshot_head);
  round_trip(snapshot_end(), encode_snapshot_end, decode_snapshot_end);
  round_trip(Heartbeat{1, 2, 3, Csn(4), Csn(5), 6, 7, Csn(8), 9}, encode_heartbeat,
             decode_heartbeat);
  round_trip(Progress{Csn(1), 2}, encode_progress, decode_progress);
  round_trip(StreamAck{{OriginId(0), Incarnation(1), Lane::bulk}, Seq(2)}, encode_ack, decode_ack);
}

TEST_CASE("fields: greetings with a hash cut short are malformed, not zeros") {
  Introduction intro = samples::introduction();
  std::string bytes = encode_hello(intro, 0);
  size_t at = bytes.find(std::string(intro.cursor.chain.view()));
  REQUIRE(at != bytes.npos);
  // Shorter by one byte: the hash, the cursor around it.
  bytes.erase(at + 31, 1);
  bytes[at - 1] = 31;
  size_t cursor = bytes.rfind('\x3a', at);  // field 7, length
  bytes[cursor + 1] = static_cast<char>(bytes[cursor + 1] - 1);
  auto got = decode_hello(bytes);
  REQUIRE_FALSE(got);
  CHECK(got.error().code == "message.malformed");
  CHECK(got.error().message.find("32 bytes") != std::string::npos);
}

// What a chain covers must not be changed unnoticed: each change gives another digest.
TEST_CASE("fields: a mutation's digest covers each of them") {
  MutationHasher hasher(samples::salt_key(), Lane::bulk);
  Mutation base = samples::mutation();
  std::vector<std::function<void(Mutation&)>> changes = {
      [](Mutation& m) { m.id.origin = OriginId(9); },
      [](Mutation& m) { m.id.incarnation = Incarnation(9); },
      [](Mutation& m) { m.id.lane = Lane::interactive; },
      [](Mutation& m) { m.id.seq = Seq(9); },
      [](Mutation& m) { m.order = Order(10); },
      [](Mutation& m) { m.line = LineId(9); },
      [](Mutation& m) { m.base = Csn(9); },
      [](Mutation& m) { m.hlc = Hlc{9}; },
      [](Mutation& m) { m.author = samples::raw_id(1); },
      [](Mutation& m) { m.credential = samples::raw_id(1); },
      [](Mutation& m) { m.schema_version = 9; },
      [](Mutation& m) { m.atomic = false; },
      [](Mutation& m) { m.operation_key = "x"; },
      [](Mutation& m) { m.guards[0].record.entity = EntityId(9); },
      [](Mutation& m) { m.guards[0].record.id = samples::raw_id(1); },
      [](Mutation& m) { m.guards[0].field = FieldId(9); },
      [](Mutation& m) { m.guards[0].expected = samples::values()[1]; },
      [](Mutation& m) { m.guards.clear(); },
      [](Mutation& m) { m.ops[0].kind = RecordOpKind::update; },
      [](Mutation& m) { m.ops[0].record.entity = EntityId(9); },
      [](Mutation& m) { m.ops[0].record.id = samples::raw_id(1); },
      [](Mutation& m) { m.ops[0].territory = TerritoryId(9); },
      [](Mutation& m) { m.ops[0].also_in[1] = TerritoryId(9); },
      [](Mutation& m) { m.ops[3].target = samples::raw_id(1); },
      [](Mutation& m) { m.ops[1].seen = Csn(9); },
      [](Mutation& m) { m.ops[1].cells[0].field = FieldId(9); },
      [](Mutation& m) { m.ops[1].cells[0].kind = CellOpKind::set; },
      [](Mutation& m) { m.ops[1].cells[0].value = samples::values()[1]; },
      [](Mutation& m) { m.ops[1].cells[2].key.mutation.seq = Seq(9); },
      [](Mutation& m) { m.ops[1].cells[3].key.index = 9; },
      [](Mutation& m) { m.ops.pop_back(); },
      [](Mutation& m) { std::swap(m.ops[0], m.ops[1]); },
  };
  std::set<Digest> seen{hasher.digest(base)};
  for (size_t i = 0; i < changes.size(); ++i) {
    INFO("change " << i);
    Mutation m = base;
    changes[i](m);
    CHECK(seen.insert(hasher.digest(m)).second);
  }
  CHECK(seen.count(MutationHasher(SaltKey::from(std::string(16, 'x')), Lane::bulk).digest(base)) ==
        0);
}

TEST_CASE("fields: a commit's digest covers each of them") {
  Sha256 sha;
  Commit base = samples::commit();
  std::vector<std::function<void(Commit&)>> changes = {
      [](Commit& c) { c.csn = Csn(9); },
      [](Commit& c) { c.id.origin = OriginId(9); },
      [](Commit& c) { c.id.incarnation = Incarnation(9); },
      [](Commit& c) { c.id.lane = Lane::interactive; },
      [](Commit& c) { c.id.seq = Seq(9); },
      [](Commit& c) { c.order = Order(10); },
      [](Commit& c) { c.hlc = Hlc{9}; },
      [](Commit& c) { c.author = samples::raw_id(1); },
      [](Commit& c) { c.effects[0].cells[1].value = samples::values()[2]; },
      [](Commit& c) { c.effects.pop_back(); },
      [](Commit& c) { c.lost[0].record.entity = EntityId(9); },
      [](Commit& c) { c.lost[0].record.id = samples::raw_id(1); },
      [](Commit& c) { c.lost[0].field = FieldId(9); },
      [](Commit& c) { c.lost[0].value = samples::values()[1]; },
      [](Commit& c) { c.lost.clear(); },
  };
  std::set<Digest> seen{commit_digest(sha, samples::salt_key(), base)};
  for (size_t i = 0; i < changes.size(); ++i) {
    INFO("change " << i);
    Commit c = base;
    changes[i](c);
    CHECK(seen.insert(commit_digest(sha, samples::salt_key(), c)).second);
  }
}

TEST_CASE("fields: a line's chain covers each field of its batches") {
  BatchHeader base = samples::batch_header();
  std::vector<std::function<void(BatchHeader&)>> changes = {
      [](BatchHeader& h) { h.from = Csn(9); },
      [](BatchHeader& h) { h.to = Csn(9999); },
      [](BatchHeader& h) { h.term = Term(9); },
      [](BatchHeader& h) { h.wall_ms = 9; },
      [](BatchHeader& h) { h.rows[0].kind = 2; },
      [](BatchHeader& h) { h.rows[0].tag.territory = TerritoryId(9); },
      [](BatchHeader& h) { h.rows[0].tag.origin = OriginId(9); },
      [](BatchHeader& h) { h.rows[0].tag.echo = false; },
      [](BatchHeader& h) { h.rows[0].digest = samples::digest(9); },
      [](BatchHeader& h) { h.rows.pop_back(); },
  };
  std::set<Digest> seen{batch_chain(samples::digest(1), base)};
  for (size_t i = 0; i < changes.size(); ++i) {
    INFO("change " << i);
    BatchHeader h = base;
    changes[i](h);
    CHECK(seen.insert(batch_chain(samples::digest(1), h)).second);
  }
  CHECK(seen.insert(batch_chain(samples::digest(2), base)).second);
}

}  // namespace
}  // namespace branchline
