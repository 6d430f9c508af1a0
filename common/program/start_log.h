// Tells in the log of work that may keep a server from answering for a while after its start.
#pragma once

#include <string>

#include "common/time/clock.h"

namespace branchline {

class StartLog {
 public:
  // `clock` must outlive this.
  explicit StartLog(Clock& clock) : clock_(clock) {}
  // Begin and end: always told.
  void milestone(const std::string& line);
  // What is between: at most every two seconds.
  void progress(const std::string& line);

 private:
  Clock& clock_;
  int64_t told_us_ = 0;
};

}  // namespace branchline
