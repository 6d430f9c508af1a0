#include <catch2/catch.hpp>

#include "common/base/limits.h"
#include "common/record/mutation.h"
#include "tests/support/samples.h"

namespace branchline {
namespace {

using samples::other_version;
using samples::version;

const RecordKey kKey{EntityId(1), samples::record_id(1)};

// Flat bytes with one version (0) and the given table of cells behind it.
std::string flat(uint8_t flags, std::string_view after_versions) {
  std::string out;
  Writer w(out);
  w.u8(1);
  w.u8(flags);
  w.varint(3);
  w.varint(1);
  put_version(w, version());
  w.bytes(after_versions);
  return out;
}

std::string why(std::string bytes) {
  auto r = Record::decode(kKey, std::move(bytes));
  return r ? "accepted" : r.error().message;
}

TEST_CASE("record: what a damaged flat form is refused for") {
  using namespace std::string_literals;
  CHECK(why(flat(0, "\0\0\0"s)) == "accepted");
  CHECK(why("").find("format") != std::string::npos);
  CHECK(why("\2\0"s).find("newer version") != std::string::npos);
  CHECK(why(flat(0x10, "\0\0\0"s)).find("flags") != std::string::npos);
  CHECK(why(flat(3, "\0\0\0"s)).find("flags") != std::string::npos);
  CHECK(why(flat(0, "\1\0\0"s)).find("version is missing") != std::string::npos);
  CHECK(why(flat(0, "\0\1\0"s)).find("version is missing") != std::string::npos);
  CHECK(why(flat(0, "\0\0\1\x10\1\1\1x"s)).find("version is missing") != std::string::npos);
  CHECK(why(flat(0, "\0\0\1\x10\0\1\1"s)).find("bytes missing") != std::string::npos);
  CHECK(why(flat(0, "\0\0\1\x10\0\1\1xy"s)).find("left over") != std::string::npos);
  CHECK(why(flat(0, "\0\0\1\x10\0\x12\1x"s)).find("bytes missing") !=
        std::string::npos);  // an unknown type
  // Fields that do not rise: twice the same.
  CHECK(why(flat(0, "\0\0\2\x10\0\1\1\0\0\1\1xy"s)) != "accepted");
  CHECK(why(flat(0, "\0\0\1\0\0\1\1x"s)) != "accepted");
  // Sizes that together leave any room.
  CHECK(why(flat(0, "\0\0\2\x10\0\1\xff\xff\xff\xff\x0f\1\0\1\xff\xff\xff\xff\x0fx"s)) !=
        "accepted");
  CHECK(why(flat(0, "\0\0\xff\xff\xff\xff\x0f"s)) != "accepted");
  // A pending mutation that is none: the same record without the flag is another row.
  CHECK(why(flat(8, "\0\0\0\2\0\0\0\1\0\0\0\0\0\0\0"s)) == "accepted");
  CHECK(why(flat(8, "\0\0\0\2\0\0\0\0\0\0\0\0\0\0\0"s)) != "accepted");
  // The record is named.
  CHECK(why("").find(to_string(kKey.id)) != std::string::npos);
}

TEST_CASE("record: cells are put, replaced, removed and put back") {
  Record r(kKey, TerritoryId(3), {}, other_version());
  r.set(FieldId(20), version(), {ValueType::text, "QQQ"});
  r.set(FieldId(16), other_version(), {ValueType::text, "a"});
  r.set(FieldId(20), other_version(), {ValueType::text, "longer than before"});
  CHECK(r.cells().size() == 2);
  CHECK(r.cells()[0].field == FieldId(16));
  CHECK(r.value(FieldId(20)).payload == "longer than before");
  CHECK(r.value(FieldId(17)).is_null());
  Cell before = *r.find(FieldId(20));
  r.set(FieldId(20), version(), {ValueType::text, "x"});
  r.restore_cell(FieldId(20), &before);
  CHECK(r.value(FieldId(20)).payload == "longer than before");
  CHECK(r.version(*r.find(FieldId(20))) == other_version());
  r.restore_cell(FieldId(16), nullptr);
  CHECK(r.find(FieldId(16)) == nullptr);
  // What edits left behind is not written.
  auto back = Record::decode(kKey, r.encode());
  REQUIRE(back);
  CHECK(back->encode() == r.encode());
  CHECK(r.encode().find("QQQ") == std::string::npos);
  CHECK(back->last_version() == other_version());
}

TEST_CASE("record: compacting drops what edits left and changes nothing else") {
  Record r(kKey, TerritoryId(3), {}, version());
  std::string value(1000, 'v');
  for (int i = 0; i < 100; ++i) {
    r.set(FieldId(16), version(), {ValueType::text, value});
    std::string bytes = r.encode();
    r.compact();
    CHECK(r.encode() == bytes);
    CHECK_FALSE(r.bloated());
  }
}

TEST_CASE("record: more edits between two compactions than versions have numbers") {
  Record r(kKey, TerritoryId(3), {}, version());
  Version v = version();
  for (uint64_t i = 1; i <= 70'000; ++i) {
    v.id.seq = Seq(i);
    v.order = Order(i);
    r.set(FieldId(16), v, {ValueType::text, "x"});
    if (r.bloated()) r.compact();
  }
  CHECK(r.version(*r.find(FieldId(16))) == v);
  CHECK(r.encode().size() < 200);
}

TEST_CASE("record: as many fields as the limit allows, and no more") {
  Record r(kKey, TerritoryId(3), {}, version());
  for (size_t i = 0; i < limits::kMaxFieldsPerRecord; ++i) {
    r.set(FieldId(static_cast<uint16_t>(16 + i)), version(), {ValueType::text, "x"});
  }
  CHECK(Record::decode(kKey, r.encode()));
  r.set(FieldId(9000), version(), {ValueType::text, "x"});
  CHECK_FALSE(Record::decode(kKey, r.encode()));
}

TEST_CASE("record: checksums tell every part apart and ignore what a branch may not know") {
  Record base = samples::user();
  Sum128 sum = record_sum(base);
  auto changed = [&](auto change) {
    Record r = samples::user();
    change(r);
    return record_sum(r);
  };
  CHECK(changed([](Record&) {}) == sum);
  CHECK(changed([](Record& r) {
          r.set(FieldId(16), other_version(), {ValueType::text, "Other"});
        }) != sum);
  CHECK(changed([](Record& r) {
          r.set(FieldId(16), version(), {ValueType::text, "Front Desk"});
        }) != sum);
  CHECK(changed([](Record& r) {
          r.set(FieldId(16), other_version(), {ValueType::email, "Front Desk"});
        }) != sum);
  CHECK(changed([](Record& r) { r.set_territories(TerritoryId(9), {}); }) != sum);
  CHECK(changed([](Record& r) { r.set_territories(kReferenceTerritory, {TerritoryId(9)}); }) !=
        sum);
  CHECK(changed([](Record& r) { r.set_state(RecordState::redirect, other_version()); }) != sum);
  CHECK(changed([](Record& r) { r.set_state(RecordState::tombstone, version()); }) == Sum128{});
  CHECK(changed([](Record& r) { r.set_pending({1, Order(1)}); }) == sum);
  Version later = other_version();
  later.csn = Csn(99);
  later.hlc = Hlc{99};
  CHECK(changed([&](Record& r) { r.set(FieldId(16), later, {ValueType::text, "Front Desk"}); }) ==
        sum);
}

TEST_CASE("mutation: counts that lie ask for no memory") {
  Mutation m = samples::next_mutation();
  std::string bytes;
  Writer w(bytes);
  put_mutation_header(w, m);
  bytes.back() = '\x01';
  std::string guards = bytes;
  guards[guards.size() - 2] = '\x7f';  // as many guards, and no bytes for them
  Reader r(guards);
  CHECK_FALSE(get_mutation(r));
  std::string cells = bytes;
  Writer c(cells);
  c.u8(2);
  c.varint(1);
  c.id(samples::record_id(1));
  c.u8(0);
  c.varint(1'000'000'000);
  Reader rc(cells);
  CHECK_FALSE(get_mutation(rc));
}

TEST_CASE(
    "mutation: effects are no operations, and a mutation needs a number and something to do") {
  auto read = [](const Mutation& m) {
    std::string bytes;
    Writer w(bytes);
    put_mutation(w, m);
    Reader r(bytes);
    return get_mutation(r).has_value();
  };
  Mutation m = samples::next_mutation();
  CHECK(read(m));
  m.ops[0].kind = RecordOpKind::put_new;
  CHECK_FALSE(read(m));
  m = samples::next_mutation();
  m.ops.clear();
  CHECK_FALSE(read(m));
  m = samples::next_mutation();
  m.id.seq = Seq(0);
  CHECK_FALSE(read(m));
  m = samples::next_mutation();
  std::string key(limits::kMaxOperationKeyBytes + 1, 'k');
  m.operation_key = key;
  CHECK_FALSE(read(m));
  m = samples::next_mutation();
  m.ops.assign(limits::kMaxOperationsPerMutation + 1, m.ops[0]);
  CHECK_FALSE(read(m));
}

}  // namespace
}  // namespace branchline
