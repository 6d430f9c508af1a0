// Which kind of server a store belongs to and in which formats its bytes are written: one row,
// checked before anything else is read (docs/formats.md, "The store's format").
#pragma once

#include <string>
#include <string_view>

#include "common/store/store.h"

namespace branchline {

enum class StoreRole { master, branch };

// What this program writes, and the oldest that it reads. A change of any bytes in any table raises
// the first.
inline constexpr uint32_t kStoreFormat = 1;
inline constexpr uint32_t kOldestStoreFormat = 1;

// Bytes of the identity row: "branchline branch 1".
std::string store_identity(StoreRole role);

// Passes for an empty store. `invalid` with code "store.other_role", "store.newer_format" or
// "store.older_format", the message naming both versions and what to do; `corrupt` with
// "store.identity" where the row is damaged, or is missing although there is a state. `where` names
// the store in messages.
Result<void> check_store_identity(const StoreView& store, StoreRole role, std::string_view where);

}  // namespace branchline
