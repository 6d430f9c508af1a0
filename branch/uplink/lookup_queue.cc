#include "branch/uplink/lookup_queue.h"

#include "common/base/limits.h"

namespace branchline {

bool LookupQueue::add(LookupRequest question, int64_t deadline_us, Done done) {
  if (waiting_.size() >= limits::kMaxLookupsWaiting) return false;
  waiting_.push_back({std::move(question), deadline_us, std::move(done)});
  return true;
}

std::vector<BranchEffects> LookupQueue::ask(BranchSession& session) {
  std::vector<BranchEffects> out;
  while (!waiting_.empty() && session.lookup_room() == BranchSession::LookupRoom::room) {
    Waiting next = std::move(waiting_.front());
    waiting_.pop_front();
    out.push_back(session.look_up(next.question));
    uint64_t number = next.question.number;
    next.question.token.clear();
    asked_.emplace(number, std::move(next));
  }
  return out;
}

void LookupQueue::answered(LookupAnswer answer) {
  auto at = asked_.find(answer.number);
  if (at == asked_.end()) return;
  Done done = std::move(at->second.done);
  asked_.erase(at);
  if (answer.error) {
    done(std::unexpected(*answer.error));
  } else {
    done(std::move(answer));
  }
}

void LookupQueue::expire(int64_t now_us) {
  std::vector<Done> over;
  for (auto at = waiting_.begin(); at != waiting_.end();) {
    if (at->deadline_us > now_us) {
      ++at;
      continue;
    }
    over.push_back(std::move(at->done));
    at = waiting_.erase(at);
  }
  for (auto at = asked_.begin(); at != asked_.end();) {
    if (at->second.deadline_us > now_us) {
      ++at;
      continue;
    }
    over.push_back(std::move(at->second.done));
    at = asked_.erase(at);
  }
  for (auto& done : over) {
    done(fail(ErrorKind::unavailable, "upstream.slow",
              "head office did not answer in time (a slow or stalled WAN): try again, or ask at an "
              "office that holds the record"));
  }
}

void LookupQueue::fail_all(const Error& error) {
  auto waiting = std::move(waiting_);
  auto asked = std::move(asked_);
  waiting_.clear();
  asked_.clear();
  for (auto& w : waiting) w.done(std::unexpected(error));
  for (auto& [number, w] : asked) w.done(std::unexpected(error));
}

}  // namespace branchline
