// An office at work: 500 changes a second over its line, and how soon head office shows them.
#include <stdexcept>

#include "tools/benchmarks/bench.h"
#include "tools/benchmarks/entropy.h"
#include "tools/benchmarks/live.h"

namespace branchline::bench {
namespace {

constexpr int kRate = 500;
constexpr auto kPollFrom =
    std::chrono::microseconds(39'500);  // a line of 40 ms one way shows nothing earlier

// Half of the round trip of one byte through a line of the same kind.
struct LineFloor {
  double p50_ms = 0, p99_ms = 0;
};
LineFloor line_floor_of(Bench& bench, uint16_t port, const std::string& host) {
  // The echo of an answer in HTTP's form is an answer.
  LoadPlan plan;
  plan.port = port;
  plan.host = host;
  plan.connections = 8;
  plan.requests = bench.options().quick ? 200 : 800;
  plan.make = [](std::string& out, int) { out += "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"; };
  LoadResult result = closed_loop(plan);
  return {result.percentile_us(0.5) / 2000, result.percentile_us(0.99) / 2000};
}

bool knock(uint16_t port, const std::string& host = "127.0.0.1") {
  try {
    Connection probe(port, host);
    return true;
  } catch (const std::exception&) {
    return false;
  }
}

// Through the office's own line, on which nothing else happens meanwhile.
LineFloor measure_tunnel(Bench& bench) {
  const uint16_t port = free_port();
  const std::string host = Fleet::kMasterAddress;
  Process echo = bench.floor({"floor-echo", "--host", host, "--port", std::to_string(port)}, false,
                             bench.fleet().place("master"));
  port_lives_in(port, bench.fleet().network("office"));
  bench.fleet().wait_until([&] { return knock(port, host); }, 10, "the bare line");
  return line_floor_of(bench, port, host);
}

LineFloor measure_line(Bench& bench) {
  if (bench.options().tunnel) return measure_tunnel(bench);
  uint16_t echo_port = free_port(), wan_port = free_port(), control = free_port();
  Process echo = bench.floor({"floor-echo", "--port", std::to_string(echo_port)}, false);
  std::string local = "127.0.0.1:";
  Process wan({program_folder() + "/branchline-wan", "--listen", local + std::to_string(wan_port),
               "--connect", local + std::to_string(echo_port), "--rtt", "80ms", "--rate", "20Mbit",
               "--queue", "256KiB", "--control", local + std::to_string(control)},
              bench.options().folder + "/wan-floor.log");
  bench.fleet().wait_until([&] { return knock(echo_port) && knock(wan_port); }, 10,
                           "the bare line");
  return line_floor_of(bench, wan_port, "127.0.0.1");
}

LivePlan plan_of(Bench& bench, double seconds, bool phone) {
  LivePlan plan;
  plan.fleet = &bench.fleet();
  plan.rate = kRate;
  plan.seconds = seconds;
  plan.shown_from = kPollFrom;
  plan.watch = !phone;
  plan.make = [&bench, phone](std::string& out, int connection) {
    bench.append_edit(out, connection, phone);
    return LivePlan::Made{bench.last_number(), out.substr(out.find("contacts(") + 9, 36)};
  };
  return plan;
}

double live_bytes(Bench& bench, double seconds) {
  bench.fleet().settle({"office"});
  Json stats = bench.fleet().line_stats("office");
  double count = seconds * kRate;
  bench.say("per change " + std::to_string(number(stats, "up_bytes") / count) + " B up, " +
            std::to_string(number(stats, "down_bytes") / count) + " B down");
  return (number(stats, "up_bytes") + number(stats, "down_bytes")) / (seconds * kRate);
}

}  // namespace

Lag live_lag(Bench& bench, double seconds) {
  bench.fleet().line("office", "/stats/reset");
  std::vector<double> lags;
  for (const auto& e : run_live(plan_of(bench, seconds, false)))
    lags.push_back(milliseconds(e.shown - e.sent));
  return {percentile(lags, 0.5), percentile(lags, 0.99), live_bytes(bench, seconds)};
}

void measure_live(Bench& bench) {
  if (!bench.wants_any(
          {"lag.p50", "lag.p99", "bytes.per_change.live", "bytes.per_field_edit.live"}))
    return;
  Fleet& fleet = bench.fleet();
  bench.drain({"office", "hq"});
  fleet.wait_until([&] { return fleet.connected("office"); }, 60, "the line");
  double seconds = bench.options().live_seconds();
  if (bench.wants_any({"lag.p50", "lag.p99", "bytes.per_change.live"})) {
    LineFloor before = measure_line(bench);
    Lag lag = live_lag(bench, seconds);
    LineFloor after = measure_line(bench);
    double way = (before.p50_ms + after.p50_ms) / 2, slow_way = (before.p99_ms + after.p99_ms) / 2;
    double p50 = lag.p50_ms, p99 = lag.p99_ms, bytes = lag.bytes;
    if (bench.wants("lag.p50"))
      bench.add({"lag.p50", p50, "ms", way, p50 / way, "<= one way + 1.5 ms", p50 <= way + 1.5});
    if (bench.wants("lag.p99"))
      bench.add(
          {"lag.p99", p99, "ms", slow_way, p99 / slow_way, "<= one way + 4 ms", p99 <= way + 4});
    if (bench.wants("bytes.per_change.live")) {
      double floor = change_entropy(false);
      bench.add({"bytes.per_change.live", bytes, "B", floor, bytes / floor, "<= 85", bytes <= 85});
    }
  }
  if (bench.wants("bytes.per_field_edit.live")) {
    fleet.line("office", "/stats/reset");
    run_live(plan_of(bench, seconds / 2, true));
    double bytes = live_bytes(bench, seconds / 2), floor = change_entropy(true);
    bench.add(
        {"bytes.per_field_edit.live", bytes, "B", floor, bytes / floor, "<= 60", bytes <= 60});
  }
}

}  // namespace branchline::bench
