// Bytes that are no requests, and tokens that are none, against a real server: it answers, forgets,
// and serves others.
#include <catch2/catch.hpp>
#include <filesystem>
#include <fstream>
#include <regex>
#include <set>

#include "tests/contract/office_fixture.h"
#include "tests/support/sanitized.h"

using namespace office_test;
using wan_test::connect_to;
using wan_test::Socket;

namespace {

Company& company() { return Company::get(); }

std::string whole(uint16_t port, std::string_view bytes) {
  Socket s = connect_to(port);
  s.send(bytes);
  return s.receive_all();
}

void still_serves() { CHECK(company().east().get("accounts?$top=1&$select=name").status == 200); }

}  // namespace

TEST_CASE("bytes that are no requests get an answer, and others go on", "[api][bad]") {
  Client c = company().east();
  c.get("WhoAmI()");
  size_t resident = company().process("east").resident_kb();
  std::string auth = "Authorization: Bearer " + c.token + "\r\nHost: h\r\n";
  struct Case {
    const char* name;
    std::string bytes;
    const char* status;
  };
  const Case cases[] = {
      {"TLS on the plain port",
       std::string("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 11) + std::string(500, '\x01'),
       "400"},
      {"HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "505"},
      {"no Host", "GET /healthz HTTP/1.1\r\n\r\n", "400"},
      {"long line", "GET /" + std::string(40'000, 'x') + " HTTP/1.1\r\nHost: h\r\n\r\n", "431"},
      {"many fields",
       "GET / HTTP/1.1\r\n" +
           [] {
             std::string s;
             for (int i = 0; i < 5000; ++i) s += "X-Y: 1234567890\r\n";
             return s;
           }() +
           "\r\n",
       "431"},
      {"large body",
       "POST /api/data/v9.2/accounts HTTP/1.1\r\n" + auth + "Content-Length: 2000000\r\n\r\n" +
           std::string(100'000, '{'),
       "413"},
      {"endless chunks",
       "POST /api/data/v9.2/accounts HTTP/1.1\r\n" + auth + "Transfer-Encoding: chunked\r\n\r\n" +
           [] {
             std::string s;
             for (int i = 0; i < 40; ++i) s += "8000\r\n" + std::string(32768, '{') + "\r\n";
             return s;
           }(),
       "413"},
      {"chunk garbage",
       "POST / HTTP/1.1\r\n" + auth + "Transfer-Encoding: chunked\r\n\r\n-5\r\nabc\r\n", "400"},
      {"lengths at odds",
       "POST / HTTP/1.1\r\n" + auth + "Content-Length: 3\r\nContent-Length: 5\r\n\r\nabcde", "400"},
      {"NUL", std::string("GET /healthz\0 HTTP/1.1\r\nHost: h\r\n\r\n", 36), "400"},
      {"percent", "GET /api/%zz HTTP/1.1\r\n" + auth + "Connection: close\r\n\r\n", "400"},
      {"encoded NUL",
       "GET /api/data/v9.2/accounts%00 HTTP/1.1\r\n" + auth + "Connection: close\r\n\r\n", "400"},
      {"bad UTF-8",
       "GET /api/data/v9.2/accounts?$filter=name%20eq%20'%ff' HTTP/1.1\r\n" + auth +
           "Connection: close\r\n\r\n",
       "400"},
      {"option twice",
       "GET /api/data/v9.2/accounts?$top=1&$top=2 HTTP/1.1\r\n" + auth +
           "Connection: close\r\n\r\n",
       "400"},
      {"asterisk", "OPTIONS * HTTP/1.1\r\n" + auth + "Connection: close\r\n\r\n", "400"},
      {"HTTP/1.0", "GET /healthz HTTP/1.0\r\n\r\n", "200"},
      {"absolute form",
       "GET http://any.example/healthz HTTP/1.1\r\nHost: any.example\r\nConnection: close\r\n\r\n",
       "200"},
  };
  for (const auto& k : cases) {
    INFO(k.name);
    std::string answer = whole(c.port, k.bytes);
    CHECK_THAT(answer, Catch::StartsWith(std::string("HTTP/1.1 ") + k.status + " "));
    if (std::string(k.status) != "200")
      CHECK_THAT(answer,
                 Catch::Contains("\r\n\r\n{\"error\":{\"code\":\"") && Catch::EndsWith("\"}}"));
    still_serves();
  }
  if (!branchline::kSanitized)
    CHECK(company().process("east").resident_kb() < resident + 100 * 1024);
}

TEST_CASE("static files stay within their folder", "[api][bad]") {
  Client c = company().east();
  for (const char* path :
       {"/../../../../etc/passwd", "/%2e%2e/%2e%2e/%2e%2e/etc/passwd",
        "/..%2f..%2f..%2fetc%2fpasswd", "/assets/../../../etc/passwd", "/./../etc/passwd",
        "//etc/passwd", "/....//etc/passwd", "/%252e%252e/etc/passwd", "/..\\..\\etc\\passwd"}) {
    INFO(path);
    std::string answer = whole(
        c.port, std::string("GET ") + path + " HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    CHECK(answer.find("root:") == std::string::npos);
    CHECK((answer.starts_with("HTTP/1.1 404 ") ||
           answer.find("<!doctype html>") != std::string::npos ||
           answer.starts_with("HTTP/1.1 400 ")));
  }
  Answer page = request(c.port, "GET", "/accounts/some-route");
  CHECK(page.status == 200);
  CHECK_THAT(page.header("content-type"), Catch::StartsWith("text/html"));
  CHECK(page.header("x-content-type-options") == "nosniff");
  CHECK(request(c.port, "GET", "/missing.js").status == 404);
}

TEST_CASE("hundreds of idle and half-open connections keep nobody waiting and leave nothing behind",
          "[api][bad]") {
  Client c = company().east();
  auto descriptors = [&] {
    return request(c.port, "GET", "/metrics")
        .body;  // below: open connections as the server counts them
  };
  auto open = [&] {
    std::string text = descriptors();
    size_t at = text.find("\nbranchline_http_connections ");
    return std::stod(text.substr(at + 29));
  };
  {
    std::vector<Socket> idle;
    for (int i = 0; i < 400; ++i) {
      idle.push_back(connect_to(c.port));
      if (i % 3 == 1) idle.back().send("GET /healthz HTTP/1.1\r\nHost: h\r\n");
      if (i % 3 == 2) idle.back().shutdown_write();
    }
    still_serves();
    CHECK(open() >= 260);
  }
  wan_test::eventually("all are gone", [&] { return open() <= 2; });
}

TEST_CASE("who may not, may not", "[api][access]") {
  Client c = company().east();
  auto with = [&](const std::string& header) {
    Headers h;
    if (!header.empty()) h.emplace_back("Authorization", header);
    return request(c.port, "GET", "/api/data/v9.2/accounts", {}, h);
  };
  for (auto [header, code] : std::initializer_list<std::pair<std::string, const char*>>{
           {"", "token.missing"},
           {"Bearer", "token.missing"},
           {"Basic YTpi", "token.missing"},
           {"Bearer nonsense", "token.unknown"},
           {"Bearer " + c.token + "x", "token.unknown"},
           {"Bearer " + std::string(20'000, 'a'), "token.unknown"},
           {"Bearer \x80\xff", "token.unknown"}}) {
    INFO(header.substr(0, 60));
    Answer a = with(header);
    CHECK(a.status == 401);
    CHECK(a.header("www-authenticate") == "Bearer");
    CHECK(a.error_code() == code);
  }
  CHECK(with("bearer " + c.token).status == 200);
  for (const char* target : {"/api/sync/status", "/api/changes", "/api/sync/mutations/x",
                             "/api/nothing", "/api/data/v9.2/"}) {
    CHECK(request(c.port, "GET", target).status == 401);
  }
  Client reader = company().east(company().reader);
  CHECK(reader.get("accounts?$top=1").status == 200);
  CHECK(reader.get("WhoAmI()").object().at("MayWrite") == false);
  std::string id = c.create("accounts", R"({"name":"Guarded"})");
  for (const Answer& a :
       {reader.post("accounts", R"({"name":"x"})"),
        reader.patch("accounts(" + id + ")", R"({"name":"x"})"),
        reader.remove("accounts(" + id + ")"),
        reader.put("accounts(" + id + ")/name", R"({"value":"x"})"),
        reader.post(
            "annotations",
            "{\"notetext\":\"x\",\"objectid_account@odata.bind\":\"/accounts(" + id + ")\"}")}) {
    CHECK(a.status == 403);
    CHECK(a.error_code() == "access.write");
  }
  CHECK(text_of(c.get("accounts(" + id + ")").object().at("name")) == "Guarded");
}

TEST_CASE("a token is good where its territories are", "[api][access]") {
  auto west = company().make_token({"willa", false, true, {"west"}, ""});
  auto both = company().make_token({"bob", false, true, {"east", "west"}, ""});
  company().settle();
  Client hq = company().hq();
  std::string in_east = hq.create("accounts", R"({"name":"E","Branchline.territory":"east"})"),
              in_west = hq.create("accounts", R"({"name":"W","Branchline.territory":"west"})");
  // The east office has never heard of a token that is good in the west only.
  Answer unknown = company().east(west.secret).get("accounts");
  CHECK(unknown.status == 401);
  CHECK_THAT(unknown.message(), Catch::Contains("not known here"));
  Client at_hq = company().hq(west.secret);
  CHECK(at_hq.get("accounts(" + in_west + ")").status == 200);
  CHECK(at_hq.get("accounts(" + in_east + ")").status == 404);
  CHECK(at_hq.patch("accounts(" + in_east + ")", R"({"name":"x"})", {{"If-Match", "*"}}).status ==
        404);
  CHECK(at_hq.remove("accounts(" + in_east + ")").status == 404);
  // An upsert cannot learn of it, nor overwrite it.
  CHECK(at_hq.patch("accounts(" + in_east + ")", R"({"name":"x"})").status == 404);
  CHECK(at_hq.get("accounts?$filter=accountid eq " + in_east).rows().empty());
  // Nor does a key tell of it.
  hq.create("accounts", R"({"name":"K","accountnumber":"K-east","Branchline.territory":"east"})");
  CHECK(at_hq
            .post("accounts",
                  R"({"name":"x","accountnumber":"K-east","Branchline.territory":"west"})")
            .status == 204);
  CHECK(
      hq.post("accounts", R"({"name":"x","accountnumber":"K-east","Branchline.territory":"east"})")
          .status == 412);
  Answer denied = at_hq.post("accounts", R"({"name":"x","Branchline.territory":"east"})");
  CHECK(denied.status == 403);
  CHECK_THAT(denied.message(), Catch::Contains("east"));
  CHECK(at_hq.post("accounts", R"({"name":"its own"})").status == 204);
  CHECK(at_hq
            .post("contacts", "{\"lastname\":\"x\",\"parentcustomerid@odata.bind\":\"/accounts(" +
                                  in_east + ")\"}")
            .status == 400);
  company().settle();
  CHECK(company().east(both.secret).get("accounts(" + in_east + ")").status == 200);
  // Not held there: through the upstream.
  Answer far = company().east(both.secret).get("accounts(" + in_west + ")");
  CHECK(far.status == 200);
  CHECK(far.header("branchline-source") == "upstream");
  CHECK(company().east().get("accounts(" + in_west + ")").status == 404);
}

TEST_CASE("tokens end", "[api][access]") {
  auto old = company().make_token({"olga", false, true, {"east"}, "2020-01-01T00:00:00Z"});
  company().settle();
  Answer expired = company().east(old.secret).get("accounts");
  CHECK(expired.status == 401);
  CHECK(expired.error_code() == "token.expired");

  auto first = company().make_token({"ned", false, true, {"east"}, ""});
  auto second = company().make_token({"ned", false, true, {"east"}, ""});
  company().settle();
  Client before = company().east(first.secret), after = company().east(second.secret);
  CHECK(before.get("WhoAmI()").object().at("UserId") ==
        after.get("WhoAmI()").object().at("UserId"));
  // A stream that the token opened ends with it.
  Socket stream = connect_to(before.port);
  stream.send("GET /api/changes HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer " + first.secret +
              "\r\n\r\n");
  CHECK_THAT(stream.receive_some(), Catch::StartsWith("HTTP/1.1 200"));
  CHECK(company().master("POST", "/admin/tokens/revoke?id=" + first.id).status == 200);
  wan_test::eventually("the token is refused",
                       [&] { return before.get("accounts?$top=1").status == 401; });
  CHECK(before.get("accounts").error_code() == "token.revoked");
  CHECK(after.get("accounts?$top=1").status == 200);
  stream.receive_all();
  CHECK(company().master("POST", "/admin/tokens/revoke?id=" + first.id).status == 200);
  CHECK(company()
            .master("POST", "/admin/tokens/revoke?id=0b5cf7a1-9999-4999-8999-000000000001")
            .status == 404);
  CHECK(company().master("POST", "/admin/tokens/revoke?id=x").status == 400);
}

// Each of these once gave a token that was good everywhere, for writing, for ever.
TEST_CASE("a request for a token that is not understood makes none", "[api][access]") {
  auto csn = [] { return company().master("GET", "/admin/status").object().at("csn").as_int64(); };
  company().settle();
  int64_t before = csn();
  auto refuse = [&](const std::string& members, const std::string& code, const std::string& what) {
    INFO(members);
    Answer a = company().master("POST", "/admin/tokens", "{\"user\":\"zoe\"" + members + "}");
    refused(a, 400, what);
    CHECK(a.error_code() == code);
  };
  const std::string names = "territories: expected a list of names";
  refuse(R"(,"territories":"east")", "token.territories", names);
  refuse(R"(,"territories":[5])", "token.territories", names);
  refuse(R"(,"territories":null)", "token.territories", names);
  refuse(R"(,"territories":[""])", "token.territory", "there is no territory");
  refuse(R"(,"territory":["east"])", "token.key", "there is no key \"territory\"");
  refuse(R"(,"write":false)", "token.key", "there is no key \"write\"");
  refuse(R"(,"access":"reed")", "token.access", "access: expected \"read\" or \"write\"");
  refuse(R"(,"access":5)", "token.access", "access: expected \"read\" or \"write\"");
  refuse(R"(,"access":"")", "token.access", "access: expected \"read\" or \"write\"");
  refuse(R"(,"expires":5)", "token.expires", "expires: expected YYYY-MM-DDTHH:MM:SSZ");
  refuse(R"(,"expires":"")", "token.expires", "expires: expected YYYY-MM-DDTHH:MM:SSZ");
  refuse(R"(,"expires":"soon")", "token.expires", "expires: expected YYYY-MM-DDTHH:MM:SSZ");
  refuse(R"(,"admin":"no")", "token.admin", "admin: expected true or false");
  refuse(R"(,"name":5)", "token.name", "name: expected a text");
  refuse(R"(,"fullname":["Zoe"])", "token.fullname", "fullname: expected a text");
  // Who administers could make tokens for everywhere.
  refuse(R"(,"admin":true,"territories":["east"])", "token.territories", "an administrator");
  auto body = [&](const std::string& text, const std::string& code, const std::string& what) {
    INFO(text);
    Answer a = company().master("POST", "/admin/tokens", text);
    refused(a, 400, what);
    CHECK(a.error_code() == code);
  };
  body(R"({"user":"ada","territories":["east"]})", "token.territories", "user ada is an admin");
  body(R"({"user":5})", "token.user", "user: expected a text");
  body(R"({})", "token.user", "user: expected the name");
  body(R"({"user":" "})", "token.user", "user: expected the name");
  body(R"(["zoe"])", "token.body", "expected a JSON object");
  // Names stand in tables and logs.
  const std::string line = "expected one line without control characters";
  body(R"({"user":"x\ny"})", "token.user", "user: " + line);
  body(R"({"user":"x\u007fy"})", "token.user", "user: " + line);
  body(R"({"user":"x\u0085y"})", "token.user", "user: " + line);
  refuse(R"(,"name":"x\u001b[2Jy")", "token.name", "name: " + line);
  refuse(R"(,"fullname":"x\ty")", "token.fullname", "fullname: " + line);
  body("{\"user\":\"" + std::string(300, 'x') + "\"}", "token.user", "at most 100 characters");
  refuse(",\"name\":\"" + std::string(101, 'x') + "\"", "token.name", "at most 100 characters");
  refuse(",\"fullname\":\"" + std::string(201, 'x') + "\"", "token.fullname", "at most 200");
  CHECK(csn() == before);

  std::string longest;
  for (int i = 0; i < 100; ++i) longest += "\u00e4";
  Answer good = company().master("POST", "/admin/tokens",
                                 R"({"user":")" + longest +
                                     R"(","fullname":"Zoe","name":"till","admin":false,)"
                                     R"("access":"read","expires":"2099-01-01T00:00:00Z",)"
                                     R"("territories":["east"]})");
  INFO(good.body);
  CHECK(good.status == 201);
}

TEST_CASE("a second revocation commits nothing: the first counts", "[api][access]") {
  auto token = company().make_token({"ned", false, true, {"east"}, ""});
  auto revoke = [&] {
    Answer a = company().master("POST", "/admin/tokens/revoke?id=" + token.id);
    CHECK(a.status == 200);
    return a.object().at("csn").as_int64();
  };
  int64_t first = revoke();
  company().make_token({"ned", false, true, {"east"}, ""});
  CHECK(revoke() == first);
}

TEST_CASE("the log refuses what it does not understand", "[api][access]") {
  auto log = [](const std::string& query) { return company().master("GET", "/admin/log" + query); };
  CHECK(log("").status == 200);
  CHECK(log("?after=0&limit=1").object().at("commits").as_array().size() == 1);
  CHECK(log("?limit=10000").status == 200);
  refused(log("?after=x"), 400, "after: expected a number from 0");
  refused(log("?after=-1"), 400, "after: expected a number from 0");
  refused(log("?after="), 400, "after: expected a number from 0");
  refused(log("?after=18446744073709551615"), 400, "after: expected a number from 0");
  refused(log("?limit=0"), 400, "limit: expected a number from 1 to 10000");
  refused(log("?limit=99999"), 400, "limit: expected a number from 1 to 10000");
  refused(log("?limit=5x"), 400, "limit: expected a number from 1 to 10000");
  refused(log("?afer=5"), 400, "there is no parameter `afer`");
}

TEST_CASE("the operators' interface is for operators", "[api][access]") {
  uint16_t port = company().east_admin();
  CHECK(request(port, "GET", "/healthz").status == 200);
  CHECK(request(port, "GET", "/readyz").status == 200);
  CHECK(request(port, "GET", "/admin/status").status == 401);
  CHECK(request(port, "GET", "/admin/status", {}, {{"Authorization", "Bearer " + company().writer}})
            .status == 403);
  CHECK(request(port, "GET", "/admin/status", {}, {{"Authorization", "Bearer " + company().admin}})
            .status == 200);
  CHECK(request(port, "GET", "/admin/audit", {}, {{"Authorization", "Bearer " + company().admin}})
            .status == 200);
}

TEST_CASE("metrics are as Prometheus wants them, and tell nothing of anybody", "[api][metrics]") {
  Client c = company().east();
  std::string marker = "Zebediah" + std::to_string(std::rand());
  std::string id = c.create("accounts", "{\"name\":\"" + marker + "\"}");
  CHECK(request(c.port, "GET", "/healthz").body == "{\"status\":\"ok\"}");
  CHECK(request(c.port, "GET", "/readyz").status == 200);
  Answer a = request(c.port, "GET", "/metrics");
  CHECK_THAT(a.header("content-type"), Catch::StartsWith("text/plain; version=0.0.4"));
  std::regex sample(
      R"(([a-zA-Z_:][a-zA-Z0-9_:]*)(\{([a-zA-Z_][a-zA-Z0-9_]*="([^"\\]|\\.)*",?)*\})? (-?[0-9.]+([eE][-+]?[0-9]+)?|NaN|[+-]Inf))");
  std::map<std::string, std::string> types;
  std::set<std::string> seen;
  std::istringstream lines(a.body);
  CHECK(a.body.back() == '\n');
  for (std::string line; std::getline(lines, line);) {
    INFO(line);
    if (line.starts_with("# HELP ")) {
      CHECK(line.size() > line.find(' ', 7) + 5);
      continue;
    }
    if (line.starts_with("# TYPE ")) {
      size_t space = line.find(' ', 7);
      std::string name = line.substr(7, space - 7), type = line.substr(space + 1);
      CHECK(types.emplace(name, type).second);
      CHECK((type == "gauge" || type == "counter" || type == "histogram" || type == "summary"));
      CHECK((type == "counter") == name.ends_with("_total"));
      continue;
    }
    std::smatch m;
    REQUIRE(std::regex_match(line, m, sample));
    CHECK(seen.insert(line.substr(0, line.rfind(' '))).second);
    CHECK(types.count(m[1].str()) == 1);
    CHECK(m[1].str().starts_with("branchline_"));
  }
  CHECK(types.count("branchline_replica_pending") == 1);
  for (const std::string& secret : {marker, id, c.token, std::string("wanda")})
    CHECK(a.body.find(secret) == std::string::npos);
}
