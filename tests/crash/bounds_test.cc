// Much work, little memory: a peer that is slow or away, and a branch that starts from nothing.
#include <atomic>

#include "tests/crash/office_fixture.h"

namespace branchline::crash {
namespace {

constexpr size_t kMemory = size_t{512} << 20;

// Accounts with contacts, `records` in all; about 500 to a request.
void fill(const Company& c, size_t requests) {
  auto http = c.office("office");
  for (size_t i = 0; i < requests; ++i) {
    std::string body =
        R"({"name":"Account )" + std::to_string(i) + R"(","contact_customer_accounts":[)";
    for (int k = 0; k < 499; ++k) {
      if (k) body += ",";
      body += R"({"firstname":"First)" + std::to_string(k) + R"(","lastname":"Last)" +
              std::to_string(i) + R"("})";
    }
    auto a = http->request("POST", kAccounts, body + "]}");
    REQUIRE((a && a->ok()));
  }
}

TEST_CASE("a stalled line costs no memory, and all drains afterwards", "[bounds]") {
  Office o;
  Company& c = o.company;
  c.start_all();
  auto id = o.create(1, "changed").at(0);
  c.wait_drained();
  c.line("office", "/set?stall=true");
  std::atomic<uint64_t> done{0};
  std::vector<std::thread> clients;
  constexpr uint64_t kChanges = 50'000;
  for (int t = 0; t < 16; ++t) {
    clients.emplace_back([&, t] {
      auto http = c.office("office");
      std::string target = std::string(kAccounts) + "(" + id + ")";
      for (uint64_t n = static_cast<uint64_t>(t); n < kChanges; n += 16) {
        auto a = n % 4 == 0
                     ? http->request("POST", kAccounts,
                                     R"({"name":"pending )" + std::to_string(n) + R"("})")
                     : http->request("PATCH", target, R"({"loyaltypoints@Branchline.add":1})");
        if (a && a->ok()) ++done;
      }
    });
  }
  for (auto& t : clients) t.join();
  REQUIRE(done == kChanges);
  uint64_t pending = c.pending("office");
  CHECK(pending >= kChanges - 5'000);  // what the line still took before it stood
  size_t branch_waiting = c.process("office").peak_memory();
  c.line("office", "/set?stall=false");
  c.wait_drained(std::chrono::seconds(180));
  size_t branch = c.process("office").peak_memory(), master = c.process("master").peak_memory();
  WARN("pending " << pending << "; peak memory: branch " << (branch_waiting >> 20)
                  << " MiB while it waited, " << (branch >> 20) << " MiB after, master "
                  << (master >> 20) << " MiB");
  CHECK(branch < kMemory);
  CHECK(master < kMemory);
  Json shared = c.office_get("office", std::string(kAccounts) + "(" + id + ")");
  CHECK(number_in(shared, "loyaltypoints") == kChanges / 4 * 3);
  o.require_true_audit();
}

TEST_CASE("an empty branch joins 100,000 records and shows how far it is", "[join]") {
  TempFolder folder;
  CompanyPlan plan;
  plan.folder = folder.path().string();
  // 20 Mbit, so that the join can be watched.
  plan.branches = {{"office", {}, "", ""}, {"late", {}, "20ms", "20Mbit"}};
  Company c(plan);
  c.start("master");
  c.wait_ready("master");
  c.make_token();
  c.start("office");
  c.wait_ready("office");
  fill(c, 200);
  eventually("all at the master", [&] { return c.pending("office") == 0; });
  c.start_line("late");
  c.start("late");
  uint64_t most = 0, expected = 0;
  bool answered_joining = false;
  int killed = 0;  // in the middle of it: first itself, then the master
  eventually("the join", [&] {
    Http late(c.host(), c.http_port("late"), c.token());
    auto ready = late.request("GET", "/readyz");
    answered_joining = answered_joining || (ready && ready->status == 503);
    if (ready && ready->status == 503 && c.process("late").running()) {
      Json status = c.admin_get("late", "/admin/status");
      if (const Json* joining = status.member("joining")) {
        most = std::max(most, number_in(*joining, "records"));
        expected = std::max(expected, number_in(*joining, "expected"));
        if (killed < 2 && number_in(*joining, "records") > 0) {
          std::string victim = killed++ == 0 ? "late" : "master";
          c.kill(victim);
          c.start(victim);
        }
      }
    }
    return ready && ready->status == 200;
  });
  CHECK(answered_joining);
  CHECK(expected >= 100'000);
  CHECK(most > 0);
  CHECK(killed == 2);
  CHECK(c.log("late").find("snapshot installed") != std::string::npos);
  c.wait_drained();
  auto http = c.office("late");
  auto count = http->request("GET", "/api/data/v9.2/contacts/$count");
  REQUIRE(count);
  CHECK(count->body == std::to_string(200 * 499));
  CHECK(c.process("late").peak_memory() < kMemory);
  CHECK(c.process("master").peak_memory() < kMemory);
  Finished audit = c.audit();
  INFO(audit.output);
  CHECK(audit.code == 0);
}

}  // namespace
}  // namespace branchline::crash
