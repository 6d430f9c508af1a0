#include "tools/benchmarks/bench.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <stdexcept>

#include "tools/benchmarks/data.h"
#include "tools/branchline/cluster.h"

namespace branchline::bench {
namespace {

int64_t wall_ms() {
  return std::chrono::duration_cast<std::chrono::milliseconds>(
             std::chrono::system_clock::now().time_since_epoch())
      .count();
}

}  // namespace

double number(const Json& object, const char* name) {
  const Json* m = object.member(name);
  return m ? std::strtod(m->text.c_str(), nullptr) : 0;
}

Bench::Bench(Options options) : options_(std::move(options)) {
  if (!options_.folder.empty()) {
    std::filesystem::create_directories(options_.folder);
    return;
  }
  std::string pattern =
      (std::filesystem::temp_directory_path() / "branchline-bench-XXXXXX").string();
  if (!::mkdtemp(pattern.data())) throw std::runtime_error("no temporary folder");
  options_.folder = pattern;
}

Bench::~Bench() {
  fleet_.reset();
  if (keep_) return;
  std::error_code ignored;
  std::filesystem::remove_all(options_.folder, ignored);
}

bool Bench::wants(const std::string& name) const {
  if (options_.tunnel && name == "catchup.loopback") return false;
  if (options_.only.empty()) return true;
  return std::any_of(options_.only.begin(), options_.only.end(),
                     [&](const std::string& o) { return name == o || name.starts_with(o + "."); });
}

bool Bench::wants_any(const std::vector<std::string>& names) const {
  return std::any_of(names.begin(), names.end(), [this](const std::string& n) { return wants(n); });
}

Fleet& Bench::fleet() {
  if (!fleet_) {
    FleetOptions o;
    o.folder = options_.folder + "/fleet";
    o.contacts = options_.contacts();
    o.environment = disk_environment();
    o.tunnel = options_.tunnel;
    o.progress = [this](const std::string& text) { say(text); };
    fleet_ = std::make_unique<Fleet>(o);
  }
  return *fleet_;
}

void Bench::say(const std::string& text) const { std::fprintf(stderr, "  %s\n", text.c_str()); }

void Bench::add(Figure figure) {
  if (options_.tunnel) {
    if (figure.name.starts_with("bytes.")) {
      figure.goal = "(with headers)";
      figure.met = true;
    }
    figure.name += ".tun";
  }
  std::fprintf(stderr, "  %s: %.5g %s, floor %.5g, ratio %.3f, %s\n", figure.name.c_str(),
               figure.value, figure.unit.c_str(), figure.floor, figure.ratio,
               figure.met ? "met" : "missed");
  figures_.push_back(std::move(figure));
}

void Bench::keep_folder() {
  keep_ = true;
  std::fprintf(stderr, "its servers' logs are in %s\n", options_.folder.c_str());
}

std::vector<std::pair<std::string, std::string>> Bench::disk_environment() const {
  if (options_.slow_fsync_us == 0) return {};
  return {{"LD_PRELOAD", program_folder() + "/../lib/libbranchline-slow-fsync.so"},
          {"BRANCHLINE_BENCH_FSYNC_US", std::to_string(options_.slow_fsync_us)}};
}

Process Bench::floor(const std::vector<std::string>& arguments, bool capture,
                     const std::vector<std::string>& place) const {
  std::vector<std::string> command = place;
  command.push_back(program_folder() + "/branchline-bench");
  command.insert(command.end(), arguments.begin(), arguments.end());
  return Process(command, options_.folder + "/floor.log", capture, disk_environment());
}

const std::string& Bench::floor_store() {
  if (!floor_store_.empty()) return floor_store_;
  Fleet& f = fleet();
  f.start("office");
  line_down("office");
  edit("office", 1, 0, 200);
  f.stop("office");
  std::string copy = options_.folder + "/floor-store";
  std::filesystem::copy(f.store("office"), copy, std::filesystem::copy_options::recursive);
  f.start("office");
  floor_store_ = copy;
  return floor_store_;
}

Json Bench::store_floor(int threads, double seconds, uint32_t group, uint64_t operations) {
  auto text = floor({"floor-store", "--store", floor_store(), "--threads", std::to_string(threads),
                     "--seconds", std::to_string(seconds), "--group", std::to_string(group),
                     "--operations", std::to_string(operations)},
                    true)
                  .finish();
  auto json = parse_json(text);
  if (!json) throw std::runtime_error("the store's floor said: " + text);
  return std::move(*json);
}

void Bench::append_edit(std::string& out, int connection, bool phone) {
  static Dice dice(2);
  const auto& ids = fleet().contacts();
  uint64_t n = next_number();
  body_.clear();
  if (phone) {
    append_phone_edit(body_, dice);
  } else {
    append_change(body_, change(dice, wall_ms(), n));
  }
  headers_ = fleet().auth();
  headers_ += "Idempotency-Key: c" + std::to_string(connection) + "-" +
              std::to_string(++keys_[connection]) + "\r\n";
  const std::string& id = ids[dice.below(static_cast<uint32_t>(ids.size()))];
  append_request(out, "PATCH", "/api/data/v9.2/contacts(" + id + ")", headers_, body_);
}

LoadResult Bench::edit(const std::string& server, int connections, double seconds,
                       uint64_t requests, bool phone) {
  LoadPlan plan;
  plan.port = fleet().port(server);
  plan.connections = connections;
  plan.seconds = seconds;
  plan.requests = requests;
  plan.make = [&](std::string& out, int connection) { append_edit(out, connection, phone); };
  LoadResult result = closed_loop(plan);
  if (result.failed > 0) throw std::runtime_error("a write failed: " + result.first_failure);
  return result;
}

void Bench::pend(const std::string& server, uint64_t count, bool phone) {
  auto result = edit(server, 32, 0, count, phone);
  say(std::to_string(count) + " changes made at " + server + " without its line, " +
      std::to_string(static_cast<int>(result.rate())) + "/s");
}

void Bench::line_down(const std::string& server) {
  fleet().line(server, "/down");
  if (!options_.tunnel) return;
  fleet().wait_until([&] { return !fleet().connected(server); }, 120,
                     server + " to notice that its line is down");
}
void Bench::line_up(const std::string& server) {
  fleet().line(server, "/set?rtt=80ms&rate=20Mbit&stall=false");
  fleet().line(server, "/up");
}

void Bench::drain(const std::vector<std::string>& branches) {
  for (const auto& b : branches) {
    fleet().start(b);
    if (b == "hq") continue;
    fleet().line(b, "/set?rtt=0ms&rate=0&stall=false");
    fleet().line(b, "/up");
  }
  fleet().settle(branches);
  for (const auto& b : branches) {
    if (b != "hq") line_up(b);
  }
}

}  // namespace branchline::bench
