// Whose data directory this is. Two servers' data look alike from inside, but a branch that runs on
// another's has that one's territories and identity.
#pragma once

#include <string>

#include "common/base/error.h"

namespace branchline {

// Notes `server` in DIRECTORY/server where no name stands there yet. `invalid` with code
// "store.other_server" where another one does; `unavailable` "store.directory" where the file
// cannot be read or written.
Result<void> claim_directory(const std::string& directory, const std::string& server);

}  // namespace branchline
