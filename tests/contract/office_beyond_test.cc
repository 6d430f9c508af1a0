// What an office does with what it does not hold or does not know yet: reads and edits through its
// upstream, reads of what is committed, writes that wait for their fate, clients that come from
// another office. A real master and two real offices; `east` holds one territory of two.
#include <signal.h>

#include <catch2/catch.hpp>
#include <chrono>
#include <fstream>
#include <thread>

#include "branch/api/session_token.h"
#include "tests/contract/office_fixture.h"
#include "tests/support/decoded_files.h"

using namespace office_test;
using wan_test::eventually;

namespace {

constexpr const char* kSource = "branchline-source";
constexpr const char* kSession = "branchline-session";

Company& company() { return Company::get(); }

// Ada is good everywhere: at head office's office, and at east beyond what east holds.
Client ada_at_east() { return company().east(company().admin); }
Client ada_at_hq() { return company().hq(); }

std::string account(const std::string& id) { return "accounts(" + id + ")"; }

// A customer of the west, made at hq, and known to the master.
std::string western(const std::string& name, const std::string& more = "") {
  std::string id = ada_at_hq().create(
      "accounts", "{\"name\":\"" + name + "\",\"Branchline.territory\":\"west\"" + more + "}");
  company().settle();
  return id;
}
std::string eastern(const std::string& name) {
  std::string id = ada_at_east().create(
      "accounts", "{\"name\":\"" + name + "\",\"Branchline.territory\":\"east\"}");
  company().settle();
  return id;
}

// The master does not answer for a while: a WAN that stalls.
struct Stalled {
  Stalled() { company().process("master").signal(SIGSTOP); }
  ~Stalled() { go_on(); }
  void go_on() {
    if (!std::exchange(over_, true)) company().process("master").signal(SIGCONT);
  }

 private:
  bool over_ = false;
};

std::string state_of(const Answer& a) { return text_of(a.object().at("state")); }

// 300 KiB that no compression makes small.
std::string noise(size_t size, unsigned seed) {
  std::string out;
  uint64_t x = seed * 7919u + 1;
  while (out.size() < size) {
    x = x * 6364136223846793005ull + 1442695040888963407ull;
    out.push_back("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_"[x >> 58]);
  }
  return out;
}

}  // namespace

TEST_CASE("a record that the office does not hold is read through its upstream", "[beyond]") {
  std::string id =
      western("Far & Away", ",\"accountnumber\":\"FAR-1\",\"tags\":[\"gold\",\"old\"]");
  std::string contact =
      ada_at_hq().create("contacts",
                         "{\"lastname\":\"Faraday\",\"parentcustomerid_account@odata.bind\":"
                         "\"/accounts(" +
                             id + ")\"}");
  ada_at_hq().post(
      "annotations",
      "{\"notetext\":\"met in the west\",\"objectid_account@odata.bind\":\"/accounts(" + id +
          ")\"}");
  company().settle();

  Answer here = ada_at_hq().get(account(id));
  CHECK(here.header(kSource).empty());
  Answer there = ada_at_east().get(account(id));
  REQUIRE(there.status == 200);
  CHECK(there.header(kSource) == "upstream");
  CHECK_FALSE(there.header("branchline-csn").empty());
  CHECK(there.header("etag") == here.header("etag"));
  json::object a = here.object(), b = there.object();
  a.erase("@odata.context");
  b.erase("@odata.context");
  CHECK(a == b);

  // An import asks for what is here, not for what is anywhere.
  refused(ada_at_east().get(account(id), {{"Branchline-Read", "local"}}), 404, "no");

  Answer by_key = ada_at_east().get("accounts(accountnumber='far-1')?$select=name");
  REQUIRE(by_key.status == 200);
  CHECK(by_key.header(kSource) == "upstream");
  CHECK(text_of(by_key.object().at("name")) == "Far & Away");
  CHECK(by_key.object().count("accountnumber") == 0);

  Answer expanded =
      ada_at_east().get(account(id) +
                        "?$select=name&$expand=contact_customer_accounts($select=lastname),"
                        "Account_Annotation($select=notetext)");
  INFO(expanded.body);
  REQUIRE(expanded.status == 200);
  json::array contacts = expanded.object().at("contact_customer_accounts").as_array();
  REQUIRE(contacts.size() == 1);
  CHECK(text_of(contacts[0].at("lastname")) == "Faraday");
  json::array notes = expanded.object().at("Account_Annotation").as_array();
  REQUIRE(notes.size() == 1);
  CHECK(text_of(notes[0].at("notetext")) == "met in the west");

  CHECK(ada_at_east().get(account(id) + "/contact_customer_accounts").rows().size() == 1);
  CHECK(ada_at_east().get(account(id) + "/contact_customer_accounts/$count").body == "1");
  CHECK(text_of(ada_at_east().get(account(id) + "/name").object().at("value")) == "Far & Away");
  CHECK(ada_at_east().get(account(id) + "/tags").object().at("value").as_array().size() == 2);
  Answer parent = ada_at_east().get("contacts(" + contact + ")/parentcustomerid");
  REQUIRE(parent.status == 200);
  CHECK(text_of(parent.object().at("accountid")) == id);
  Answer unchanged = ada_at_east().get(account(id), {{"If-None-Match", there.header("etag")}});
  CHECK(unchanged.status == 304);

  // What the office holds itself is its own.
  std::string own = eastern("Near");
  CHECK(ada_at_east().get(account(own)).header(kSource).empty());
  // Lists are of the office.
  CHECK(ada_at_east().get("accounts?$filter=name eq 'Far %26 Away'").rows().empty());
}

TEST_CASE("what does not exist and what the caller may not see are one answer", "[beyond]") {
  std::string id = western("Secret of the west", ",\"accountnumber\":\"SECRET-1\"");
  std::string nowhere = "01a202b2-c500-8001-b1b2-b3b4b5b6b7b8";
  Answer missing = ada_at_east().get(account(nowhere));
  refused(missing, 404);
  CHECK(ada_at_east().get("accounts(accountnumber='NONE-1')").status == 404);
  std::string narrow = company().make_token({"nina", false, true, {"east"}, ""}).secret;
  company().settle();
  Client nina = company().east(narrow);
  Answer hidden = nina.get(account(id));
  refused(hidden, 404);
  CHECK(hidden.body == missing.body);
  CHECK(hidden.header(kSource).empty());
  CHECK(nina.get("accounts(accountnumber='SECRET-1')").status == 404);
  // Good in both territories, so at east too.
  std::string both = company().make_token({"bo", false, false, {"east", "west"}, ""}).secret;
  company().settle();
  CHECK(company().east(both).get(account(id)).header(kSource) == "upstream");
  // Credentials are nobody's.
  CHECK(ada_at_east().get("apitokens(" + nowhere + ")").status == 404);
}

TEST_CASE("a stalled, a broken and a missing WAN are told apart", "[beyond]") {
  std::string id = western("Beyond the stall");
  std::string own = eastern("Before the stall");
  {
    Stalled stalled;
    auto begin = std::chrono::steady_clock::now();
    Answer slow = ada_at_east().get(account(id), {{"Prefer", "wait=1"}});
    refused(slow, 503, "did not answer in time");
    CHECK(slow.error_code() == "upstream.slow");
    CHECK(std::chrono::steady_clock::now() - begin < std::chrono::seconds(4));
    CHECK(ada_at_east().get(account(own)).status == 200);
    // A caller that may see nothing else is not kept waiting.
    CHECK(company().east().get(account(id)).status == 404);
  }
  CHECK(ada_at_east().get(account(id)).status == 200);
  {
    company().process("master").signal(SIGSTOP);
    Answer lost;
    std::thread reader([&] { lost = ada_at_east().get(account(id), {{"Prefer", "wait=20"}}); });
    std::this_thread::sleep_for(std::chrono::milliseconds(300));  // it may be asked by then, or not
    company().kill("master");
    reader.join();
    CHECK(lost.status == 503);
    CHECK(lost.error_code().starts_with("upstream."));
    eventually("east notices", [&] {
      return !company().east().status().at("link").as_object().at("connected").as_bool();
    });
    Answer down = ada_at_east().get(account(id));
    refused(down, 503, "the WAN to head office is down");
    CHECK(down.error_code() == "upstream.down");
    CHECK(ada_at_east().get(account(own)).status == 200);
    refused(ada_at_east().patch(account(id), "{\"name\":\"x\"}", {{"If-Match", "W/\"0\""}}), 503,
            "WAN");
  }
  company().start("master");
  eventually("the record is read again",
             [&] { return ada_at_east().get(account(id)).status == 200; });
}

TEST_CASE("a token that head office has revoked reads nothing through an office that has not heard",
          "[beyond]") {
  std::string id = western("Not for the revoked");
  Company::Token token = company().make_token({"rex", false, false, {"east", "west"}, ""});
  company().settle();
  CHECK(company().east(token.secret).get(account(id)).status == 200);
  REQUIRE(company().master("POST", "/admin/tokens/revoke?id=" + token.id).status == 200);
  Answer a = company().east(token.secret).get(account(id));
  CHECK(a.status == 401);
  CHECK(a.error_code() == "token.revoked");
  company().settle();
}

TEST_CASE("an answer that would block the line is refused", "[beyond]") {
  std::string id = western("Talkative");
  for (unsigned i = 0; i < 5; ++i) {
    Answer a = ada_at_hq().post(
        "annotations", "{\"notetext\":\"" + noise(90'000, i) +
                           "\",\"objectid_account@odata.bind\":\"/accounts(" + id + ")\"}");
    REQUIRE(a.status == 204);
  }
  company().settle();
  CHECK(ada_at_east().get(account(id)).status == 200);
  refused(ada_at_east().get(account(id) + "/Account_Annotation"), 400, "leave $expand");
}

TEST_CASE("a flood of look-ups is bounded and starves nobody", "[beyond]") {
  std::string id = western("Flooded");
  std::string own = eastern("Dry");
  std::vector<std::jthread> crowd;
  std::atomic<int> ok{0}, refused_busy{0}, other{0};
  Stalled stalled;
  for (int i = 0; i < 300; ++i) {
    crowd.emplace_back([&] {
      Answer a = ada_at_east().get(account(id), {{"Prefer", "wait=30"}});
      bool busy = a.status == 503 && a.error_code() == "upstream.busy";
      (a.status == 200 ? ok : busy ? refused_busy : other)++;
    });
  }
  eventually("some are refused", [&] { return refused_busy > 0; });
  CHECK(ada_at_east().get(account(own)).status == 200);
  stalled.go_on();
  Answer write = ada_at_east().patch(
      account(own), "{\"name\":\"Still dry\"}",
      {{"If-Match", "*"}, {"Branchline-Write", "committed"}, {"Prefer", "wait=20"}});
  CHECK(write.status == 200);
  crowd.clear();  // all have their answer
  CHECK(other == 0);
  CHECK(ok + refused_busy == 300);
  CHECK(ok >= 250);
}

TEST_CASE("an edit of a record that is elsewhere names what its author had read", "[beyond]") {
  std::string id = western("Old name", ",\"telephone1\":\"+49 30 1\"");
  refused(ada_at_east().patch(account(id) + "/name", "{\"value\":\"x\"}"), 428,
          "GET it here first");
  refused(ada_at_east().remove(account(id)), 428, "If-Match");
  Answer read = ada_at_east().get(account(id));
  REQUIRE(read.status == 200);
  // Shown to somebody here: an upsert does not make another record of it.
  refused(ada_at_east().patch(account(id), "{\"name\":\"New name\"}"), 428, "If-Match");
  Answer edit = ada_at_east().patch(account(id), "{\"name\":\"New name\"}",
                                    {{"If-Match", read.header("etag")},
                                     {"Branchline-Write", "committed"},
                                     {"Prefer", "wait=10"}});
  INFO(edit.body);
  REQUIRE(edit.status == 200);
  CHECK(state_of(edit) == "applied");
  company().settle();
  CHECK(text_of(ada_at_hq().get(account(id)).object().at("name")) == "New name");
  CHECK(text_of(ada_at_hq().get(account(id)).object().at("telephone1")) ==
        text_of(read.object().at("telephone1")));
  // The same ETag again: what was read is no longer what is there.
  refused(
      ada_at_east().patch(account(id), "{\"name\":\"Third\"}", {{"If-Match", read.header("etag")}}),
      412, "changed since it was read");
  // A master that was started anew still knows who read what.
  Answer again = ada_at_east().get(account(id));
  company().stop("master");
  company().start("master");
  eventually("east is back", [&] { return ada_at_east().get(account(id)).status == 200; });
  Answer edited = ada_at_east().patch(account(id), "{\"name\":\"After\"}",
                                      {{"If-Match", again.header("etag")},
                                       {"Branchline-Write", "committed"},
                                       {"Prefer", "wait=10"}});
  INFO(edited.body);
  REQUIRE(edited.status == 200);
  CHECK(state_of(edited) == "applied");
  // A reader's token edits nothing.
  std::string reading = company().make_token({"ron", false, false, {"east", "west"}, ""}).secret;
  company().settle();
  Answer shown = company().east(reading).get(account(id));
  REQUIRE(shown.status == 200);
  refused(company().east(reading).patch(account(id), "{\"name\":\"no\"}",
                                        {{"If-Match", shown.header("etag")}}),
          403);
  // Deleted through east, gone everywhere; the office never kept it.
  Answer last = ada_at_east().get(account(id));
  REQUIRE(ada_at_east().remove(account(id), {{"If-Match", last.header("etag")}}).status == 204);
  company().settle();
  CHECK(ada_at_hq().get(account(id)).status == 404);
  CHECK(ada_at_east().get(account(id)).status == 404);
}

TEST_CASE("a committed read shows the base, for records and lists", "[beyond]") {
  std::string id = eastern("Settled");
  Client east = ada_at_east();
  const Headers committed{{"Branchline-Read", "committed"}};
  CHECK(east.get(account(id), committed).status == 200);
  refused(east.get(account(id), {{"Branchline-Read", "dirty"}}), 400, "committed");
  Stalled stalled;
  REQUIRE(east.patch(account(id), "{\"name\":\"Pending\",\"tags\":[\"new\"]}", {{"If-Match", "*"}})
              .status == 204);
  REQUIRE(east.patch(account(id), "{\"name\":\"Pending twice\"}", {{"If-Match", "*"}}).status ==
          204);
  std::string fresh =
      east.create("accounts", "{\"name\":\"Not committed\",\"Branchline.territory\":\"east\"}");
  CHECK(text_of(east.get(account(id)).object().at("name")) == "Pending twice");
  Answer base = east.get(account(id), committed);
  REQUIRE(base.status == 200);
  CHECK(text_of(base.object().at("name")) == "Settled");
  CHECK(base.object().at("tags").as_array().empty());
  CHECK_FALSE(base.header("branchline-csn").empty());
  CHECK(east.get(account(fresh)).status == 200);
  CHECK(east.get(account(fresh), {{"Branchline-Read", "committed"}, {"Prefer", "wait=1"}}).status !=
        200);
  CHECK(east.get("accounts?$filter=name eq 'Pending twice'").rows().size() == 1);
  CHECK(east.get("accounts?$filter=name eq 'Pending twice'", committed).rows().empty());
  CHECK(east.get("accounts?$filter=name eq 'Settled'").rows().empty());
  CHECK(
      east.get("accounts?$filter=name eq 'Settled'&$orderby=name desc", committed).rows().size() ==
      1);
  stalled.go_on();
  company().settle();
  CHECK(text_of(east.get(account(id), committed).object().at("name")) == "Pending twice");
}

TEST_CASE("a write may wait for its fate", "[beyond]") {
  std::string id = eastern("To be decided");
  Client east = ada_at_east();
  auto headers = [](const char* wait) {
    return Headers{{"Branchline-Write", "committed"}, {"Prefer", wait}, {"If-Match", "*"}};
  };
  Answer decided = east.patch(account(id), "{\"name\":\"Decided\"}", headers("wait=10"));
  REQUIRE(decided.status == 200);
  CHECK(state_of(decided) == "applied");
  CHECK(decided.object().at("csn").as_int64() > 0);
  CHECK_FALSE(decided.header("branchline-mutation").empty());
  refused(east.patch(account(id), "{\"name\":\"x\"}", {{"Branchline-Write", "soon"}}), 400,
          "committed");
  refused(east.patch(account(id), "{\"name\":\"x\"}", headers("wait=soon")), 400, "seconds");
  CHECK(text_of(east.get(account(id)).object().at("name")) == "Decided");
  Stalled stalled;
  Answer waits = east.patch(account(id), "{\"name\":\"Later\"}", headers("wait=1"));
  REQUIRE(waits.status == 202);
  CHECK(state_of(waits) == "pending");
  std::string where = waits.header("location");
  REQUIRE(where.starts_with("/api/sync/mutations/"));
  stalled.go_on();
  eventually("it is decided", [&] { return state_of(east.send("GET", where)) == "applied"; });
}

TEST_CASE("what was seen at one office is seen at the next, or said to be missing", "[beyond]") {
  std::string id = eastern("Seen");
  Client east = ada_at_east(), hq = ada_at_hq();
  std::string first = east.get(account(id)).header(kSession);
  REQUIRE_FALSE(first.empty());
  CHECK(hq.get(account(id), {{"Branchline-Session", first}}).status == 200);
  for (const std::string& bad :
       {std::string("nonsense"), first + "A", first.substr(0, first.size() - 1), std::string("?"),
        std::string(5000, 'A'), std::string()}) {
    refused(hq.get(account(id), {{"Branchline-Session", bad}}), 400, "Branchline-Session");
  }
  std::string token;
  {
    Stalled stalled;
    Answer write = east.patch(account(id), "{\"name\":\"Typed at east\"}", {{"If-Match", "*"}});
    REQUIRE(write.status == 204);
    token = write.header(kSession);
    Answer missing = hq.get(account(id), {{"Branchline-Session", token}, {"Prefer", "wait=1"}});
    refused(missing, 412, "changes made at east");
    CHECK(missing.error_code() == "session.behind");
    // At home nothing is missing.
    CHECK(text_of(east.get(account(id), {{"Branchline-Session", token}}).object().at("name")) ==
          "Typed at east");
  }
  Answer seen = hq.get(account(id), {{"Branchline-Session", token}, {"Prefer", "wait=20"}});
  REQUIRE(seen.status == 200);
  CHECK(text_of(seen.object().at("name")) == "Typed at east");

  using namespace branchline;
  auto decoded = decode_session(token);
  REQUIRE(decoded);
  REQUIRE(decoded->streams.size() == 1);
  auto later = decode_session(seen.header(kSession));
  REQUIRE(later);
  CHECK(later->streams.count(decoded->streams.begin()->first) == 0);  // decided and passed
  CHECK(later->csn > decoded->csn);

  SessionToken ahead = *later;
  ahead.csn = Csn(ahead.csn.value + 1000);
  refused(
      hq.get(account(id), {{"Branchline-Session", encode_session(ahead)}, {"Prefer", "wait=0"}}),
      412, "this office has applied csn");
  SessionToken other = *later;
  other.line = LineId(other.line.value ^ 1);
  Answer replaced = hq.get(account(id), {{"Branchline-Session", encode_session(other)}});
  refused(replaced, 412, "line replaced");
  CHECK(replaced.error_code() == "session.line_replaced");

  // Work of a start of east that is over and that it did not leave.
  SessionToken lost = *decoded;
  lost.streams.begin()->second = Seq(lost.streams.begin()->second.value + 1000);
  company().stop("east");
  company().start("east");
  eventually("hq hears of the new start", [&] {
    return hq.get(account(id), {{"Branchline-Session", encode_session(lost)}, {"Prefer", "wait=0"}})
               .error_code() == "session.lost";
  });
  refused(
      east.get(account(id), {{"Branchline-Session", encode_session(lost)}, {"Prefer", "wait=5"}}),
      412, "lost");
  // What the earlier start did ship is no loss.
  CHECK(hq.get(account(id), {{"Branchline-Session", token}, {"Prefer", "wait=5"}}).status == 200);
}

// Last: it stops east.
TEST_CASE("look-ups are counted by territory, and what they brought is on no disk", "[beyond]") {
  std::string id = western("canary-of-the-west");
  for (int i = 0; i < 25; ++i) REQUIRE(ada_at_east().get(account(id)).status == 200);
  auto lookups = [&] {
    Answer a = request(company().east_admin(), "GET", "/admin/status", {},
                       {{"Authorization", "Bearer " + company().admin}});
    REQUIRE(a.status == 200);
    return a.object().at("lookups").as_array();
  };
  json::array counts = lookups();
  REQUIRE(counts.size() == 1);
  CHECK(text_of(counts[0].at("territory")) == "west");
  CHECK(counts[0].at("times").as_int64() >= 25);
  wan_test::Child status({std::string(BRANCHLINE_BIN_DIR) + "/branchline", "status", "--topology",
                          company().topology(), "--token", company().admin});
  CHECK(status.wait() == 0);
  CHECK_THAT(status.output(), Catch::Contains("for records of west") &&
                                  Catch::Contains("territories: [east, west]"));
  // They are kept, within the minute, over a restart.
  company().stop("east");
  size_t found = 0;
  branchline::for_each_decoded(company().data("east"),
                               [&](const std::string& file, std::string_view bytes) {
                                 if (bytes.find("canary-of-the-west") == bytes.npos) return;
                                 UNSCOPED_INFO("in " << file);
                                 ++found;
                               });
  CHECK(found == 0);
  company().start("east");
  CHECK_FALSE(lookups().empty());
}
