// SIGTERM, whatever goes on; and what the log may tell.
#include <atomic>

#include "tests/crash/office_fixture.h"

namespace branchline::crash {
namespace {

// Clients that write without a pause until they are told to stop or nobody answers.
class Import {
 public:
  Import(const Company& company, size_t clients) {
    for (size_t i = 0; i < clients; ++i) {
      threads_.emplace_back([this, &company, i] {
        auto http = company.office("office", &in_flight_);
        for (int n = 0; !stop_; ++n) {
          auto a = http->request(
              "POST", kAccounts,
              R"({"name":"import )" + std::to_string(i) + "." + std::to_string(n) + R"("})");
          if (a && a->ok()) ++acknowledged_;
          if (!a) std::this_thread::sleep_for(std::chrono::milliseconds(5));
        }
      });
    }
  }
  ~Import() { finish(); }
  void finish() {
    stop_ = true;
    for (auto& t : threads_) t.join();
    threads_.clear();
  }
  uint64_t acknowledged() const { return acknowledged_; }

 private:
  std::atomic<bool> stop_{false};
  std::atomic<int> in_flight_{0};
  std::atomic<uint64_t> acknowledged_{0};
  std::vector<std::thread> threads_;
};

std::string head(const Company& c, const std::string& first_line) {
  return first_line + " HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + c.token() + "\r\n";
}

TEST_CASE("SIGTERM ends a busy branch in order", "[stop]") {
  Office o;
  Company& c = o.company;
  c.start_all();
  REQUIRE(o.create(200, std::string(150, 'x')).size() == 200);
  std::vector<std::unique_ptr<Http>> clients;
  auto client = [&]() -> Http& {
    return *clients.emplace_back(std::make_unique<Http>(c.host(), c.http_port("office")));
  };
  // A request that never ends, change streams that nobody reads, an answer that nobody takes, an
  // idle connection.
  REQUIRE(client().send_only(head(c, "POST /api/data/v9.2/accounts") +
                             "Content-Length: 1000\r\n\r\n{\"name\":"));
  for (int i = 0; i < 5; ++i) REQUIRE(client().send_only(head(c, "GET /api/changes") + "\r\n"));
  for (int i = 0; i < 5; ++i) {
    std::string many;
    for (int k = 0; k < 20; ++k) many += head(c, "GET /api/data/v9.2/accounts?$top=200") + "\r\n";
    REQUIRE(client().send_only(many));
  }
  REQUIRE(client().send_only(""));
  Import import(c, 8);
  eventually("an import under way", [&] { return import.acknowledged() > 200; });
  c.line("office", "/set?stall=true");
  eventually("work on a stalled line", [&] { return c.unacknowledged("office") > 0; });

  c.process("office").signal(SIGTERM);
  CHECK(c.process("office").wait(std::chrono::seconds(20)) == 0);
  import.finish();
  CHECK(c.log("office").find("stopped") != std::string::npos);

  c.line("office", "/set?stall=false");
  c.start("office");
  c.wait_ready("office");
  Json counted =
      c.office_get("office", "/api/data/v9.2/accounts?$apply=aggregate($count%20as%20n)");
  CHECK(number_in(counted.member("value")->items.at(0), "n") >= 200 + import.acknowledged());
  c.wait_drained();
  o.require_true_audit();
}

TEST_CASE("SIGTERM ends a busy master in order", "[stop]") {
  Office o;
  Company& c = o.company;
  c.start_all();
  Import import(c, 8);
  eventually("an import under way", [&] { return import.acknowledged() > 200; });
  bool stalled = GENERATE(false, true);
  if (stalled) {
    c.line("office", "/set?stall=true");
    eventually("work on a stalled line", [&] { return c.unacknowledged("office") > 0; });
  }
  c.process("master").signal(SIGTERM);
  CHECK(c.process("master").wait(std::chrono::seconds(20)) == 0);
  c.start("master");
  c.wait_ready("master");
  if (stalled) c.line("office", "/set?stall=false");
  import.finish();
  c.wait_drained();
  o.require_true_audit();
}

TEST_CASE("a second SIGTERM ends the process at once", "[stop]") {
  Office o;
  Company& c = o.company;
  c.start_all();
  Http slow(c.host(), c.http_port("office"));
  REQUIRE(slow.send_only(head(c, "POST /api/data/v9.2/accounts") +
                         "Content-Length: 1000\r\n\r\n{\"name\":"));
  // Answered, so it has read what was sent before: the slow request keeps it from ending by itself.
  REQUIRE(o.create(1, "a").size() == 1);
  c.process("office").signal(SIGTERM);
  eventually("the first signal taken",
             [&] { return c.log("office").find("a second signal") != std::string::npos; });
  c.process("office").signal(SIGTERM);
  CHECK(c.process("office").wait() == 1);
  c.start("office");
  c.wait_ready("office");
  c.wait_drained();
  o.require_true_audit();
}

TEST_CASE("logs tell neither secrets nor what people wrote", "[log]") {
  Office o("20ms", "debug");
  Company& c = o.company;
  c.start_all();
  auto http = c.office("office");
  std::string body =
      R"({"name":"Marker Mabel","telephone1":"+1 212 555 0147","emailaddress1":"marker@example.com",)"
      R"("description":"marker-description","tags":["marker-tag"],"loyaltypoints":3})";
  auto made =
      http->request("POST", kAccounts, body,
                    {{"Prefer", "return=representation"}, {"Idempotency-Key", "marker-key"}});
  REQUIRE((made && made->status == 201));
  std::string id = text_in(made->json(), "accountid");
  std::string url = std::string(kAccounts) + "(" + id + ")";
  auto note = http->request(
      "POST", "/api/data/v9.2/annotations",
      R"-({"objectid_account@odata.bind":"/accounts()-" + id + R"-()","notetext":"marker-note"})-");
  REQUIRE((note && note->ok()));
  // Refused requests, whose texts an error could repeat.
  http->request("POST", kAccounts, R"({"name":"marker-refused","telephone1":{"marker-wrong":1}})");
  http->request("POST", kAccounts, R"({"marker-unknown":"marker-value"})");
  http->request("GET",
                std::string(kAccounts) + "?$filter=name%20eq%20%27marker-filter%27%20and%20oops");
  http->request("PATCH", url, R"({"name":"marker-stale"})", {{"If-Match", "\"0000000000000000\""}});
  Http stranger(c.host(), c.http_port("office"), "branchline_marker-token");
  auto denied = stranger.request("GET", kAccounts);
  REQUIRE((denied && denied->status == 401));
  // Fates other than applied, restarts, a broken line.
  c.line("office", "/down");
  http->request("PATCH", url, R"({"name":"marker-later"})");
  http->request("DELETE", url);
  c.line("office", "/up");
  c.wait_drained();
  c.kill("office");
  c.start("office");
  c.wait_ready("office");
  c.wait_drained();
  std::string operator_token = read_file(c.data("master") + "/operator.token");
  while (!operator_token.empty() && operator_token.back() == '\n') operator_token.pop_back();
  c.stop_all();
  for (const std::string server : {"master", "office"}) {
    std::string log = c.log(server);
    INFO(server << ":\n" << log);
    CHECK(log.find("stopped") != std::string::npos);
    for (const std::string secret : {"arker", "5550147", "555 0147", "example.com"})
      CHECK(log.find(secret) == std::string::npos);
    CHECK(log.find(c.token()) == std::string::npos);
    CHECK(log.find(operator_token) == std::string::npos);
    CHECK(log.find("PRIVATE KEY") == std::string::npos);
  }
}

}  // namespace
}  // namespace branchline::crash
