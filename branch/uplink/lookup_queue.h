// Questions to the upstream: who waits for which answer, in what order they are asked, and when
// nobody waits any more. Pure; called by one thread.
#pragma once

#include <deque>
#include <functional>
#include <map>

#include "replication/session/branch_session.h"

namespace branchline {

class LookupQueue {
 public:
  using Done = std::move_only_function<void(Result<LookupAnswer>)>;

  // `deadline_us`: of the steady clock; from then on nobody waits. False where too many wait
  // already: nothing was taken.
  bool add(LookupRequest question, int64_t deadline_us, Done done);
  // Asks what the session has room for; what is to be sent.
  std::vector<BranchEffects> ask(BranchSession& session);
  void answered(LookupAnswer answer);
  // Ends those whose time is over. Their answers may still come, and are dropped.
  void expire(int64_t now_us);
  // The link broke, or there will be none: all end with this error.
  void fail_all(const Error& error);

  size_t waiting() const { return waiting_.size() + asked_.size(); }

 private:
  struct Waiting {
    LookupRequest question;
    int64_t deadline_us;
    Done done;
  };
  std::deque<Waiting> waiting_;
  std::map<uint64_t, Waiting> asked_;  // by number
};

}  // namespace branchline
