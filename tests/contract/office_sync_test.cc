// What becomes of writes: fates, operation keys, restarts, and the change stream.
#include <signal.h>

#include <catch2/catch.hpp>
#include <map>
#include <thread>

#include "tests/contract/office_fixture.h"
#include "tests/support/sanitized.h"

using namespace office_test;
using wan_test::connect_to;
using wan_test::eventually;
using wan_test::Socket;

namespace {

Company& company() { return Company::get(); }

struct Event {
  std::string id, kind;
  json::object data;
};

// A reader of /api/changes.
class Stream {
 public:
  Stream(const Client& c, const std::string& last_event = {}) : socket_(connect_to(c.port)) {
    std::string text =
        "GET /api/changes HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer " + c.token + "\r\n";
    if (!last_event.empty()) text += "Last-Event-ID: " + last_event + "\r\n";
    socket_.send(text + "\r\n");
    answer = read_answer(socket_);
    if (answer.status == 200) hello = next();
  }
  Event next() {
    for (;;) {
      size_t end;
      while ((end = buffer_.find("\n\n")) == std::string::npos) {
        std::string more = socket_.receive_some();
        if (more.empty()) throw std::runtime_error("the stream ended");
        buffer_ += more;
      }
      std::string block = buffer_.substr(0, end + 1);
      buffer_.erase(0, end + 2);
      if (block[0] == ':') {
        ++heartbeats;
        continue;
      }
      Event e;
      for (size_t at = 0; at < block.size();) {
        size_t line_end = block.find('\n', at);
        std::string line = block.substr(at, line_end - at);
        at = line_end + 1;
        if (line.starts_with("id: ")) e.id = line.substr(4);
        if (line.starts_with("event: ")) e.kind = line.substr(7);
        if (line.starts_with("data: ")) e.data = json::parse(line.substr(6)).as_object();
      }
      if (e.kind == "sync") {
        last_sync = e.data;
        continue;
      }
      return e;
    }
  }
  // Events up to and with the next one about this record.
  std::vector<Event> until(const std::string& record) {
    std::vector<Event> out;
    do out.push_back(next());
    while (text_of(out.back().data.at("id")) != record);
    return out;
  }
  // Reads on until a comment comes.
  void await_beat() {
    while (buffer_.find("\n:") == std::string::npos && !buffer_.starts_with(":")) {
      std::string more = socket_.receive_some();
      if (more.empty()) throw std::runtime_error("the stream ended");
      buffer_ += more;
    }
  }
  Socket& socket() { return socket_; }
  Answer answer;
  Event hello;
  size_t heartbeats = 0;
  json::object last_sync;  // the newest state of the link that was told

 private:
  Socket socket_;
  std::string buffer_;
};

uint64_t number_of(const Event& e) { return std::stoull(e.id.substr(e.id.rfind('.') + 1)); }

}  // namespace

TEST_CASE("a write is pending, then has its fate", "[api][sync]") {
  Company& all = company();
  all.settle();
  Client c = all.east();
  all.process("master").signal(SIGSTOP);  // the link stays open and nothing comes back
  Answer made = c.post("accounts", R"({"name":"Pending"})");
  REQUIRE(made.status == 204);
  std::string mutation = made.header("branchline-mutation");
  CHECK(c.fate(mutation) == "pending");
  json::object s = c.status();
  CHECK(s["pending"].as_int64() >= 1);
  CHECK(text_of(s["server"]) == "east");
  CHECK(text_of(s["territories"].as_array()[0]) == "east");
  json::object ledger = s["ledger"].as_object();
  CHECK(ledger["accepted"].as_int64() ==
        ledger["pending"].as_int64() + ledger["applied"].as_int64() + ledger["merged"].as_int64() +
            ledger["overridden"].as_int64() + ledger["rejected"].as_int64() +
            ledger["lost"].as_int64());
  CHECK(text_of(c.get("accounts(" + made.id() + ")").object()["name"]) == "Pending");
  all.process("master").signal(SIGCONT);
  eventually("it is applied", [&] { return c.fate(mutation) == "applied"; });
  json::object fate = c.send("GET", "/api/sync/mutations/" + mutation).object();
  CHECK(fate["csn"].as_int64() > 0);
  CHECK(fate["id"] == json::value(mutation));

  Answer wrong = c.send("GET", "/api/sync/mutations/nonsense");
  CHECK(wrong.status == 400);
  CHECK_THAT(wrong.message(), Catch::Contains("server.incarnation.lane.number"));
  std::string beyond = mutation.substr(0, mutation.rfind('.') + 1) + "99999999";
  CHECK(c.send("GET", "/api/sync/mutations/" + beyond).status == 404);
  CHECK(c.send("GET", "/api/sync/mutations/hq" + mutation.substr(4)).status == 404);
  CHECK(all.hq().send("GET", "/api/sync/mutations/" + mutation).error_code() ==
        "mutation.elsewhere");
}

TEST_CASE("the loser of two edits is told, and can read what he had written", "[api][sync]") {
  Company& all = company();
  Client east = all.east(), hq = all.hq();
  std::string id = east.create("accounts", R"({"name":"Contended","telephone1":"0"})"),
              at = "accounts(" + id + ")";
  all.settle();
  all.kill("master");
  Answer first = east.patch(at, R"({"telephone1":"+1 555 0001"})");
  REQUIRE(first.status == 204);
  // The office goes down with its edit; head office makes a later one, which the master hears of
  // first.
  all.kill("east");
  Answer second = hq.patch(at, R"({"telephone1":"+1 555 0002"})");
  REQUIRE(second.status == 204);
  all.start("master");
  eventually("the later edit is decided",
             [&] { return hq.fate(second.header("branchline-mutation")) == "applied"; });
  all.start("east");
  all.settle();
  CHECK(text_of(east.get(at).object()["telephone1"]) == "+1 555 0002");
  CHECK(text_of(hq.get(at).object()["telephone1"]) == "+1 555 0002");
  std::string lost = first.header("branchline-mutation");
  CHECK(east.fate(lost) == "overridden");
  json::object told = east.send("GET", "/api/sync/mutations/" + lost).object();
  const auto& outcome = told["outcomes"].as_array().at(0).as_object();
  CHECK(text_of(outcome.at("field")) == "telephone1");
  CHECK(text_of(outcome.at("value")) == "+1 555 0001");
  CHECK(text_of(outcome.at("other")) == second.header("branchline-mutation"));
  CHECK_FALSE(text_of(outcome.at("explanation")).empty());
  CHECK(text_of(outcome.at("record")) == id);
  const auto& asked = told["operations"].as_array().at(0).as_object();
  CHECK(text_of(asked.at("record")) == id);
  CHECK(text_of(asked.at("fields").as_array().at(0).as_object().at("value")) == "+1 555 0001");
  // To others: what happened, not what was written.
  json::object others = all.east(all.reader).send("GET", "/api/sync/mutations/" + lost).object();
  CHECK_FALSE(others.contains("operations"));
  CHECK_FALSE(others["outcomes"].as_array().at(0).as_object().contains("value"));
  json::array rows = east.get("fates?$filter=recordid eq '" + id + "'").rows();
  REQUIRE(rows.size() == 1);
  CHECK(text_of(rows[0].at("mutation")) == lost);
  CHECK(text_of(rows[0].at("value")) == "+1 555 0001");
  CHECK(east.get("fates(" + text_of(rows[0].at("fateid")) + ")").status == 200);
  CHECK(all.east(all.reader).get("fates").rows().empty());
}

TEST_CASE("a rejected record is not lost to its author", "[api][sync]") {
  Company& all = company();
  Client east = all.east(), hq = all.hq();
  // The west has a record of this id, which the east cannot know; nothing of the east's own counts
  // then.
  std::string id = hq.create("accounts", R"({"name":"Taken","Branchline.territory":"west"})");
  Answer made =
      east.post("accounts", R"({"accountid":")" + id +
                                R"(","name":"Typed with care","description":"All of it"})");
  REQUIRE(made.status == 204);
  std::string mutation = made.header("branchline-mutation");
  all.settle();
  REQUIRE(east.fate(mutation) == "rejected");
  json::object told = east.send("GET", "/api/sync/mutations/" + mutation).object();
  for (const auto& o : told["outcomes"].as_array()) {
    CHECK(text_of(o.as_object().at("outcome")) == "rejected");  // and no word of the west's record
    CHECK_FALSE(o.as_object().contains("other"));
  }
  CHECK_THAT(json::serialize(told["operations"]),
             Catch::Contains("Typed with care") && Catch::Contains("All of it"));
  CHECK(east.get("accounts(" + id + ")").status == 404);
}

TEST_CASE("an operation key is used once, whatever happens in between", "[api][sync]") {
  Company& all = company();
  Client c = all.east();
  all.settle();
  auto accepted = [&] { return c.status().at("ledger").at("accepted").as_int64(); };
  int64_t before = accepted();
  std::string body = R"({"name":"Once","accountnumber":"ONCE-1"})";
  Headers key{{"Idempotency-Key", "order 4711 – ü"}};
  Answer first = c.post("accounts", body, key);
  INFO(first.body);
  REQUIRE(first.status == 204);
  Answer again = c.post("accounts", body, key);
  CHECK(again.status == 204);
  CHECK(again.id() == first.id());
  CHECK(again.header("branchline-mutation") == first.header("branchline-mutation"));
  CHECK(again.header("branchline-replayed") == "true");
  CHECK(c.post("accounts", body,
               {{"Idempotency-Key", "order 4711 – ü"}, {"Prefer", "return=representation"}})
            .status == 201);
  Answer other = c.post("accounts", R"({"name":"Other"})", key);
  CHECK(other.status == 422);
  CHECK_THAT(other.message(), Catch::Contains("key"));
  CHECK(c.patch("accounts(" + first.id() + ")", R"({"name":"Other"})", key).status == 422);
  CHECK(accepted() == before + 1);

  // The same number may be used by another person for something else.
  CHECK(all.hq()
            .post("accounts", R"({"name":"Elsewhere","Branchline.territory":"west"})", key)
            .status == 204);
  // Changes have keys, too: the condition of the first time is not checked again.
  std::string etag = c.get("accounts(" + first.id() + ")").header("etag");
  Headers change{{"Idempotency-Key", "change-1"}, {"If-Match", etag}};
  Answer changed =
      c.patch("accounts(accountnumber='ONCE-1')", R"({"loyaltypoints@Branchline.add":5})", change);
  REQUIRE(changed.status == 204);
  Answer repeated =
      c.patch("accounts(accountnumber='ONCE-1')", R"({"loyaltypoints@Branchline.add":5})", change);
  INFO(repeated.head << repeated.body);
  CHECK(repeated.status == 204);
  CHECK(repeated.id() == first.id());
  CHECK(text_of(c.get("accounts(" + first.id() + ")").object()["loyaltypoints"]) == "5");
  Answer note = c.post(
      "annotations",
      "{\"notetext\":\"n\",\"objectid_account@odata.bind\":\"/accounts(" + first.id() + ")\"}",
      {{"Idempotency-Key", "note-1"}});
  CHECK(c.post("annotations",
               "{\"notetext\":\"n\",\"objectid_account@odata.bind\":\"/accounts(" + first.id() +
                   ")\"}",
               {{"Idempotency-Key", "note-1"}})
            .id() == note.id());
  CHECK(c.get("annotations?$filter=_objectid_value eq " + first.id()).rows().size() == 1);
  CHECK(c.post("accounts", body, {{"Idempotency-Key", std::string(256, 'k')}}).status == 400);
  CHECK(c.post("accounts", body, {{"Idempotency-Key", "\xff"}}).status == 400);
  Answer empty = c.post("accounts", R"({"name":"No key"})", {{"Idempotency-Key", ""}});
  CHECK(empty.status == 400);
  CHECK(empty.error_code() == "key.malformed");
  CHECK(c.get("accounts?$filter=name eq 'No key'").rows().empty());
  // What the first time had nothing to do has nothing to do later, whatever others wrote meanwhile.
  std::string points = "accounts(" + first.id() + ")";
  Headers idle{{"Idempotency-Key", "points-5"}};
  Answer nothing = c.patch(points, R"({"loyaltypoints":5})", idle);
  CHECK(nothing.status == 204);
  CHECK(nothing.header("branchline-mutation").empty());
  REQUIRE(c.patch(points, R"({"loyaltypoints@Branchline.add":2})").status == 204);
  auto repeat = [&] {
    Answer a = c.patch(points, R"({"loyaltypoints":5})", idle);
    CHECK(a.status == 204);
    CHECK(a.header("branchline-mutation").empty());
    CHECK(a.header("branchline-replayed") == "true");
    CHECK(text_of(c.get(points).object()["loyaltypoints"]) == "7");
  };
  repeat();
  CHECK(c.patch(points, R"({"loyaltypoints":4})", idle).status == 422);
  // A note that was removed is removed again.
  Headers removal{{"Idempotency-Key", "note-gone"}};
  Answer removed = c.remove("annotations(" + note.id() + ")", removal);
  REQUIRE(removed.status == 204);
  Answer removed_again = c.remove("annotations(" + note.id() + ")", removal);
  CHECK(removed_again.status == 204);
  CHECK(removed_again.header("branchline-mutation") == removed.header("branchline-mutation"));
  refused(c.remove("annotations(" + note.id() + ")", {{"Idempotency-Key", "note-gone-2"}}), 404);

  all.kill("east");
  all.start("east");
  Answer after = c.post("accounts", body, key);
  INFO(after.body);
  CHECK(after.id() == first.id());
  repeat();
  CHECK(after.header("branchline-mutation") == first.header("branchline-mutation"));
  CHECK(c.post("accounts", R"({"name":"Other"})", key).status == 422);
  all.settle();
  CHECK(c.fate(first.header("branchline-mutation")) == "applied");
  CHECK(c.get("accounts?$filter=accountnumber eq 'ONCE-1'").rows().size() == 1);
}

TEST_CASE("the change stream tells records in order, and goes on where it stopped",
          "[api][changes]") {
  Company& all = company();
  Client c = all.east();
  all.settle();
  Stream one(c), two(c), reader(all.east(all.reader)), beating(c);
  CHECK_THAT(one.answer.header("content-type"), Catch::StartsWith("text/event-stream"));
  CHECK(one.hello.kind == "hello");
  CHECK(text_of(json::value(c.status()["lastEvent"])) == one.hello.id);
  std::vector<std::string> made;
  for (int i = 0; i < 20; ++i)
    made.push_back(c.create("accounts", "{\"name\":\"S" + std::to_string(i) + "\"}"));
  CHECK(c.remove("accounts(" + made[3] + ")").status == 204);
  std::string last = c.create("accounts", R"({"name":"Last"})");
  std::vector<Event> events = one.until(last);
  uint64_t number = number_of(one.hello);
  size_t at = 0;
  for (const auto& e : events) {
    CHECK(e.kind == "change");
    CHECK(number_of(e) > number);
    number = number_of(e);
    if (at < made.size() && text_of(e.data.at("id")) == made[at]) ++at;
  }
  CHECK(at == made.size());
  CHECK(text_of(events.back().data.at("set")) == "accounts");
  auto ids = [](const std::vector<Event>& list) {
    std::vector<std::string> out;
    for (const auto& e : list) out.push_back(e.id);
    return out;
  };
  std::vector<Event> same = two.until(last);
  CHECK(ids(same) == ids(events));
  CHECK(ids(reader.until(last)) == ids(events));

  Stream resumed(c, events[5].id);
  std::vector<Event> rest = resumed.until(last);
  CHECK(ids(rest) == ids({events.begin() + 6, events.end()}));
  bool gone = false;
  for (const auto& e : rest)
    gone = gone || (text_of(e.data.at("id")) == made[3] && text_of(e.data.at("kind")) == "gone");
  CHECK(gone);

  // What comes over the link is told as well; what a reader may not read is not.
  Client hq = all.hq();
  auto eastern = all.make_token({"ellen", false, true, {"east"}, ""});
  all.settle();
  Stream narrow(all.hq(eastern.secret));
  std::string west = hq.create("accounts", R"({"name":"W","Branchline.territory":"west"})"),
              east = hq.create("accounts", R"({"name":"E","Branchline.territory":"east"})");
  for (const auto& e : narrow.until(east)) CHECK(text_of(e.data.at("id")) != west);
  CHECK_FALSE(one.until(east).empty());
  CHECK(hq.remove("accounts(" + west + ")").status == 204);
  CHECK(hq.remove("accounts(" + east + ")").status == 204);
  for (const auto& e : narrow.until(east)) CHECK(text_of(e.data.at("id")) != west);

  for (const std::string& foreign :
       {std::string("hq.0000000000000001.5"), std::string("east.0000000000000001.1"),
        std::string("x"), events[0].id.substr(0, events[0].id.rfind('.')) + ".99999999",
        events[0].id + "x"}) {
    INFO(foreign);
    Stream refused(c, foreign);
    CHECK(refused.answer.status == 410);
    CHECK(refused.answer.error_code() == "changes.gone");
  }
  CHECK(request(c.port, "GET", "/api/changes?since=x", {}, {{"Authorization", "Bearer " + c.token}})
            .status == 410);
  CHECK(c.send("HEAD", "/api/changes").status == 200);
  CHECK(one.last_sync.contains("pending"));
  beating.await_beat();
}

TEST_CASE("a reader of changes that does not read holds nobody up", "[api][changes]") {
  Company& all = company();
  Client c = all.east();
  c.get("WhoAmI()");
  Stream slow(c), fast(c);
  size_t before = all.process("east").resident_kb();
  int number = 0;
  std::string last;
  // A field edit of one record is an event: enough of them to fill the kernel's buffers.
  std::string id = c.create("accounts", R"({"name":"Busy"})"),
              body = R"({"loyaltypoints@Branchline.add":1})";
  Socket writer = connect_to(c.port);
  for (int round = 0; round < 20; ++round) {
    std::string many;
    for (int i = 0; i < 250; ++i) {
      many += "PATCH /api/data/v9.2/accounts(" + id +
              ") HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer " + c.token +
              "\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body;
    }
    std::thread sender([&] { writer.send(many); });
    for (int i = 0; i < 250; ++i) {
      Answer a = read_answer(writer);
      if (a.status == 204) ++number;
    }
    sender.join();
  }
  CHECK(number == 5000);
  last = c.create("accounts", R"({"name":"End"})");
  CHECK(fast.until(last).size() >= 5000);
  if (!branchline::kSanitized) CHECK(all.process("east").resident_kb() < before + 64 * 1024);
  CHECK(c.get("accounts(" + id + ")?$select=loyaltypoints").status == 200);
}

TEST_CASE("an office that stops tells its streams, and what was acknowledged is there again",
          "[api][changes]") {
  Company& all = company();
  Client c = all.east();
  Stream stream(c);
  std::string id = c.create("accounts", R"({"name":"Before the stop"})");
  stream.until(id);
  all.stop("east");
  CHECK(stream.socket().receive_all().find("event: change") == std::string::npos);
  all.start("east");
  CHECK(text_of(c.get("accounts(" + id + ")").object()["name"]) == "Before the stop");
  Stream old(c, stream.hello.id);
  CHECK(old.answer.status == 410);  // another process start: read anew
}
