// SEMANTICS 5: which versions the author of a mutation had seen.
#pragma once

#include <map>
#include <optional>

#include "common/record/mutation.h"

namespace branchline {

// Which process start followed which, and up to which order a successor knew its predecessor's
// work. A rolled-back disk names a lower order than its predecessor reached: what lies above was
// not seen.
class Lineage {
 public:
  struct Link {
    Incarnation predecessor;  // 0: the first
    Order last_order;         // of the predecessor, as its successor names it
  };
  void add(OriginId origin, Incarnation incarnation, const Link& link);
  bool knows(OriginId origin, Incarnation incarnation) const;
  // Whether `old` at `order` belongs to what `incarnation` of the same origin had behind it when it
  // started.
  bool precedes(OriginId origin, Incarnation old, Order order, Incarnation incarnation) const;
  // The first process start of the data directory that `incarnation` belongs to: what a share of
  // `escrow` is held by (SEMANTICS 31). A disk that was replaced by an empty one starts another.
  Incarnation chain_of(OriginId origin, Incarnation incarnation) const;

 private:
  std::map<std::pair<OriginId, Incarnation>, Link> links_;
};

// `base`: up to which commit its author had seen the line, as far as this record goes.
bool was_seen(const Version& version, const Mutation& by, Csn base, const Lineage& lineage);
inline bool was_seen(const Version& version, const Mutation& by, const Lineage& lineage) {
  return was_seen(version, by, by.base, lineage);
}

}  // namespace branchline
