// An import and people share a line: what the import adds to the lag of people's edits.
#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <thread>

#include "tools/benchmarks/bench.h"
#include "tools/benchmarks/data.h"
#include "tools/benchmarks/live.h"
#include "tools/branchline/cluster.h"

namespace branchline::bench {
namespace {

constexpr int kEditsPerSecond = 50;
constexpr const char* kRoundTrip = "40ms";
constexpr auto kShownFrom = std::chrono::microseconds(19'500);
constexpr auto kSamplePause = std::chrono::milliseconds(100);
constexpr int kImportConnections = 16;
constexpr double kMostMs = 50;
constexpr size_t kLeastEdits = 100;  // for a 99th percentile
constexpr double kImportPatience = 600;

std::string text(double v) {
  char out[40];
  std::snprintf(out, sizeof out, "%.1f", v);
  return out;
}

uint64_t bulk_pending(const Json& status) {
  const Json* at = &status;
  for (const char* name : {"link", "lanes", "bulk"}) {
    at = at->member(name);
    if (!at) throw std::runtime_error(std::string("a branch's status tells no ") + name);
  }
  return number_of(*at, "pending");
}

// New contacts, one request each, as bulk work. In a thread of its own; ends with its last row.
class Import {
 public:
  Import(const Fleet& fleet, const std::string& server, uint64_t rows, uint64_t number)
      : thread_([this, &fleet, server, rows, number] {
          try {
            run(fleet, server, rows, number);
          } catch (const std::exception& e) {
            failure_ = e.what();
          }
          ended_ = Clock::now();
          over_ = true;
        }) {}

  bool over() const { return over_; }
  Clock::time_point ended() const { return ended_; }  // once it is over
  // Rows that were accepted per second.
  double finish() {
    if (thread_.joinable()) thread_.join();
    if (!failure_.empty()) throw std::runtime_error("the import failed: " + failure_);
    return rate_;
  }

 private:
  void run(const Fleet& fleet, const std::string& server, uint64_t rows, uint64_t number) {
    Dice dice(1000 + number);
    uint64_t row = 0;
    std::string body, headers;
    LoadPlan plan;
    plan.port = fleet.port(server);
    plan.connections = kImportConnections;
    plan.requests = rows;
    plan.make = [&](std::string& out, int) {
      body.clear();
      append_contact(body, dice);
      headers = fleet.auth() + "Branchline-Lane: bulk\r\nIdempotency-Key: import" +
                std::to_string(number) + "-" + std::to_string(++row) + "\r\n";
      append_request(out, "POST", "/api/data/v9.2/contacts", headers, body);
    };
    LoadResult result = closed_loop(plan);
    if (result.failed > 0) throw std::runtime_error(result.first_failure);
    rate_ = result.rate();
  }

  std::atomic<bool> over_{false};
  std::string failure_;
  double rate_ = 0;
  Clock::time_point ended_;
  std::jthread thread_;  // last: it uses the others
};

struct Sample {
  Clock::time_point at;
  uint64_t pending;
  double line_bytes;  // since the line's start
  double queue_ms;    // what waits before it takes so long
};

// What waits at the import's server, looked at all the time.
class Backlog {
 public:
  // `direction`: of the office's line, "up" or "down".
  Backlog(Fleet& fleet, const std::string& server, const std::string& direction)
      : thread_([this, &fleet, server, direction](const std::stop_token& stop) {
          try {
            while (!stop.stop_requested()) {
              Json line = fleet.line_stats("office");
              Sample s{Clock::now(), bulk_pending(fleet.status(server)),
                       number(line, (direction + "_bytes").c_str()),
                       number(line, (direction + "_queued").c_str()) * 8000 /
                           number(line, (direction + "_rate_bits").c_str())};
              pending_ = s.pending;
              samples_.push_back(s);
              std::this_thread::sleep_for(kSamplePause);
            }
          } catch (const std::exception& e) {
            failure_ = e.what();
            pending_ = 0;
          }
        }) {}

  uint64_t pending() const { return pending_; }
  const std::vector<Sample>& finish() {
    thread_.request_stop();
    thread_.join();
    if (!failure_.empty()) throw std::runtime_error("asking for the backlog: " + failure_);
    return samples_;
  }

 private:
  std::atomic<uint64_t> pending_{0};
  std::vector<Sample> samples_;
  std::string failure_;
  std::jthread thread_;  // last: it uses the others
};

struct Seen {
  std::vector<double> lags, from_request;  // from the answer, and from the request, in ms
  void add(const LiveEdit& e) {
    lags.push_back(std::max(0.0, milliseconds(e.shown - e.answered)));
    from_request.push_back(milliseconds(e.shown - e.sent));
  }
  std::string told() const {
    return "p50 " + text(percentile(lags, 0.5)) + ", p99 " + text(percentile(lags, 0.99)) +
           ", most " + text(percentile(lags, 1)) + " ms (from the request p99 " +
           text(percentile(from_request, 0.99)) + ")";
  }
};

double load() {
  double average = 0;
  return ::getloadavg(&average, 1) == 1 ? average : 0;
}

class Lanes {
 public:
  explicit Lanes(Bench& bench) : bench_(bench) {
    FleetOptions o;
    o.folder = bench.options().folder + "/lanes";
    o.contacts = kContacts;
    o.environment = bench.disk_environment();
    o.tunnel = bench.options().tunnel;
    o.progress = [this](const std::string& t) { bench_.say(t); };
    o.round_trip = kRoundTrip;
    o.rate = bench.options().lanes_rate;
    o.rate_in_topology = true;
    fleet_ = std::make_unique<Fleet>(o);
    fleet_->start("office");
  }

  // People edit at `writer` and look at `reader`; the import is at `writer`, too.
  void measure(const std::string& name, const std::string& writer, const std::string& reader,
               const std::string& direction) {
    fleet_->settle({"hq", "office"});
    fleet_->wait_until([&] { return fleet_->connected("office"); }, 60, "the office's line");
    LivePlan plan = plan_of(writer, reader);
    plan.seconds = bench_.options().live_seconds();
    Seen alone;
    for (const auto& e : run_live(plan)) alone.add(e);
    bench_.say(name + ": nothing else on the line, " + std::to_string(alone.lags.size()) +
               " edits: " + alone.told() + ", load " + text(load()));
    Seen beside = measure_beside(name, writer, plan, direction);
    double floor = percentile(alone.lags, 0.99), with = percentile(beside.lags, 0.99);
    double raise = with - floor;
    if (raise > kMostMs) bench_.say(name + ": over " + text(kMostMs) + " ms");
    bench_.add({name, raise, "ms", floor, with / floor, "<= 50 ms more", raise <= kMostMs});
  }

 private:
  static constexpr uint32_t kContacts = 20'000;

  LivePlan plan_of(const std::string& writer, const std::string& reader) {
    LivePlan plan;
    plan.fleet = fleet_.get();
    plan.writer = writer;
    plan.reader = reader;
    plan.rate = kEditsPerSecond;
    plan.shown_from = kShownFrom;
    plan.make = [this](std::string& out, int) {
      // One contact after the other: none that the import touches, else the edit would join it.
      const auto& ids = fleet_->contacts();
      const std::string& id = ids[++edits_ % ids.size()];
      body_.clear();
      append_change(body_, change(dice_, 1'790'000'000'000 + static_cast<int64_t>(edits_), edits_));
      append_request(out, "PATCH", "/api/data/v9.2/contacts(" + id + ")",
                     fleet_->auth() + "Idempotency-Key: edit-" + std::to_string(edits_) + "\r\n",
                     body_);
      return LivePlan::Made{edits_, id};
    };
    return plan;
  }

  // Counts what was edited while the import had work waiting for the line.
  Seen measure_beside(const std::string& name, const std::string& writer, LivePlan plan,
                      const std::string& direction) {
    const uint64_t rows = bench_.options().pending();
    // Half of it waits for the line already when the measuring begins, else a machine that takes
    // rows in slower than the line carries them would have nothing waiting there.
    fleet_->stop("master");
    double accepted = Import(*fleet_, writer, rows / 2, ++imports_).finish();
    bench_.say(name + ": rows accepted without the line, " + text(accepted) + "/s");
    // The other end is connected before it begins: a branch that is behind has no say in the pace
    // of an import.
    fleet_->stop(writer);
    fleet_->start("master");
    fleet_->wait_until([&] { return fleet_->connected(plan.reader); }, 120,
                       plan.reader + "'s link");
    fleet_->start(writer);
    fleet_->wait_until([&] { return fleet_->connected(writer); }, 120, writer + "'s link");
    Backlog backlog(*fleet_, writer, direction);
    Import import(*fleet_, writer, rows - rows / 2, ++imports_);
    // As long as it lasts: while the other half is taken in, and while those that wait go out.
    plan.seconds = kImportPatience;
    plan.over = [&] { return import.over() && backlog.pending() == 0; };
    std::vector<LiveEdit> edits = run_live(plan);
    const auto samples = backlog.finish();
    accepted = import.finish();

    Seen beside, draining;
    std::vector<double> queue;
    const Sample *first = nullptr, *last = nullptr;
    uint64_t most = 0;
    for (size_t i = 0; i + 1 < samples.size(); ++i) {
      const Sample &from = samples[i], &to = samples[i + 1];
      if (from.pending == 0 || to.pending == 0) continue;
      first = first ? first : &from;
      last = &to;
      most = std::max({most, from.pending, to.pending});
      queue.push_back(from.queue_ms);
      for (const auto& e : edits) {
        if (e.sent < from.at || e.sent >= to.at) continue;
        beside.add(e);
        if (e.sent > import.ended()) draining.add(e);
      }
    }
    if (beside.lags.size() < kLeastEdits) {
      throw std::runtime_error(
          name + ": the import had work waiting for the line during only " +
          std::to_string(beside.lags.size()) +
          " edits, too few for a 99th percentile; a thinner line (--lanes-rate) keeps it longer");
    }
    double seconds = std::chrono::duration<double>(last->at - first->at).count();
    double bits = (last->line_bytes - first->line_bytes) * 8;
    bench_.say(name + ": beside an import of " + std::to_string(rows) + " rows, " +
               std::to_string(beside.lags.size()) + " edits: " + beside.told() + ", load " +
               text(load()));
    bench_.say(name + ": bulk work waited at each of them, at most " + std::to_string(most) +
               " rows, at the last " + std::to_string(last->pending) + "; for " + text(seconds) +
               " s the line " + direction + " carried " + text(bits / 1e6 / seconds) +
               " Mbit/s, its queue p99 " + text(percentile(queue, 0.99)) +
               " ms; rows meanwhile accepted " + text(accepted) + "/s, after the last of them " +
               std::to_string(draining.lags.size()) + " edits: " + draining.told());
    return beside;
  }

  Bench& bench_;
  std::unique_ptr<Fleet> fleet_;
  Dice dice_{4};
  uint64_t edits_ = 0, imports_ = 0;
  std::string body_;
};

}  // namespace

void measure_lanes(Bench& bench) {
  if (!bench.wants_any({"lanes.up", "lanes.down"})) return;
  bench.end_fleet();
  Lanes lanes(bench);
  if (bench.wants("lanes.up")) lanes.measure("lanes.up", "office", "hq", "up");
  if (bench.wants("lanes.down")) lanes.measure("lanes.down", "hq", "office", "down");
}

}  // namespace branchline::bench
