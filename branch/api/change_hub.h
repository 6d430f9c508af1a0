// The change stream (SEMANTICS 35): events numbered by a local change number, kept in a ring; a
// client that names an event of this process start resumes behind it, any other gets 410 and reads
// anew. I/O thread only.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <deque>
#include <memory>
#include <optional>
#include <string>

#include "branch/replica/replica.h"
#include "common/access/access.h"
#include "common/base/ids.h"
#include "common/runtime/event.h"

namespace branchline {

struct ChangeEvent {
  uint64_t number = 0;
  RecordKey record;
  // Where it was, if it changed territories or left this office.
  std::vector<TerritoryId> was_in;
};

class ChangeHub {
 public:
  static constexpr size_t kKept = 65'536;

  ChangeHub(const boost::asio::any_io_executor& executor, std::string server)
      : server_(std::move(server)), more_(executor) {}

  void set_incarnation(Incarnation incarnation) { incarnation_ = incarnation; }
  void add(const Changes& changes);
  // Everything may be another (a snapshot was installed): open streams end, their positions get
  // 410.
  void start_anew();
  // Once a second: streams wake, tell what else changed (the state of the link) and that they are
  // alive.
  void pulse() { more_.notify(); }
  void stop();
  bool stopped() const { return stopped_; }

  // "east.4f3a9c01d2e4b8a7.42": which event a client saw last.
  std::string event_id(uint64_t number) const;
  // The number behind which to go on; nothing where the id is foreign or too old: 410.
  std::optional<uint64_t> resume_after(std::string_view event_id) const;
  uint64_t last() const { return next_ - 1; }

  // Events behind `after`, at most `limit`; empty where there is none yet. Nothing where `after`
  // fell out of the ring.
  std::optional<std::vector<ChangeEvent>> since(uint64_t after, size_t limit) const;
  Event& more() { return more_; }

 private:
  uint64_t oldest() const { return ring_.empty() ? next_ : ring_.front().number; }

  std::string server_;
  Incarnation incarnation_;
  std::deque<ChangeEvent> ring_;
  uint64_t next_ = 1;
  bool stopped_ = false;
  Event more_;
};

}  // namespace branchline
