// branchline-bench: every figure beside its floor, measured in the same run. tools/bench builds and
// starts it.
#include <CLI/CLI.hpp>

#include <cstdio>
#include <fstream>
#include <sstream>

#include "common/config/topology.h"
#include "common/json/json_writer.h"
#include "tools/benchmarks/bench.h"
#include "tools/benchmarks/floors.h"
#include "tools/branchline/cluster.h"

namespace branchline::bench {
namespace {

std::string digits(double v) {
  char text[40];
  std::snprintf(text, sizeof text, v >= 1000 ? "%.0f" : v >= 100 ? "%.1f" : "%.2f", v);
  return text;
}

void print(const std::vector<Figure>& figures) {
  std::vector<std::vector<std::string>> rows{
      {"NAME", "VALUE", "UNIT", "FLOOR", "RATIO", "GOAL", ""}};
  for (const auto& f : figures) {
    rows.push_back({f.name, digits(f.value), f.unit, digits(f.floor), digits(f.ratio), f.goal,
                    f.met ? "met" : "MISSED"});
  }
  print_table(rows);
}

bool write_json(const std::vector<Figure>& figures, const std::string& path) {
  std::ofstream file(path);
  file << "[";
  for (size_t i = 0; i < figures.size(); ++i) {
    const Figure& f = figures[i];
    char numbers[160];
    std::snprintf(numbers, sizeof numbers,
                  "\"value\":%.6g,\"unit\":\"%s\",\"floor\":%.6g,\"ratio\":%.4g", f.value,
                  f.unit.c_str(), f.floor, f.ratio);
    file << (i ? ",\n " : "") << "{\"name\":\"" << f.name << "\"," << numbers << "}";
  }
  file << "]\n";
  return file.good();
}

int run(const Options& options) {
  Bench bench(options);
  try {
    const bool lines = options.slow_fsync_us == 0;
    if (lines && !options.tunnel) measure_reads(bench);
    if (!options.tunnel) measure_writes(bench);
    if (lines) {
      measure_live(bench);
      measure_catchup(bench);
    }
    if (lines && !options.tunnel) measure_memory(bench);
    if (lines) measure_lanes(bench);
    if (lines && !options.tunnel) measure_scale(bench);
  } catch (const std::exception& e) {
    std::fprintf(stderr, "the benchmark failed: %s\n", e.what());
    bench.keep_folder();
    if (!bench.figures().empty()) print(bench.figures());
    return 1;
  }
  if (bench.figures().empty()) {
    std::fprintf(stderr, "no figure has this name; docs/benchmarks.md lists them\n");
    return 2;
  }
  print(bench.figures());
  if (!options.json_file.empty() && !write_json(bench.figures(), options.json_file)) {
    std::fprintf(stderr, "cannot write %s\n", options.json_file.c_str());
    return 1;
  }
  return 0;
}

}  // namespace
}  // namespace branchline::bench

int main(int argc, char** argv) {
  using namespace branchline::bench;
  CLI::App app{
      "Measures Branchline against what this machine can do. docs/benchmarks.md explains each "
      "figure."};
  Options options;
  std::string slow, network = "proxy", host = "127.0.0.1";
  app.add_option("--only", options.only, "figures, by name or beginning (write, lag.p50)");
  app.add_flag("--quick", options.quick,
               "20,000 records and short runs: for a look, not for the record");
  app.add_option("--json", options.json_file,
                 "also write [{name, value, unit, floor, ratio}] here");
  app.add_option("--slow-fsync", slow,
                 "add this to every fsync of servers and floors (1ms), and measure writes only");
  app.add_option("--rounds", options.alternations,
                 "alternations of subject and floor (default 7; 3 with --quick)");
  app.add_option("--folder", options.folder,
                 "where the servers keep their data meanwhile (default: a temporary folder)");
  app.add_option(
         "--network", network,
         "proxy, or tun: the figures of the line (lag, catchup, bytes, lanes) with packets between "
         "network namespaces; needs root")
      ->check(CLI::IsMember({"proxy", "tun"}))
      ->capture_default_str();
  app.add_option("--lanes-rate", options.lanes_rate,
                 "rate of the line that lanes.* share with an import, as in a topology")
      ->check([](const std::string& rate) {
        return branchline::parse_rate_bits(rate) ? std::string()
                                                 : "`" + rate + "` is no rate (8Mbit)";
      })
      ->capture_default_str();
  StoreFloor store;
  uint16_t port = 0;
  size_t body = 0;
  auto* floor_store = app.add_subcommand("floor-store")->group("");
  floor_store->add_option("--store", store.store);
  floor_store->add_option("--threads", store.threads);
  floor_store->add_option("--seconds", store.seconds);
  floor_store->add_option("--group", store.group);
  floor_store->add_option("--operations", store.operations);
  auto* responder = app.add_subcommand("floor-responder")->group("");
  responder->add_option("--port", port);
  responder->add_option("--body", body);
  auto* echo = app.add_subcommand("floor-echo")->group("");
  echo->add_option("--port", port);
  echo->add_option("--host", host);
  auto* subject = app.add_subcommand("subject")->group("");
  auto* data = app.add_subcommand("peer-data")->group("");
  uint32_t contacts = 0, changes = 0;
  data->add_option("--contacts", contacts)->check(CLI::PositiveNumber);
  data->add_option("--changes", changes);
  CLI11_PARSE(app, argc, argv);
  if (*data) return print_data(contacts, changes);
  if (*floor_store) return run_store_floor(store);
  if (*responder) return run_responder(port, body);
  if (*echo) return run_echo(host, port);
  if (!slow.empty()) {
    auto us = branchline::parse_duration_us(slow);
    if (!us) {
      std::fprintf(stderr, "--slow-fsync: `%s` is no duration (1ms)\n", slow.c_str());
      return 2;
    }
    options.slow_fsync_us = *us;
  }
  options.tunnel = network == "tun";
  if (options.tunnel && options.slow_fsync_us > 0) {
    std::fprintf(stderr, "--slow-fsync measures writes, which use no line: leave --network out\n");
    return 2;
  }
  if (*subject) {
    Bench bench(options);
    try {
      return run_subject(bench);
    } catch (const std::exception& e) {
      std::fprintf(stderr, "Branchline's part failed: %s\n", e.what());
      bench.keep_folder();
      return 1;
    }
  }
  return run(options);
}
