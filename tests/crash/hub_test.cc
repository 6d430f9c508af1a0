// Real servers, real lines: offices whose upstream is another office.
#include "tests/crash/office_fixture.h"

namespace branchline::crash {
namespace {

std::string create(Company& c, const std::string& office, const std::string& name,
                   const std::string& territory) {
  auto a = c.office(office)->request(
      "POST", kAccounts,
      R"({"name":")" + name + R"(","Branchline.territory":")" + territory + R"("})",
      {{"Prefer", "return=representation"}});
  INFO((a ? a->body : "no answer"));
  REQUIRE(a);
  REQUIRE(a->status == 201);
  return text_in(a->json(), "accountid");
}

int status_of(Company& c, const std::string& office, const std::string& id) {
  auto a = c.office(office)->request("GET", std::string(kAccounts) + "(" + id + ")?$select=name");
  return a ? a->status : 0;
}

// Accounts with bytes that hardly compress; about how many bytes they are.
void fill_with_noise(Company& c, const std::string& office, int count) {
  static uint64_t state = 88172645463325252ull;
  auto http = c.office(office);
  for (int i = 0; i < count; ++i) {
    std::string noise;
    while (noise.size() < 1'900) {
      state ^= state << 13, state ^= state >> 7, state ^= state << 17;
      noise += std::to_string(state);
    }
    auto a = http->request("POST", kAccounts,
                           R"({"name":"noise","description":")" + noise.substr(0, 1'900) + R"("})");
    REQUIRE(a);
    REQUIRE(a->ok());
  }
}

uint64_t down_bytes(Company& c, const std::string& line) {
  return number_in(c.line_stats(line), "down_bytes");
}

std::string via(Company& c, const std::string& server) {
  Json status = c.admin_get("master", "/admin/status");
  for (const auto& s : status.member("branches")->items) {
    if (text_in(s, "server") == server) return text_in(s, "via");
  }
  return "not known";
}

void wait_at_head(Company& c, const std::vector<std::string>& offices) {
  eventually("all to be at the head", [&] {
    uint64_t head = number_in(c.admin_get("master", "/admin/status"), "csn");
    for (const auto& o : offices) {
      Json status = c.admin_get(o, "/admin/status");
      if (number_in(status, "pending") > 0 || number_in(status, "csn") < head) return false;
    }
    return true;
  });
}

TEST_CASE("offices beneath offices: three levels, a hub that dies, another upstream", "[hub]") {
  TempFolder folder;
  CompanyPlan plan;
  plan.folder = folder.path().string();
  plan.territories = {"east", "south"};
  plan.branches = {{"hq", {}, "20ms", ""},
                   {"region", {}, "20ms", "", {}, "hq"},
                   {"south", {"south"}, "", "", {}, "region"}};
  Company c(plan);
  c.start_all();
  std::string of_south = create(c, "south", "from the south", "south");
  std::string of_hq = create(c, "hq", "from head office", "south");
  std::string of_east = create(c, "region", "from the region", "east");
  c.wait_drained();
  for (const char* office : {"hq", "region", "south"}) {
    INFO(office);
    CHECK(status_of(c, office, of_south) == 200);
    CHECK(status_of(c, office, of_hq) == 200);
    // The southern office does not hold it: it asks the master, by two hubs.
    CHECK(status_of(c, office, of_east) == 200);
  }
  CHECK(via(c, "hq") == "");
  CHECK(via(c, "region") == "hq");
  CHECK(via(c, "south") == "region");

  // Those beneath work on, and what they did is taken when the hub is back.
  c.kill("hq");
  std::string alone = create(c, "south", "while the hub is gone", "south");
  CHECK(c.pending("south") > 0);
  c.start("hq");
  c.wait_ready("hq");
  c.wait_drained();
  CHECK(status_of(c, "hq", alone) == 200);

  // Another upstream: committed, then the office is started with that file.
  std::string text = read_file(c.topology());
  size_t at = text.find("upstream: region");
  REQUIRE(at != text.npos);
  write_file(c.topology(), text.replace(at, 16, "upstream: hq"));
  Finished done = run({program("branchline"), "topology", "apply", c.topology(), "--token",
                       c.operator_token("master")});
  INFO(done.output);
  REQUIRE(done.code == 0);
  // Its old way is closed to it, and it says what to do.
  eventually("the old way to be refused", [&] {
    Json status = c.office_get("south", "/api/sync/status");
    return text_in(*status.member("link"), "problem").find("topology apply") != std::string::npos;
  });
  c.stop("south");
  c.start("south");
  c.wait_ready("south");
  create(c, "south", "by the other hub", "south");
  c.wait_drained();
  CHECK(via(c, "south") == "hq");
  Finished audit = c.audit();
  INFO(audit.output);
  CHECK(audit.code == 0);
}

TEST_CASE("the line of a hub carries each commit once for all beneath it", "[hub]") {
  TempFolder folder;
  CompanyPlan plan;
  plan.folder = folder.path().string();
  plan.branches = {{"hq", {}, "", ""},
                   {"hub", {}, "20ms", ""},
                   {"a", {}, "", "", {}, "hub"},
                   {"b", {}, "", "", {}, "hub"},
                   {"c", {}, "", "", {}, "hub"}};
  Company c(plan);
  c.start_all();
  c.wait_drained();
  const std::vector<std::string> leaves{"a", "b", "c"};
  auto grown = [&](auto what) {
    uint64_t before = down_bytes(c, "hub");
    what();
    return down_bytes(c, "hub") - before;
  };
  for (const auto& l : leaves) c.stop(l);
  uint64_t alone = grown([&] {
    fill_with_noise(c, "hq", 300);
    wait_at_head(c, {"hq", "hub"});
  });
  uint64_t catching_up = grown([&] {
    for (const auto& l : leaves) c.start(l);
    for (const auto& l : leaves) c.wait_ready(l);
    wait_at_head(c, leaves);
  });
  uint64_t together = grown([&] {
    fill_with_noise(c, "hq", 300);
    wait_at_head(c, {"hq", "hub", "a", "b", "c"});
  });
  INFO("alone " << alone << ", catching up " << catching_up << ", together " << together);
  CHECK(alone > 200'000);
  // What remains are frames' heads and heartbeats.
  CHECK(catching_up < alone / 4);
  CHECK(together < alone + alone / 2);
  Finished audit = c.audit();
  INFO(audit.output);
  CHECK(audit.code == 0);
}

}  // namespace
}  // namespace branchline::crash
