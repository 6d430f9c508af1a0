// Disks that fail, fill, forget or were put back; real processes.
#include <algorithm>

#include "common/store/anchor.h"
#include "tests/crash/office_fixture.h"

namespace branchline::crash {
namespace {

namespace fs = std::filesystem;

void delete_logs(const std::string& store) {
  size_t deleted = 0;
  for (const auto& entry : fs::directory_iterator(store)) {
    if (entry.path().extension() == ".log") deleted += fs::remove(entry.path()) ? 1 : 0;
  }
  REQUIRE(deleted > 0);
}

void wait_for_anchor(const std::string& data, uint64_t number) {
  eventually("the anchor", [&] {
    auto anchor = read_anchor(data + "/anchor");
    return anchor && *anchor && (*anchor)->number >= number;
  });
}

TEST_CASE("a branch whose log files are gone says so, and goes on only when told to", "[disk]") {
  Office o;
  o.company.start_all();
  auto shipped = o.create(20, "shipped");
  REQUIRE(shipped.size() == 20);
  o.company.wait_drained();
  o.company.line("office", "/down");
  auto unshipped = o.create(20, "unshipped");
  REQUIRE(unshipped.size() == 20);
  wait_for_anchor(o.company.data("office"), 40);
  o.company.kill("office");
  delete_logs(o.company.data("office") + "/store");

  CHECK(o.start_refused("office") == 2);
  CHECK(o.company.log("office").find("--accept-lost-log") != std::string::npos);
  o.company.line("office", "/up");
  o.company.set_program("office", "", {"--accept-lost-log"});
  o.company.start("office");
  o.company.wait_ready("office");
  o.company.wait_drained();
  CHECK(o.readable(shipped) == 20);   // the master has them
  CHECK(o.readable(unshipped) == 0);  // what was accepted as lost is lost
  CHECK(o.create(5, "after").size() == 5);
  o.company.wait_drained();
  o.require_true_audit();

  // Accepted once, not for ever after, and not asked for again.
  o.company.stop("office");
  o.company.set_program("office", "", {});
  o.company.start("office");
  o.company.wait_ready("office");
  o.company.wait_drained();
  o.require_true_audit();
  o.company.stop_all();
}

TEST_CASE("an accepted loss is not asked for again before anything was written", "[disk]") {
  Office o;
  o.company.start_all();
  REQUIRE(o.create(5, "lost").size() == 5);
  wait_for_anchor(o.company.data("office"), 5);
  o.company.kill("office");
  delete_logs(o.company.data("office") + "/store");
  CHECK(o.start_refused("office") == 2);
  o.company.set_program("office", "", {"--accept-lost-log"});
  o.company.start("office");
  o.company.wait_ready("office");
  o.company.kill("office");
  o.company.set_program("office", "", {});
  o.company.start("office");
  o.company.wait_ready("office");
  o.company.wait_drained();
  o.require_true_audit();
}

TEST_CASE("a master whose log files are gone says so", "[disk]") {
  Office o;
  o.company.start_all();
  REQUIRE(o.create(20, "a").size() == 20);
  o.company.wait_drained();
  uint64_t csn = number_in(o.company.admin_get("master", "/admin/status"), "csn");
  wait_for_anchor(o.company.data("master"), csn);
  o.company.kill("master");
  delete_logs(o.company.data("master") + "/store");
  CHECK(o.start_refused("master") == 2);
  std::string log = o.company.log("master");
  CHECK(log.find("--accept-lost-log") != std::string::npos);
  CHECK(log.find("up to csn " + std::to_string(csn)) != std::string::npos);
  // The office works on meanwhile.
  CHECK(o.create(3, "meanwhile").size() == 3);
  // Told to go on, it is another line: the branch refuses to be fed from it and says why.
  o.company.set_program("master", "", {"--accept-lost-log"});
  o.company.start("master");
  o.company.wait_ready("master");
  eventually("the refusal at the branch", [&] {
    Json status = o.company.office_get("office", "/api/sync/status");
    return text_in(*status.member("link"), "state") == "refused";
  });
  CHECK(o.create(3, "still").size() == 3);
}

// One bit of the newest log, in the middle of what was written.
void flip_log_bit(const std::string& store) {
  fs::path newest;
  for (const auto& entry : fs::directory_iterator(store)) {
    if (entry.path().extension() == ".log" && fs::file_size(entry.path()) > 0)
      newest = std::max(newest, entry.path());
  }
  REQUIRE_FALSE(newest.empty());
  flip_in_the_middle(newest);
}

TEST_CASE("an office whose log is damaged says how to mend it, and that works", "[disk]") {
  Office o;
  o.company.start_all();
  auto shipped = o.create(20, "shipped");
  REQUIRE(shipped.size() == 20);
  o.company.wait_drained();
  std::string data = o.company.data("office");
  wait_for_anchor(data, 20);
  o.company.kill("office");
  flip_log_bit(data + "/store");
  CHECK(o.start_refused("office") == 2);
  std::string log = o.company.log("office");
  INFO(log);
  CHECK(log.find("Corruption") != std::string::npos);
  CHECK(log.find("put a copy of all of " + data + " back") != std::string::npos);
  CHECK(log.find("move its `store` and `anchor` away") != std::string::npos);

  fs::rename(data + "/store", data + "/store.damaged");
  fs::rename(data + "/anchor", data + "/anchor.damaged");
  o.company.start("office");
  o.company.wait_ready("office");
  CHECK(o.readable(shipped) == 20);
  CHECK(o.create(5, "after").size() == 5);
  o.company.wait_drained();
  fs::remove_all(data + "/store.damaged");
  o.require_true_audit();
}

TEST_CASE("a master whose log is damaged says how to mend it", "[disk]") {
  Office o;
  o.company.start_all();
  REQUIRE(o.create(20, "a").size() == 20);
  o.company.wait_drained();
  std::string data = o.company.data("master");
  o.company.kill("master");
  flip_log_bit(data + "/store");
  CHECK(o.start_refused("master") == 2);
  std::string log = o.company.log("master");
  INFO(log);
  CHECK(log.find("put a copy of all of " + data + " back") != std::string::npos);
  CHECK(log.find("move its") == std::string::npos);
}

TEST_CASE("an anchor that is missing is said and written anew, a damaged one refused", "[disk]") {
  Office o;
  o.company.start_all();
  auto made = o.create(5, "before");
  REQUIRE(made.size() == 5);
  o.company.wait_drained();
  for (const std::string server : {"master", "office"}) {
    INFO(server);
    std::string data = o.company.data(server), anchor = data + "/anchor";
    wait_for_anchor(data, 1);
    CHECK(o.company.log(server).find("is missing although") == std::string::npos);
    o.company.stop(server);
    write_file(anchor, "damaged");
    CHECK(o.start_refused(server) == 2);
    CHECK(o.company.log(server).find(anchor + " is damaged") != std::string::npos);
    CHECK(o.company.log(server).find("move it away") != std::string::npos);
    fs::remove(anchor);
    o.company.start(server);
    o.company.wait_ready(server);
    CHECK(o.company.log(server).find(anchor + " is missing although the store has a history") !=
          std::string::npos);
    wait_for_anchor(data, 0);
  }
  CHECK(o.readable(made) == 5);
  o.company.wait_drained();
  o.require_true_audit();
}

TEST_CASE("a disk that fails ends the process, and what was acknowledged is there afterwards",
          "[disk]") {
  std::string server = GENERATE("office", "master");
  std::string fault = GENERATE("write-fails", "sync-fails", "full");
  INFO(server << " " << fault);
  Office o;
  std::string armed = o.marker("armed");
  o.company.set_program(server, "crash_server", {"--fault", fault + ":" + armed});
  o.company.start_all();
  auto before = o.create(20, "before");
  REQUIRE(before.size() == 20);
  write_file(armed, "");
  std::vector<std::string> during;
  eventually("the end of " + server, [&] {
    auto more = o.create(1, "during");
    during.insert(during.end(), more.begin(), more.end());
    return !o.company.process(server).running();
  });
  CHECK(o.company.process(server).wait() == 3);
  CHECK(o.company.log(server).find("this process ends") != std::string::npos);
  fs::remove(armed);
  o.company.start(server);
  o.company.wait_ready(server);
  CHECK(o.readable(before) == before.size());
  CHECK(o.readable(during) == during.size());
  CHECK(o.create(5, "after").size() == 5);
  o.company.wait_drained();
  o.require_true_audit();
}

TEST_CASE("a disk that is nearly full refuses writes with 507, and only those", "[disk]") {
  Office o;
  std::string room = o.marker("room");
  write_file(room, "100000000000 50000000000");
  o.company.set_program("office", "crash_server", {"--fault", "disk-room:" + room});
  o.company.start_all();
  auto before = o.create(3, "before");
  REQUIRE(before.size() == 3);
  write_file(room, "100000000000 1000000000");
  auto http = o.company.office("office");
  std::optional<Answer> refused;
  eventually("507", [&] {
    refused = http->request("POST", kAccounts, R"({"name":"full"})");
    return refused && refused->status == 507;
  });
  CHECK(refused->body.find("disk") != std::string::npos);
  CHECK(o.readable(before) == 3);
  CHECK(o.company.admin_get("office", "/admin/status").member("diskFull")->boolean);
  write_file(room, "100000000000 50000000000");
  eventually("room again", [&] {
    auto a = http->request("POST", kAccounts, R"({"name":"room again"})");
    return a && a->ok();
  });
  o.company.wait_drained();
  o.require_true_audit();
}

TEST_CASE("a master whose disk is nearly full takes nothing, and offices keep their changes",
          "[disk]") {
  Office o;
  std::string room = o.marker("room");
  write_file(room, "100000000000 50000000000");
  o.company.set_program("master", "crash_server", {"--fault", "disk-room:" + room});
  o.company.start_all();
  Http master(o.company.host(), o.company.admin_port("master"), o.company.operator_token("master"));
  auto create_token = [&](const std::string& user) {
    auto a = master.request("POST", "/admin/tokens", R"({"user":")" + user + R"(","admin":true})");
    REQUIRE(a);
    return *a;
  };
  Answer early = create_token("early");
  REQUIRE(early.status == 201);
  CHECK_FALSE(o.company.admin_get("master", "/admin/status").member("diskFull")->boolean);
  write_file(room, "100000000000 1000000000");
  eventually("the reason at the branch", [&] {
    Json status = o.company.office_get("office", "/api/sync/status");
    return text_in(*status.member("link"), "problemCode") == "disk.full";
  });
  auto kept = o.create(10, "kept");
  CHECK(kept.size() == 10);
  CHECK(o.company.pending("office") == 10);
  // Nor a commit of its own; what is there is read, and a token may be revoked.
  Json status = o.company.admin_get("master", "/admin/status");
  CHECK(status.member("diskFull")->boolean);
  Answer refused = create_token("full");
  CHECK(refused.status == 507);
  CHECK(refused.body.find("\"disk.full\"") != std::string::npos);
  CHECK(refused.body.find("nearly full") != std::string::npos);
  Finished command =
      run({program("branchline"), "token", "create", "--topology", o.company.topology(), "--token",
           o.company.operator_token("master"), "--user", "full", "--admin"});
  INFO(command.output);
  CHECK(command.code == 1);  // neither wrong use nor silence
  CHECK(command.output.find("nearly full") != std::string::npos);
  Finished table = run({program("branchline"), "status", "--topology", o.company.topology(),
                        "--token", o.company.token()});
  INFO(table.output);
  CHECK(table.output.find("! master: its disk is nearly full") != std::string::npos);
  CHECK(number_in(o.company.admin_get("master", "/admin/status"), "csn") ==
        number_in(status, "csn"));
  CHECK_FALSE(o.company.admin_get("master", "/admin/log").member("commits")->items.empty());
  auto revoked = master.request("POST", "/admin/tokens/revoke?id=" + text_in(early.json(), "id"));
  CHECK((revoked && revoked->status == 200));
  write_file(room, "100000000000 50000000000");
  o.company.wait_drained();
  CHECK(o.readable(kept) == 10);
  Answer again = create_token("full");
  CHECK(again.status == 201);
  o.company.wait_drained();
  Http office(o.company.host(), o.company.http_port("office"), text_in(again.json(), "token"));
  auto read = office.request("GET", kAccounts);
  CHECK((read && read->status == 200));
  o.require_true_audit();
}

TEST_CASE("commands about tokens say how to mend what is wrong", "[commands]") {
  Office o;
  o.company.start_all();
  auto command = [&](std::vector<std::string> words, const std::string& token) {
    words.insert(words.begin(), {"env", "-u", "BRANCHLINE_TOKEN", program("branchline")});
    words.insert(words.end(), {"--topology", o.company.topology()});
    if (!token.empty()) words.insert(words.end(), {"--token", token});
    return run(words);
  };
  const std::string master = o.company.operator_token("master");
  for (const char* question : {"status", "audit", "log"}) {
    Finished asked = command({question}, "");
    INFO(question << ": " << asked.output);
    CHECK(asked.code == 2);
    CHECK(asked.output.find("use --token TOKEN, or set $BRANCHLINE_TOKEN") != std::string::npos);
    CHECK(asked.output.find("Authorization") == std::string::npos);
  }
  Finished limited =
      command({"token", "create", "--user", "boss", "--admin", "--territory", "common"}, master);
  INFO(limited.output);
  CHECK(limited.code == 2);
  CHECK(limited.output.find("--admin with --territory") != std::string::npos);
  Finished broken = command({"token", "create", "--user", "x\ny"}, master);
  INFO(broken.output);
  CHECK(broken.code == 2);
  CHECK(broken.output.find("user: expected one line") != std::string::npos);
}

TEST_CASE("a second server on the same data is refused, and the first is not disturbed", "[disk]") {
  Office o;
  o.company.start_all();
  for (const std::string server : {"master", "office"}) {
    Finished second =
        run({program(server == "master" ? "branchline-master" : "branchline-branch"), "--topology",
             o.company.topology(), "--server", server, "--data", o.company.data(server), "--tls",
             o.folder.path().string() + "/tls/" + server});
    INFO(second.output);
    CHECK(second.code == 2);
    CHECK(second.output.find("in use by another process") != std::string::npos);
  }
  CHECK(o.create(5, "after").size() == 5);
  o.company.wait_drained();
  o.require_true_audit();
}

// SEMANTICS 28.
TEST_CASE("work of a cut-off office counts although its token is revoked meanwhile", "[commands]") {
  Office o;
  o.company.start_all();
  Http master(o.company.host(), o.company.admin_port("master"), o.company.operator_token("master"));
  auto made =
      master.request("POST", "/admin/tokens", R"({"user":"rose","territories":["common"]})");
  REQUIRE(made);
  INFO(made->body);
  REQUIRE(made->status == 201);
  o.company.wait_drained();
  o.company.line("office", "/down");
  Http rose(o.company.host(), o.company.http_port("office"), text_in(made->json(), "token"));
  auto create = [&](const char* name) {
    return rose.request("POST", kAccounts, std::string(R"({"name":")") + name + "\"}");
  };
  auto work = create("before");
  REQUIRE((work && work->status == 204));
  auto revoked = master.request("POST", "/admin/tokens/revoke?id=" + text_in(made->json(), "id"));
  REQUIRE((revoked && revoked->status == 200));
  auto unaware = create("unaware");
  REQUIRE((unaware && unaware->status == 204));
  CHECK(o.company.pending("office") == 2);
  o.company.line("office", "/up");
  o.company.wait_drained();
  for (const auto& answer : {work, unaware}) {
    Json fate = o.company.office_get(
        "office", "/api/sync/mutations/" + answer->header("Branchline-Mutation"));
    CHECK(text_in(fate, "state") == "applied");
  }
  auto late = create("late");
  CHECK((late && late->status == 401));
  o.require_true_audit();
}

// SEMANTICS 13.
TEST_CASE("a mutation that ends the master twice is rejected, and those behind it go on",
          "[disk]") {
  Office o;
  std::string planted = "deadbeef-0000-4000-8000-00000badc0de";
  o.company.set_program("master", "crash_server", {"--fault", "abort-at:deadbeef000040008000"});
  o.company.start_all();
  o.company.line("office", "/down");
  auto before = o.create(5, "before");
  auto made = o.company.office("office")->request(
      "POST", kAccounts, R"({"accountid":")" + planted + R"(","name":"planted"})",
      {{"Prefer", "return=representation"}});
  REQUIRE((made && made->status == 201));
  std::string mutation = made->header("Branchline-Mutation");
  auto after = o.create(5, "after");
  REQUIRE((before.size() == 5 && after.size() == 5));
  o.company.line("office", "/up");
  int ended = 0;
  for (; ended < 2; ++ended) {
    INFO("start " << ended);
    CHECK(o.company.process("master").wait() == 128 + SIGABRT);
    o.company.start("master");
  }
  o.company.wait_ready("master");
  o.company.wait_drained();
  CHECK(o.company.process("master").running());
  Json fate = o.company.office_get("office", "/api/sync/mutations/" + mutation);
  CHECK(text_in(fate, "state") == "rejected");
  CHECK(o.status_of(planted) == 404);
  CHECK(o.readable(before) == 5);
  CHECK(o.readable(after) == 5);
  o.require_true_audit();
  // It is decided: a master that starts anew does not meet it again.
  o.company.stop("master");
  o.company.start("master");
  o.company.wait_ready("master");
  o.company.wait_drained();
  o.require_true_audit();
}

}  // namespace
}  // namespace branchline::crash
