// A bit of a file of an office's store flips on its disk, so that RocksDB refuses the block around
// it: what can be read is served, whoever looks is told, and the office comes back whole with what
// it had not shipped.
#include <set>

#include "common/schema/schema.h"
#include "common/store/keyspace.h"
#include "tests/crash/office_fixture.h"
#include "tests/support/decoded_files.h"

namespace branchline::crash {
namespace {

namespace fs = std::filesystem;

// The table file that has this key.
std::string file_with(const std::string& data, const std::string& key) {
  std::string found;
  for_each_decoded(data, [&](const std::string& file, std::string_view bytes) {
    if (bytes == key && fs::path(file).extension() == ".sst") found = file;
  });
  return found;
}

TEST_CASE("a damaged file of an office's store is told, and the way out loses nothing",
          "[damage]") {
  Office o;
  o.company.start_all();
  // So many that they fill most of their file.
  std::vector<std::string> ids;
  for (int i = 0; i < 12; ++i) {
    auto made = o.create(25, "firm-" + std::to_string(i) + "-" + std::string(100, char('a' + i)));
    ids.insert(ids.end(), made.begin(), made.end());
  }
  REQUIRE(ids.size() == 300);
  o.company.wait_drained();
  // What the log held is in table files after a start.
  o.company.stop("office");
  o.company.start("office");
  o.company.wait_ready("office");
  o.company.stop("office");
  std::string store = o.company.data("office") + "/store";
  RecordId id = parse_record_id(ids[150]).value();
  std::string file;
  for (keys::Side side : {0, 1}) {
    if (file.empty()) file = file_with(store, keys::record(side, {entity_id::kAccount, id}));
  }
  REQUIRE(!file.empty());
  flip_in_the_middle(file);

  o.company.line("office", "/down");
  o.company.start("office");
  o.company.wait_ready("office");
  auto waiting = o.create(3, "waiting-");
  REQUIRE(waiting.size() == 3);
  std::set<int> answers;
  for (const auto& one : ids) answers.insert(o.status_of(one));
  CHECK(answers == std::set<int>{200, 500});
  auto tell = [&] {
    return run({std::string(BRANCHLINE_BIN_DIR) + "/branchline", "status", "--topology",
                o.company.topology(), "--token", o.company.token()});
  };
  Finished status = tell();
  INFO(status.output);
  CHECK(status.output.find("office: bytes of the store have changed on the disk") !=
        std::string::npos);
  CHECK(status.output.find(fs::path(file).filename().string()) != std::string::npos);

  // "A damaged store" in docs/operations.md.
  std::string carried = (o.folder / "waiting.blf").string();
  auto command = [&](std::vector<std::string> more) {
    std::vector<std::string> all{std::string(BRANCHLINE_BIN_DIR) + "/branchline"};
    all.insert(all.end(), more.begin(), more.end());
    for (const auto& option : {std::string("--topology"), o.company.topology(),
                               std::string("--token"), o.company.token()})
      all.push_back(option);
    Finished f = run(all);
    INFO(f.output);
    REQUIRE(f.code == 0);
  };
  command({"export", "--at", "office", carried});
  command({"import", carried});
  o.company.kill("office");
  fs::rename(store, o.company.data("office") + "/damaged");
  fs::remove(o.company.data("office") + "/anchor");
  o.company.line("office", "/up");
  o.company.start("office");
  o.company.wait_ready("office");
  o.company.wait_drained();
  CHECK(o.readable(ids) == 300);
  CHECK(o.readable(waiting) == 3);
  o.require_true_audit();
  CHECK(tell().output.find("have changed on the disk") == std::string::npos);
}

}  // namespace
}  // namespace branchline::crash
