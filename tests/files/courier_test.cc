// Real servers without a line between them, and files that go to and fro.
#include <catch2/catch.hpp>

#include "tests/crash/company.h"
#include "tests/support/temp_folder.h"

namespace branchline::crash {
namespace {

constexpr const char* kAccounts = "/api/data/v9.2/accounts";

struct Couriered {
  TempFolder folder;
  Company company;
  size_t written = 0;

  explicit Couriered(std::vector<BranchPlan> branches = {{"east", {}, "2ms", ""},
                                                         {"west", {}, "2ms", ""}})
      : company([&] {
          CompanyPlan plan;
          plan.folder = folder.path().string();
          plan.branches = std::move(branches);
          return plan;
        }()) {
    company.start_all();
    company.wait_drained();
  }
  std::string at(const std::string& name) const { return (folder / name).string(); }
  Finished branchline(std::vector<std::string> words) {
    std::vector<std::string> all{program("branchline"), words[0]};
    all.insert(all.end(),
               {"--topology", company.topology(), "--token", company.token(), "--output", "json"});
    all.insert(all.end(), words.begin() + 1, words.end());
    return run(all);
  }
  Json done(std::vector<std::string> words) {
    Finished f = branchline(std::move(words));
    INFO(f.output);
    REQUIRE(f.code == 0);
    auto json = parse_json(f.output, 8);
    REQUIRE(json);
    return *json;
  }
  // Must fail with 1 and say `why`.
  void refused(std::vector<std::string> words, const std::string& why) {
    Finished f = branchline(std::move(words));
    INFO(f.output);
    CHECK(f.code == 1);
    CHECK(f.output.find(why) != std::string::npos);
  }
  void down(const std::string& office = "east") {
    company.line(office, "/down");
    eventually("the link is down", [&] {
      Json status = company.admin_get(office, "/admin/status");
      const Json* link = status.member("link");
      return link && link->member("connected") && !link->member("connected")->boolean;
    });
  }
  void up(const std::string& office = "east") { company.line(office, "/up"); }
  void create(size_t count, bool bulk = false, const std::string& office = "east") {
    auto http = company.office(office);
    for (size_t i = 0; i < count; ++i) {
      Http::Headers headers;
      if (bulk) headers.emplace_back("Branchline-Lane", "bulk");
      auto a = http->request("POST", kAccounts,
                             R"({"name":"Account )" + std::to_string(++written) + R"("})", headers);
      REQUIRE(a);
      REQUIRE(a->status == 204);
    }
  }
  uint64_t pending() { return company.pending("east"); }
  uint64_t csn(const std::string& server) {
    return number_in(company.admin_get(server, "/admin/status"), "csn");
  }
  size_t accounts(const std::string& office) {
    Json page = company.office_get(office, std::string(kAccounts) + "?$count=true&$top=1");
    return number_in(page, "@odata.count");
  }
  // Everything is once at every office, and all ledgers are true.
  void require_true() {
    company.wait_drained();
    for (const char* office : {"east", "west"}) CHECK(accounts(office) == written);
    Finished audit = company.audit();
    INFO(audit.output);
    CHECK(audit.code == 0);
  }
};

TEST_CASE("an office without a line works by files, and everything counts once", "[servers]") {
  Couriered c;
  c.down();
  c.create(700);
  c.create(500, true);
  REQUIRE(c.pending() == 1200);
  Json file = c.done({"export", "--at", "east", c.at("work.blf")});
  CHECK(number_in(file, "mutations") == 1200);
  Json taken = c.done({"import", c.at("work.blf")});
  CHECK(number_in(taken, "new") == 1200);
  CHECK(number_in(taken, "applied") == 1200);
  CHECK(number_in(taken, "known") == 0);
  taken = c.done({"import", c.at("work.blf")});
  CHECK(number_in(taken, "new") == 0);
  CHECK(number_in(taken, "known") == 1200);
  Json audit = c.company.admin_get("master", "/admin/audit");
  CHECK(audit.member("clean")->boolean);

  // News from elsewhere come along.
  c.create(30, false, "west");
  eventually("west is drained", [&] { return c.company.pending("west") == 0; });
  c.done({"export", "--for", "east", c.at("feed.blf")});
  Json back = c.done({"import", c.at("feed.blf")});
  CHECK(number_in(back, "decided") == 1200);
  CHECK(number_in(back, "applied") == 1200);
  CHECK(number_in(back, "pending") == 0);
  CHECK(c.pending() == 0);
  CHECK(c.csn("east") == c.csn("master"));
  back = c.done({"import", c.at("feed.blf")});
  CHECK(number_in(back, "new") == 0);
  c.require_true();  // still without a line
  c.up();
  c.create(5);
  c.require_true();
}

TEST_CASE("an office beneath a hub exchanges files with the master, past the hub", "[servers]") {
  Couriered c({{"west", {}, "2ms", ""}, {"east", {}, "2ms", "", {}, "west"}});
  c.down();
  c.create(20);
  c.refused({"export", "--at", "east", c.at("work.blf")}, "--certificate");
  auto pem = [&](const std::string& server) { return c.at("tls/" + server + "/server.pem"); };
  Finished told =
      run({program("branchline"), "export", "--topology", c.company.topology(), "--token",
           c.company.token(), "--at", "east", "--certificate", pem("master"), c.at("work.blf")});
  INFO(told.output);
  REQUIRE(told.code == 0);
  CHECK(told.output.find("for master") != std::string::npos);
  CHECK(number_in(c.done({"import", c.at("work.blf")}), "new") == 20);
  Json feed = c.done({"export", "--for", "east", "--certificate", pem("east"), c.at("feed.blf")});
  CHECK(text_in(feed, "kind") == "feed");
  CHECK(number_in(feed, "csn") == c.csn("master"));
  Json back = c.done({"import", c.at("feed.blf")});
  CHECK(text_in(back, "from") == "master");
  CHECK(text_in(back, "to") == "east");
  CHECK(number_in(back, "applied") == 20);
  CHECK(c.pending() == 0);
  c.up();
  c.require_true();
}

TEST_CASE("a token that may not operate servers is refused as such", "[servers]") {
  Couriered c;
  c.done({"export", "--at", "east", c.at("work.blf")});
  Finished made =
      run({program("branchline"), "token", "create", "--topology", c.company.topology(), "--token",
           c.company.operator_token("master"), "--user", "ann", "--output", "json"});
  INFO(made.output);
  REQUIRE(made.code == 0);
  auto token = parse_json(made.output, 8);
  REQUIRE(token);
  Finished refused = run({program("branchline"), "import", "--topology", c.company.topology(),
                          "--token", text_in(*token, "token"), c.at("work.blf")});
  INFO(refused.output);
  CHECK(refused.code == 2);
  CHECK(refused.output.find("administrator") != std::string::npos);
}

TEST_CASE("the line comes back between any two steps", "[servers]") {
  Couriered c;
  SECTION("between export and import of work") {
    c.down();
    c.create(150);
    c.done({"export", "--at", "east", c.at("one.blf")});
    c.create(50);
    c.done({"export", "--at", "east", c.at("two.blf")});
    c.done({"import", c.at("two.blf")});
    c.up();
    c.require_true();
    CHECK(number_in(c.done({"import", c.at("one.blf")}), "new") == 0);
    CHECK(number_in(c.done({"import", c.at("two.blf")}), "known") == 200);
    c.create(10);
    c.require_true();
  }
  SECTION("before any of two files") {
    c.down();
    c.create(100);
    c.done({"export", "--at", "east", c.at("one.blf")});
    c.up();
    c.create(40);  // over the link while the file is taken in
    c.done({"import", c.at("one.blf")});
    c.create(40);
    c.require_true();
  }
  SECTION("between import of work and export of the feed") {
    c.down();
    uint64_t before = c.csn("east");
    c.create(120);
    c.done({"export", "--at", "east", c.at("work.blf")});
    CHECK(number_in(c.done({"import", c.at("work.blf")}), "new") == 120);
    c.up();
    c.require_true();
    Json feed =
        c.done({"export", "--for", "east", "--from", std::to_string(before), c.at("feed.blf")});
    CHECK(number_in(feed, "begin") == before);
    CHECK(number_in(c.done({"import", c.at("feed.blf")}), "new") == 0);
    c.require_true();
  }
  SECTION("between export and import of the feed, and while it is taken in") {
    c.down();
    c.create(120);
    c.done({"export", "--at", "east", c.at("work.blf")});
    c.done({"import", c.at("work.blf")});
    c.done({"export", "--for", "east", c.at("feed.blf")});
    c.create(60);
    c.create(200, false, "west");
    c.up();
    c.done({"import", c.at("feed.blf")});
    c.create(20);
    c.require_true();
  }
}

TEST_CASE("feeds in the wrong order say which is missing, and fit in the right one", "[servers]") {
  Couriered c;
  c.down();
  c.create(20);
  c.done({"export", "--at", "east", c.at("work1.blf")});
  c.done({"import", c.at("work1.blf")});
  Json first = c.done({"export", "--for", "east", c.at("feed1.blf")});
  c.create(20);
  c.done({"export", "--at", "east", c.at("work2.blf")});  // overlaps the first
  CHECK(number_in(c.done({"import", c.at("work2.blf")}), "known") == 20);
  c.done({"export", "--for", "east", "--from", std::to_string(number_in(first, "csn")),
          c.at("feed2.blf")});
  c.refused({"import", c.at("feed2.blf")},
            "with --from " + std::to_string(number_in(first, "begin")));
  CHECK(c.pending() == 40);
  c.done({"import", c.at("feed1.blf")});
  CHECK(c.pending() == 20);
  CHECK(number_in(c.done({"import", c.at("feed2.blf")}), "pending") == 0);
  c.require_true();
}

TEST_CASE("a file for another server, damaged or cut is refused and harms nothing", "[servers]") {
  Couriered c;
  c.down();
  c.create(3);
  c.done({"export", "--at", "east", c.at("work.blf")});
  c.refused({"import", "--at", "west", c.at("work.blf")}, "for master, and this is west");
  c.done({"export", "--for", "east", c.at("feed.blf")});
  c.refused({"import", "--at", "west", c.at("feed.blf")}, "for east, and this is west");
  c.refused({"import", "--at", "master", c.at("feed.blf")}, "for east, and this is master");
  std::string whole = read_file(c.at("work.blf"));
  for (size_t i = 0; i < whole.size(); i += 61) {
    std::string flipped = whole;
    flipped[i] = static_cast<char>(flipped[i] ^ 0x10);
    write_file(c.at("flipped.blf"), flipped);
    Finished f = c.branchline({"import", c.at("flipped.blf")});
    INFO(i << ": " << f.output);
    CHECK(f.code != 0);
    CHECK(f.code != 3);
  }
  for (size_t cut : {size_t{0}, size_t{5}, size_t{11}, size_t{300}, whole.size() - 1}) {
    write_file(c.at("cut.blf"), whole.substr(0, cut));
    CHECK(c.branchline({"import", c.at("cut.blf")}).code != 0);
  }
  CHECK(c.branchline({"import", c.at("work.blf") + ".missing"}).code == 2);
  CHECK(c.branchline({"export", "--at", "east", c.at("work.blf")}).code == 2);  // it is there
  CHECK(number_in(c.company.admin_get("master", "/admin/status"), "csn") == c.csn("west"));
  CHECK(number_in(c.done({"import", c.at("work.blf")}), "new") == 3);
  c.up();
  c.require_true();
}

}  // namespace
}  // namespace branchline::crash
