// An office at work: 500 changes a second over its line, and how soon head office shows them.
#include <sys/epoll.h>
#include <sys/prctl.h>

#include <cstdio>
#include <deque>
#include <set>
#include <stdexcept>
#include <thread>

#include "tools/benchmarks/bench.h"
#include "tools/benchmarks/data.h"
#include "tools/benchmarks/entropy.h"

namespace branchline::bench {
namespace {

constexpr int kRate = 500;
constexpr auto kPollFrom =
    std::chrono::microseconds(39'500);  // a line of 40 ms one way shows nothing earlier
constexpr auto kPollPause = std::chrono::microseconds(250);

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

// Writes by the clock, whatever the answers do; reads the oldest change that head office does not
// show yet.
class Live {
 public:
  Live(Bench& bench, bool phone)
      : bench_(bench),
        phone_(phone),
        reader_(bench.fleet().port("hq")),
        poll_(::epoll_create1(EPOLL_CLOEXEC)) {
    watch(reader_.fd(), 0);
  }
  ~Live() { ::close(poll_); }

  LoadResult run(double seconds) {
    ::prctl(PR_SET_TIMERSLACK, 1);
    begin_ = Clock::now();
    auto total = static_cast<uint64_t>(seconds * kRate);
    while (answered_ < total || (!phone_ && !waiting_.empty())) {
      if (seconds_since(begin_) > seconds + 30) {
        throw std::runtime_error("live changes did not arrive: " + std::to_string(answered_) +
                                 " of " + std::to_string(started_) + " accepted, " +
                                 std::to_string(waiting_.size()) +
                                 " not shown; the last answer was " + std::string(reader_.body()));
      }
      auto now = Clock::now();
      while (started_ < total && due(started_) <= now) send();
      if (!phone_) look(now);
      wait(total);
    }
    result_.seconds = seconds_since(begin_);
    return std::move(result_);
  }

 private:
  struct Change {
    Clock::time_point sent;
    uint64_t number;
    std::string id;
  };
  struct Writer {
    Connection connection;
    bool busy = false;
  };

  Clock::time_point due(uint64_t n) const {
    return begin_ + std::chrono::microseconds(n * 1'000'000 / kRate);
  }
  void watch(int fd, uint32_t number) {
    epoll_event event{EPOLLIN, {.u32 = number}};
    ::epoll_ctl(poll_, EPOLL_CTL_ADD, fd, &event);
  }

  void send() {
    size_t free = 0;
    while (free < writers_.size() && writers_[free].busy) ++free;
    if (free == writers_.size()) {
      writers_.push_back({Connection(bench_.fleet().port("office")), false});
      watch(writers_.back().connection.fd(), static_cast<uint32_t>(free + 1));
    }
    // Two changes of one record on two connections may be taken in either order: then the older
    // would be waited for.
    std::string id;
    do {
      request_.clear();
      bench_.append_edit(request_, static_cast<int>(free), phone_);
      id = request_.substr(request_.find("contacts(") + 9, 36);
    } while (!under_way_.insert(id).second);
    waiting_.push_back({Clock::now(), bench_.last_number(), id});
    if (phone_) under_way_.clear();
    writers_[free].busy = true;
    writers_[free].connection.send(request_);
    ++started_;
  }

  void look(Clock::time_point now) {
    if (reading_ || waiting_.empty() || now < waiting_.front().sent + kPollFrom || now < next_look_)
      return;
    request_.clear();
    append_request(request_, "GET",
                   "/api/data/v9.2/contacts(" + waiting_.front().id + ")?$select=numberofchildren",
                   bench_.fleet().auth(), {});
    reader_.send(request_);
    reading_ = true;
  }

  void shown() {
    reading_ = false;
    auto now = Clock::now();
    next_look_ = now + kPollPause;
    std::string_view body = reader_.body();
    size_t at = body.find("\"numberofchildren\":");
    uint64_t seen =
        at == std::string_view::npos ? 0 : std::strtoull(body.data() + at + 19, nullptr, 10);
    if (seen < waiting_.front().number) return;
    auto spent =
        std::chrono::duration_cast<std::chrono::nanoseconds>(now - waiting_.front().sent).count();
    result_.latencies_ns.push_back(static_cast<uint32_t>(spent));
    under_way_.erase(waiting_.front().id);
    waiting_.pop_front();
    next_look_ = now;  // the next one may have come along
  }

  void wait(uint64_t total) {
    auto now = Clock::now();
    auto until = now + std::chrono::milliseconds(20);
    if (started_ < total) until = std::min(until, due(started_));
    if (!phone_ && !reading_ && !waiting_.empty())
      until = std::min(until, std::max(waiting_.front().sent + kPollFrom, next_look_));
    int64_t ns = std::max<int64_t>(
        0, std::chrono::duration_cast<std::chrono::nanoseconds>(until - now).count());
    timespec pause{static_cast<time_t>(ns / 1'000'000'000), static_cast<long>(ns % 1'000'000'000)};
    epoll_event events[64];
    int n = ::epoll_pwait2(poll_, events, 64, &pause, nullptr);
    for (int i = 0; i < n; ++i) {
      uint32_t which = events[i].data.u32;
      if (which == 0) {
        if (reader_.receive(false) && reading_) shown();
        continue;
      }
      Writer& w = writers_[which - 1];
      if (!w.connection.receive(false) || !w.busy) continue;
      if (w.connection.status() >= 300)
        throw std::runtime_error("a live write failed: " + std::string(w.connection.body()));
      w.busy = false;
      ++answered_;
    }
  }

  Bench& bench_;
  bool phone_;
  Connection reader_;
  int poll_;
  std::deque<Writer> writers_;
  std::deque<Change> waiting_;
  std::set<std::string> under_way_;
  std::string request_;
  LoadResult result_;
  Clock::time_point begin_, next_look_;
  uint64_t started_ = 0, answered_ = 0;
  bool reading_ = false;
};

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
  LoadResult live = Live(bench, false).run(seconds);
  return {live.percentile_us(0.5) / 1000, live.percentile_us(0.99) / 1000,
          live_bytes(bench, seconds)};
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
    Live(bench, true).run(seconds / 2);
    double bytes = live_bytes(bench, seconds / 2), floor = change_entropy(true);
    bench.add(
        {"bytes.per_field_edit.live", bytes, "B", floor, bytes / floor, "<= 60", bytes <= 60});
  }
}

}  // namespace branchline::bench
