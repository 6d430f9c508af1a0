#include "branch/replica/lost_log.h"

#include "branch/replica/state.h"
#include "common/store/keyspace.h"
#include "replication/line/incarnation.h"

namespace branchline {

Result<void> check_lost_log(const StoreView& store, const Anchor& anchor,
                            const std::string& directory) {
  auto lost = [&] {
    return fail(ErrorKind::corrupt, "store.lost_log",
                "the store in " + directory +
                    " lacks changes that had been acknowledged (up to seq " +
                    std::to_string(anchor.number) + " of process start " +
                    to_hex(anchor.incarnation.value) +
                    "): log files were lost, or an older copy was put in place. Put the complete "
                    "data directory back. Only to go on "
                    "without those changes (what the master has of them comes back by itself), "
                    "start once with --accept-lost-log");
  };
  BL_ASSIGN(auto row, store.get(Table::meta, keys::meta_state()));
  if (!row) return lost();
  BL_ASSIGN(auto state, decode_replica_state(*row));
  Order last;
  Digest chain;
  if (state.incarnation == anchor.incarnation) {
    last = state.order;
    chain = chain_of(state.ends);
  } else {
    // An earlier start: its successor wrote down where it ended.
    auto rows = scan_prefix(store, Table::meta, keys::meta_incarnation_prefix());
    for (; rows->valid(); rows->next()) {
      BL_ASSIGN(auto info, decode_incarnation(rows->value()));
      if (info.predecessor != anchor.incarnation) continue;
      LaneEnds ends;
      for (size_t l = 0; l < kLaneCount; ++l) {
        ends[l] = {info.predecessor_ends[l].seq, info.predecessor_ends[l].chain};
      }
      last = info.predecessor_order;
      chain = chain_of(ends);
    }
  }
  if (last.value < anchor.number) return lost();
  if (last.value == anchor.number && chain != anchor.chain) return lost();
  return {};
}

}  // namespace branchline
