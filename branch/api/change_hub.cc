#include "branch/api/change_hub.h"

#include <algorithm>

#include "common/base/bytes.h"

namespace branchline {

void ChangeHub::add(const Changes& changes) {
  for (const auto& r : changes.records) {
    auto was = changes.were_in.find(r);
    ring_.push_back(
        {next_++, r, was == changes.were_in.end() ? std::vector<TerritoryId>() : was->second});
    if (ring_.size() > kKept) ring_.pop_front();
  }
  more_.notify();
}

void ChangeHub::start_anew() {
  ring_.clear();
  ++next_;  // so that every position given out so far lies before what is kept
  more_.notify();
}

void ChangeHub::stop() {
  stopped_ = true;
  more_.notify();
}

std::string ChangeHub::event_id(uint64_t number) const {
  return server_ + "." + to_hex(incarnation_.value) + "." + std::to_string(number);
}

std::optional<uint64_t> ChangeHub::resume_after(std::string_view event_id) const {
  std::string prefix = server_ + "." + to_hex(incarnation_.value) + ".";
  if (!event_id.starts_with(prefix)) return std::nullopt;
  event_id.remove_prefix(prefix.size());
  if (event_id.empty() || event_id.size() > 18) return std::nullopt;
  uint64_t number = 0;
  for (char c : event_id) {
    if (c < '0' || c > '9') return std::nullopt;
    number = number * 10 + static_cast<uint64_t>(c - '0');
  }
  if (number >= next_ || number + 1 < oldest()) return std::nullopt;
  return number;
}

std::optional<std::vector<ChangeEvent>> ChangeHub::since(uint64_t after, size_t limit) const {
  if (after + 1 < oldest()) return std::nullopt;
  std::vector<ChangeEvent> out;
  if (ring_.empty() || after >= ring_.back().number) return out;
  size_t at = static_cast<size_t>(after + 1 - ring_.front().number);
  for (; at < ring_.size() && out.size() < limit; ++at) out.push_back(ring_[at]);
  return out;
}

}  // namespace branchline
