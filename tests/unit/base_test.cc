// Bytes, hashes, ids and stamps: what every format is made of.
#include <catch2/catch.hpp>

#include <set>

#include "common/base/bytes.h"
#include "common/base/hash.h"
#include "common/base/random.h"
#include "common/time/hlc.h"

namespace branchline {
namespace {

std::string varint(uint64_t v) {
  std::string out;
  Writer(out).varint(v);
  return out;
}

TEST_CASE("bytes: varints at their edges") {
  for (uint64_t v : {uint64_t(0), uint64_t(1), uint64_t(127), uint64_t(128), uint64_t(16383),
                     uint64_t(16384), uint64_t(1) << 63, ~uint64_t(0)}) {
    std::string bytes = varint(v);
    Reader r(bytes);
    CHECK(r.varint() == v);
    CHECK(r.done());
    for (size_t n = 0; n < bytes.size(); ++n) {
      Reader cut(std::string_view(bytes).substr(0, n));
      CHECK(cut.varint() == 0);
      CHECK_FALSE(cut.ok());
    }
  }
  CHECK(varint(~uint64_t(0)).size() == 10);
  // An eleventh byte, and a tenth with bits that do not fit.
  for (const char* wrong : {"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
                            "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02"}) {
    Reader r(wrong);
    r.varint();
    CHECK_FALSE(r.ok());
  }
  for (int64_t v : {int64_t(0), int64_t(-1), int64_t(1), INT64_MAX, INT64_MIN})
    CHECK(unzigzag(zigzag(v)) == v);
}

TEST_CASE("bytes: a reader that failed stays failed and reads zeros") {
  Reader r(std::string_view("\1\2\3\4\5\6\7\x08", 8));
  CHECK(r.fixed16() == 0x0102);
  CHECK(r.bytes(7).empty());
  CHECK_FALSE(r.ok());
  CHECK(r.u8() == 0);
  CHECK(r.fixed64() == 0);
  CHECK(r.id().is_nil());
  CHECK(r.blob().empty());
  CHECK_FALSE(r.done());
  CHECK_FALSE(r.ok());
}

TEST_CASE("bytes: lengths that lie") {
  std::string huge = varint(~uint64_t(0)) + "abc";
  Reader blob(huge);
  CHECK(blob.blob().empty());
  CHECK_FALSE(blob.ok());
  Reader count(huge);
  CHECK(count.varint_max(1000) == 0);
  CHECK_FALSE(count.ok());
  std::string bad_lane(19, '\0');
  bad_lane[10] = 2;
  Reader id(bad_lane);
  get_mutation_id(id);
  CHECK_FALSE(id.ok());
  Reader flag("\2");
  CHECK_FALSE(flag.flag());
  CHECK_FALSE(flag.ok());
}

// FIPS 180-4's examples, and XXH3's published value for no bytes.
TEST_CASE("hashing: known values") {
  CHECK(hex(sha256("abc").view()) ==
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  CHECK(hex(sha256("").view()) ==
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  CHECK(hash64("") == 0x2d06800538d394c2);
  CHECK(to_hex(hash128("")) == "99aa06d3014798d86001c324468d497f");
  Sha256 twice;
  CHECK(twice.add("a").add("bc").finish() == sha256("abc"));
  CHECK(twice.add("abc").finish() == sha256("abc"));
  CHECK_FALSE(Digest::from(std::string(31, 'x')));
  CHECK_FALSE(Digest::from(std::string(33, 'x')));
}

TEST_CASE("hashing: sums carry, and what was added can be taken away") {
  SeededRandom random(1);
  Sum128 sum;
  std::vector<Sum128> terms;
  for (int i = 0; i < 1000; ++i) terms.push_back({random.next(), random.next()});
  for (const auto& t : terms) sum += t;
  Sum128 backwards;
  for (size_t i = terms.size(); i > 0; --i) backwards += terms[i - 1];
  CHECK(sum == backwards);
  for (const auto& t : terms) sum -= t;
  CHECK(sum == Sum128{});
  Sum128 carry{~uint64_t(0), 0};
  carry += {1, 0};
  CHECK(carry == Sum128{0, 1});
  carry -= {1, 0};
  CHECK(carry == Sum128{~uint64_t(0), 0});
}

TEST_CASE("ids: text and back") {
  auto id = parse_record_id("019AAAE5-1234-8abc-b1b2-000000000001");
  REQUIRE(id);
  CHECK(to_string(*id) == "019aaae5-1234-8abc-b1b2-000000000001");
  for (const char* wrong :
       {"", "019aaae5-1234-8abc-b1b2-00000000000", "019aaae5-1234-8abc-b1b2-0000000000012",
        "019aaae512348abcb1b2000000000001", "{019aaae5-1234-8abc-b1b2-000000000001}",
        "019aaae5-1234-8abc-b1b2-00000000000g", "019aaae5-12-348abc-b1b2-000000000001"}) {
    INFO(wrong);
    CHECK_FALSE(parse_record_id(wrong));
  }
  CHECK(to_hex(uint64_t(0x1a)) == "000000000000001a");
  CHECK(parse_hex64("000000000000001a") == 0x1a);
  CHECK_FALSE(parse_hex64("1a"));
  CHECK_FALSE(parse_hex64("000000000000001g"));
}

TEST_CASE("ids: made in order of time, none twice, also when the clock steps back") {
  SeededRandom random(7);
  RecordIdMaker maker(random);
  RecordId last;
  std::set<RecordId> all;
  for (int i = 0; i < 20'000; ++i) {
    RecordId id = maker.make(1'795'341'600'000 - i / 5000 * 1000);
    CHECK(last < id);
    CHECK(id.bytes[6] >> 4 == 8);
    CHECK(id.bytes[8] >> 6 == 2);
    last = id;
    all.insert(id);
  }
  CHECK(all.size() == 20'000);
}

TEST_CASE("hlc: stamps grow whatever the wall clock does") {
  HybridClock clock;
  Hlc last = clock.stamp(1000);
  CHECK(last == Hlc::at_ms(1000));
  CHECK(last.ms() == 1000);
  for (int64_t wall : {1000, 1000, 999, 5, 1000, 1001, 0}) {
    Hlc next = clock.stamp(wall);
    CHECK(next > last);
    last = next;
  }
  CHECK(last.ms() == 1001);
  // The counter runs over into the next millisecond rather than back.
  HybridClock full;
  full.start(Hlc::at_ms(1000, 0xffff));
  CHECK(full.stamp(1000) == Hlc::at_ms(1001));
}

TEST_CASE(
    "hlc: exceeds what was persisted and what was seen, and falls back where the master says so") {
  HybridClock clock;
  clock.start(Hlc::at_ms(2000, 7));
  CHECK(clock.stamp(1000) == Hlc::at_ms(2000, 8));
  clock.start(Hlc::at_ms(1000));  // never back
  clock.observe(Hlc::at_ms(3000));
  clock.observe(Hlc::at_ms(2500));
  CHECK(clock.stamp(1000) == Hlc::at_ms(3000, 1));
  clock.reset(Hlc::at_ms(1500));
  CHECK(clock.last() == Hlc::at_ms(1500));
  CHECK(clock.stamp(1000) == Hlc::at_ms(1500, 1));
  CHECK(clock.stamp(9000) == Hlc::at_ms(9000));
}

}  // namespace
}  // namespace branchline
