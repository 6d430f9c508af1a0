// One office's own requests: writes and reads, its line down, as when its WAN is.
#include <algorithm>
#include <stdexcept>
#include <thread>

#include "tools/benchmarks/bench.h"
#include "tools/benchmarks/data.h"

namespace branchline::bench {
namespace {

class Responder {
 public:
  Responder(Bench& bench, size_t body_bytes) : port_(free_port()) {
    process_ = bench.floor(
        {"floor-responder", "--port", std::to_string(port_), "--body", std::to_string(body_bytes)},
        false);
    bench.fleet().wait_until(
        [this] {
          try {
            Connection probe(port_);
            return true;
          } catch (const std::exception&) {
            return false;
          }
        },
        10, "the bare responder");
  }
  uint16_t port() const { return port_; }

 private:
  uint16_t port_;
  Process process_;
};

struct Commits {
  double groups = 0, mutations = 0, sync_seconds = 0;
};
Commits commits_of(Bench& bench) {
  auto answer = HttpClient("127.0.0.1:" + std::to_string(bench.fleet().port("office")))
                    .request("GET", "/metrics");
  auto value = [&](const std::string& name) {
    size_t at = answer ? answer->body.find("\n" + name + " ") : std::string::npos;
    return at == std::string::npos
               ? 0.0
               : std::strtod(answer->body.c_str() + at + name.size() + 2, nullptr);
  };
  return {value("branchline_commit_groups"), value("branchline_commit_mutations"),
          value("branchline_commit_sync_seconds")};
}

void measure_latency(Bench& bench) {
  Responder responder(bench, 400);
  std::vector<double> values, floors, ratios;
  for (int round = 0; round < bench.options().rounds(); ++round) {
    double raw = number(bench.store_floor(1, bench.options().seconds()), "p50_us");
    LoadPlan plan;
    plan.port = responder.port();
    plan.seconds = bench.options().seconds();
    plan.make = [&](std::string& out, int connection) {
      bench.append_edit(out, connection, false);
    };
    double bare = closed_loop(plan).percentile_us(0.5);
    double subject = bench.edit("office", 1, bench.options().seconds(), 0).percentile_us(0.5);
    bench.say("p50: office " + std::to_string(subject) + " us, batch " + std::to_string(raw) +
              " us, bare PATCH " + std::to_string(bare) + " us");
    values.push_back(subject);
    floors.push_back(raw + bare);
    ratios.push_back(subject / (raw + bare));
  }
  double ratio = median(ratios);
  bench.add({"write.p50.1client", median(values), "us", median(floors), ratio, "<= 1.35x floor",
             ratio <= 1.35});
}

void measure_rate(Bench& bench, const std::string& name, int clients, const std::string& goal,
                  auto met) {
  std::vector<double> values, floors, ratios;
  for (int round = 0; round < bench.options().rounds(); ++round) {
    Json floor = bench.store_floor(clients, bench.options().seconds());
    double raw = number(floor, "rate");
    Commits before = commits_of(bench);
    double cpu = bench.fleet().process("office").cpu_seconds();
    LoadResult edits = bench.edit("office", clients, bench.options().seconds(), 0);
    cpu = bench.fleet().process("office").cpu_seconds() - cpu;
    double subject = edits.rate();
    Commits after = commits_of(bench);
    double groups = std::max(after.groups - before.groups, 1.0);
    bench.say(std::to_string(clients) + " clients: office " + std::to_string(subject) +
              "/s in groups of " + std::to_string((after.mutations - before.mutations) / groups) +
              ", " + std::to_string((after.sync_seconds - before.sync_seconds) / groups * 1e6) +
              " us each to write, " +
              std::to_string(cpu / static_cast<double>(edits.requests) * 1e6) +
              " us of CPU per change; raw " + std::to_string(raw) + "/s, " +
              std::to_string(number(floor, "cpu_us")) + " us of CPU");
    values.push_back(subject);
    floors.push_back(raw);
    ratios.push_back(subject / raw);
  }
  double value = median(values), ratio = median(ratios);
  bench.add({name, value, "/s", median(floors), ratio, goal, met(value, ratio)});
}

}  // namespace

void measure_writes(Bench& bench) {
  bool slow = bench.options().slow_fsync_us > 0;
  std::vector<std::string> names{"write.p50.1client", "write.rate.16clients"};
  if (slow) names = {"write.rate.16clients.slow_fsync", "write.rate.64clients.slow_fsync"};
  if (!bench.wants_any(names)) return;
  bench.floor_store();
  if (!slow && bench.wants(names[0])) measure_latency(bench);
  if (!slow && bench.wants(names[1])) {
    measure_rate(bench, names[1], 16, ">= floor", [](double, double ratio) { return ratio >= 1; });
  }
  if (slow && bench.wants(names[0])) {
    measure_rate(bench, names[0], 16, ">= 1.3x floor",
                 [](double, double ratio) { return ratio >= 1.3; });
  }
  if (slow && bench.wants(names[1])) {
    measure_rate(bench, names[1], 64, ">= 20000/s",
                 [](double value, double) { return value >= 20'000; });
  }
  bench.drain({"office"});
}

void measure_reads(Bench& bench) {
  if (!bench.wants("read.rate")) return;
  Fleet& fleet = bench.fleet();
  fleet.start("office");
  fleet.settle({"office"});
  bench.line_down("office");
  Dice dice(3);
  LoadPlan plan;
  plan.connections = 16;
  plan.seconds = bench.options().seconds();
  plan.make = [&](std::string& out, int) {
    const std::string& id =
        fleet.contacts()[dice.below(static_cast<uint32_t>(fleet.contacts().size()))];
    append_request(out, "GET", "/api/data/v9.2/contacts(" + id + ")", fleet.auth(), {});
  };
  size_t body_bytes = 0;
  LoadPlan first = plan;
  first.port = fleet.port("office");
  first.requests = 1;
  first.connections = 1;
  first.answered = [&](const Connection& answer, int) { body_bytes = answer.body().size(); };
  closed_loop(first);
  Responder responder(bench, body_bytes);
  std::vector<double> values, floors, ratios;
  for (int round = 0; round < bench.options().rounds(); ++round) {
    plan.port = responder.port();
    double bare = closed_loop(plan).rate();
    plan.port = fleet.port("office");
    LoadResult subject = closed_loop(plan);
    if (subject.failed > 0) throw std::runtime_error("a read failed: " + subject.first_failure);
    bench.say("reads: office " + std::to_string(subject.rate()) + "/s, bare " +
              std::to_string(bare) + "/s");
    values.push_back(subject.rate());
    floors.push_back(bare);
    ratios.push_back(subject.rate() / bare);
  }
  double ratio = median(ratios);
  bench.add(
      {"read.rate", median(values), "/s", median(floors), ratio, ">= 0.5x floor", ratio >= 0.5});
  bench.drain({"office"});
}

}  // namespace branchline::bench
