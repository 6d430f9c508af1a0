#include "replication/merge/seen.h"

namespace branchline {

void Lineage::add(OriginId origin, Incarnation incarnation, const Link& link) {
  links_[{origin, incarnation}] = link;
}

bool Lineage::knows(OriginId origin, Incarnation incarnation) const {
  return links_.count({origin, incarnation}) > 0;
}

bool Lineage::precedes(OriginId origin, Incarnation old, Order order,
                       Incarnation incarnation) const {
  // Chains are as long as a server has had starts; most look-ups end at the first link.
  for (auto at = links_.find({origin, incarnation}); at != links_.end();
       at = links_.find({origin, at->second.predecessor})) {
    if (at->second.predecessor.value == 0) return false;
    if (at->second.predecessor == old) return order <= at->second.last_order;
  }
  return false;
}

Incarnation Lineage::chain_of(OriginId origin, Incarnation incarnation) const {
  // A server that names its past in a circle is not followed round it for ever.
  for (size_t steps = 0; steps <= links_.size(); ++steps) {
    auto at = links_.find({origin, incarnation});
    if (at == links_.end() || at->second.predecessor.value == 0) break;
    incarnation = at->second.predecessor;
  }
  return incarnation;
}

bool was_seen(const Version& version, const Mutation& by, Csn base, const Lineage& lineage) {
  if (version.csn.value != 0 && version.csn <= base) return true;
  if (version.id.origin != by.id.origin) return false;
  if (version.id.incarnation == by.id.incarnation) return version.order <= by.order;  // its own too
  return lineage.precedes(by.id.origin, version.id.incarnation, version.order, by.id.incarnation);
}

}  // namespace branchline
