// Real servers, real lines: subscriptions that change while people work, and joins whose line is
// cut.
#include <atomic>
#include <regex>
#include <set>
#include <thread>

#include "tests/crash/office_fixture.h"
#include "tests/support/decoded_files.h"

namespace branchline::crash {
namespace {

bool stands_in_files(const std::string& data, const std::string& needle) {
  bool found = false;
  for_each_decoded(data, [&](const std::string& file, std::string_view bytes) {
    if (bytes.find(needle) == bytes.npos) return;
    UNSCOPED_INFO(needle << " stands in " << file);
    found = true;
  });
  return found;
}

void create(Http& http, const std::string& territory, const std::string& text) {
  auto a = http.request("POST", kAccounts,
                        R"({"name":")" + text + R"(-name","description":")" + text +
                            R"(-text","Branchline.territory":")" + territory + R"("})");
  INFO((a ? a->body : "no answer"));
  REQUIRE(a);
  REQUIRE(a->ok());
}

size_t times(const std::string& text, const std::string& what) {
  size_t n = 0;
  for (size_t at = text.find(what); at != text.npos; at = text.find(what, at + 1)) ++n;
  return n;
}

// An account with bytes that do not compress well.
auto create_noise(Http& http) {
  static uint64_t state = 88172645463325252ull;
  std::string noise;
  while (noise.size() < 1'900) {
    state ^= state << 13, state ^= state >> 7, state ^= state << 17;
    noise += std::to_string(state);
  }
  noise.resize(1'900);
  return http.request("POST", kAccounts, R"({"name":"noise","description":")" + noise + R"("})");
}

void fill_with_noise(Http& http, int count) {
  for (int i = 0; i < count; ++i) {
    auto a = create_noise(http);
    REQUIRE(a);
    REQUIRE(a->ok());
  }
}

void wait_gone_from_files(Company& c, const std::string& server, size_t times_before) {
  eventually("the files to be compacted",
             [&] { return times(c.log(server), "gone from its files") > times_before; });
}

void apply(Company& c, const std::string& from, const std::string& to) {
  std::string text = read_file(c.topology());
  size_t at = text.find(from);
  REQUIRE(at != text.npos);
  text.replace(at, from.size(), to);
  write_file(c.topology(), text);
  Finished done = run({program("branchline"), "topology", "apply", c.topology(), "--token",
                       c.operator_token("master")});
  INFO(done.output);
  REQUIRE(done.code == 0);
}

TEST_CASE("a subscription is taken away and given back while people write", "[subscription]") {
  TempFolder folder;
  CompanyPlan plan;
  plan.folder = folder.path().string();
  plan.territories = {"east", "south"};
  plan.branches = {{"hq", {}, "", ""}, {"east", {"east", "south"}, "", ""}};
  Company c(plan);
  c.start_all();
  auto hq = c.office("hq");
  for (int i = 0; i < 20; ++i) {
    create(*hq, "south", "canary-south-" + std::to_string(i));
    create(*hq, "east", "canary-east-" + std::to_string(i));
  }
  c.wait_drained();
  c.stop("east");
  CHECK(stands_in_files(c.data("east"), "canary-south-"));
  c.start("east");
  c.wait_ready("east");

  // People at both offices go on all the time, east in the territory that stays.
  std::atomic<bool> stop{false};
  std::atomic<int> written{0}, refused{0};
  std::vector<std::thread> people;
  for (const char* office : {"hq", "east"}) {
    people.emplace_back([&, office] {
      auto http = c.office(office);
      for (int n = 0; !stop; ++n) {
        auto a = http->request("POST", kAccounts,
                               R"({"name":")" + std::string(office) + std::to_string(n) +
                                   R"(","Branchline.territory":"east"})");
        ++(a && a->ok() ? written : refused);
      }
    });
  }
  auto sums = [&] { return c.admin_get("east", "/admin/status"); };
  apply(c, "territories: [east, south]", "territories: [east]");
  eventually("south to be gone", [&] { return !sums().member("sums")->member("south"); });
  int before = written;
  eventually("writes to go on", [&] { return written > before + 20; });
  stop = true;
  for (auto& t : people) t.join();
  CHECK(refused == 0);
  c.wait_drained();
  wait_gone_from_files(c, "east", 0);
  CHECK(c.audit().code == 0);
  c.stop("east");
  CHECK(stands_in_files(c.data("east"), "canary-east-"));
  CHECK_FALSE(stands_in_files(c.data("east"), "canary-south-"));
  c.start("east");
  c.wait_ready("east");

  apply(c, "territories: [east]", "territories: [east, south]");
  eventually("south to be back", [&] { return sums().member("sums")->member("south"); });
  create(*hq, "south", "canary-south-last");
  c.wait_drained();
  Finished audit = c.audit();
  INFO(audit.output);
  CHECK(audit.code == 0);
  c.stop("east");
  CHECK(stands_in_files(c.data("east"), "canary-south-last"));
}

// With all that belongs to it: contact, note, tag, an overwritten value.
TEST_CASE("of a record that moves away no byte stays in the files of the office that it left",
          "[subscription]") {
  TempFolder folder;
  CompanyPlan plan;
  plan.folder = folder.path().string();
  plan.territories = {"east", "south"};
  plan.branches = {{"hq", {}, "", ""}, {"east", {"east"}, "", ""}};
  Company c(plan);
  c.start_all();
  auto hq = c.office("hq");
  auto must = [&](const char* method, const std::string& target, const std::string& body) {
    auto a = hq->request(method, target, body, {{"Prefer", "return=representation"}});
    INFO(method << " " << target << ": " << (a ? a->body : "no answer"));
    REQUIRE(a);
    REQUIRE(a->ok());
    return a->body.empty() ? std::string() : text_in(a->json(), "accountid");
  };
  std::vector<std::string> accounts;
  for (int i = 0; i < 10; ++i) {
    std::string mark = "canary-moved-" + std::to_string(i);
    std::string id = must("POST", kAccounts,
                          R"({"name":")" + mark + R"(","accountnumber":")" + mark +
                              R"(-key","Branchline.territory":"east","tags":[")" + mark + R"("]})");
    accounts.push_back(std::string(kAccounts) + "(" + id + ")");
    must("PATCH", accounts.back(), R"({"description":")" + mark + R"(-first"})");
    must("PATCH", accounts.back(), R"({"description":"later"})");
    std::string reference = "\"/accounts(" + id + ")\"}";
    must("POST", "/api/data/v9.2/contacts",
         R"({"lastname":")" + mark + R"(","parentcustomerid_account@odata.bind":)" + reference);
    must("POST", "/api/data/v9.2/annotations",
         R"({"notetext":")" + mark + R"(","objectid_account@odata.bind":)" + reference);
  }
  create(*hq, "east", "canary-stays");
  c.wait_drained();
  c.stop("east");
  CHECK(stands_in_files(c.data("east"), "canary-moved-"));
  c.start("east");
  c.wait_ready("east");
  for (const auto& account : accounts)
    must("PATCH", account, R"({"Branchline.territory":"south"})");
  c.wait_drained();
  // After the last of them: what is compacted before may still see others.
  eventually("all files to be compacted", [&] {
    return c.admin_get("east", "/admin/status").member("compactionDue")->boolean == false;
  });
  c.stop("east");
  CHECK(stands_in_files(c.data("east"), "canary-stays"));
  CHECK_FALSE(stands_in_files(c.data("east"), "canary-moved-"));
  CHECK(stands_in_files(c.data("hq"), "canary-moved-"));
}

TEST_CASE("the line of a server that is added is not flooded before the master starts again",
          "[subscription]") {
  TempFolder folder;
  CompanyPlan plan;
  plan.folder = folder.path().string();
  plan.branches = {{"office", {}, "", ""}, {"late", {}, "", ""}};
  Company c(plan);
  // `late` is at another site behind a thin line, and not yet in the file that the master commits.
  const std::string whole = read_file(c.topology());
  const size_t at = whole.find("  - name: late\n");
  REQUIRE(at != whole.npos);
  write_file(c.topology(), whole.substr(0, at));
  c.start("master");
  c.wait_ready("master");
  c.make_token();
  c.start("office");
  c.wait_ready("office");
  fill_with_noise(*c.office("office"), 700);  // 600 KB, three chunks
  eventually("all at the master", [&] { return c.pending("office") == 0; });
  std::string late = whole.substr(at);
  late.replace(late.find("site: here"), 10, "site: far");
  std::string text = whole.substr(0, at) + late;
  text.replace(text.find("  - {name: here}\n"), 17, "  - {name: here}\n  - {name: far}\n");
  text += "links:\n  - {from: here, to: far, rtt: 20ms, rate: 1Mbit}\n";
  write_file(c.topology(), text);
  apply(c, "name: crash", "name: crash");
  // The line itself is as fast as it goes: who is slow is the master.
  auto began = std::chrono::steady_clock::now();
  c.start("late");
  c.wait_ready("late");
  auto took = std::chrono::steady_clock::now() - began;
  CHECK(took > std::chrono::seconds(2));
}

TEST_CASE("a master that starts again has not forgotten what a line has carried today",
          "[subscription]") {
  TempFolder folder;
  CompanyPlan plan;
  plan.folder = folder.path().string();
  plan.branches = {{"hq", {}, "", ""}, {"far", {}, "20ms", ""}};
  Company c(plan);
  std::string text = read_file(c.topology());
  size_t far = text.find("  - name: far\n");
  text.replace(text.find("site: here", far), 10, "site: far");
  text.replace(text.find("  - {name: here}\n"), 17, "  - {name: here}\n  - {name: far}\n");
  text += "links:\n  - {from: here, to: far, rtt: 20ms, rate: 100Mbit, daily: 300KB}\n";
  write_file(c.topology(), text);
  c.start_all();
  auto csn_of = [&](const std::string& server) {
    return number_in(c.admin_get(server, "/admin/status"), "csn");
  };
  // Far knows of the head, and stands before it.
  auto hears_of = [&](uint64_t head) {
    Json status = c.admin_get("far", "/admin/status");
    return number_in(*status.member("link"), "masterCsn") >= head;
  };
  fill_with_noise(*c.office("hq"), 700);  // 600 KB
  eventually("all at the master", [&] { return c.pending("hq") == 0; });
  uint64_t head = csn_of("master");
  eventually("the line to have carried what it may",
             [&] { return number_in(c.line_stats("far"), "down_bytes") > 300'000; });
  eventually("far to hear of the rest", [&] { return hears_of(head); });
  uint64_t before = csn_of("far");
  CHECK(before < head);
  c.stop("master");
  c.start("master");
  c.wait_ready("master");
  create(*c.office("hq"), "common", "after the restart");
  eventually("the master to have it", [&] { return csn_of("master") > head; });
  eventually("far to hear of it", [&] { return hears_of(head + 1); });
  CHECK(csn_of("far") == before);
}

TEST_CASE("an office that holds as much as it may warns, then refuses writes, and loses nothing",
          "[subscription]") {
  TempFolder folder;
  CompanyPlan plan;
  plan.folder = folder.path().string();
  plan.branches = {{"office", {}, "20ms", ""}};
  Company c(plan);
  c.start_all();
  constexpr uint64_t kQuota = 1024 * 1024;
  apply(c, "version: 1\n", "version: 1\npolicies: {outbox_quota: 1MiB}\n");
  auto status = [&] { return c.admin_get("office", "/admin/status"); };
  eventually("the quota to count", [&] { return number_in(status(), "outboxQuota") == kQuota; });
  c.line("office", "/down");
  auto http = c.office("office");
  size_t acknowledged = 0;
  while (number_in(status(), "outboxBytes") < kQuota / 10 * 8) {
    fill_with_noise(*http, 10);
    acknowledged += 10;
  }
  eventually("the warning", [&] { return status().member("outboxWarning")->boolean; });
  auto health = Http(c.host(), c.admin_port("office")).request("GET", "/healthz");
  REQUIRE(health);
  CHECK(health->status == 200);
  CHECK(health->body.find("outbox") != std::string::npos);
  std::string refused;
  for (int i = 0; i < 1000 && refused.empty(); ++i) {
    auto a = create_noise(*http);
    REQUIRE(a);
    if (a->ok()) {
      ++acknowledged;
    } else {
      CHECK(a->status == 507);
      refused = a->body;
    }
  }
  CHECK(refused.find("outbox.full") != std::string::npos);
  CHECK(number_in(status(), "outboxBytes") < kQuota + kQuota / 10);
  CHECK(c.pending("office") == acknowledged);
  auto read = http->request("GET", std::string(kAccounts) + "?$top=1");
  REQUIRE(read);
  CHECK(read->status == 200);
  // From the first write on, also of the next process start.
  c.kill("office");
  c.start("office");
  c.wait_ready("office");
  http = c.office("office");
  auto at_once = create_noise(*http);
  REQUIRE(at_once);
  CHECK(at_once->status == 507);
  c.line("office", "/up");
  eventually("what waited to be taken", [&] { return c.pending("office") == 0; });
  eventually("the warning to end", [&] { return !status().member("outboxWarning")->boolean; });
  create(*http, "common", "again");
  c.wait_drained();
  auto count = http->request("GET", std::string(kAccounts) + "/$count");
  REQUIRE(count);
  CHECK(count->body == std::to_string(acknowledged + 1));
  CHECK(c.audit().code == 0);
}

TEST_CASE("a join whose line is cut goes on, no chunk comes twice", "[subscription]") {
  TempFolder folder;
  CompanyPlan plan;
  plan.folder = folder.path().string();
  // 1.3 MB in five or more chunks at 1 Mbit/s: eleven seconds in which to catch it.
  plan.branches = {{"office", {}, "", ""}, {"late", {}, "20ms", "1Mbit"}};
  Company c(plan);
  c.start("master");
  c.wait_ready("master");
  c.make_token();
  c.start("office");
  c.wait_ready("office");
  auto office = c.office("office");
  fill_with_noise(*office, 1500);
  eventually("all at the master", [&] { return c.pending("office") == 0; });
  c.start_line("late");
  c.start("late");
  auto joined = [&] {
    Http late(c.host(), c.http_port("late"), c.token());
    auto ready = late.request("GET", "/readyz");
    return ready && ready->status == 200;
  };
  // It is not ready before it has its data, but its operators' address answers.
  auto records = [&] {
    auto up = Http(c.host(), c.admin_port("late")).request("GET", "/healthz");
    if (!up || !up->ok()) return uint64_t{0};
    Json status = c.admin_get("late", "/admin/status");
    const Json* joining = status.member("joining");
    return joining ? number_in(*joining, "records") : uint64_t{0};
  };
  eventually("some chunks", [&] { return records() > 100; });
  REQUIRE_FALSE(joined());
  // An administrator's token, which it cannot know yet, is not called a wrong one.
  Finished told =
      run({program("branchline"), "status", "--topology", c.topology(), "--token", c.token()});
  INFO(told.output);
  CHECK(told.code == 1);
  CHECK(told.output.find("not ready") != std::string::npos);
  CHECK(told.output.find("is receiving its data") != std::string::npos);
  auto nobody = Http(c.host(), c.admin_port("late")).request("GET", "/admin/status");
  REQUIRE(nobody);
  CHECK(nobody->status == 401);
  c.line("late", "/down");
  c.kill("late");  // what was installed and synced is there, and what the system had written
  c.line("late", "/up");
  c.start("late");
  eventually("the join", joined, std::chrono::seconds(60));
  CHECK(times(c.log("late"), "going on where it broke off") >= 1);
  CHECK(times(c.log("master"), "goes on with its snapshot at chunk") >= 1);
  c.wait_drained();
  Finished audit = c.audit();
  INFO(audit.output);
  CHECK(audit.code == 0);
}

}  // namespace
}  // namespace branchline::crash
