#include <signal.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>
#include <thread>

#include <catch2/catch.hpp>

#include "tests/network/tunnel.h"

using namespace std::chrono_literals;
using namespace network_test;
using branchline::crash::eventually;

namespace {

constexpr const char* kA = "192.0.2.1";
constexpr const char* kB = "192.0.2.2";
constexpr uint16_t kPort = 5000;

std::string pattern(size_t size) {
  std::string s(size, '\0');
  uint32_t x = 1;
  for (char& c : s) c = static_cast<char>((x = x * 1664525 + 1013904223) >> 24);
  return s;
}

// Sends `count` at once from one end to the other.
std::vector<Datagrams::Arrived> burst(const Tunnel& line, bool up, uint32_t count, size_t bytes) {
  Datagrams from(up ? line.a() : line.b());
  Datagrams to(up ? line.b() : line.a(), kPort);
  for (uint32_t i = 0; i < count; ++i) from.send(up ? kB : kA, kPort, i, bytes);
  return to.receive(1s, count);
}

double seconds_since(std::chrono::steady_clock::time_point begin) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

std::set<uint32_t> lost_of(const std::string& seed, uint32_t count) {
  Tunnel line({"--loss", "5%,0", "--seed", seed});
  Datagrams from(line.a());
  Datagrams to(line.b(), kPort);
  std::set<uint32_t> lost;
  for (uint32_t i = 0; i < count; ++i) lost.insert(i);
  for (uint32_t i = 0; i < count;) {
    for (const uint32_t end = i + 100; i < end; ++i) from.send(kB, kPort, i, 100);
    // The kernel's queue before the line is never full: then only the line loses anything.
    eventually("the line has dealt with them",
               [&] { return line.stat("up_packets") + line.stat("up_lost") == i; });
  }
  for (const auto& arrived : to.receive(200ms)) lost.erase(arrived.number);
  CHECK(line.stat("up_lost") == lost.size());
  CHECK(line.stat("down_lost") == 0);
  return lost;
}

}  // namespace

TEST_CASE("tunnel: each way takes its own time, and no less") {
  Tunnel line({"--delay", "15ms,35ms"});
  for (const bool up : {true, false}) {
    std::vector<Millis> ways;
    for (int i = 0; i < 10; ++i) {
      for (const auto& arrived : burst(line, up, 1, 100)) ways.push_back(arrived.way);
      if (ways.size() >= 5) break;
    }
    REQUIRE(ways.size() >= 5);
    const Millis delay = up ? 15ms : 35ms;
    const Millis shortest = *std::min_element(ways.begin(), ways.end());
    INFO((up ? "up " : "down ") << shortest.count() << " ms");
    CHECK(shortest >= delay);
    CHECK(shortest < delay + 15ms);
  }
  CHECK(line.stat("rtt_us") == 50'000);
}

TEST_CASE("tunnel: each way has its own rate, headers included") {
  // 1000 bytes are 8 ms at 1 Mbit/s.
  Tunnel line({"--rate", "1Mbit,4mbit", "--delay", "5ms"});
  for (const bool up : {true, false}) {
    const auto arrived = burst(line, up, 50, 1000);
    REQUIRE(arrived.size() == 50);
    const Millis expected = Millis(50 * (up ? 8.0 : 2.0) + 5);
    INFO((up ? "up " : "down ") << arrived.back().way.count() << " ms");
    CHECK(arrived.back().way >= expected - Millis(50 * 0.1));  // sent while the first ones left
    CHECK(arrived.back().way < expected + 200ms);
    CHECK(std::is_sorted(arrived.begin(), arrived.end(),
                         [](const auto& x, const auto& y) { return x.number < y.number; }));
  }
}

TEST_CASE("tunnel: a full queue drops what comes last, and nothing waits longer than it takes") {
  const bool up = GENERATE(true, false);
  const std::string way = up ? "up_" : "down_";
  Tunnel line({"--rate", "1Mbit", "--queue", up ? "16KiB,64MiB" : "64MiB,16KiB"});
  const auto arrived = burst(line, up, 200, 1000);  // the dropped ones are waited for
  // 16 wait, one is being sent; some leave while the burst comes.
  REQUIRE(arrived.size() >= 17);
  CHECK(arrived.size() < 100);
  for (uint32_t i = 0; i < 17; ++i) CHECK(arrived[i].number == i);
  CHECK(line.stat(way + "packets") == arrived.size());
  CHECK(line.stat(way + "dropped") == 200 - arrived.size());
  CHECK(line.stat(way + "bytes") == 1000 * arrived.size());
  CHECK(line.stat(way + "queued") == 0);
  for (const auto& one : arrived) CHECK(one.way < Millis(17 * 8) + 500ms);
  // The other way has room for all of them.
  CHECK(burst(line, !up, 100, 1000).size() == 100);
  CHECK(line.stat(std::string(up ? "down_" : "up_") + "dropped") == 0);
}

TEST_CASE("tunnel: it loses the share that it is told to, and a seed loses the same again") {
  const auto first = lost_of("7", 2000);
  CHECK(first.size() > 60);
  CHECK(first.size() < 150);
  CHECK(lost_of("7", 2000) == first);
  CHECK(lost_of("8", 2000) != first);
}

TEST_CASE("tunnel: TCP repeats what is lost, and every byte arrives") {
  Tunnel line({"--delay", "5ms", "--loss", "1%", "--rate", "50Mbit"});
  Pair pair = connect(line.a(), line.b(), kB);
  const std::string bytes = pattern(2'000'000);
  std::thread sender([&] { pair.near.send(bytes); });
  const std::string received = pair.far.receive(bytes.size());
  sender.join();
  CHECK((received == bytes));
  CHECK(line.stat("up_lost") > 0);
  CHECK(pair.near.retransmitted() > 0);
}

TEST_CASE("tunnel: TCP starts slowly, which a proxy hides") {
  Tunnel line({"--rtt", "100ms"});
  Pair pair = connect(line.a(), line.b(), kB);
  const std::string bytes = pattern(500'000);
  const auto begin = std::chrono::steady_clock::now();
  std::thread sender([&] { pair.near.send(bytes); });
  pair.far.receive(bytes.size());
  sender.join();
  // Some 15 KB at first and twice as much each round trip; all at once would be half a round trip.
  CHECK(seconds_since(begin) > 0.3);
  CHECK(line.stat("up_dropped") == 0);
}

TEST_CASE("tunnel: TCP both ways at once reaches each way's rate") {
  Tunnel line({"--delay", "5ms", "--rate", "8Mbit,16Mbit"});
  Pair pair = connect(line.a(), line.b(), kB);
  const std::string up = pattern(1'000'000), down = pattern(2'000'000);
  const auto begin = std::chrono::steady_clock::now();
  std::thread up_sender([&] { pair.near.send(up); });
  std::thread down_sender([&] { pair.far.send(down); });
  std::string down_received;
  std::thread down_receiver([&] { down_received = pair.near.receive(down.size()); });
  const std::string up_received = pair.far.receive(up.size());
  const double took = seconds_since(begin);
  down_receiver.join();
  up_sender.join();
  down_sender.join();
  CHECK((up_received == up));
  CHECK((down_received == down));
  // A second at the rate, headers and acknowledgements beside it.
  CHECK(took > 1.0);
  CHECK(took < 5.0);
}

TEST_CASE("tunnel: a cut swallows what is sent, connections stay and go on") {
  Tunnel line({"--delay", "50ms"});
  Pair pair = connect(line.a(), line.b(), kB);
  pair.near.send("before");
  CHECK(pair.far.receive(6) == "before");
  line.post("/down");
  pair.near.send("during");
  pair.far.send("back");
  CHECK_FALSE(pair.far.readable_within(500ms));
  CHECK_FALSE(pair.near.readable_within(0ms));
  CHECK(line.stat("up_swallowed") > 0);
  CHECK(line.stat("down_swallowed") > 0);
  line.post("/up");
  CHECK(pair.far.receive(6) == "during");
  CHECK(pair.near.receive(4) == "back");
}

TEST_CASE("tunnel: what is under way when the line is cut never arrives") {
  Tunnel line({"--delay", "2s"});
  Datagrams from(line.a());
  Datagrams to(line.b(), kPort);
  from.send(kB, kPort, 1, 100);
  from.send(kB, kPort, 2, 100);
  eventually("the line has them", [&] { return line.stat("up_under_way") == 2; });
  line.post("/down");
  CHECK(line.stat("up_swallowed") == 2);
  line.post("/up");
  line.post("/set?delay=1ms");
  from.send(kB, kPort, 3, 100);
  const auto arrived = to.receive(500ms);
  REQUIRE(arrived.size() == 1);
  CHECK(arrived.front().number == 3);
}

TEST_CASE("tunnel: stalled, packets wait; changed, the line is another at once") {
  Tunnel line({"--delay", "20ms"});
  Datagrams from(line.a());
  Datagrams to(line.b(), kPort);
  line.post("/set?stall=true");
  from.send(kB, kPort, 1, 100);
  CHECK(to.receive(300ms).empty());
  line.post("/set?stall=false");
  const auto after = to.receive(300ms);
  REQUIRE(after.size() == 1);
  CHECK(after.front().way > 300ms);

  line.post("/set?loss=100%25,0");
  from.send(kB, kPort, 2, 100);
  CHECK(to.receive(200ms).empty());
  CHECK(line.stat("up_lost") == 1);
  line.post("/set?loss=0&delay=200ms,1ms");
  from.send(kB, kPort, 3, 100);
  const auto slow = to.receive(1s, 1);
  REQUIRE(slow.size() == 1);
  CHECK(slow.front().way >= 200ms);
  CHECK(line.stat("rtt_us") == 201'000);
}

TEST_CASE("tunnel: a second line ends in the same place, with addresses of its own") {
  Tunnel first({"--delay", "1ms"});
  Tunnel second({"--delay", "30ms", "--b-of", first.name()});
  // One server in b serves both, at the same address.
  Pair near = connect(first.a(), second.b(), kB);
  Pair far = connect(second.a(), first.b(), kB);
  near.near.send("one");
  CHECK(near.far.receive(3) == "one");
  far.near.send("two");
  CHECK(far.far.receive(3) == "two");
  CHECK(first.stat("up_packets") > 0);
  CHECK(second.stat("up_packets") > 0);
  Pair back = connect(first.b(), second.a(), "192.0.2.5");
  back.near.send("back");
  CHECK(back.far.receive(4) == "back");
}

TEST_CASE("tunnel: exec puts a command into an end, and its status comes back") {
  Tunnel line({});
  const Ended devices = run_wan({"exec", line.name(), "a", "--", "/bin/cat", "/proc/net/dev"});
  CHECK(devices.code == 0);
  CHECK(devices.output.find("wan0:") != std::string::npos);
  std::ifstream file("/proc/net/dev");
  std::stringstream own;
  own << file.rdbuf();
  CHECK(own.str().find("wan0:") == std::string::npos);
  CHECK(run_wan({"exec", line.name(), "b", "/bin/sh", "-c", "exit 42"}).code == 42);

  const Ended none = run_wan({"exec", "nobody", "a", "--", "/bin/true"});
  CHECK(none.code == 1);
  CHECK(none.output.find("no line named 'nobody' runs; these run:") != std::string::npos);
  CHECK(none.output.find(line.name()) != std::string::npos);
  const Ended end = run_wan({"exec", line.name(), "c", "--", "/bin/true"});
  CHECK(end.code == 2);
  CHECK(end.output.find("write a or b") != std::string::npos);
  const Ended command = run_wan({"exec", line.name(), "a", "--", "/no/such/program"});
  CHECK(command.code == 1);
  CHECK(command.output.find("/no/such/program") != std::string::npos);
}

TEST_CASE("tunnel: a name runs once, and is free again after kill -9") {
  auto line = std::make_unique<Tunnel>(std::vector<std::string>{});
  const std::string name = line->name();
  const Ended second = run_wan({"tun", "--name", name});
  CHECK(second.code == 1);
  CHECK(second.output.find("runs already (process " + std::to_string(line->process().pid())) !=
        std::string::npos);

  // Somebody is still inside when it is killed.
  const branchline::wan::Descriptor& network = line->a();
  line->process().signal(SIGKILL);
  line->process().wait();
  {
    const branchline::wan::Inside inside(network);
    std::ifstream file("/proc/thread-self/net/dev");
    std::stringstream devices;
    devices << file.rdbuf();
    CHECK(devices.str().find("lo:") != std::string::npos);
    CHECK(devices.str().find("wan0:") == std::string::npos);
  }
  CHECK(run_wan({"exec", name, "a", "--", "/bin/true"}).output.find("no line named") !=
        std::string::npos);
  CHECK(std::filesystem::exists("/run/branchline-wan/" + name));
  Tunnel other({});
  CHECK_FALSE(std::filesystem::exists("/run/branchline-wan/" + name));
  Tunnel again({"--delay", "1ms"}, name);
  CHECK(burst(again, true, 3, 100).size() == 3);
  again.process().signal(SIGTERM);
  CHECK(again.process().wait() == 0);
  CHECK_FALSE(std::filesystem::exists("/run/branchline-wan/" + name));
}

TEST_CASE("tunnel: a wrong command line names the option and the mend") {
  const auto refused = [](std::vector<std::string> arguments, int code, const std::string& hint) {
    arguments.insert(arguments.begin(), "tun");
    const Ended ended = run_wan(arguments);
    INFO(ended.output);
    CHECK(ended.code == code);
    CHECK(ended.output.find(hint) != std::string::npos);
  };
  refused({}, 2, "--name");
  refused({"--name", "a/b"}, 2, "'a/b' is no name");
  refused({"--name", "x", "--loss", "2"}, 2, "--loss: '2'");
  refused({"--name", "x", "--loss", "101%"}, 2, "0 to 100%");
  refused({"--name", "x", "--delay", "5"}, 2, "--delay: '5'");
  refused({"--name", "x", "--rate", "1Mbit,fast"}, 2, "--rate: 'fast'");
  refused({"--name", "x", "--delay", "5ms", "--rtt", "9ms"}, 2, "give one");
  refused({"--name", "x", "--b-of", "nobody"}, 1, "no line named 'nobody'");
  refused({"--help"}, 0, "Examples:");
}

TEST_CASE("tunnel: where networks cannot be made it says so, and ends with 77") {
  const branchline::TempFolder folder;
  const std::string log = folder / "log";
  branchline::crash::Process process(
      {"/usr/bin/setpriv", "--bounding-set", "-all", branchline::crash::program("branchline-wan"),
       "tun", "--name", "without-rights"},
      log);
  CHECK(process.wait() == 77);
  CHECK(branchline::crash::read_file(log).find("needs root") != std::string::npos);
}
