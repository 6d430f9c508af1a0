// Many offices at one master: what a commit costs it with 50, 100 and 200 of them connected.
#include <poll.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <deque>
#include <filesystem>
#include <map>
#include <optional>
#include <stdexcept>

#include "tools/benchmarks/bench.h"
#include "tools/benchmarks/data.h"
#include "tools/branchline/cluster.h"

namespace branchline::bench {
namespace {

// In all, however many offices there are: what is different is only how many sessions stand by.
constexpr uint32_t kContacts = 4'000;
constexpr double kEditsPerSecond = 200;
constexpr double kPatience = 30;
constexpr double kMostGrowth = 1.15;

// One edit after the other by the clock, each at the next office, of a random contact of its
// district.
class Editors {
 public:
  Editors(Fleet& fleet, const std::vector<std::vector<std::string>>& contacts)
      : fleet_(fleet), contacts_(contacts), dice_(3) {
    for (const auto& name : fleet.branches()) {
      connections_.emplace_back(fleet.port(name));
      polled_.push_back({connections_.back().fd(), POLLIN, 0});
    }
    busy_.resize(connections_.size());
  }

  // Until the last answer has come. Where the machine falls behind, it is not caught up with: many
  // at once would share a batch, and cost less.
  void run(double seconds) {
    auto begin = Clock::now();
    constexpr double kPause = 1.0 / kEditsPerSecond;
    auto left = static_cast<uint64_t>(seconds * kEditsPerSecond);
    double due = 0;
    while (left > 0 || open_ > 0) {
      double now = seconds_since(begin);
      if (now > 4 * seconds + kPatience)
        throw std::runtime_error("edits are not answered: " + std::to_string(open_));
      if (left > 0 && now >= due && send()) {
        --left;
        due = std::max(due, now - kPause) + kPause;
      }
      take();
    }
  }

 private:
  // At the next office whose last edit is answered; false where there is none.
  bool send() {
    for (size_t i = 0; i < busy_.size(); ++i) {
      size_t office = next_++ % busy_.size();
      if (busy_[office]) continue;
      const auto& ids = contacts_[office / Fleet::kDistrict];
      auto wall = std::chrono::duration_cast<std::chrono::milliseconds>(
                      std::chrono::system_clock::now().time_since_epoch())
                      .count();
      ++made_;
      std::string body, request;
      append_change(body, change(dice_, wall, made_));
      append_request(
          request, "PATCH",
          "/api/data/v9.2/contacts(" + ids[dice_.below(static_cast<uint32_t>(ids.size()))] + ")",
          fleet_.auth() + "Idempotency-Key: scale-" + std::to_string(made_) + "\r\n", body);
      connections_[office].send(request);
      busy_[office] = true;
      ++open_;
      return true;
    }
    return false;
  }

  void take() {
    if (::poll(polled_.data(), polled_.size(), 1) <= 0) return;
    for (size_t i = 0; i < polled_.size(); ++i) {
      if (polled_[i].revents == 0 || !connections_[i].receive(false) || !busy_[i]) continue;
      if (connections_[i].status() >= 300)
        throw std::runtime_error("an edit failed: " + std::string(connections_[i].body()));
      busy_[i] = false;
      --open_;
    }
  }

  Fleet& fleet_;
  const std::vector<std::vector<std::string>>& contacts_;  // by district
  Dice dice_;
  std::deque<Connection> connections_;  // by office
  std::vector<pollfd> polled_;
  std::vector<bool> busy_;
  size_t next_ = 0, open_ = 0;
  uint64_t made_ = 0;
};

// What the master had done by a moment.
struct Tally {
  double cpu = 0, bytes_in = 0, bytes_out = 0, commits = 0, batches = 0;
};

Tally tally(Fleet& fleet) {
  Tally t;
  Json status = fleet.status("master");
  t.cpu = fleet.process("master").cpu_seconds();
  t.commits = number(status, "csn");
  t.batches = number(status, "batches");
  for (const auto& branch : status.member("branches")->items) {
    if (!flag_of(branch, "connected"))
      throw std::runtime_error(text_of(branch, "server") + " has lost its link");
    t.bytes_in += number(branch, "bytesIn");
    t.bytes_out += number(branch, "bytesOut");
  }
  return t;
}

struct Turn {
  double cpu_us = 0, bytes = 0;                        // per commit
  double memory = 0;                                   // of the master, bytes
  double resting_cpu_us = 0, resting_bytes_per_s = 0;  // of each session, when nobody works
};

Turn take_turn(Bench& bench, uint32_t offices) {
  FleetOptions o;
  o.folder = bench.options().folder + "/scale";
  o.offices = offices;
  Turn turn;
  {
    Fleet fleet(o);
    fleet.start_all(fleet.branches());
    std::vector<std::vector<std::string>> contacts;
    size_t districts = (offices + Fleet::kDistrict - 1) / Fleet::kDistrict;
    for (size_t d = 0; d < districts; ++d) {
      contacts.push_back(fleet.create_contacts(fleet.branches()[d * Fleet::kDistrict],
                                               kContacts / districts, d + 1,
                                               Fleet::district(d * Fleet::kDistrict)));
    }
    fleet.settle(fleet.branches());

    double seconds = bench.options().scale_seconds();
    Tally begin = tally(fleet);
    auto clock = Clock::now();
    fleet.wait_until([&] { return seconds_since(clock) >= seconds / 3; }, seconds, "time to pass");
    Tally end = tally(fleet);
    double rested = seconds_since(clock) * offices;
    turn.resting_cpu_us = (end.cpu - begin.cpu) / rested * 1e6;
    turn.resting_bytes_per_s =
        (end.bytes_in + end.bytes_out - begin.bytes_in - begin.bytes_out) / rested;

    Editors editors(fleet, contacts);
    editors.run(seconds / 3);  // to warm up
    begin = tally(fleet);
    editors.run(seconds);
    end = tally(fleet);
    double commits = end.commits - begin.commits;
    turn.cpu_us = (end.cpu - begin.cpu) / commits * 1e6;
    turn.bytes = (end.bytes_in + end.bytes_out - begin.bytes_in - begin.bytes_out) / commits;
    fleet.settle(fleet.branches());
    turn.memory = static_cast<double>(fleet.process("master").anonymous_bytes());
    char text[300];
    std::snprintf(
        text, sizeof text,
        "%u offices: %.0f us and %.0f bytes (%.0f up, %.0f down) per commit, %.2f commits "
        "per batch, %.1f MiB; at rest %.0f us and %.0f bytes a second for each",
        offices, turn.cpu_us, turn.bytes, (end.bytes_in - begin.bytes_in) / commits,
        (end.bytes_out - begin.bytes_out) / commits, commits / (end.batches - begin.batches),
        turn.memory / 1048576, turn.resting_cpu_us, turn.resting_bytes_per_s);
    bench.say(text);
  }
  std::filesystem::remove_all(o.folder);
  return turn;
}

}  // namespace

void measure_scale(Bench& bench) {
  if (!bench.wants_any({"scale.cpu", "scale.bytes", "scale.memory"})) return;
  bench.end_fleet();
  const std::vector<uint32_t> sizes{50, 100, 200};
  std::map<uint32_t, std::vector<Turn>> turns;
  int rounds = bench.options().alternations > 0 ? bench.options().alternations
               : bench.options().quick          ? 1
                                                : 3;
  for (int round = 0; round < rounds; ++round) {
    for (uint32_t n : sizes) turns[n].push_back(take_turn(bench, n));
  }
  auto middle = [&](uint32_t n, double Turn::* what) {
    std::vector<double> values;
    for (const auto& t : turns[n]) values.push_back(t.*what);
    return median(values);
  };
  auto figure = [&](const char* name, double Turn::* what, const char* unit) {
    if (!bench.wants(name)) return;
    std::vector<double> of_sizes;
    for (uint32_t n : sizes) of_sizes.push_back(middle(n, what));
    auto [least, most] = std::minmax_element(of_sizes.begin(), of_sizes.end());
    double growth = *most / *least;
    bench.add({name, of_sizes.back(), unit, of_sizes.front(), growth, "within 15 %",
               growth <= kMostGrowth});
  };
  figure("scale.cpu", &Turn::cpu_us, "us");
  figure("scale.bytes", &Turn::bytes, "B");
  if (bench.wants("scale.memory")) {
    constexpr double kKiB = 1024;
    double small = middle(sizes.front(), &Turn::memory),
           large = middle(sizes.back(), &Turn::memory);
    double each = (large - small) / (sizes.back() - sizes.front()) / kKiB;
    double whole = small / sizes.front() / kKiB;
    bench.add({"scale.memory", each, "KiB", whole, each / whole, "told", true});
  }
}

}  // namespace branchline::bench
