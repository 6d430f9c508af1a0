// Hours of the day in which something is allowed, on the clock of some place.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

namespace branchline {

// From a minute of the day (inclusive) to another (exclusive), past midnight where the second is
// the smaller. Summer time is the place's. Copies share the zone; const calls are thread-safe.
class DailyHours {
 public:
  // "19:00-07:00", "19:00-07:00 Europe/Berlin"; without a zone (IANA) it is UTC. Nothing where it
  // is not that, the zone is unknown, or both times are the same.
  static std::optional<DailyHours> parse(std::string_view text);

  bool open(int64_t wall_ms) const;
  const std::string& text() const { return text_; }
  bool operator==(const DailyHours& o) const { return text_ == o.text_; }

 private:
  struct Zone;
  int from_ = 0, to_ = 0;
  std::string text_;
  std::shared_ptr<const Zone> zone_;  // null: UTC
};

}  // namespace branchline
