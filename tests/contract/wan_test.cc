// branchline-wan as a program, over loopback. Times are asserted from below exactly, because the
// line may never be faster than it says, and from above generously, because the machine may be
// slow.
#include <poll.h>
#include <signal.h>

#include <chrono>
#include <set>
#include <string>
#include <vector>

#include <catch2/catch.hpp>

#include "tests/contract/wan_fixture.h"
#include "tests/support/sanitized.h"

using namespace std::chrono_literals;
using namespace wan_test;

namespace {

std::string pattern(size_t size, unsigned seed) {
  std::string bytes(size, '\0');
  for (char& b : bytes) {
    seed = seed * 1664525 + 1013904223;
    b = static_cast<char>(seed >> 24);
  }
  return bytes;
}

// Sends on one socket while it reads on the other, until all has arrived.
std::string transfer(Socket& from, Socket& to, std::string_view bytes) {
  std::string got;
  const size_t size = bytes.size();
  while (got.size() < size) {
    pollfd p[2] = {{to.fd(), POLLIN, 0},
                   {from.fd(), static_cast<short>(bytes.empty() ? 0 : POLLOUT), 0}};
    if (::poll(p, 2, std::chrono::milliseconds(kPatience).count()) <= 0) {
      throw std::runtime_error("transfer: nothing happened for too long");
    }
    if (p[0].revents != 0) got += to.receive_some();
    if (p[1].revents != 0) bytes.remove_prefix(from.send_some(bytes));
  }
  return got;
}

}  // namespace

TEST_CASE("wan: a message takes half the round trip each way, not less") {
  Wan wan({"--rtt", "80ms", "--rate", "20Mbit"});
  auto [near, far] = wan.connect();
  for (int i = 0; i < 5; ++i) {
    auto start = Clock::now();
    near.send("ping");
    CHECK(far.receive(4) == "ping");
    auto took = Clock::now() - start;
    CHECK(took >= 40ms);
    CHECK(took < 1s);
    start = Clock::now();
    far.send("pong");
    CHECK(near.receive(4) == "pong");
    took = Clock::now() - start;
    CHECK(took >= 40ms);
    CHECK(took < 1s);
  }
}

TEST_CASE("wan: without options it is a plain, unlimited pipe") {
  Wan wan({});
  auto [near, far] = wan.connect();
  const std::string bytes = pattern(20'000'000, 1);
  CHECK((transfer(near, far, bytes) == bytes));
  CHECK((transfer(far, near, bytes) == bytes));
  CHECK(wan.stat("up_bytes") == 20'000'000);
  CHECK(wan.stat("down_bytes") == 20'000'000);
}

TEST_CASE("wan: bytes pass no faster than the rate, and in order") {
  Wan wan({"--rtt", "20ms", "--rate", "20Mbit"});
  auto [near, far] = wan.connect();
  const std::string bytes = pattern(1'000'000, 2);
  const auto up = GENERATE(true, false);
  const auto start = Clock::now();
  CHECK(((up ? transfer(near, far, bytes) : transfer(far, near, bytes)) == bytes));
  const auto took = Clock::now() - start;
  CHECK(took >= 400ms + 10ms);
  CHECK(took < 5s);
}

TEST_CASE("wan: all connections share the rate of a direction; directions do not share") {
  Wan wan({"--rate", "16Mbit"});
  std::vector<std::pair<Socket, Socket>> pairs;
  for (int i = 0; i < 4; ++i) pairs.push_back(wan.connect());
  const std::string bytes = pattern(100'000, 3);
  const auto start = Clock::now();
  for (auto& [near, far] : pairs) {
    near.send(bytes);
    far.send(bytes);
  }
  for (auto& [near, far] : pairs) {
    CHECK((far.receive(bytes.size()) == bytes));
    CHECK((near.receive(bytes.size()) == bytes));
  }
  const auto took = Clock::now() - start;
  CHECK(took >= 200ms);  // 400 kB at 2 MB/s, both ways at once
  CHECK(took < 5s);
}

TEST_CASE("wan: a bulk transfer does not starve an interactive connection") {
  // In a common queue the message would wait almost 2 s.
  Wan wan({"--rate", "1Mbit"});
  auto [bulk_near, bulk_far] = wan.connect();
  auto [near, far] = wan.connect();
  const std::string bulk = pattern(1'000'000, 4);
  size_t sent = 0;
  eventually("the queue is full", [&] {
    sent += bulk_near.send_some(std::string_view(bulk).substr(sent));
    return wan.stat("up_queued") > 200 * 1024;
  });
  const auto start = Clock::now();
  near.send("a keystroke");
  CHECK(far.receive(11) == "a keystroke");
  CHECK(Clock::now() - start < 1s);
}

TEST_CASE("wan: memory stays bounded when the receiver does not read") {
  Wan wan({"--rtt", "20ms", "--rate", "2Gbit"});
  auto [near, far] = wan.connect();
  const std::string chunk = pattern(64 * 1024, 5);
  const size_t before = wan.child().resident_kb();
  constexpr size_t kTooMuch = 64 * 1024 * 1024;
  size_t sent = 0;
  auto last = Clock::now();
  // Until nothing moves for a while, which is backpressure, or far too much has gone in.
  while (sent < kTooMuch && Clock::now() - last < 1s) {
    pollfd p{near.fd(), POLLOUT, 0};
    if (::poll(&p, 1, 50) <= 0) continue;
    if (const size_t n = near.send_some(chunk)) {
      sent += n;
      last = Clock::now();
    }
  }
  CHECK(sent < kTooMuch);
  if (!branchline::kSanitized) CHECK(wan.child().resident_kb() < before + 16 * 1024);
  // Nothing is lost, and it goes on once the receiver reads.
  size_t received = 0;
  while (received < sent) received += far.receive_some().size();
  CHECK(received == sent);
}

TEST_CASE("wan: a half-closed connection goes on the other way, then ends") {
  Wan wan({"--rtt", "20ms", "--rate", "10Mbit"});
  auto [near, far] = wan.connect();
  const std::string question = pattern(50'000, 6);
  const std::string reply = pattern(80'000, 7);
  near.send(question);
  near.shutdown_write();
  CHECK((far.receive_all() == question));
  CHECK(wan.stat("connections") == 1);
  far.send(reply);
  far.close();
  CHECK((near.receive_all() == reply));
  eventually("the connection is gone", [&] { return wan.stat("connections") == 0; });
}

TEST_CASE("wan: a reset arrives as a reset, behind the data") {
  Wan wan({"--rtt", "40ms"});
  auto [near, far] = wan.connect();
  near.send("last words");
  // The kernel forgets what it has not sent when a connection is reset, so the line must have read
  // it first.
  CHECK(far.receive(10) == "last words");
  near.send("and more");
  eventually("the line has it", [&] { return wan.stat("up_bytes") == 18; });
  const auto start = Clock::now();
  SECTION("upwards") {
    near.reset();
    CHECK(far.receive(8) == "and more");
    CHECK(far.broken());
  }
  SECTION("downwards") {
    far.reset();
    CHECK(near.broken());
  }
  CHECK(Clock::now() - start >= 20ms);
  eventually("the connection is gone", [&] { return wan.stat("connections") == 0; });
}

TEST_CASE(
    "wan: down breaks connections and refuses new ones; up serves again on the same address") {
  Wan wan({"--rtt", "10ms"});
  auto [near, far] = wan.connect();
  const HttpAnswer down = wan.post("/down");
  CHECK(down.status == 200);
  CHECK(down.body.at("state") == "down");
  CHECK(near.broken());
  CHECK(far.broken());
  CHECK(wan.stat("connections") == 0);
  CHECK_FALSE(try_connect(wan.port()));
  CHECK(wan.post("/down").status == 200);
  CHECK(http(wan.control(), "GET", "/healthz").status == 200);
  {
    const Listener squatter(wan.port());
    const HttpAnswer up = wan.post("/up");
    CHECK(up.status == 503);
    CHECK(up.body.at("error").as_string().find("in use") != std::string::npos);
    CHECK(wan.stats().at("state") == "down");
  }
  CHECK(wan.post("/up").body.at("state") == "up");
  CHECK(wan.post("/up").status == 200);
  auto [near2, far2] = wan.connect();
  near2.send("again");
  CHECK(far2.receive(5) == "again");
}

TEST_CASE("wan: up and down in quick turns") {
  Wan wan({});
  for (int i = 0; i < 20; ++i) {
    wan.post("/down");
    if (i % 2 == 0) wan.post("/set?stall=true");
    wan.post("/up");
    wan.post("/set?stall=false");
    auto [near, far] = wan.connect();
    near.send("x");
    CHECK(far.receive(1) == "x");
  }
}

TEST_CASE("wan: stalled, connections stay and nothing moves") {
  Wan wan({"--rtt", "20ms"});
  auto [near, far] = wan.connect();
  near.send("before");
  CHECK(far.receive(6) == "before");
  CHECK(wan.post("/set?stall=true").body.at("stalled") == true);
  near.send("during");
  far.send("back");
  CHECK_FALSE(far.readable_within(300ms));
  CHECK_FALSE(near.readable_within(0ms));
  CHECK(wan.stat("connections") == 1);
  // A new one waits in the backlog: the far end does not hear of it.
  Socket later = connect_to(wan.port());
  later.send("new");
  CHECK(wan.stat("accepted_total") == 1);
  CHECK(wan.post("/set?stall=false").body.at("stalled") == false);
  CHECK(far.receive(6) == "during");
  CHECK(near.receive(4) == "back");
  CHECK(wan.far().accept().receive(3) == "new");
}

TEST_CASE("wan: set changes the line while it carries") {
  Wan wan({"--rtt", "2s", "--rate", "64kbit"});
  auto [near, far] = wan.connect();
  const std::string bytes = pattern(200'000, 8);  // 25 s at 64 kbit/s
  const auto start = Clock::now();
  near.send(bytes);
  const HttpAnswer set = wan.post("/set?rtt=10ms&rate=100Mbit&queue=1MiB");
  CHECK(set.status == 200);
  CHECK(set.body.at("rtt_us") == 10'000);
  CHECK(set.body.at("up_rate_bits") == 100'000'000);
  CHECK(set.body.at("down_queue_bytes") == 1024 * 1024);
  CHECK((far.receive(bytes.size()) == bytes));
  CHECK(Clock::now() - start < 10s);
  wan.post("/set?rtt=100ms");
  const auto again = Clock::now();
  near.send("slow");
  CHECK(far.receive(4) == "slow");
  CHECK(Clock::now() - again >= 50ms);
  CHECK(wan.stat("up_rate_bits") == 100'000'000);
  CHECK(wan.post("/set?rate=0&rtt=0").body.at("up_rate_bits") == 0);
}

TEST_CASE("wan: stats count, and start again when told") {
  Wan wan({"--rtt", "5ms", "--rate", "50Mbit"});
  auto [near, far] = wan.connect();
  near.send(std::string(1000, 'u'));
  far.send(std::string(300, 'd'));
  far.receive(1000);
  near.receive(300);
  // Counted when the kernel has taken them, which is before we can see them.
  const auto stats = wan.stats();
  CHECK(stats.at("state") == "up");
  CHECK(stats.at("stalled") == false);
  CHECK(stats.at("rtt_us") == 5000);
  CHECK(stats.at("up_rate_bits") == 50'000'000);
  CHECK(stats.at("connections") == 1);
  CHECK(stats.at("up_bytes") == 1000);
  CHECK(stats.at("down_bytes") == 300);
  CHECK(stats.at("up_queued") == 0);
  CHECK(stats.at("down_queued") == 0);
  CHECK(stats.at("accepted_total") == 1);
  CHECK(stats.at("refused_total") == 0);
  CHECK(wan.post("/stats/reset").body.at("up_bytes") == 0);
  CHECK(wan.stat("down_bytes") == 0);
  CHECK(wan.stat("accepted_total") == 0);
  CHECK(wan.stat("connections") == 1);
}

TEST_CASE("wan: a far end that refuses breaks the connection at once") {
  Wan wan({"--rtt", "2s"});
  wan.close_far();
  Socket near = connect_to(wan.port());
  const auto start = Clock::now();
  CHECK(near.broken());
  CHECK(Clock::now() - start < 1s);
  eventually("it is counted", [&] { return wan.stat("refused_total") == 1; });
  CHECK(wan.stat("connections") == 0);
}

TEST_CASE("wan: two hundred connections, each gets its own bytes") {
  Wan wan({"--rtt", "10ms", "--rate", "100Mbit"});
  std::vector<std::pair<Socket, Socket>> pairs;
  for (int i = 0; i < 200; ++i) pairs.push_back(wan.connect());
  CHECK(wan.stat("connections") == 200);
  for (unsigned i = 0; i < 200; ++i) {
    pairs[i].first.send(pattern(5000, i));
    pairs[i].second.send(pattern(3000, 1000 + i));
  }
  for (unsigned i = 0; i < 200; ++i) {
    REQUIRE((pairs[i].second.receive(5000) == pattern(5000, i)));
    REQUIRE((pairs[i].first.receive(3000) == pattern(3000, 1000 + i)));
  }
  pairs.clear();
  eventually("all are gone", [&] { return wan.stat("connections") == 0; });
  CHECK(wan.stat("accepted_total") == 200);
}

TEST_CASE("wan: bad requests are refused, say what is allowed, and change nothing") {
  Wan wan({"--rtt", "10ms", "--rate", "1Mbit"});
  const auto error_of = [](const HttpAnswer& answer) {
    return std::string(answer.body.at("error").as_string());
  };
  const auto refused = [&](std::string_view target, const std::string& hint) {
    const HttpAnswer answer = wan.post(target);
    INFO(target << ": " << error_of(answer));
    CHECK(answer.status == 400);
    CHECK(error_of(answer).find(hint) != std::string::npos);
  };
  refused("/set", "/set?rtt=80ms");
  refused("/set?rtt=50ms&rate=fast", "rate: 'fast'");
  refused("/set?rtt=50", "80ms");
  refused("/set?rtt=1000000s", "10 minutes");
  refused("/set?queue=1B", "4KiB");
  refused("/set?stall=maybe", "true or false");
  refused("/set?rtt=50ms&latency=3ms", "'latency'");
  refused("/set?rtt=50ms&loss=1%25", "branchline-wan tun");
  refused("/down?now=1", "no parameters");
  CHECK(wan.stat("rtt_us") == 10'000);
  CHECK(wan.stats().at("state") == "up");

  const HttpAnswer unknown = http(wan.control(), "GET", "/nope");
  CHECK(unknown.status == 404);
  CHECK(error_of(unknown).find("GET /stats") != std::string::npos);
  CHECK(error_of(unknown).find("POST /set") != std::string::npos);
  const HttpAnswer method = http(wan.control(), "GET", "/down");
  CHECK(method.status == 405);
  CHECK(method.head.find("Allow: POST") != std::string::npos);
  CHECK(http(wan.control(), "POST", "/stats").status == 405);

  CHECK(http_raw(wan.control(), "nonsense\r\n\r\n").status == 400);
  CHECK(http(wan.control(), "POST", "/up", std::string(100'000, 'x')).status == 413);
  CHECK(http_raw(wan.control(), "GET /stats HTTP/1.1\r\nX: " + std::string(100'000, 'x')).status ==
        431);
  CHECK(wan.stats().at("state") == "up");
}

TEST_CASE("wan: a wrong command line names the option and the mend") {
  const auto ends = [](const std::vector<std::string>& options, int status) {
    std::vector<std::string> arguments{wan_program()};
    arguments.insert(arguments.end(), options.begin(), options.end());
    Child child(arguments);
    INFO(child.output());
    CHECK(child.wait() == status);
    return child.output();
  };
  const std::vector<std::string> good{"--listen", "127.0.0.1:1", "--connect", "127.0.0.1:2"};
  const auto with = [&](std::initializer_list<std::string> more) {
    auto all = good;
    all.insert(all.end(), more);
    return all;
  };
  CHECK(ends(with({"--rtt", "80"}), 2).find("--rtt: '80'") != std::string::npos);
  CHECK(ends(with({"--rate", "20"}), 2).find("20Mbit") != std::string::npos);
  CHECK(ends(with({"--queue", "1KiB"}), 2).find("4KiB") != std::string::npos);
  CHECK(ends(with({"--control", "there"}), 2).find("--control: 'there'") != std::string::npos);
  CHECK(ends({"--listen", "127.0.0.1:1"}, 2).find("--connect") != std::string::npos);
  CHECK(ends({"--help"}, 0).find("Examples:") != std::string::npos);
  CHECK(ends({"--version"}, 0).find("branchline-wan ") != std::string::npos);

  Listener taken;
  const std::string at = "127.0.0.1:" + std::to_string(taken.port());
  const std::string listen = ends({"--listen", at, "--connect", at}, 1);
  CHECK(listen.find("--listen " + at) != std::string::npos);
  CHECK(listen.find("choose another port") != std::string::npos);
  const std::string control = ends(
      {"--listen", "127.0.0.1:" + std::to_string(free_port()), "--connect", at, "--control", at},
      1);
  CHECK(control.find("--control " + at) != std::string::npos);
}

TEST_CASE("wan: a signal ends it cleanly, whatever it carries") {
  const int number = GENERATE(SIGINT, SIGTERM);
  Wan wan({"--rtt", "2s", "--rate", "1Mbit"});
  auto [near, far] = wan.connect();
  near.send(pattern(100'000, 9));
  Socket idle_control = connect_to(wan.control());
  if (number == SIGTERM) wan.post("/set?stall=true");
  wan.child().signal(number);
  CHECK(wan.child().wait() == 0);
  CHECK(wan.child().output().find("stopped") != std::string::npos);
  CHECK(near.broken());
}
