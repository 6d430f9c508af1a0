// Branchline's part of `tools/bench --peers`: the script says when, so that all take turns.
#include <cstdio>
#include <iostream>
#include <sstream>
#include <stdexcept>

#include "tools/benchmarks/bench.h"
#include "tools/benchmarks/data.h"

namespace branchline::bench {
namespace {

std::string members(const std::vector<std::pair<const char*, double>>& values) {
  std::string out = "{";
  for (const auto& [name, value] : values) {
    char text[80];
    std::snprintf(text, sizeof text, "%s\"%s\":%.9g", out.size() > 1 ? "," : "", name, value);
    out += text;
  }
  return out + "}";
}

std::string write(Bench& bench, int clients, double seconds) {
  bench.fleet().start("office");
  bench.line_down("office");
  LoadResult r = bench.edit("office", clients, seconds, 0);
  return members(
      {{"rate", r.rate()}, {"p50_us", r.percentile_us(0.5)}, {"p99_us", r.percentile_us(0.99)}});
}

std::string live(Bench& bench, double seconds) {
  bench.drain({"office", "hq"});
  bench.fleet().wait_until([&] { return bench.fleet().connected("office"); }, 60, "the line");
  Lag lag = live_lag(bench, seconds);
  return members({{"p50_ms", lag.p50_ms}, {"p99_ms", lag.p99_ms}, {"bytes", lag.bytes}});
}

// Until head office's own branch shows all rows, with their indexes, and the author has every fate.
std::string catch_up(Bench& bench, bool link, uint64_t count) {
  Fleet& fleet = bench.fleet();
  bench.drain({"office", "hq"});
  bench.line_down("office");
  bench.pend("office", count);
  fleet.line("office", "/stats/reset");
  if (link) {
    bench.line_up("office");
  } else {
    fleet.line("office", "/set?rtt=0ms&rate=0&stall=false");
    fleet.line("office", "/up");
  }
  fleet.wait_until([&] { return fleet.connected("office"); }, 60, "office's link", 0.002);
  auto begin = Clock::now();
  fleet.wait_until([&] { return fleet.pending("office") == 0; }, 900, "the master's fates", 0.01);
  double decided = seconds_since(begin);
  fleet.wait_until([&] { return fleet.agree({"office", "hq"}); }, 900, "all to agree", 0.01);
  double applied = seconds_since(begin), n = static_cast<double>(count);
  Json stats = fleet.line_stats("office");
  return members({{"rate", n / applied},
                  {"decided_rate", n / decided},
                  {"bytes", (number(stats, "up_bytes") + number(stats, "down_bytes")) / n}});
}

std::string obey(Bench& bench, const std::string& command) {
  std::istringstream words(command);
  std::string what, where;
  words >> what;
  Fleet& fleet = bench.fleet();
  if (what == "pids") {
    bench.drain({"office", "hq"});
    auto pid = [&](const char* server) { return std::to_string(fleet.process(server).pid()); };
    return "{\"office\":[" + pid("office") + "],\"head\":[" + pid("master") + "," + pid("hq") +
           "]}";
  }
  if (what == "drain") {
    bench.drain({"office", "hq"});
    return "{}";
  }
  double amount = 0, seconds = 0;
  if (what == "write" && words >> amount >> seconds)
    return write(bench, static_cast<int>(amount), seconds);
  if (what == "live" && words >> seconds) return live(bench, seconds);
  if (what == "catchup" && words >> where >> amount && (where == "link" || where == "loopback"))
    return catch_up(bench, where == "link", static_cast<uint64_t>(amount));
  throw std::runtime_error("no such figure: " + command);
}

}  // namespace

int run_subject(Bench& bench) {
  std::string command;
  while (std::getline(std::cin, command)) std::cout << obey(bench, command) << std::endl;
  return 0;
}

int print_data(uint32_t contacts, uint32_t changes) {
  Dice dice(1);
  std::string line;
  for (uint32_t i = 0; i < contacts; ++i) {
    line.clear();
    append_contact(line, dice);
    std::puts(line.c_str());
  }
  Dice edits(2);
  for (uint32_t i = 0; i < changes; ++i) {
    Change c = change(edits, 0, i);
    std::printf("{\"row\":%u,\"statuscode\":%u,\"description\":\"%s\"}\n", edits.below(contacts),
                c.status, c.text.c_str());
  }
  return std::fflush(stdout) == 0 ? 0 : 1;
}

}  // namespace branchline::bench
