// Backups of real servers, made while clients write, and put back: what was acknowledged comes
// back, once (SEMANTICS 19, 29).
#include <atomic>
#include <mutex>

#include "tests/crash/office_fixture.h"

namespace branchline::crash {
namespace {

constexpr const char* kAdd = R"({"loyaltypoints@Branchline.add":1})";

std::string account(const std::string& id) { return std::string(kAccounts) + "(" + id + ")"; }

// Clients of one office that create accounts and count up a shared one, until they are told to
// stop; what was acknowledged to them.
class Clients {
 public:
  Clients(const Company& company, std::string office, std::string counter, size_t count) {
    for (size_t i = 0; i < count; ++i) {
      threads_.emplace_back([this, &company, office, counter, i] {
        auto http = company.office(office);
        for (int n = 0; !stop_; ++n) {
          std::string name = office + "-" + std::to_string(i) + "-" + std::to_string(n);
          auto made =
              http->request("POST", kAccounts, R"({"name":")" + name + R"("})",
                            {{"Prefer", "return=representation"}, {"Idempotency-Key", name}});
          auto added =
              http->request("PATCH", account(counter), kAdd, {{"Idempotency-Key", "add-" + name}});
          std::lock_guard lock(mutex_);
          if (made && made->status == 201) {
            names_.push_back(std::move(name));
          } else {
            failed_ += 1;
          }
          added && added->ok() ? ++added_ : ++failed_;
        }
      });
    }
  }
  ~Clients() { finish(); }
  void finish() {
    stop_ = true;
    for (auto& t : threads_) t.join();
    threads_.clear();
  }
  uint64_t acknowledged() {
    std::lock_guard lock(mutex_);
    return names_.size() + added_;
  }
  // After finish().
  const std::vector<std::string>& names() const { return names_; }
  uint64_t added() const { return added_; }
  uint64_t failed() const { return failed_; }

 private:
  std::atomic<bool> stop_{false};
  std::mutex mutex_;
  std::vector<std::string> names_;
  uint64_t added_ = 0, failed_ = 0;
  std::vector<std::thread> threads_;
};

Finished branchline(std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), program("branchline"));
  return run(std::move(arguments));
}

// The server's data are gone but for certificates and tokens, as if on a new disk.
void lose_disk(const Company& c, const std::string& server) {
  namespace fs = std::filesystem;
  for (const char* part : {"/store", "/anchor", "/ingest.attempt"})
    fs::remove_all(c.data(server) + part);
}

void back_up(const Company& c, const std::string& server, const std::string& folder) {
  Finished made = branchline({"backup", "create", "--topology", c.topology(), "--token",
                              c.operator_token(server), server, folder});
  INFO(made.output);
  REQUIRE(made.code == 0);
  Finished whole = branchline({"backup", "verify", folder});
  INFO(whole.output);
  REQUIRE(whole.code == 0);
}

void restore(const Company& c, const std::string& server, const std::string& folder) {
  Finished done = branchline({"restore", folder, c.data(server)});
  INFO(done.output);
  REQUIRE(done.code == 0);
}

TEST_CASE("a master restored from an old backup gets all back that its offices were told is done",
          "[restore]") {
  TempFolder folder;
  CompanyPlan plan;
  plan.folder = folder.path().string();
  plan.branches = {{"left", {}, "10ms", ""}, {"right", {}, "10ms", ""}};
  Company c(plan);
  c.start_all();
  auto made = c.office("left")->request("POST", kAccounts, R"({"name":"counter"})",
                                        {{"Prefer", "return=representation"}});
  REQUIRE((made && made->status == 201));
  std::string counter = text_in(made->json(), "accountid");
  c.wait_drained();
  Clients left(c, "left", counter, 3), right(c, "right", counter, 3);
  auto more = [&](uint64_t n) {
    uint64_t l = left.acknowledged() + n, r = right.acknowledged() + n;
    eventually("clients under way",
               [&] { return left.acknowledged() > l && right.acknowledged() > r; });
  };
  auto head = [&] { return number_in(c.admin_get("master", "/admin/status"), "csn"); };
  more(50);
  back_up(c, "master", folder.path().string() + "/backup");
  uint64_t then = head();
  more(150);
  eventually("the master to go on", [&] { return head() > then + 200; });
  // Both have work that no line knows when it comes back, and work that only the old one knew.
  c.kill("master");
  more(50);
  lose_disk(c, "master");
  restore(c, "master", folder.path().string() + "/backup");
  c.start("master");
  c.wait_ready("master");
  eventually("all branches have come", [&] {
    Json status = c.admin_get("master", "/admin/status");
    const Json* r = status.member("reconciling");
    return c.log("master").find("goes on as") != std::string::npos && !r;
  });
  more(50);
  left.finish();
  right.finish();
  CHECK(left.failed() + right.failed() == 0);
  c.wait_drained();

  uint64_t added = left.added() + right.added();
  for (const std::string office : {"left", "right"}) {
    Json all = c.office_get(office, account(counter) + "?$select=loyaltypoints");
    CHECK(number_in(all, "loyaltypoints") == added);
    for (auto* clients : {&left, &right}) {
      size_t once = 0;
      for (const auto& name : clients->names()) {
        Json found = c.office_get(
            office, std::string(kAccounts) + "?$select=name&$filter=name%20eq%20'" + name + "'");
        once += found.member("value")->items.size() == 1 ? 1 : 0;
      }
      CHECK(once == clients->names().size());
    }
  }
  Finished audit = c.audit();
  INFO(audit.output);
  CHECK(audit.code == 0);
  Finished told =
      branchline({"reconcile", "--topology", c.topology(), "--token", c.operator_token("master")});
  CHECK(told.output.find("is not reconciling") != std::string::npos);
}

TEST_CASE("an office restored from an old backup gets back what it had shipped since",
          "[restore]") {
  Office o;
  Company& c = o.company;
  c.start_all();
  REQUIRE(o.create(50, "before").size() == 50);
  c.wait_drained();
  back_up(c, "office", o.marker("backup"));
  auto since = o.create(50, "since");
  REQUIRE(since.size() == 50);
  c.wait_drained();
  c.kill("office");
  lose_disk(c, "office");
  restore(c, "office", o.marker("backup"));
  c.start("office");
  c.wait_ready("office");
  CHECK(o.create(10, "after").size() == 10);
  c.wait_drained();
  CHECK(o.readable(since) == 50);
  o.require_true_audit();
}

TEST_CASE("a restored server knows how far its own log goes, and notices when less is there",
          "[restore]") {
  std::string server = GENERATE("master", "office");
  CAPTURE(server);
  Office o;
  Company& c = o.company;
  c.start_all();
  for (const char* prefix : {"first", "second"}) {
    REQUIRE(o.create(50, prefix).size() == 50);
    c.wait_drained();
    back_up(c, server, o.marker("backup"));
  }
  for (const char* each : {"office", "master"}) c.stop(each);
  lose_disk(c, server);
  restore(c, server, o.marker("backup"));
  std::string anchor = read_file(c.data(server) + "/anchor");
  REQUIRE(!anchor.empty());
  // An older store under the anchor of the newer one.
  lose_disk(c, server);
  Finished older = branchline({"restore", o.marker("backup"), c.data(server), "--number", "1"});
  REQUIRE(older.code == 0);
  CHECK(read_file(c.data(server) + "/anchor") != anchor);
  write_file(c.data(server) + "/anchor", anchor);
  CHECK(o.start_refused(server) != 0);
  CHECK(c.log(server).find("log files were lost") != std::string::npos);
  // With its own it starts.
  lose_disk(c, server);
  restore(c, server, o.marker("backup"));
  for (const char* each : {"master", "office"}) {
    c.start(each);
    c.wait_ready(each);
  }
  c.wait_drained();
  o.require_true_audit();
}

TEST_CASE("restoring never writes over data, and nothing half restored can be started",
          "[restore]") {
  Office o;
  Company& c = o.company;
  c.start_all();
  REQUIRE(o.create(50, "a").size() == 50);
  c.wait_drained();
  back_up(c, "office", o.marker("backup"));
  c.stop("office");
  Finished refused = branchline({"restore", o.marker("backup"), c.data("office")});
  CHECK(refused.code == 2);
  // A byte of the backup flips.
  namespace fs = std::filesystem;
  fs::path victim;
  for (const auto& file : fs::recursive_directory_iterator(o.marker("backup"))) {
    bool data = file.path().extension() == ".sst" || file.path().extension() == ".log";
    if (file.is_regular_file() && data && fs::file_size(file) > 100) victim = file.path();
  }
  REQUIRE(!victim.empty());
  std::string bytes = read_file(victim.string());
  std::string damaged = bytes;
  damaged[damaged.size() / 2] = static_cast<char>(damaged[damaged.size() / 2] ^ 1);
  write_file(victim.string(), damaged);
  lose_disk(c, "office");
  CHECK(branchline({"backup", "verify", o.marker("backup")}).code == 1);
  CHECK(branchline({"restore", o.marker("backup"), c.data("office")}).code == 1);
  CHECK_FALSE(fs::exists(c.data("office") + "/store"));
  CHECK_FALSE(fs::exists(c.data("office") + "/anchor"));
  // Mended, and over what a restore that broke off has left.
  write_file(victim.string(), bytes);
  fs::create_directories(c.data("office") + "/store.restoring");
  write_file(c.data("office") + "/store.restoring/CURRENT", "half");
  restore(c, "office", o.marker("backup"));
  c.start("office");
  c.wait_ready("office");
  c.wait_drained();
  o.require_true_audit();
}

}  // namespace
}  // namespace branchline::crash
