// A backup that an operator asked a running server for: one at a time, on a thread of its own.
#pragma once

#include <mutex>
#include <string>
#include <thread>

#include "common/http/http.h"
#include "common/store/store.h"
#include "common/time/clock.h"

namespace branchline {

class BackupJob {
 public:
  // Both outlive this.
  BackupJob(Store& store, Clock& clock) : store_(store), clock_(clock) {}
  // Waits for one that is under way.
  ~BackupJob();

  // POST: starts one into `directory`; `label` is kept with it. 202, or 409 while one is under way.
  HttpResponse start(const std::string& directory, const std::string& label);
  // GET: how the last one stands.
  HttpResponse status() const;

 private:
  std::string describe() const;

  Store& store_;
  Clock& clock_;
  mutable std::mutex mutex_;
  std::thread thread_;
  std::string state_ = "none";  // none, running, done, failed
  std::string directory_;
  uint64_t bytes_ = 0;
  uint32_t number_ = 0;
  int64_t begun_ms_ = 0;
  int64_t ended_ms_ = 0;
  Error error_;
};

}  // namespace branchline
