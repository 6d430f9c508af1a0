// Servers on data that another version of the system left: real processes and disks.
#include "common/schema/index_key.h"
#include "common/store/keyspace.h"
#include "common/store/rocks_store.h"
#include "tests/crash/office_fixture.h"

namespace branchline::crash {
namespace {

constexpr const char* kOlder = "ICU 63.1, root collator 153.88, secondary, 64 bytes";

// As if another ICU had made the text keys: the values' bytes in index rows are others, and the
// store says so.
void sort_otherwise(const std::string& data) {
  auto store = RocksStore::open(data + "/store", {});
  REQUIRE(store);
  Batch batch;
  size_t rows = 0;
  auto index = (*store)->scan(Table::index, "", "");
  for (; index->valid(); index->next()) {
    std::string key(index->key());
    batch.erase(Table::index, key);
    for (size_t i = 5; i + 16 < key.size(); ++i) key[i] = static_cast<char>(key[i] ^ 0x40);
    batch.put(Table::index, key, {});
    ++rows;
  }
  REQUIRE(rows > 20);
  size_t sides = 0;
  for (keys::Side side : {keys::Side{0}, keys::Side{1}}) {
    auto found = (*store)->get(Table::meta, keys::meta_collation(side));
    REQUIRE(found);
    if (!*found) continue;
    CHECK(**found == collation_version());
    batch.put(Table::meta, keys::meta_collation(side), kOlder);
    ++sides;
  }
  REQUIRE(sides == 1);
  REQUIRE((*store)->write(batch, Sync::yes));
}

size_t count_of(const std::string& text, const std::string& part) {
  size_t n = 0;
  for (size_t at = text.find(part); at != text.npos; at = text.find(part, at + 1)) ++n;
  return n;
}

TEST_CASE("servers of another ICU than their data's rebuild their indexes, once", "[upgrade]") {
  Office o;
  Company& c = o.company;
  c.start_all();
  auto create = [&](const std::string& number) {
    auto a = c.office("office")->request(
        "POST", kAccounts,
        R"({"name":"Company )" + number + R"(","accountnumber":"N)" + number + R"("})");
    return a ? a->status : 0;
  };
  for (int i = 0; i < 30; ++i) REQUIRE(create(std::to_string(i)) == 204);
  auto found = [&](const std::string& name) {
    auto a = c.office("office")->request(
        "GET", std::string(kAccounts) + "?$select=name&$filter=name%20eq%20'" + name + "'");
    REQUIRE(a);
    return count_of(a->body, "\"accountid\"");
  };
  REQUIRE(found("company%207") == 1);
  c.wait_drained();
  for (const char* server : {"office", "master"}) c.stop(server);
  for (const char* server : {"office", "master"}) sort_otherwise(c.data(server));
  const std::string begun = "records: their texts are sorted by " + std::string(kOlder) +
                            ", this program sorts by " + collation_version();
  for (int start = 0; start < 2; ++start) {
    for (const char* server : {"master", "office"}) {
      c.start(server);
      c.wait_ready(server);
      CHECK(count_of(c.log(server), begun) == 1);
      CHECK(count_of(c.log(server), "the indexes are rebuilt") == 1);
    }
    CHECK(found("company%207") == 1);
    CHECK(create("7") == 412);  // the number is taken
    CHECK(create("new" + std::to_string(start)) == 204);
    c.wait_drained();
    o.require_true_audit();
    for (const char* server : {"office", "master"}) c.stop(server);
  }
}

}  // namespace
}  // namespace branchline::crash
