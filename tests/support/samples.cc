#include "tests/support/samples.h"

#include <deque>

#include "common/access/access.h"
#include "replication/line/compress.h"
#include "replication/line/mutation_block.h"

namespace branchline::samples {
namespace {

constexpr int64_t kMs = 1'795'341'600'000;  // 2026-11-22T10:00:00Z
const Incarnation kIncarnation{0x1122334455667788};
const LineId kLine{0xa1a2a3a4a5a6a7a8};
const std::string kOperationKey = "import-7";

// Keeps payloads for as long as the process lives.
std::string_view keep(std::string bytes) {
  static std::deque<std::string> all;
  return all.emplace_back(std::move(bytes));
}

std::string encoded(void (*put)(Writer&)) {
  std::string out;
  Writer w(out);
  put(w);
  return out;
}

std::vector<Value> make_values() {
  auto value = [](ValueType type, std::string payload) {
    return Value{type, keep(std::move(payload))};
  };
  return {
      {},
      value(ValueType::text, "M\xc3\xbcller & S\xc3\xb6hne"),
      value(ValueType::integer, encode_integer(-300)),
      value(ValueType::decimal, encode_decimal(Decimal(1250, 2))),
      value(ValueType::money, encode_money({Decimal(-199995, 2), {'E', 'U', 'R'}, 20'779})),
      value(ValueType::boolean, encode_boolean(true)),
      value(ValueType::date, encode_integer(20'779)),
      value(ValueType::instant, encode_integer(kMs + 123)),
      value(ValueType::local_time, encoded([](Writer& w) {
              w.svarint(kMs);
              w.bytes("Europe/Berlin");
            })),
      value(ValueType::duration, encode_integer(90'000)),
      value(ValueType::option, encode_integer(3)),
      value(ValueType::lookup, encode_lookup({EntityId(2), record_id(7)})),
      value(ValueType::phone, "+498912345678"),
      value(ValueType::email, "info@example.com"),
      value(ValueType::url, "https://example.com/"),
      value(ValueType::external_id, encoded([](Writer& w) {
              w.blob("sap");
              w.bytes("0000012345");
            })),
      value(ValueType::blob, encoded([](Writer& w) {
              w.bytes(digest(0x40).view());
              w.varint(70'000);
              w.bytes("image/png");
            })),
      value(ValueType::row,
            encode_row({{annotation_field::kSubject, {ValueType::text, "Call"}},
                        {annotation_field::kText, {ValueType::text, "Rang back"}}})),
  };
}

Stream stream(Lane lane) { return {OriginId(3), kIncarnation, lane}; }

}  // namespace

Digest digest(uint8_t first) {
  Digest d;
  for (auto& b : d.bytes) b = first++;
  return d;
}

RecordId record_id(uint16_t n) {
  RecordId id;
  uint64_t ms = kMs;
  for (size_t i = 0; i < 6; ++i) id.bytes[i] = static_cast<uint8_t>(ms >> (40 - 8 * i));
  id.bytes[6] = static_cast<uint8_t>(0x80 | n >> 8);
  id.bytes[7] = static_cast<uint8_t>(n);
  for (size_t i = 0; i < 8; ++i) id.bytes[8 + i] = static_cast<uint8_t>(0xb1 + i);
  return id;
}

RecordId raw_id(uint8_t fill) {
  RecordId id;
  id.bytes.fill(fill);
  return id;
}

const std::vector<Value>& values() {
  static const std::vector<Value> all = make_values();
  return all;
}

MutationId mutation_id() { return {OriginId(3), kIncarnation, Lane::bulk, Seq(5)}; }

Version version() { return {mutation_id(), Order(9), Csn(1234), Hlc::at_ms(kMs, 5), raw_id(0xaa)}; }

Version other_version() {
  return {{OriginId(4), Incarnation(0x99), Lane::bulk, Seq(300)},
          Order(300),
          Csn(1200),
          Hlc::at_ms(kMs - 60'000, 0),
          raw_id(0xbb)};
}

SaltKey salt_key() { return SaltKey::from(digest(0x70).view()); }

Mutation mutation() {
  Mutation m;
  m.id = mutation_id();
  m.order = Order(9);
  m.line = kLine;
  m.base = Csn(1000);
  m.hlc = Hlc::at_ms(kMs, 5);
  m.author = raw_id(0xaa);
  m.credential = raw_id(0xcc);
  m.schema_version = 2;
  m.atomic = true;
  m.operation_key = kOperationKey;
  m.guards = {{{EntityId(1), record_id(1)}, FieldId(28), values()[4]}};

  RecordOp create;
  create.kind = RecordOpKind::create;
  create.record = {EntityId(1), record_id(2)};
  create.territory = TerritoryId(3);
  create.also_in = {TerritoryId(4), TerritoryId(500)};
  uint16_t field = 16;
  for (const Value& v : values()) {
    if (v.type != ValueType::row)
      create.cells.push_back({FieldId(field++), CellOpKind::set, v, {}});
  }
  RecordOp update;
  update.kind = RecordOpKind::update;
  update.record = {EntityId(1), record_id(1)};
  update.seen = Csn(990);
  ElementKey own{{}, 1};
  ElementKey foreign{other_version().id, 2};
  update.cells = {{FieldId(41), CellOpKind::add, values()[2], {}},
                  {FieldId(38), CellOpKind::insert, values()[1], {{}, 0}},
                  {FieldId(38), CellOpKind::remove, {}, foreign},
                  {FieldId(39), CellOpKind::append, values()[17], own},
                  {FieldId(40), CellOpKind::correct, values()[7], {}}};
  RecordOp remove;
  remove.kind = RecordOpKind::remove;
  remove.record = {EntityId(2), raw_id(0x44)};
  RecordOp merge;
  merge.kind = RecordOpKind::merge;
  merge.record = {EntityId(1), record_id(3)};
  merge.target = record_id(1);
  m.ops = {create, update, remove, merge};
  return m;
}

Mutation next_mutation() {
  Mutation m;
  m.id = mutation_id();
  m.id.seq = Seq(6);
  m.order = Order(11);
  m.line = kLine;
  m.base = Csn(1001);
  m.hlc = Hlc::at_ms(kMs, 6);
  m.author = raw_id(0xaa);
  m.credential = raw_id(0xcc);
  m.schema_version = 2;
  m.operation_key = "import-8";
  RecordOp create;
  create.kind = RecordOpKind::create;
  create.record = {EntityId(2), keyed_record_id(m.author, m.operation_key, 0)};
  create.cells = {{FieldId(16), CellOpKind::set, values()[1], {}}};
  m.ops = {create};
  return m;
}

Mutation escrow_mutation() {
  static const std::string five = encode_decimal(Decimal(5, 0)),
                           ten = encode_decimal(Decimal(10, 0)),
                           three = encode_decimal(Decimal(3, 0));
  Mutation m;
  m.id = mutation_id();
  m.id.seq = Seq(7);
  m.order = Order(12);
  m.line = kLine;
  m.base = Csn(1002);
  m.hlc = Hlc::at_ms(kMs, 7);
  m.author = raw_id(0xaa);
  m.credential = raw_id(0xcc);
  m.schema_version = 2;
  RecordOp update;
  update.record = {EntityId(3), record_id(4)};
  ElementKey holder{{OriginId(4), Incarnation(0x99), Lane::interactive, Seq(0)}, 0};
  update.cells = {{FieldId(23), CellOpKind::spend, {ValueType::decimal, five}, {}},
                  {FieldId(23), CellOpKind::grant, {ValueType::decimal, ten}, holder},
                  {FieldId(23), CellOpKind::give_back, {ValueType::decimal, three}, {}}};
  m.ops = {update};
  return m;
}

Commit commit() {
  Commit c;
  c.csn = Csn(1234);
  c.id = mutation_id();
  c.order = Order(9);
  c.hlc = Hlc::at_ms(kMs, 5);
  c.author = raw_id(0xaa);
  RecordOp put;
  put.kind = RecordOpKind::put_new;
  put.record = {EntityId(1), record_id(2)};
  put.territory = TerritoryId(3);
  put.also_in = {TerritoryId(4), TerritoryId(500)};
  uint16_t field = 16;
  for (const Value& v : values()) {
    if (v.type != ValueType::row) put.cells.push_back({FieldId(field++), CellOpKind::put, v, {}});
  }
  RecordOp cells;
  cells.kind = RecordOpKind::put_cells;
  cells.record = {EntityId(1), record_id(1)};
  cells.seen = Csn(990);
  cells.cells = {{FieldId(38), CellOpKind::put_element, values()[1], {c.id, 0}},
                 {FieldId(38), CellOpKind::remove_element, {}, {other_version().id, 2}},
                 {FieldId(39), CellOpKind::put_element, values()[17], {c.id, 1}},
                 {FieldId(41), CellOpKind::put, values()[2], {}}};
  RecordOp tombstone;
  tombstone.kind = RecordOpKind::tombstone;
  tombstone.record = {EntityId(2), raw_id(0x44)};
  RecordOp revive;
  revive.kind = RecordOpKind::revive;
  revive.record = {EntityId(2), raw_id(0x45)};
  RecordOp redirect;
  redirect.kind = RecordOpKind::redirect;
  redirect.record = {EntityId(1), record_id(3)};
  redirect.target = record_id(1);
  c.effects = {put, cells, tombstone, revive, redirect};
  c.lost = {{{EntityId(1), record_id(1)}, FieldId(18), values()[12]}};
  return c;
}

Commit next_commit() {
  Commit c;
  c.csn = Csn(1236);
  c.id = mutation_id();
  c.id.seq = Seq(6);
  c.order = Order(11);
  c.hlc = Hlc::at_ms(kMs, 6);
  c.author = raw_id(0xaa);
  RecordOp cells;
  cells.kind = RecordOpKind::put_cells;
  cells.record = {EntityId(1), record_id(2)};
  cells.cells = {{FieldId(18), CellOpKind::put, values()[12], {}}};
  c.effects = {cells};
  return c;
}

Commit moving_commit() {
  Commit c = next_commit();
  RecordOp relocate;
  relocate.kind = RecordOpKind::relocate;
  relocate.record = {EntityId(1), record_id(1)};
  relocate.territory = TerritoryId(3);
  relocate.also_in = {TerritoryId(500)};
  RecordOp redirect;
  redirect.kind = RecordOpKind::redirect;
  redirect.record = {EntityId(1), record_id(3)};
  redirect.target = record_id(1);
  redirect.cells = {{FieldId(18), CellOpKind::put, {}, {}}};
  RecordOp arrive;
  arrive.kind = RecordOpKind::arrive;
  arrive.record = {EntityId(2), record_id(2)};
  arrive.image = "image";
  c.effects = {relocate, redirect, arrive};
  return c;
}

Record record() {
  Record r({EntityId(1), record_id(1)}, TerritoryId(3), {TerritoryId(4), TerritoryId(500)},
           other_version());
  uint16_t field = 16;
  for (const Value& v : values()) {
    r.set(FieldId(field), field % 2 == 0 ? version() : other_version(), v);
    ++field;
  }
  r.set_pending({2, Order(9)});
  return r;
}

Record redirect() {
  Record r({EntityId(1), record_id(3)}, TerritoryId(3), {}, other_version());
  r.set(FieldId(16), other_version(), values()[1]);
  r.set_state(RecordState::redirect, version());
  r.set_target(record_id(1));
  return r;
}

std::string token() { return "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"; }

Record api_token() {
  Record r({entity_id::kApiToken, record_id(20)}, TerritoryId(3), {TerritoryId(4)},
           other_version());
  auto set = [&](uint16_t field, ValueType type, std::string payload) {
    r.set(FieldId(field), other_version(), {type, payload});
  };
  set(16, ValueType::text, "Front desk");
  set(17, ValueType::text, token_hash(token()));
  set(18, ValueType::lookup, encode_lookup({entity_id::kUser, record_id(21)}));
  set(19, ValueType::option, encode_integer(2));
  set(20, ValueType::instant, encode_integer(kMs + 86'400'000));
  set(21, ValueType::boolean, encode_boolean(false));
  return r;
}

Record user() {
  Record r({entity_id::kUser, record_id(21)}, kReferenceTerritory, {}, other_version());
  std::string name = "Front Desk";
  r.set(FieldId(16), other_version(), {ValueType::text, name});
  return r;
}

std::vector<FateEntry> fates() {
  FateEntry applied;  // a run of 40 that became what was forecast
  applied.id = {OriginId(3), kIncarnation, Lane::interactive, Seq(100)};
  applied.count = 40;
  applied.csn = Csn(1237);
  applied.fate = Fate::applied;
  applied.as_forecast = true;
  FateEntry merged = applied;
  merged.id.seq = Seq(140);
  merged.count = 1;
  merged.csn = Csn(1277);
  merged.fate = Fate::merged;
  merged.as_forecast = false;
  merged.clamped = Hlc::at_ms(kMs, 7);
  merged.outcomes = {{1, FieldId(41), Fate::merged, Reason::combined, other_version().id}};
  FateEntry overridden = merged;
  overridden.id = {OriginId(3), kIncarnation, Lane::bulk, Seq(5)};
  overridden.csn = Csn(1278);
  overridden.fate = Fate::overridden;
  overridden.clamped = {};
  overridden.outcomes = {{0, FieldId(18), Fate::overridden, Reason::older, other_version().id},
                         {1, FieldId(40), Fate::merged, Reason::beyond, {}}};
  FateEntry rejected = overridden;
  rejected.id.seq = Seq(6);
  rejected.csn = Csn(1279);
  rejected.fate = Fate::rejected;
  rejected.outcomes = {{2, FieldId(0), Fate::rejected, Reason::guard, {}}};
  return {applied, merged, overridden, rejected};
}

LineCursor cursor() { return {kLine, Csn(1300), digest(0x10)}; }

BatchHeader batch_header() {
  BatchHeader h;
  h.from = Csn(1233);
  h.to = Csn(1279);
  h.term = Term(2);
  h.wall_ms = kMs + 250;
  h.chain = digest(0x10);
  h.rows = {{static_cast<uint8_t>(keys::LineRow::effects),
             {TerritoryId(3), OriginId(3), true},
             digest(0x20)},
            {static_cast<uint8_t>(keys::LineRow::fates),
             {TerritoryId(0), OriginId(3), false},
             digest(0x30)},
            {static_cast<uint8_t>(keys::LineRow::rejected), {}, digest(0x40)}};
  return h;
}

Ledger ledger() { return {1000, 7, 900, 50, 30, 12, 1}; }

Totals totals() {
  Totals t;
  t.sums[TerritoryId(3)] = {0x0102030405060708, 0x1112131415161718};
  t.sums[TerritoryId(500)] = {0x2122232425262728, 0x3132333435363738};
  t.counts[{EntityId(1), TerritoryId(3)}] = 793;
  t.counts[{EntityId(2), TerritoryId(500)}] = 20'000;
  return t;
}

IncarnationInfo incarnation() {
  IncarnationInfo i;
  i.generation = 2;
  i.incarnation = kIncarnation;
  i.predecessor = Incarnation(0x8877665544332211);
  i.predecessor_order = Order(65);
  i.predecessor_ends = {IncarnationInfo::LaneEnd{Seq(60), digest(0x50)},
                        IncarnationInfo::LaneEnd{Seq(5), digest(0x60)}};
  i.salt_key = salt_key();
  return i;
}

FeedRange feed_range() {
  FeedRange r;
  r.from = Csn(1233);
  r.to = cursor();
  r.blocks = {compress("block one"), compress("block two")};
  r.fates = fates();
  return r;
}

LineHistory line_history() { return {{LineId(0x31), Csn(100)}, {LineId(0x32), Csn(0)}}; }

Introduction introduction() {
  Introduction i;
  i.server = "east";
  i.origin = OriginId(3);
  i.feature_level = 1;
  i.schema_version = 2;
  i.schema_digest = digest(0x01);
  i.schema_extends = digest(0x21);
  i.by_older_schema = true;
  i.topology_digest = hex(digest(0x02).view());
  i.cursor = cursor();
  i.reseed = true;
  i.incarnations = {incarnation()};
  i.pending = {{stream(Lane::interactive), Seq(100), Seq(141), digest(0x03)},
               {stream(Lane::bulk), Seq(5), Seq(6), digest(0x04)}};
  i.join = {0x0102030405060708, 7, digest(0x08)};
  i.installed = {TerritoryId(3), TerritoryId(500)};
  i.says_installed = true;
  for (const auto& p : line_history()) i.past_lines.push_back(p.line);
  return i;
}

Registration registration() {
  Registration r;
  r.session = 12;
  r.origin = OriginId(3);
  r.feature_level = 1;
  r.head = cursor();
  r.term = Term(2);
  r.territories = {TerritoryId(3), TerritoryId(500)};
  r.holds_everything = true;
  r.high_waters = {{stream(Lane::interactive), Seq(99), digest(0x03)},
                   {stream(Lane::bulk), Seq(4), digest(0x04)}};
  r.echo_until = Csn(1290);
  r.rolled_back = true;
  r.join = true;
  r.partial = true;
  r.installed = {TerritoryId(3)};
  r.past_lines = line_history();
  r.lookups = 4;
  r.channels = 512;
  r.verifies = true;
  return r;
}

SnapshotHead snapshot_head() { return {cursor(), 100'000, 0x0102030405060708, 7, true}; }

SnapshotEnd snapshot_end() {
  SnapshotEnd e;
  e.chunks = 42;
  e.digest = digest(0x05);
  e.totals = totals();
  e.high_waters = registration().high_waters;
  e.fates = fates();
  e.hlc = Hlc::at_ms(kMs, 9);
  e.chain = digest(0x09);
  return e;
}

Anchor anchor() { return {kIncarnation, 141, digest(0x06)}; }

PendingRef outbox_last() { return {2, Order(11), Lane::bulk}; }

OutboxBlock outbox_block() {
  OutboxBlock b;
  b.generation = 2;
  b.lane = Lane::bulk;
  b.chain_before = digest(0x07);
  b.chain_after = digest(0x08);
  PendingEntry first;
  first.mutation = mutation();
  first.forecast = 0x0123456789abcdef;
  first.current = 0xfedcba9876543210;
  first.sums.sums = {{TerritoryId(3), {1, 2}}, {TerritoryId(500), {3, 4}}};
  first.undo = std::string("\x00", 1);
  first.original = encode_effects(next_commit().effects);
  PendingEntry second;
  second.mutation = next_mutation();
  second.forecast = second.current = 0x1111111111111111;
  second.undo = std::string("\x00", 1);
  b.entries = {first, second};
  return b;
}

ReplicaState replica_state() {
  ReplicaState s;
  s.self = OriginId(3);
  s.cursor = cursor();
  s.term = Term(2);
  s.side = 1;
  s.territories = {TerritoryId(3), TerritoryId(500)};
  s.holds_everything = true;
  s.generation = 2;
  s.incarnation = kIncarnation;
  s.order = Order(11);
  s.ends = {ReplicaState::LaneEnd{Seq(5), digest(0x09)},
            ReplicaState::LaneEnd{Seq(6), digest(0x0a)}};
  s.announced = 2;
  s.retired = {{{1, Lane::interactive}, {Seq(60), Order(65)}},
               {{2, Lane::interactive}, {Seq(4), Order(8)}},
               {{2, Lane::bulk}, {Seq(3), Order(7)}}};
  s.hurried = {2, Order(11), Lane::bulk};
  s.hlc = Hlc::at_ms(kMs, 6);
  s.ledger = ledger();
  s.key_rows = 2;
  s.totals = totals();
  return s;
}

KeyRow key_row() { return {mutation_id(), std::string(digest(0x0b).view().substr(0, 16))}; }

SeedRow seed_row() {
  return {0x0102030405060708, cursor(), true, 1, 7, digest(0x08), 793, 20'793, totals()};
}

TrimState trim_state() { return {Csn(1200), digest(0x10), 41, 37}; }

BranchProgress branch_progress() {
  BranchProgress p;
  p.passed = Csn(1250);
  p.heard_ms = kMs;
  p.lapsed_at = Csn(1290);
  p.seeded_after = Csn(1200);
  p.pending = 7;
  p.pending_bytes = 70'000;
  p.oldest_ms = kMs - 1000;
  p.installed = {TerritoryId(3), TerritoryId(500)};
  p.former = {{TerritoryId(4), Csn(1100)}};
  p.granted = {TerritoryId(3), TerritoryId(4), TerritoryId(500)};
  return p;
}

MasterState master_state() {
  MasterState s;
  s.line = kLine;
  s.term = Term(2);
  s.head = Csn(1300);
  s.chain = digest(0x10);
  s.salt_key = salt_key();
  s.hlc = Hlc::at_ms(kMs, 9);
  s.totals = totals();
  s.key_rows = 2;
  s.self = OriginId(1);
  s.generation = 4;
  return s;
}

StreamState stream_state() { return {Seq(141), Order(151), digest(0x0c), Csn(1279)}; }

ProgramSeen program_seen() { return {2, 300, kMs}; }

OriginState plain_origin_state() {
  return {ledger(), kIncarnation, true, "its chain differs at seq 61"};
}

OriginState origin_state() {
  OriginState s = plain_origin_state();
  s.refused = Incarnation(0x21);
  s.refused_ms = kMs;
  s.admitted = Incarnation(0x22);
  s.announced = 300;
  s.written_off = true;
  s.missing = {{kIncarnation, Lane::bulk, Seq(7), Seq(306), digest(0x31)}};
  s.lost = {{Incarnation(0x20), Lane::interactive, Seq(1), Seq(5), digest(0x32)}};
  return s;
}

Reconciling reconciling() {
  Reconciling s;
  s.past = line_history();
  s.restored_at = Csn(90);
  s.since_ms = kMs;
  s.why = "east is ahead";
  s.awaited = {OriginId(3), OriginId(500)};
  s.late = {OriginId(4)};
  return s;
}

ReplicaHistory replica_history() { return {line_history(), true, 2, 300, {5, Order(300)}}; }

std::string mutation_block() {
  MutationBlockWriter writer;
  Mutation first = mutation(), second = next_mutation();
  writer.add(first, 0x0123456789abcdef);
  writer.add(second, 0x1111111111111111);
  return writer.finish(digest(0x08));
}

std::string commit_block(const std::vector<Commit>& commits) {
  CommitBlockWriter writer;
  for (const auto& c : commits) writer.add(c);
  return writer.finish();
}

std::string commit_block() { return commit_block({commit(), next_commit()}); }

}  // namespace branchline::samples
