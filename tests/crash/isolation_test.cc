// SEMANTICS 28: what an office may see bounds what reaches its disk. Looked for in the decoded
// files, not through the API.
#include <set>

#include "common/access/access.h"
#include "tests/crash/office_fixture.h"
#include "tests/support/decoded_files.h"

namespace branchline::crash {
namespace {

std::string json(const std::string& name, const std::string& value) {
  return "{\"" + name + "\":\"" + value + "\"}";
}

std::string must(Http& http, std::string_view method, const std::string& target,
                 const std::string& body) {
  auto a = http.request(method, target, body, {{"Prefer", "return=representation"}});
  INFO(method << " " << target << " " << body << ": " << (a ? a->body : std::string("no answer")));
  REQUIRE(a);
  REQUIRE(a->ok());
  return a->body.empty() ? std::string() : text_in(a->json(), "accountid");
}

// A customer of `office` with everything that may bear a text: record, child, note, tag, key, an
// overwritten value, a deleted record.
void work(Http& http, const std::string& office, int round) {
  std::string mark = "canary-" + office + "-" + std::to_string(round);
  std::string id = must(http, "POST", kAccounts,
                        R"({"name":")" + mark + R"(-name","accountnumber":")" + mark +
                            R"(-key","Branchline.territory":")" + office + R"(","tags":[")" + mark +
                            R"(-tag"]})");
  std::string account = std::string(kAccounts) + "(" + id + ")",
              reference = "\"/accounts(" + id + ")\"";
  must(http, "PATCH", account, json("description", mark + "-description"));
  must(http, "PATCH", account, json("description", "later"));
  must(http, "POST", "/api/data/v9.2/contacts",
       R"({"lastname":")" + mark + R"(-contact","parentcustomerid_account@odata.bind":)" +
           reference + "}");
  must(http, "POST", "/api/data/v9.2/annotations",
       R"({"notetext":")" + mark + R"(-note","objectid_account@odata.bind":)" + reference + "}");
  std::string gone =
      must(http, "POST", kAccounts,
           R"({"name":")" + mark + R"(-gone","Branchline.territory":")" + office + R"("})");
  must(http, "DELETE", std::string(kAccounts) + "(" + gone + ")", "");
}

// Which of `needles` the files of a server hold, and in how many places any of them stands.
std::set<std::string> found(const std::string& data, const std::vector<std::string>& needles) {
  std::set<std::string> out;
  for_each_decoded(data, [&](const std::string& file, std::string_view bytes) {
    for (const auto& n : needles) {
      if (bytes.find(n) != bytes.npos) {
        UNSCOPED_INFO(n << " stands in " << file);
        out.insert(n);
      }
    }
  });
  return out;
}

TEST_CASE("no file of an office holds a byte of a territory that it does not serve",
          "[isolation]") {
  TempFolder folder;
  CompanyPlan plan;
  plan.folder = folder.path().string();
  plan.territories = {"east", "south"};
  plan.branches = {{"hq", {}, "", ""}, {"east", {"east"}, "", ""}, {"south", {"south"}, "", ""}};
  Company c(plan);
  c.start_all();
  std::string hash;
  {
    Http master(c.host(), c.admin_port("master"), c.operator_token("master"));
    auto made =
        master.request("POST", "/admin/tokens", R"({"user":"east-only","territories":["east"]})");
    REQUIRE(made);
    INFO(made->body);
    REQUIRE(made->status == 201);
    hash = token_hash(text_in(made->json(), "token"));
  }
  for (int round = 0; round < 3; ++round) {
    work(*c.office("east"), "east", round);
    work(*c.office("south"), "south", round);
    work(*c.office("hq"), "east", 10 + round);
  }
  c.wait_drained();
  // A late joiner gets its snapshot of the same; one server dies with its log as it is, one ends in
  // order.
  c.kill("south");
  std::filesystem::remove_all(c.data("south"));
  c.start("south");
  c.wait_ready("south");
  work(*c.office("east"), "east", 20);
  work(*c.office("south"), "south", 20);
  c.wait_drained();
  c.kill("south");
  c.stop_all();

  const std::vector<std::string> needles{"canary-east-", "canary-south-", hash};
  CHECK(found(c.data("hq"), needles) ==
        std::set<std::string>{"canary-east-", "canary-south-", hash});
  CHECK(found(c.data("east"), needles) == std::set<std::string>{"canary-east-", hash});
  CHECK(found(c.data("south"), needles) == std::set<std::string>{"canary-south-"});
}

}  // namespace
}  // namespace branchline::crash
