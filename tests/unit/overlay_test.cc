// Rows laid over a view in memory: read like a store in which they were written.
#include "branch/crm/overlay.h"

#include <catch2/catch.hpp>

#include "branch/crm/lookup_counts.h"
#include "common/base/random.h"
#include "common/store/mem_store.h"
#include "replication/line/compress.h"

namespace branchline {
namespace {

std::vector<std::string> walk(std::unique_ptr<Cursor> c) {
  std::vector<std::string> out;
  for (; c->valid(); c->next())
    out.push_back(std::string(c->key()) + "=" + std::string(c->value()));
  return out;
}

}  // namespace

TEST_CASE("an overlay is what a store would be after the same writes", "[overlay]") {
  SeededRandom random(7);
  for (int round = 0; round < 300; ++round) {
    MemStore store, written;
    Batch below, above;
    auto key = [&] { return std::string(1, static_cast<char>('a' + random.below(12))); };
    for (uint64_t n = random.below(10); n > 0; --n) below.put(Table::records, key(), "below");
    for (uint64_t n = random.below(10); n > 0; --n) {
      std::string k = key();
      switch (random.below(5)) {
        case 0:
          above.erase(Table::records, k);
          break;
        case 1:
          above.erase_range(Table::records, k, key());
          break;
        default:
          above.put(Table::records, k, "above" + std::to_string(n));
      }
    }
    REQUIRE(store.write(below, Sync::yes));
    REQUIRE(written.write(below, Sync::yes));
    REQUIRE(written.write(above, Sync::yes));
    OverlayView overlay(store.snapshot());
    overlay.lay(above);
    for (int look = 0; look < 5; ++look) {
      std::string begin = key(), end = random.below(3) == 0 ? "" : key();
      CHECK(walk(overlay.scan(Table::records, begin, end)) ==
            walk(written.scan(Table::records, begin, end)));
      CHECK(walk(overlay.scan_back(Table::records, begin, end)) ==
            walk(written.scan_back(Table::records, begin, end)));
      auto a = overlay.get(Table::records, begin), b = written.get(Table::records, begin);
      REQUIRE(a);
      CHECK(*a == *b);
    }
  }
}

TEST_CASE("what an upstream sends is checked, and what is here stays as it is", "[overlay]") {
  auto schema = Schema::built_in();
  Version v;
  v.id = {OriginId(4), Incarnation(7), Lane::interactive, Seq(1)};
  v.csn = Csn(3);
  Record here({entity_id::kAccount, RecordId{}}, TerritoryId(5), {}, v);
  RecordKey far_key{entity_id::kAccount, RecordId{}};
  far_key.id.bytes[0] = 9;
  RecordKey near_key = far_key;
  near_key.id.bytes[0] = 8;
  Record far(far_key, TerritoryId(6), {}, v), near(near_key, TerritoryId(6), {}, v);
  MemStore store;
  Batch batch;
  batch.put(Table::records, keys::record(1, near_key), "as it is here");
  REQUIRE(store.write(batch, Sync::yes));
  std::string rows;
  Writer w(rows);
  auto put = [&](Table table, const std::string& key, const std::string& value) {
    w.u8(static_cast<uint8_t>(table));
    w.blob(std::string_view(key).substr(1));
    w.blob(value);
  };
  put(Table::records, keys::record(0, far_key), far.encode());
  put(Table::records, keys::record(0, near_key), near.encode());
  auto view = lay_upstream(store.snapshot(), *schema, 1, compress(rows));
  REQUIRE(view);
  CHECK((*view)->get(Table::records, keys::record(1, far_key))->value() == far.encode());
  CHECK((*view)->get(Table::records, keys::record(1, near_key))->value() == "as it is here");
  CHECK_FALSE((*view)->get(Table::records, keys::record(0, far_key))->has_value());
  CHECK_FALSE(walk(scan_prefix(**view, Table::index, "")).empty());
  CHECK(walk(store.scan(Table::index, "", "")).empty());  // nothing of it is written

  auto refused = [&](const std::string& container) {
    auto bad = lay_upstream(store.snapshot(), *schema, 1, container);
    return !bad && bad.error().kind == ErrorKind::corrupt;
  };
  CHECK(refused("no container"));
  CHECK(refused(compress(rows.substr(0, rows.size() - 1))));
  std::string meta = rows;
  meta[0] = static_cast<char>(Table::meta);
  CHECK(refused(compress(meta)));
  rows.clear();
  put(Table::records, keys::record(0, {entity_id::kApiToken, far_key.id}), far.encode());
  CHECK(refused(compress(rows)));
}

TEST_CASE("counts of look-ups are kept as they are", "[overlay]") {
  LookupCounts counts{{TerritoryId(3), {25, 1'795'341'600'250}}, {TerritoryId(900), {1, 5}}};
  std::string row = encode_lookup_counts(counts);
  auto back = decode_lookup_counts(row);
  REQUIRE(back);
  CHECK(*back == counts);
  for (size_t cut = 0; cut < row.size(); ++cut)
    CHECK_FALSE(decode_lookup_counts(row.substr(0, cut)));
}

}  // namespace branchline
