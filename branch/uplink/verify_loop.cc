#include "branch/uplink/verify_loop.h"

#include <spdlog/spdlog.h>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <chrono>
#include <utility>

namespace branchline {
namespace {

namespace asio = boost::asio;
constexpr auto kTuple = asio::as_tuple(asio::use_awaitable);
// Sums are compared every minute in which anything came, everything is counted once a day. Between
// the parts of a count that nobody waits for, the disk is left alone for ten times as long.
constexpr std::chrono::milliseconds kTick{200};
constexpr int64_t kCompareUs = 60'000'000;
constexpr int64_t kFirstVerifyUs = 15 * 60'000'000ll;
constexpr int64_t kVerifyUs = 24 * 3'600'000'000ll;
// Until what could not be mended by parts is looked at again.
constexpr int64_t kTroubledUs = 3'600'000'000ll;
constexpr size_t kRowsAtOnce = 1000;
constexpr int kRestPerWork = 10;
// Taking back what is pending is work in one piece: with more of it the count waits for the link.
constexpr uint64_t kMaxPendingToCount = 20'000;

}  // namespace

VerifyLoop::VerifyLoop(Parts parts, Events events)
    : parts_(std::move(parts)), events_(std::move(events)), timer_(parts_.runtime.io()) {}

void VerifyLoop::stop() {
  stopping_ = true;
  timer_.cancel();
}

uint64_t VerifyLoop::verify_now() {
  hurry_ = true;
  if (status_.running) {
    // What it has counted may have changed since: the operator means what is on the disk now.
    asked_ = true;
  } else {
    verify_at_us_ = 0;
  }
  timer_.cancel();
  return status_.run + 1;
}

void VerifyLoop::link_lost() {
  ++links_;
  if (away_) {
    lost_link_ = true;
  } else {
    verifier_.interrupted();
  }
}

asio::awaitable<void> VerifyLoop::run() {
  verify_at_us_ = parts_.clock.steady_us() + kFirstVerifyUs;
  while (!stopping_) {
    timer_.expires_after(kTick);
    co_await timer_.async_wait(kTuple);
    if (stopping_) co_return;
    if (away_) continue;
    int64_t now = parts_.clock.steady_us();
    switch (verifier_.step()) {
      case Verifier::Step::rest:
        begin_what_is_due(now);
        break;
      case Verifier::Step::count:
        co_await recount();
        break;
      case Verifier::Step::ask:
        if (!events_.may_ask()) break;
        compared_on_ = links_;
        events_.ask(verifier_.request());
        break;
      case Verifier::Step::wait:
        break;
      case Verifier::Step::sum:
        co_await sum_ranges();
        break;
      case Verifier::Step::reseed:
        fetch_anew(now);
        break;
    }
    if (!away_) status_ = verifier_.status();
  }
}

void VerifyLoop::begin_what_is_due(int64_t now_us) {
  status_ = verifier_.status();
  if (status_.outcome == kMasterDiffers && std::exchange(told_run_, status_.done) != status_.done) {
    spdlog::error("verification: {}", status_.found.back());
    compare_at_us_ = now_us + kTroubledUs;
  }
  if (hurry_ && verify_at_us_ != 0 && !asked_) hurry_ = false;
  if (asked_) verify_at_us_ = 0;
  ReplicaStatus replica = parts_.committer.status();
  if (!replica.joined || !events_.may_ask()) return;
  bool much = !hurry_ && replica.ledger.pending > kMaxPendingToCount;
  if (now_us >= verify_at_us_ && !much) {
    asked_ = false;
    verify_at_us_ = now_us + kVerifyUs;
    compare_at_us_ = now_us + kCompareUs;
    verifier_.begin();
  } else if (now_us >= compare_at_us_) {
    compare_at_us_ = now_us + kCompareUs;
    // Where nothing has come since it was equal, there is nothing to be asked.
    bool known = status_.compared_equal && compared_on_ == links_ &&
                 status_.compared_csn == replica.cursor.csn;
    if (!known) verifier_.compare();
  }
}

asio::awaitable<void> VerifyLoop::recount() {
  auto open = [view = parts_.store.snapshot(), schema = parts_.schema] {
    return Recount::open(view, schema);
  };
  auto opened = co_await parts_.runtime.pool().run(std::move(open));
  std::shared_ptr<Recount> count;
  if (opened) count = std::move(*opened);
  while (count && !stopping_) {
    auto job = [&clock = parts_.clock, count]() -> Result<std::pair<bool, int64_t>> {
      int64_t begin = clock.steady_us();
      BL_ASSIGN(bool done, count->step(kRowsAtOnce));
      return std::pair(done, clock.steady_us() - begin);
    };
    auto step = co_await parts_.runtime.pool().run(std::move(job));
    if (!step && step.error().code == "pool.full") {  // others come first
      timer_.expires_after(std::chrono::seconds(1));
      co_await timer_.async_wait(kTuple);
      continue;
    }
    if (!step) {
      verifier_.counted(std::unexpected(step.error()));
      co_return;
    }
    if (step->first) {
      verifier_.counted(count->findings());
      co_return;
    }
    if (hurry_) continue;
    timer_.expires_after(std::chrono::microseconds(step->second * kRestPerWork));
    co_await timer_.async_wait(kTuple);
  }
  if (!opened) verifier_.counted(std::unexpected(opened.error()));
}

asio::awaitable<void> VerifyLoop::sum_ranges() {
  auto job = [view = verifier_.view(), schema = parts_.schema, ranges = verifier_.ranges()] {
    return Verifier::sum(view, schema, ranges);
  };
  auto own = co_await parts_.runtime.pool().run(std::move(job));
  verifier_.summed(std::move(own));
}

void VerifyLoop::fetch_anew(int64_t now_us) {
  // On a machine that goes on damaging it, copies would follow copies.
  if (now_us < reseed_at_us_) return;
  reseed_at_us_ = now_us + kTroubledUs;
  spdlog::error("verification: {}", verifier_.status().found.back());
  parts_.intake.fetch_anew();
  verifier_.reseeding();
  events_.unusable({ErrorKind::unavailable, "verify.fetched_anew",
                    "its replica is damaged beyond what can be mended by parts"});
}

void VerifyLoop::take_sums(VerifySums sums) {
  if (away_) {
    sums_ = std::move(sums);
    return;
  }
  verifier_.sums_came(std::move(sums));
  timer_.cancel();
}

void VerifyLoop::take_point(const VerifyPoint& point) {
  parts_.intake.hold();
  post_point(point);
}

bool VerifyLoop::back() {
  away_ = false;
  auto sums = std::exchange(sums_, std::nullopt);
  bool lost = std::exchange(lost_link_, false);
  if (lost) {
    verifier_.interrupted();
  } else if (sums) {
    verifier_.sums_came(std::move(*sums));
  }
  return !lost;
}

void VerifyLoop::post_point(const VerifyPoint& point) {
  away_ = true;
  parts_.committer.post(
      [this, point, now = parts_.clock.wall_ms()](
          Replica& replica, const Committer::Write& write) -> std::move_only_function<void()> {
        LineCursor at = replica.state().cursor;
        bool by_file = parts_.intake.moved_by_file();
        if (at != point.at || by_file) {
          return [this, point, early = at.csn < point.at.csn && !by_file] {
            if (!back()) return;
            if (early) return post_point(point);  // ranges before it are still to be applied
            // A file brought it elsewhere, or its line is not the master's: what comes next on this
            // connection is of no use here either.
            events_.unusable({ErrorKind::unavailable, "verify.elsewhere",
                              "an answer at csn " + std::to_string(point.at.csn.value) +
                                  " where this office stands elsewhere; greeting anew"});
          };
        }
        auto taken = verifier_.at_point(point, replica, parts_.store, write, now);
        return [this, taken = std::move(taken)] {
          bool here = back();
          if (taken) {
            for (const auto& line : taken->news) spdlog::error("verification: {}", line);
            if (!taken->changes.records.empty()) {
              events_.changed(taken->changes);
              events_.moved();
            }
          }
          status_ = verifier_.status();
          timer_.cancel();
          if (!here) return;
          if (taken) {
            parts_.intake.release();
          } else {
            events_.unusable(taken.error());
          }
        };
      });
}

}  // namespace branchline
