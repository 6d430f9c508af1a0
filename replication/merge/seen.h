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

 private:
  std::map<std::pair<OriginId, Incarnation>, Link> links_;
};

bool was_seen(const Version& version, const Mutation& by, const Lineage& lineage);

}  // namespace branchline
