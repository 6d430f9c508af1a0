// Which links a batch of the line concerns, found without looking at each link: with hundreds of
// offices most batches concern few of them. Pure.
#pragma once

#include <algorithm>
#include <map>
#include <set>
#include <vector>

#include "common/base/ids.h"
#include "common/store/keyspace.h"
#include "replication/line/commit.h"
#include "replication/session/greeting.h"

namespace branchline {

template <class Link>
class Audience {
 public:
  // It is told of its territories, of those that it is to hold or held before, and of its own
  // fates.
  void join(const Link& link, const Registration& r) {
    for (TerritoryId t : territories_of(r)) by_territory_[t].push_back(link);
    by_origin_[r.origin].push_back(link);
  }
  // With the same registration. Nothing where it did not join.
  void leave(const Link& link, const Registration& r) {
    for (TerritoryId t : territories_of(r)) erase(by_territory_, t, link);
    erase(by_origin_, r.origin, link);
  }

  // Those whom the batch concerns, and the links of these servers; each once. `batch` may be null.
  std::vector<Link> of(const BatchHeader* batch, const std::set<OriginId>& origins) const {
    std::vector<Link> out;
    auto add = [&out](const auto& index, const auto& key) {
      auto at = index.find(key);
      if (at != index.end()) out.insert(out.end(), at->second.begin(), at->second.end());
    };
    for (OriginId o : origins) add(by_origin_, o);
    if (batch) {
      for (const auto& row : batch->rows) {
        if (row.kind == static_cast<uint8_t>(keys::LineRow::fates)) {
          add(by_origin_, row.tag.origin);
        } else {
          add(by_territory_, row.tag.territory);
        }
      }
    }
    std::sort(out.begin(), out.end());
    out.erase(std::unique(out.begin(), out.end()), out.end());
    return out;
  }

 private:
  static std::set<TerritoryId> territories_of(const Registration& r) {
    std::set<TerritoryId> out(r.territories.begin(), r.territories.end());
    out.insert(r.installed.begin(), r.installed.end());
    out.insert(kReferenceTerritory);
    return out;
  }
  template <class Index, class Key>
  static void erase(Index& index, const Key& key, const Link& link) {
    auto at = index.find(key);
    if (at == index.end()) return;
    std::erase(at->second, link);
    if (at->second.empty()) index.erase(at);
  }

  std::map<TerritoryId, std::vector<Link>> by_territory_;
  std::map<OriginId, std::vector<Link>> by_origin_;
};

}  // namespace branchline
