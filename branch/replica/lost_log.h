// Whether a store's log still holds what its anchor had confirmed (DESIGN 2.1): RocksDB opens a
// store without its last log files, or with a cut one, as if nothing had been in them.
#pragma once

#include <string>

#include "common/store/anchor.h"
#include "common/store/store.h"

namespace branchline {

// `corrupt` "store.lost_log" where the branch's store in `directory` is behind its anchor, or off
// it by chain hash. Any thread.
Result<void> check_lost_log(const StoreView& store, const Anchor& anchor,
                            const std::string& directory);

}  // namespace branchline
