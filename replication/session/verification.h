// How a branch makes sure that it holds what its master holds (SEMANTICS 27): it asks, and the
// master answers at exactly one csn, in its place in the feed.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "replication/line/commit.h"

namespace branchline {

namespace limits {
// Ranges of one question, and the rows of one repair, decompressed.
inline constexpr size_t kMaxVerifyRanges = 4096;
inline constexpr size_t kMaxVerifyRowBytes = 4 * 1024 * 1024;
}  // namespace limits

// Record keys without their side (entity and id, 18 bytes) in [begin, end); an empty end: to the
// last.
struct KeyRange {
  std::string begin, end;
  bool operator==(const KeyRange&) const = default;
  bool holds(std::string_view key) const { return key >= begin && (end.empty() || key < end); }
};
// A record's key as ranges have it, and the range of it alone.
std::string range_key(const RecordKey& key);
KeyRange only(const RecordKey& key);

struct VerifyRequest {
  uint64_t number = 0;         // of the connection, from 1
  std::vector<KeyRange> sums;  // to be summed up, each
  std::vector<KeyRange> rows;  // whose records it wants; ascending, apart from each other
};

// Stands in the feed behind the range that ends at `at`.
struct VerifyPoint {
  uint64_t number = 0;
  LineCursor at;
  std::map<TerritoryId, Sum128> totals;  // of the territories that the branch holds
  std::string rows;                      // container of rows as in a snapshot chunk
  std::optional<Error> error;            // then there are no rows
};

// The sums that were asked for, as of the point; later than it, and not in a place of the feed.
struct VerifySums {
  uint64_t number = 0;
  std::vector<Sum128> sums;
  std::optional<Error> error;  // then there are none
};

std::string encode_verify_request(const VerifyRequest& request);
Result<VerifyRequest> decode_verify_request(std::string_view bytes);
std::string encode_verify_point(const VerifyPoint& point);
Result<VerifyPoint> decode_verify_point(std::string_view bytes);
std::string encode_verify_sums(const VerifySums& sums);
Result<VerifySums> decode_verify_sums(std::string_view bytes);

}  // namespace branchline
