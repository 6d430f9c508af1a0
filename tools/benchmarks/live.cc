#include "tools/benchmarks/live.h"

#include <sys/epoll.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <algorithm>
#include <deque>
#include <optional>
#include <set>
#include <stdexcept>

namespace branchline::bench {
namespace {

constexpr auto kPollPause = std::chrono::microseconds(250);
constexpr double kPatience = 30;  // seconds beyond the plan's

// Writes by the clock, whatever the answers do; reads the oldest change that the reader does not
// show yet.
class Live {
 public:
  explicit Live(const LivePlan& plan)
      : plan_(plan), reader_(plan.fleet->port(plan.reader)), poll_(::epoll_create1(EPOLL_CLOEXEC)) {
    watch(reader_.fd(), 0);
  }
  ~Live() { ::close(poll_); }

  std::vector<LiveEdit> run() {
    ::prctl(PR_SET_TIMERSLACK, 1);
    begin_ = Clock::now();
    auto total = static_cast<uint64_t>(plan_.seconds * plan_.rate);
    while (answered_ < total || !waiting_.empty()) {
      if (seconds_since(begin_) > plan_.seconds + kPatience) {
        throw std::runtime_error("live changes did not arrive: " + std::to_string(answered_) +
                                 " of " + std::to_string(edits_.size()) + " accepted, " +
                                 std::to_string(waiting_.size()) +
                                 " not shown; the last answer was " + std::string(reader_.body()));
      }
      if (plan_.over && edits_.size() < total && plan_.over()) total = edits_.size();
      auto now = Clock::now();
      while (edits_.size() < total && due(edits_.size()) <= now) send();
      look(now);
      wait(total);
    }
    return std::move(edits_);
  }

 private:
  struct Change {
    size_t edit;
    LivePlan::Made made;
  };
  struct Writer {
    std::optional<Connection> connection;  // the server closes those that rest for long
    bool busy = false;
    size_t edit = 0;
  };

  Clock::time_point due(uint64_t n) const {
    return begin_ + std::chrono::microseconds(n * 1'000'000 / static_cast<uint64_t>(plan_.rate));
  }
  Clock::time_point may_be_shown() const {
    return edits_[waiting_.front().edit].sent + plan_.shown_from;
  }
  void watch(int fd, uint32_t number) {
    epoll_event event{EPOLLIN, {.u32 = number}};
    ::epoll_ctl(poll_, EPOLL_CTL_ADD, fd, &event);
  }

  void send() {
    size_t free = 0;
    while (free < writers_.size() && writers_[free].busy) ++free;
    if (free == writers_.size()) writers_.emplace_back();
    Writer& writer = writers_[free];
    if (!writer.connection) {
      writer.connection.emplace(plan_.fleet->port(plan_.writer));
      watch(writer.connection->fd(), static_cast<uint32_t>(free + 1));
    }
    // Two changes of one record on two connections may be taken in either order: then the older
    // would be waited for.
    LivePlan::Made made;
    do {
      request_.clear();
      made = plan_.make(request_, static_cast<int>(free));
    } while (plan_.watch && !under_way_.insert(made.id).second);
    if (plan_.watch) waiting_.push_back({edits_.size(), std::move(made)});
    writer.busy = true;
    writer.edit = edits_.size();
    edits_.push_back({Clock::now(), {}, {}});
    writer.connection->send(request_);
  }

  void look(Clock::time_point now) {
    if (reading_ || waiting_.empty() || now < may_be_shown() || now < next_look_) return;
    request_.clear();
    append_request(
        request_, "GET",
        "/api/data/v9.2/contacts(" + waiting_.front().made.id + ")?$select=numberofchildren",
        plan_.fleet->auth(), {});
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
    const Change& oldest = waiting_.front();
    if (seen < oldest.made.number) return;
    edits_[oldest.edit].shown = now;
    under_way_.erase(oldest.made.id);
    waiting_.pop_front();
    next_look_ = now;  // the next one may have come along
  }

  void wait(uint64_t total) {
    auto now = Clock::now();
    auto until = now + std::chrono::milliseconds(20);
    if (edits_.size() < total) until = std::min(until, due(edits_.size()));
    if (!reading_ && !waiting_.empty())
      until = std::min(until, std::max(may_be_shown(), next_look_));
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
      if (!w.busy) {
        w.connection.reset();
        continue;
      }
      if (!w.connection->receive(false)) continue;
      if (w.connection->status() >= 300)
        throw std::runtime_error("a live write failed: " + std::string(w.connection->body()));
      w.busy = false;
      edits_[w.edit].answered = Clock::now();
      ++answered_;
    }
  }

  const LivePlan& plan_;
  Connection reader_;
  int poll_;
  std::deque<Writer> writers_;
  std::deque<Change> waiting_;
  std::set<std::string> under_way_;
  std::vector<LiveEdit> edits_;
  std::string request_;
  Clock::time_point begin_, next_look_;
  uint64_t answered_ = 0;
  bool reading_ = false;
};

}  // namespace

std::vector<LiveEdit> run_live(const LivePlan& plan) { return Live(plan).run(); }

double milliseconds(Clock::duration d) {
  return std::chrono::duration<double, std::milli>(d).count();
}

double percentile(std::vector<double> values, double p) {
  if (values.empty()) return 0;
  size_t at = std::min(values.size() - 1, static_cast<size_t>(p * double(values.size())));
  std::nth_element(values.begin(), values.begin() + static_cast<ptrdiff_t>(at), values.end());
  return values[at];
}

}  // namespace branchline::bench
