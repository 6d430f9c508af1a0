// A bit of an office's store flips while it is down; real processes find it and mend it.
#include "common/store/keyspace.h"
#include "common/store/rocks_store.h"
#include "replication/snapshot/ranges.h"
#include "tests/crash/office_fixture.h"

namespace branchline::crash {
namespace {

Finished verify(const Office& o, const std::vector<std::string>& more) {
  std::vector<std::string> command{std::string(BRANCHLINE_BIN_DIR) + "/branchline",
                                   "verify",
                                   "--topology",
                                   o.company.topology(),
                                   "--token",
                                   o.company.token(),
                                   "--wait",
                                   "60"};
  command.insert(command.end(), more.begin(), more.end());
  return run(command);
}

// In the row of a record that has this text: the record's id.
std::string flip(const std::string& directory, const std::string& text) {
  auto store = RocksStore::open(directory, {});
  REQUIRE(store);
  for (char side : {'\0', '\1'}) {
    auto rows = scan_prefix(**store, Table::records, std::string(1, side));
    for (; rows->valid(); rows->next()) {
      std::string row(rows->value());
      size_t at = row.find(text);
      if (at == std::string::npos) continue;
      row[at] ^= 1;
      Batch batch;
      batch.put(Table::records, rows->key(), row);
      REQUIRE((*store)->write(batch, Sync::yes));
      return to_string(keys::parse_record(rows->key())->id);
    }
  }
  FAIL("no record has " << text);
  return {};
}

TEST_CASE("a flipped bit in an office's store is found by verify and mended", "[verify]") {
  Office o;
  o.company.start_all();
  auto ids = o.create(300, "firm-");
  REQUIRE(ids.size() == 300);
  o.company.wait_drained();
  Finished clean = verify(o, {"--at", "office", "--now"});
  INFO(clean.output);
  REQUIRE(clean.code == 0);
  CHECK(clean.output.find("clean") != std::string::npos);

  o.company.kill("office");
  std::string damaged = flip(o.company.data("office") + "/store", "firm-117");
  o.company.start("office");
  o.company.wait_ready("office");
  // Work goes on meanwhile, and waits: the line is down.
  o.company.line("office", "/down");
  auto waiting = o.create(3, "waiting-");
  REQUIRE(waiting.size() == 3);
  auto patch = o.company.office("office")->request(
      "PATCH", std::string(kAccounts) + "(" + damaged + ")", R"({"telephone1":"0401234567"})");
  REQUIRE((patch && patch->status == 204));
  CHECK(o.company.audit().code != 0);
  o.company.line("office", "/up");

  Finished found = verify(o, {"--at", "office", "--now"});
  INFO(found.output);
  CHECK(found.code == 0);
  CHECK(found.output.find("mended") != std::string::npos);
  CHECK(found.output.find("account " + damaged) != std::string::npos);
  CHECK(o.company.log("office").find("verification: account " + damaged) != std::string::npos);
  Json account =
      o.company.office_get("office", std::string(kAccounts) + "(" + damaged + ")?$select=name");
  CHECK(text_in(account, "name") == "firm-117");
  o.company.wait_drained();
  o.require_true_audit();
  Finished again = verify(o, {"--now"});
  INFO(again.output);
  CHECK(again.output.find("clean") != std::string::npos);
  CHECK(verify(o, {"--at", "nowhere"}).code == 2);
}

}  // namespace
}  // namespace branchline::crash
