// After a day without its line: how fast an office's changes arrive, how many bytes they take, what
// memory it needs.
#include <algorithm>
#include <map>

#include "tools/benchmarks/bench.h"
#include "tools/benchmarks/entropy.h"
#include "tools/branchline/cluster.h"

namespace branchline::bench {
namespace {

constexpr uint32_t kFloorGroup = 512;

struct Caught {
  double rate = 0;
  double bytes = 0;  // per change, both ways
};

// The clock runs from when the author's link is up until nothing is pending and all checksums
// agree.
Caught catch_up(Bench& bench, const std::string& author, const std::vector<std::string>& servers,
                uint64_t count, auto connect) {
  Fleet& fleet = bench.fleet();
  std::map<std::string, double> before;
  for (const auto& s : servers) before[s] = fleet.process(s).cpu_seconds();
  before["master"] = fleet.runs("master") ? fleet.process("master").cpu_seconds() : 0;
  connect();
  fleet.wait_until([&] { return fleet.connected(author); }, 60, author + "'s link", 0.002);
  auto begin = Clock::now();
  fleet.wait_until([&] { return fleet.agree(servers); }, 900, "the servers to agree", 0.01);
  Caught out;
  out.rate = static_cast<double>(count) / seconds_since(begin);
  for (const auto& [server, seconds] : before) {
    double spent = fleet.process(server).cpu_seconds() - seconds;
    bench.say(server + " computed " + std::to_string(spent / static_cast<double>(count) * 1e6) +
              " us per change");
  }
  return out;
}

double line_bytes(Fleet& fleet, uint64_t count) {
  Json stats = fleet.line_stats("office");
  return (number(stats, "up_bytes") + number(stats, "down_bytes")) / static_cast<double>(count);
}

// What one writer with synced groups reaches on this disk.
double disk_floor(Bench& bench) {
  return number(bench.store_floor(1, bench.options().seconds(), kFloorGroup), "rate");
}

}  // namespace

void measure_catchup(Bench& bench) {
  if (!bench.wants_any({"catchup.link", "catchup.loopback", "catchup.two_hops", "bytes.per_change",
                        "bytes.per_field_edit", "bytes.per_contact"}))
    return;
  Fleet& fleet = bench.fleet();
  uint64_t count = bench.options().pending();
  bench.floor_store();
  bench.drain({"office"});
  fleet.stop("hq");
  double change_floor = change_entropy(false), edit_floor = change_entropy(true);
  constexpr double kLineBytes = 20e6 / 8;

  if (bench.wants_any({"catchup.link", "bytes.per_change"})) {
    bench.line_down("office");
    bench.pend("office", count);
    fleet.line("office", "/stats/reset");
    double floor = std::min(disk_floor(bench), kLineBytes / change_floor);
    Caught c = catch_up(bench, "office", {"office"}, count, [&] { bench.line_up("office"); });
    double bytes = line_bytes(fleet, count);
    if (bench.wants("catchup.link"))
      bench.add(
          {"catchup.link", c.rate, "/s", floor, c.rate / floor, ">= 40000/s", c.rate >= 40'000});
    if (bench.wants("bytes.per_change"))
      bench.add({"bytes.per_change", bytes, "B", change_floor, bytes / change_floor, "<= 30",
                 bytes <= 30});
  }
  if (bench.wants("bytes.per_field_edit")) {
    bench.line_down("office");
    bench.pend("office", count, true);
    fleet.line("office", "/stats/reset");
    catch_up(bench, "office", {"office"}, count, [&] { bench.line_up("office"); });
    double bytes = line_bytes(fleet, count);
    bench.add(
        {"bytes.per_field_edit", bytes, "B", edit_floor, bytes / edit_floor, "<= 15", bytes <= 15});
  }
  if (bench.wants("bytes.per_contact")) {
    bench.line_down("office");
    fleet.create_contacts("office", count, 2);
    fleet.line("office", "/stats/reset");
    catch_up(bench, "office", {"office"}, count, [&] { bench.line_up("office"); });
    double bytes = line_bytes(fleet, count), floor = contact_entropy();
    bench.add({"bytes.per_contact", bytes, "B", floor, bytes / floor, "<= 60", bytes <= 60});
  }
  if (bench.wants("catchup.two_hops")) {
    bench.drain({"office", "second"});
    fleet.wait_until([&] { return fleet.connected("second"); }, 60, "second's line");
    bench.line_down("office");
    bench.pend("office", count);
    double floor = std::min(disk_floor(bench), kLineBytes / change_floor);
    Caught c =
        catch_up(bench, "office", {"office", "second"}, count, [&] { bench.line_up("office"); });
    bench.add(
        {"catchup.two_hops", c.rate, "/s", floor, c.rate / floor, ">= 35000/s", c.rate >= 35'000});
    fleet.stop("second");
  }
  if (bench.wants("catchup.loopback")) {
    bench.drain({"hq", "office"});
    fleet.stop("office");
    fleet.stop("master");
    bench.pend("hq", count);
    double floor = disk_floor(bench);
    fleet.stop("office");
    Caught c = catch_up(bench, "hq", {"hq"}, count, [&] { fleet.start("master"); });
    bench.add(
        {"catchup.loopback", c.rate, "/s", floor, c.rate / floor, ">= 60000/s", c.rate >= 60'000});
  }
  bench.drain({"office", "hq"});
}

void measure_memory(Bench& bench) {
  if (!bench.wants_any({"memory.branch", "memory.master"})) return;
  constexpr double kMiB = 1024.0 * 1024.0;
  Fleet& fleet = bench.fleet();
  uint64_t count = bench.options().memory_pending();
  bench.floor_store();
  bench.drain({"office", "hq", "second"});
  fleet.stop("hq");
  // Fresh processes: what other figures needed does not count.
  fleet.stop("office");
  fleet.stop("second");
  fleet.stop("master");
  fleet.start("master");
  for (const char* name : {"office", "second"}) {
    fleet.start(name);
    fleet.wait_until([&] { return fleet.connected(name); }, 60, "the line");
  }
  fleet.line("office", "/set?stall=true");
  fleet.line("second", "/set?stall=true");
  bench.pend("office", count);
  double floor = number(bench.store_floor(1, 0, kFloorGroup, count), "peak_bytes") / kMiB;
  double branch = static_cast<double>(fleet.process("office").peak_bytes()) / kMiB;
  // Then all of it comes to a master whose other branch takes nothing.
  fleet.line("office", "/set?rtt=0ms&rate=0&stall=false");
  fleet.wait_until([&] { return fleet.pending("office") == 0; }, 900, "the master to take them");
  double master = static_cast<double>(fleet.process("master").peak_bytes()) / kMiB;
  branch = std::max(branch, static_cast<double>(fleet.process("office").peak_bytes()) / kMiB);
  if (bench.wants("memory.branch"))
    bench.add({"memory.branch", branch, "MiB", floor, branch / floor, "<= 512", branch <= 512});
  if (bench.wants("memory.master"))
    bench.add({"memory.master", master, "MiB", floor, master / floor, "<= 512", master <= 512});
}

}  // namespace branchline::bench
