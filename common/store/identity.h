// The row by which a store says whose it is and in which format.
#pragma once

#include <string>
#include <string_view>

#include "common/store/store.h"

namespace branchline {

inline constexpr uint32_t kStoreFormat = 1;

// What meta_identity() holds; `role` is "branch" or "master".
std::string store_identity(std::string_view role);

// Nothing wrong with an empty store. `invalid`: "store.other_role" for another kind of server's store, "store.format" for
// one that a newer version has written. `corrupt` where it is no identity at all.
Result<void> check_store_identity(const StoreView& store, std::string_view role, const std::string& directory);

}  // namespace branchline
