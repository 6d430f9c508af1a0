// The HTTP server with small limits: deadlines, full houses, and bytes that are no HTTP.
#include <sys/resource.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <catch2/catch.hpp>
#include <filesystem>
#include <future>
#include <thread>

#include "common/http/http.h"
#include "tests/contract/wan_fixture.h"

using namespace branchline;
using wan_test::connect_to;
using wan_test::Socket;

namespace {

// Echoes: "METHOD target body-bytes".
class Echo {
 public:
  explicit Echo(HttpOptions options) {
    auto listening = HttpServer::listen(
        io_, "127.0.0.1", 0, [this](const HttpRequest& r) { return answer(r); }, options);
    REQUIRE(listening);
    server_ = std::move(*listening);
    port = server_->port();
    thread_ = std::thread([this] { io_.run(); });
  }
  ~Echo() {
    boost::asio::post(io_, [this] {
      server_->stop();
      boost::asio::co_spawn(io_, server_->drained(100), [](std::exception_ptr) {});
    });
    thread_.join();
  }
  HttpCounters counters() {
    std::promise<HttpCounters> out;
    boost::asio::post(io_, [&] { out.set_value(server_->counters()); });
    return out.get_future().get();
  }
  uint16_t port = 0;

 private:
  boost::asio::awaitable<HttpResponse> answer(const HttpRequest& r) {
    HttpResponse out;
    out.content_type = "text/plain";
    out.body =
        std::string(r.method) + " " + std::string(r.target) + " " + std::to_string(r.body.size());
    if (r.target == "/large") out.body.assign(32 * 1024 * 1024, 'x');
    if (r.target == "/stream") {
      out.stream = [](HttpStream& s) -> boost::asio::awaitable<void> {
        while (co_await s.write(std::string(65536, 's'))) {
        }
      };
    }
    co_return out;
  }
  boost::asio::io_context io_;
  std::unique_ptr<HttpServer> server_;
  std::thread thread_;
};

HttpOptions small() {
  HttpOptions o;
  o.max_header_bytes = 2048;
  o.max_body_bytes = 4096;
  o.max_connections = 8;
  o.request_ms = 300;
  o.idle_ms = 60'000;
  o.write_ms = 60'000;
  return o;
}

constexpr const char* kGet = "GET /a HTTP/1.1\r\nHost: here\r\n\r\n";

std::string whole(uint16_t port, std::string_view request) {
  Socket s = connect_to(port);
  s.send(request);
  return s.receive_all();
}

void still_serves(uint16_t port) {
  Socket s = connect_to(port);
  s.send(kGet);
  CHECK_THAT(s.receive_some(),
             Catch::StartsWith("HTTP/1.1 200 OK\r\n") && Catch::EndsWith("GET /a 0"));
}

size_t open_files() {
  size_t n = 0;
  for ([[maybe_unused]] const auto& e : std::filesystem::directory_iterator("/proc/self/fd")) ++n;
  return n;
}

}  // namespace

TEST_CASE("requests that are none are told so, and others are served", "[http]") {
  Echo echo(small());
  struct Case {
    const char* name;
    std::string bytes;
    const char* status;
  };
  std::string host = "Host: here\r\n";
  const Case cases[] = {
      {"garbage", "\x01\x02\x03\r\n\r\n", "400"},
      {"TLS",
       std::string("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 11) + std::string(300, '\x07'),
       "400"},
      {"HTTP/2 preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "505"},
      {"HTTP/3.0", "GET / HTTP/3.0\r\n" + host + "\r\n", "505"},
      {"no version", "GET /\r\n\r\n", "400"},
      {"no Host", "GET / HTTP/1.1\r\n\r\n", "400"},
      {"two Hosts", "GET / HTTP/1.1\r\n" + host + host + "\r\n", "400"},
      {"a Host that is none", "GET / HTTP/1.1\r\nHost: a\"><b\r\n\r\n", "400"},
      {"NUL in a field", std::string("GET / HTTP/1.1\r\nHost: a\0b\r\n\r\n", 29), "400"},
      {"NUL in the target", std::string("GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n", 28), "400"},
      {"space before the colon", "GET / HTTP/1.1\r\nHost : here\r\n\r\n", "400"},
      {"a line without colon", "GET / HTTP/1.1\r\nHost: here\r\nnonsense\r\n\r\n", "400"},
      {"long request line", "GET /" + std::string(3000, 'a') + " HTTP/1.1\r\n" + host + "\r\n",
       "431"},
      {"long field", "GET / HTTP/1.1\r\n" + host + "X: " + std::string(3000, 'a') + "\r\n\r\n",
       "431"},
      {"endless header",
       "GET / HTTP/1.1\r\n" + host +
           [] {
             std::string s;
             for (int i = 0; i < 20000; ++i) s += "X: y\r\n";
             return s;
           }(),
       "431"},
      {"large body", "POST / HTTP/1.1\r\n" + host + "Content-Length: 4097\r\n\r\n", "413"},
      {"huge length", "POST / HTTP/1.1\r\n" + host + "Content-Length: 18446744073709551615\r\n\r\n",
       "413"},
      {"length beyond 64 bits",
       "POST / HTTP/1.1\r\n" + host + "Content-Length: 99999999999999999999\r\n\r\n", "400"},
      {"negative length", "POST / HTTP/1.1\r\n" + host + "Content-Length: -1\r\n\r\n", "400"},
      {"two lengths",
       "POST / HTTP/1.1\r\n" + host + "Content-Length: 1\r\nContent-Length: 2\r\n\r\nab", "400"},
      {"length and chunks",
       "POST / HTTP/1.1\r\n" + host +
           "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
       "400"},
      {"chunk size that is none",
       "POST / HTTP/1.1\r\n" + host + "Transfer-Encoding: chunked\r\n\r\nzz\r\n", "400"},
      {"chunk without its end",
       "POST / HTTP/1.1\r\n" + host + "Transfer-Encoding: chunked\r\n\r\n2\r\nabXX0\r\n\r\n",
       "400"},
      {"chunks beyond the limit",
       "POST / HTTP/1.1\r\n" + host + "Transfer-Encoding: chunked\r\n\r\nffff\r\n" +
           std::string(65535, 'a'),
       "413"},
      {"unknown expectation",
       "POST / HTTP/1.1\r\n" + host + "Expect: magic\r\nContent-Length: 2\r\n\r\n", "417"},
  };
  for (const auto& c : cases) {
    INFO(c.name);
    std::string answer = whole(echo.port, c.bytes);
    CHECK_THAT(answer, Catch::StartsWith(std::string("HTTP/1.1 ") + c.status + " "));
    CHECK_THAT(answer, Catch::Contains("Content-Type: application/json\r\n") &&
                           Catch::Contains("Connection: close\r\n"));
    CHECK_THAT(answer,
               Catch::Contains("\r\n\r\n{\"error\":{\"code\":\"http.") && Catch::EndsWith("\"}}"));
    still_serves(echo.port);
  }
  CHECK(echo.counters().malformed == std::size(cases));
}

TEST_CASE("what is HTTP is served", "[http]") {
  Echo echo(small());
  CHECK_THAT(whole(echo.port, "GET /old HTTP/1.0\r\n\r\n"),
             Catch::Contains("200 OK") && Catch::EndsWith("GET /old 0"));
  CHECK_THAT(whole(echo.port,
                   "POST /c HTTP/1.1\r\nHost: h\r\nConnection: close\r\nTransfer-Encoding: "
                   "chunked\r\n\r\n2\r\nab\r\n3;x=y\r\ncde\r\n0\r\nT: v\r\n\r\n"),
             Catch::EndsWith("POST /c 5"));
  CHECK_THAT(whole(echo.port, "HEAD /h HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"),
             Catch::Contains("Content-Length: 9\r\n") && Catch::EndsWith("\r\n\r\n"));
  CHECK_THAT(whole(echo.port, "HEAD /stream HTTP/1.1\r\nHost: h\r\n\r\n"),
             Catch::EndsWith("\r\n\r\n"));
  CHECK_THAT(whole(echo.port, "\r\n\r\nGET /crlf HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"),
             Catch::EndsWith("GET /crlf 0"));
  SECTION("pipelined requests are answered in order") {
    std::string many;
    for (int i = 0; i < 200; ++i)
      many += "POST /" + std::to_string(i) + " HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc";
    many += "GET /last HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";
    std::string answers = whole(echo.port, many);
    size_t at = 0;
    for (int i = 0; i < 200; ++i) {
      at = answers.find("POST /" + std::to_string(i) + " 3", at);
      REQUIRE(at != std::string::npos);
    }
    CHECK_THAT(answers, Catch::EndsWith("GET /last 0"));
  }
  SECTION("a client that waits for 100 gets it") {
    Socket s = connect_to(echo.port);
    s.send("POST /e HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n");
    CHECK(s.receive_some() == "HTTP/1.1 100 Continue\r\n\r\n");
    s.send("ab");
    CHECK_THAT(s.receive_some(), Catch::EndsWith("POST /e 2"));
  }
  SECTION("a client that has said all it had to say is answered") {
    Socket s = connect_to(echo.port);
    s.send(kGet);
    s.shutdown_write();
    CHECK_THAT(s.receive_all(), Catch::EndsWith("GET /a 0"));
  }
  SECTION("a client that stops in the middle is told so") {
    for (const char* part :
         {"GET /a HT", "GET /a HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nabc"}) {
      Socket s = connect_to(echo.port);
      s.send(part);
      s.shutdown_write();
      CHECK_THAT(s.receive_all(),
                 Catch::StartsWith("HTTP/1.1 400 ") && Catch::Contains("in the middle"));
    }
  }
}

TEST_CASE("a request that does not arrive in time gets 408", "[http]") {
  Echo echo(small());
  for (const char* part :
       {"G", "GET / HTTP/1.1\r\nHost: here\r\nX:",
        "POST / HTTP/1.1\r\nHost: here\r\nContent-Length: 10\r\n\r\nabc",
        "POST / HTTP/1.1\r\nHost: here\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab"}) {
    INFO(part);
    Socket s = connect_to(echo.port);
    s.send(part);
    still_serves(echo.port);
    CHECK_THAT(s.receive_all(),
               Catch::StartsWith("HTTP/1.1 408 ") && Catch::Contains("http.timeout"));
  }
  // Bytes that trickle do not buy time.
  Socket s = connect_to(echo.port);
  std::string slow = "GET / HTTP/1.1\r\nHost: here\r\nX: ";
  wan_test::eventually("the trickling client is refused", [&] {
    if (s.readable_within(std::chrono::milliseconds(20))) return true;
    s.send_some(slow);
    slow = "y";
    return false;
  });
  CHECK_THAT(s.receive_all(), Catch::StartsWith("HTTP/1.1 408 "));
}

TEST_CASE("idle connections end, silently", "[http]") {
  HttpOptions o = small();
  o.idle_ms = 100;
  Echo echo(o);
  Socket s = connect_to(echo.port);
  s.send(kGet);
  CHECK_THAT(s.receive_some(), Catch::EndsWith("GET /a 0"));
  CHECK(s.receive_all().empty());
}

TEST_CASE("a full server says so, and serves again when there is room", "[http]") {
  Echo echo(small());
  std::vector<Socket> idle;
  for (int i = 0; i < 8; ++i) {
    idle.push_back(connect_to(echo.port));
    idle.back().send(kGet);
    CHECK_THAT(idle.back().receive_some(), Catch::StartsWith("HTTP/1.1 200"));
  }
  for (int i = 0; i < 3; ++i) {
    CHECK_THAT(whole(echo.port, kGet), Catch::StartsWith("HTTP/1.1 503 ") &&
                                           Catch::Contains("Retry-After: 1\r\n") &&
                                           Catch::Contains("http.too_many_connections"));
  }
  CHECK(echo.counters().refused_connections == 3);
  idle[3].send(kGet);
  CHECK_THAT(idle[3].receive_some(), Catch::StartsWith("HTTP/1.1 200"));
  idle.clear();
  wan_test::eventually("there is room again", [&] {
    return whole(echo.port, "GET /a HTTP/1.0\r\n\r\n").starts_with("HTTP/1.1 200");
  });
  // Hundreds at once: some are told, the others cut; nothing is left of them.
  for (int i = 0; i < 8; ++i) {
    idle.push_back(connect_to(echo.port));
    idle.back().send(kGet);
    CHECK_THAT(idle.back().receive_some(), Catch::StartsWith("HTTP/1.1 200"));
  }
  {
    std::vector<Socket> crowd;
    for (int i = 0; i < 300; ++i) crowd.push_back(connect_to(echo.port));
    idle[0].send(kGet);
    CHECK_THAT(idle[0].receive_some(), Catch::StartsWith("HTTP/1.1 200"));
  }
  idle.clear();
  wan_test::eventually("all are gone", [&] { return echo.counters().open == 0; });
  still_serves(echo.port);
}

TEST_CASE("a client that does not read costs one answer and ends", "[http]") {
  HttpOptions o = small();
  o.write_ms = 200;
  Echo echo(o);
  for (const char* target : {"/large", "/stream"}) {
    Socket s = connect_to(echo.port);
    s.send(std::string("GET ") + target + " HTTP/1.1\r\nHost: h\r\n\r\n");
    still_serves(echo.port);
    wan_test::eventually("it is cut", [&] { return echo.counters().open == 0; });
  }
}

TEST_CASE("connections leave no descriptors behind", "[http]") {
  Echo echo(small());
  still_serves(echo.port);
  wan_test::eventually("quiet", [&] { return echo.counters().open == 0; });
  size_t before = open_files();
  for (int i = 0; i < 300; ++i) {
    Socket s = connect_to(echo.port);
    switch (i % 6) {
      case 0:
        s.send(kGet);
        break;  // and gone before the answer
      case 1:
        s.send("GET / HT");
        s.reset();
        break;
      case 2:
        s.send("\x16\x03");
        break;
      case 3:
        s.send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 100\r\n\r\nab");
        break;
      case 4:
        s.send("GET /stream HTTP/1.1\r\nHost: h\r\n\r\n");
        s.receive_some();
        s.reset();
        break;
      case 5:
        break;
    }
    s.close();
    if (i % 6 == 5) wan_test::eventually("gone", [&] { return echo.counters().open == 0; });
  }
  wan_test::eventually("all gone", [&] { return echo.counters().open == 0; });
  CHECK(open_files() == before);
  still_serves(echo.port);
}
