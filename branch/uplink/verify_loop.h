// Keeps a replica's verification going (SEMANTICS 27): begins what is due, does what the Verifier
// asks for, and brings it the master's answers. I/O thread only.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/steady_timer.hpp>
#include <functional>
#include <memory>
#include <optional>

#include "branch/replica/committer.h"
#include "branch/replica/verifier.h"
#include "branch/uplink/intake.h"
#include "common/runtime/runtime.h"
#include "common/time/clock.h"

namespace branchline {

class VerifyLoop {
 public:
  struct Parts {
    Runtime& runtime;
    const Store& store;
    Committer& committer;
    Clock& clock;
    Intake& intake;
    std::shared_ptr<const Schema> schema;
  };
  struct Events {
    std::function<bool()> may_ask;  // whether there is a link whose master answers
    std::function<void(VerifyRequest)> ask;
    std::function<void(const Error&)> unusable;  // as Intake's
    std::function<void(const Changes&)> changed;
    std::function<void()> moved;
  };
  VerifyLoop(Parts parts, Events events);

  boost::asio::awaitable<void> run();
  void stop();
  // Begins a verification that does not wait between its parts, or hurries the one under way. The
  // number of the run: it is over when VerifyStatus::done has come to it.
  uint64_t verify_now();
  const VerifyStatus& status() const { return status_; }

  // The master's answers. Ranges that come behind a point are held until it is taken at its csn.
  void take_point(const VerifyPoint& point);
  void take_sums(VerifySums sums);
  void link_lost();

 private:
  // What is due while nothing is under way.
  void begin_what_is_due(int64_t now_us);
  boost::asio::awaitable<void> recount();
  boost::asio::awaitable<void> sum_ranges();
  void fetch_anew(int64_t now_us);
  void post_point(const VerifyPoint& point);
  // The writing thread is done with the verifier. False if the link was lost meanwhile.
  bool back();

  Parts parts_;
  Events events_;
  boost::asio::steady_timer timer_;
  bool stopping_ = false;
  Verifier verifier_;
  bool away_ = false;               // the writing thread has it
  bool lost_link_ = false;          // meanwhile
  std::optional<VerifySums> sums_;  // came meanwhile
  VerifyStatus status_;             // as of when it was here last
  bool hurry_ = false;
  bool asked_ = false;  // for another verification, by an operator
  int64_t compare_at_us_ = 0, verify_at_us_ = 0, reseed_at_us_ = 0;
  uint64_t links_ = 0;        // that were lost
  uint64_t compared_on_ = 0;  // of these, when it was asked last
  uint64_t told_run_ = 0;     // whose outcome is in the log
};

}  // namespace branchline
