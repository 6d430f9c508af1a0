// Servers on data that another version of the system left: real processes and disks.
#include "common/store/keyspace.h"
#include "common/store/rocks_store.h"
#include "replication/merge/index_upkeep.h"
#include "tests/crash/office_fixture.h"
#include "tests/support/next_schema.h"

namespace branchline::crash {
namespace {

constexpr const char* kOlder = "ICU 63.1, root collator 153.88, secondary, 64 bytes";

// As if another ICU had made the text keys: the values' bytes in index rows are others, and the
// store says so.
void sort_otherwise(const std::string& data, IndexScope scope) {
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
    CHECK(**found == index_version(*Schema::built_in(), scope));
    batch.put(Table::meta, keys::meta_collation(side),
              index_version(*Schema::built_in(), scope, kOlder));
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
  auto scope_of = [](std::string_view server) {
    return server == "master" ? IndexScope::authority : IndexScope::all;
  };
  for (const char* server : {"office", "master"}) sort_otherwise(c.data(server), scope_of(server));
  for (int start = 0; start < 2; ++start) {
    for (const char* server : {"master", "office"}) {
      c.start(server);
      c.wait_ready(server);
      const Schema& schema = *Schema::built_in();
      CHECK(count_of(c.log(server),
                     "records: they are of " + index_version(schema, scope_of(server), kOlder) +
                         ", this program makes " + index_version(schema, scope_of(server))) == 1);
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

// The stores of a master and of the office `left` as version 0.1 left them
// (tests/golden/v1/stores): records of many kinds, deletions, fates of both sides of conflicts, and
// six changes of `left` that the master has never seen. The office `right` lost its disk.
struct Recorded {
  TempFolder folder;
  Company company;
  Json ids;

  static std::string file(const std::string& name) {
    return BRANCHLINE_SOURCE_DIR "/tests/golden/v1/stores/" + name;
  }
  Recorded()
      : company([&] {
          for (const char* server : {"master", "left"}) {
            Finished f = run({"tar", "-xzf", file(std::string(server) + ".tar.gz"), "-C",
                              folder.path().string()});
            if (f.code != 0) fail_with(f.output);
          }
          CompanyPlan plan;
          plan.folder = folder.path().string();
          plan.branches = {{"left", {}, "", ""}, {"right", {"common"}, "", ""}};
          plan.topology = read_file(file("topology.yaml"));
          plan.host = "127.83.17.5";
          plan.port = 17400;
          return plan;
        }()),
        ids(*parse_json(read_file(file("ids.json")))) {}

  std::string account(int n) const { return text_in(*ids.member("ids"), std::to_string(n)); }
  Finished level(const std::string& what) {
    return run({program("branchline"), "feature-level", what, "--topology", company.topology(),
                "--token", company.token()});
  }
};

TEST_CASE("servers go on with the stores that version 0.1 left", "[upgrade]") {
  Recorded r;
  Company& c = r.company;
  c.start("left");  // an office opens without its master
  c.wait_ready("left");
  CHECK(number_in(c.admin_get("left", "/admin/status"), "pending") == 6);
  c.start("master");
  c.wait_ready("master");
  c.make_token();
  // It stood there before the token was made, and hears of it.
  eventually("the token at left", [&] {
    auto status = c.office("left")->request("GET", "/api/sync/status");
    return status && status->ok();
  });
  c.start("right");  // joins by snapshot
  c.wait_ready("right");
  c.wait_drained();
  auto audit = [&] {
    Finished f = c.audit();
    INFO(f.output);
    CHECK(f.code == 0);
  };
  audit();
  auto get = [&](const std::string& office, const std::string& target) {
    auto a = c.office(office)->request("GET", "/api/data/v9.2/" + target);
    REQUIRE(a);
    return *a;
  };
  auto one = [&](const std::string& office, const std::string& id) {
    return get(office, "accounts(" + id + ")");
  };
  for (const char* office : {"left", "right"}) {
    INFO(office);
    CHECK(text_in(one(office, r.account(0)).json(), "name") == "Company 0");
    CHECK(text_in(one(office, r.account(1)).json(), "address1_city") == "Z\xc3\xbcrich");
    for (const char* tag : {"gold", "new", "pending"})
      CHECK(count_of(one(office, r.account(1)).body, "\"" + std::string(tag) + "\"") == 1);
    CHECK(count_of(one(office, r.account(1)).body, "\"old\"") == 0);
    CHECK(text_in(one(office, r.account(2)).json(), "telephone1") == "+41 44 444 55 66");
    CHECK(text_in(one(office, r.account(3)).json(), "telephone1") == "+41 44 888 00 00");
    CHECK(one(office, r.account(4)).status == 200);  // edited while it was deleted
    CHECK(one(office, r.account(5)).status >= 400);
    CHECK(text_in(one(office, r.account(6)).json(), "name") == "Company 6, renamed");
    CHECK(one(office, r.account(8)).status >= 400);
    CHECK(count_of(get(office, "annotations").body, "\"Note ") >= 5);
    CHECK(count_of(get(office, "annotations").body, "\"Pending note\"") == 1);
    CHECK(count_of(get(office, "accounts?$filter=accountnumber%20eq%20'N7'").body,
                   "\"accountid\"") == 1);
    CHECK(count_of(get(office, "salesorders?$filter=name%20eq%20'Order%203'").body,
                   "\"totalamount\":120") == 1);
  }
  // Of a territory that `right` has not; one by its id it would read through the master.
  const char* made = "accounts?$filter=accountnumber%20eq%20'N99'";
  CHECK(count_of(get("left", made).body, text_in(r.ids, "made")) >= 1);
  CHECK(count_of(get("right", made).body, text_in(r.ids, "made")) == 0);
  CHECK(count_of(get("left", "fates").body, "\"overridden\"") >= 2);
  // The line is at level 1 until somebody raises it.
  CHECK(count_of(r.level("show").output, "the main line is at feature level 1,") == 1);
  Finished raised = r.level("raise");
  INFO(raised.output);
  CHECK(raised.code == 0);
  CHECK(r.level("raise").code == 1);
  c.wait_drained();
  for (const char* server : {"left", "right", "master"}) c.stop(server);
  for (const char* server : {"master", "left", "right"}) c.start(server);
  for (const char* server : {"master", "left", "right"}) c.wait_ready(server);
  CHECK(count_of(r.level("show").output, "the main line is at feature level 2,") == 1);
  c.wait_drained();
  audit();
}

// Of the recorded company: servers of this program with the next schema beside those with the
// built-in one, as during a real upgrade.
struct TwoVersions : Recorded {
  std::string next = (folder / "next.yaml").string();
  TwoVersions() { write_file(next, next_schema_text()); }

  void start(const std::string& server, bool newer) {
    company.set_program(
        server, newer ? "crash_server" : "",
        newer ? std::vector<std::string>{"--schema", next} : std::vector<std::string>{});
    company.start(server);
    company.wait_ready(server);
    if (server == "master" && company.token().empty()) company.make_token();
  }
  void restart(const std::string& server, bool newer) {
    company.stop(server);
    start(server, newer);
  }
  Answer call(const std::string& office, const std::string& method, const std::string& target,
              const std::string& body = "") {
    auto a = company.office(office)->request(method, "/api/data/v9.2/" + target, body);
    REQUIRE(a);
    return *a;
  }
  std::string at(int n) const { return "accounts(" + account(n) + ")"; }
  // What a file says of one account: as text, to look for parts of it.
  std::string shown(const std::string& office, int n) { return call(office, "GET", at(n)).body; }
  void require_equal() {
    company.wait_drained();
    Finished audit = company.audit();
    INFO(audit.output);
    REQUIRE(audit.code == 0);
  }
};

TEST_CASE("what an office of the version before does not know passes through it", "[upgrade]") {
  TwoVersions v;
  Company& c = v.company;
  v.start("master", true);
  v.start("left", false);
  v.start("right", true);
  Finished raised = v.level("raise");
  INFO(raised.output);
  REQUIRE(raised.code == 0);
  c.wait_drained();

  std::string gadget = R"({"name":"G1","accountid@odata.bind":"/accounts()" + v.account(0) + ")\"}";
  REQUIRE(v.call("right", "POST", "gadgets", gadget).status == 204);
  REQUIRE(
      v.call("right", "PATCH", v.at(0),
             R"({"nickname":"Zero","badges":["gold","old"],"websiteurl":"https://one.example"})")
          .status == 204);
  v.require_equal();
  // The older office shows nothing of it, edits the same record, and deletes one that has more than
  // it knows.
  CHECK(count_of(v.shown("left", 0), "nickname") == 0);
  CHECK(v.call("left", "GET", "gadgets").status == 404);
  REQUIRE(v.call("left", "PATCH", v.at(0), R"({"description":"from the older office"})").status ==
          204);
  REQUIRE(v.call("right", "PATCH", v.at(9), R"({"nickname":"Nine"})").status == 204);
  c.wait_drained();
  REQUIRE(v.call("left", "DELETE", v.at(9)).status == 204);
  v.require_equal();
  CHECK(v.call("right", "GET", v.at(9)).status == 404);
  CHECK(count_of(v.shown("right", 0), R"("nickname":"Zero")") == 1);
  CHECK(count_of(v.shown("right", 0), R"("description":"from the older office")") == 1);

  // Work is pending when the older office is upgraded.
  c.stop("master");
  REQUIRE(v.call("left", "PATCH", v.at(0), R"({"name":"Zero, renamed"})").status == 204);
  v.restart("left", true);
  CHECK(count_of(v.shown("left", 0), R"("nickname":"Zero")") == 1);
  CHECK(count_of(v.shown("left", 0), R"("name":"Zero, renamed")") == 1);
  v.start("master", true);
  v.require_equal();
  CHECK(count_of(v.shown("right", 0), R"("name":"Zero, renamed")") == 1);
  for (const char* badge : {"gold", "old"})
    CHECK(count_of(v.shown("left", 0), "\"" + std::string(badge) + "\"") == 1);
  CHECK(count_of(v.call("left", "GET", "gadgets?$filter=name%20eq%20'G1'").body,
                 R"("name":"G1")") == 1);

  // A master that went back to the version before keeps and feeds what it does not know: to an
  // office that edits it, and to one that joins by snapshot.
  v.restart("master", false);
  c.wait_ready("left");
  REQUIRE(v.call("left", "PATCH", v.at(0), R"({"telephone1":"+41 44 123 45 67"})").status == 204);
  c.stop("right");
  std::filesystem::remove_all(c.data("right"));
  v.start("right", true);
  v.require_equal();
  CHECK(count_of(v.shown("right", 0), R"("nickname":"Zero")") == 1);
  CHECK(count_of(v.shown("right", 0), R"("telephone1":"+41 44 123 45 67")") == 1);
  CHECK(count_of(v.call("right", "GET", "gadgets?$filter=name%20eq%20'G1'").body,
                 R"("name":"G1")") == 1);
}

TEST_CASE("an office that is upgraded before its master writes what that can read", "[upgrade]") {
  TwoVersions v;
  Company& c = v.company;
  v.start("master", false);
  v.start("left", true);
  v.start("right", false);
  c.wait_drained();
  const char* nickname = R"({"nickname":"Zero"})";
  Answer early = v.call("left", "PATCH", v.at(0), nickname);
  CHECK(early.status == 412);
  CHECK(count_of(early.body, "write.not_activated") == 1);
  REQUIRE(v.call("left", "PATCH", v.at(0), R"({"name":"Zero"})").status == 204);
  v.require_equal();
  CHECK(count_of(v.shown("right", 0), R"("name":"Zero")") == 1);
  v.restart("master", true);
  v.restart("right", true);
  v.require_equal();
  CHECK(v.call("left", "PATCH", v.at(0), nickname).status == 412);
  REQUIRE(v.level("raise").code == 0);
  c.wait_drained();
  CHECK(v.call("left", "PATCH", v.at(0), nickname).status == 204);
  v.require_equal();
  CHECK(count_of(v.shown("right", 0), R"("nickname":"Zero")") == 1);

  // Neither extends the other: both ends say so, and the office works on.
  std::string text = next_schema_text();
  size_t at = text.find("\nextends: ");
  text.erase(at, text.find('\n', at + 1) - at);
  write_file(v.next, text);
  c.stop("left");
  c.set_program("left", "crash_server", {"--schema", v.next});
  c.start("left");
  c.wait_ready("left");
  for (const char* server : {"left", "master"}) {
    eventually(server + std::string(" says why they do not link"), [&] {
      return count_of(c.log(server), "neither is the version before the other") > 0;
    });
  }
  REQUIRE(v.call("left", "PATCH", v.at(0), R"({"description":"kept"})").status == 204);
  CHECK(number_in(c.admin_get("left", "/admin/status"), "pending") == 1);
  v.restart("left", false);  // the built-in one is the version before the master's
  v.require_equal();
  CHECK(count_of(v.shown("right", 0), R"("description":"kept")") == 1);
}

}  // namespace
}  // namespace branchline::crash
