// How often an office asked its upstream for records that it does not hold, by their territory:
// from this `branchline status` proposes what the office should subscribe to. Kept coarsely: a
// crash forgets the last minute.
#pragma once

#include <map>
#include <string>
#include <string_view>

#include "common/base/error.h"
#include "common/base/ids.h"

namespace branchline {

struct LookupCount {
  uint64_t times = 0;
  int64_t since_ms = 0;  // of the first
  bool operator==(const LookupCount&) const = default;
};
using LookupCounts = std::map<TerritoryId, LookupCount>;

std::string encode_lookup_counts(const LookupCounts& counts);
// `corrupt` where it is none.
Result<LookupCounts> decode_lookup_counts(std::string_view bytes);

}  // namespace branchline
