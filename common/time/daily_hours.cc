#include "common/time/daily_hours.h"

#include <unicode/timezone.h>

namespace branchline {
namespace {

constexpr int64_t kMinuteMs = 60'000;
constexpr int64_t kDayMinutes = 24 * 60;

// "19:30" to minutes of the day.
std::optional<int> parse_time(std::string_view text) {
  if (text.size() != 5 || text[2] != ':') return std::nullopt;
  auto digit = [&](size_t i) { return text[i] >= '0' && text[i] <= '9' ? text[i] - '0' : 100; };
  int hours = digit(0) * 10 + digit(1), minutes = digit(3) * 10 + digit(4);
  if (hours > 23 || minutes > 59) return std::nullopt;
  return hours * 60 + minutes;
}

}  // namespace

struct DailyHours::Zone {
  std::unique_ptr<icu::TimeZone> icu;
};

std::optional<DailyHours> DailyHours::parse(std::string_view text) {
  DailyHours out;
  out.text_ = std::string(text);
  if (size_t space = text.find(' '); space != text.npos) {
    std::string name(text.substr(space + 1));
    text = text.substr(0, space);
    std::unique_ptr<icu::TimeZone> zone(
        icu::TimeZone::createTimeZone(icu::UnicodeString::fromUTF8(name)));
    // ICU answers a name it does not know with a zone that is called unknown.
    if (!zone || *zone == icu::TimeZone::getUnknown()) return std::nullopt;
    out.zone_ = std::make_shared<const Zone>(std::move(zone));
  }
  if (text.size() != 11 || text[5] != '-') return std::nullopt;
  auto from = parse_time(text.substr(0, 5)), to = parse_time(text.substr(6));
  if (!from || !to || *from == *to) return std::nullopt;
  out.from_ = *from;
  out.to_ = *to;
  return out;
}

bool DailyHours::open(int64_t wall_ms) const {
  int64_t local = wall_ms;
  if (zone_) {
    int32_t raw = 0, saving = 0;
    UErrorCode error = U_ZERO_ERROR;
    zone_->icu->getOffset(static_cast<double>(wall_ms), false, raw, saving, error);
    if (U_SUCCESS(error)) local += raw + saving;
  }
  int64_t minute = local / kMinuteMs % kDayMinutes;
  if (minute < 0) minute += kDayMinutes;
  return from_ < to_ ? minute >= from_ && minute < to_ : minute >= from_ || minute < to_;
}

}  // namespace branchline
