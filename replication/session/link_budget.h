// How much may be sent over a line, and of which lane: a token bucket at the line's rate, a budget
// of bytes per day, and hours for bulk work (SEMANTICS 32). Pure; one per line and direction, kept
// over its connections; one thread.
//
// A line that is sent to faster than it carries fills the queue before it, and a person's edit
// then waits behind an import's last quarter of a megabyte, whoever was first in the outbox. So
// the sender stays a little below the line's rate, and bulk work goes in small pieces, each when
// the line has carried what was sent before.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>

#include "common/base/ids.h"
#include "common/config/topology.h"
#include "common/time/daily_hours.h"

namespace branchline {

struct LinePolicy {
  uint64_t bytes_per_s = 0;    // what the line carries; 0: not known, nothing waits for it
  uint64_t bytes_per_day = 0;  // in this direction, by days of UTC; 0: no limit
  std::optional<DailyHours> bulk_hours;  // none: bulk may go at any hour
  // Of the thinnest line that bulk work's effects go down, to offices that hold one of the same
  // territories; 0: not known. A piece is decided, and then sent down, as a whole.
  uint64_t thinnest_bytes_per_s = 0;
};

// As the topology describes the line between the sites of `branch` and its upstream; beneath a hub,
// with the rate of the thinnest line up to the master and the hours of the nearest that has some.
LinePolicy line_policy(const Topology& topology, const ServerSpec& branch);
// Of every branch, by name.
std::map<std::string, LinePolicy> line_policies(const Topology& topology);

// Why a lane does not send now.
enum class SendHold : uint8_t {
  no,
  rate,    // the line is busy; a moment
  budget,  // the day's bytes are used up for this lane
  hours,   // bulk work waits for its hours
};

std::string_view to_string(SendHold hold);

class LinkBudget {
 public:
  // Of the day's bytes, so many per cent are kept for interactive work and fates.
  static constexpr uint64_t kInteractiveShare = 20;
  // A piece of bulk work keeps the line busy for so long.
  static constexpr int64_t kPieceUs = 10'000;

  explicit LinkBudget(LinePolicy policy = {}) : policy_(std::move(policy)) {}
  const LinePolicy& policy() const { return policy_; }
  // What was sent so far still counts.
  void set_policy(LinePolicy policy) { policy_ = std::move(policy); }

  // Whether something of this lane may be sent now. `hurried`: bulk work that people's edits wait
  // for goes at any hour.
  SendHold hold(Lane lane, int64_t now_us, int64_t wall_ms, bool hurried = false);
  void sent(size_t bytes, int64_t now_us, int64_t wall_ms);

  // How long the line is busy with what was sent, in microseconds.
  int64_t busy_us(int64_t now_us) const;
  // How large a piece of bulk work may be, so that it keeps this line, and the thinnest of those
  // that its effects go down, busy for kPieceUs only.
  size_t bulk_piece(size_t at_most) const;

  // The bytes of the day that counts, to be kept over a restart.
  struct Day {
    int64_t number = 0;  // since 1970-01-01, UTC
    uint64_t bytes = 0;
  };
  const Day& day() const { return day_; }
  // Row of `meta`: docs/formats.md, "Use of a line". A damaged one counts as none.
  std::string encode_day() const;
  void restore_day(std::string_view row);

  // In how many seconds `bytes` of this lane are gone when nothing else is sent, at `bytes_per_s`;
  // nothing where they will not be within 60 days.
  std::optional<int64_t> drain_s(Lane lane, uint64_t bytes, uint64_t bytes_per_s,
                                 int64_t wall_ms) const;

 private:
  // Interactive work may run so far ahead of the line.
  static constexpr int64_t kInteractiveAheadUs = 50'000;
  // What is sent of the line's rate; acknowledgements of what comes the other way take the rest.
  static constexpr uint64_t kWirePerCent = 97;
  // What the line carries of our bytes where frames are large: headers of TCP, IP and TLS take the
  // rest.
  static constexpr uint64_t kPayloadPerCent = 92;

  uint64_t payload_per_s() const { return policy_.bytes_per_s * kPayloadPerCent / 100; }
  uint64_t day_limit(Lane lane) const;
  void turn_day(int64_t wall_ms);

  LinePolicy policy_;
  int64_t free_at_us_ = 0;  // when the line has carried all that was sent
  Day day_;
};

}  // namespace branchline
