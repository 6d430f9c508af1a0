// The anchor (DESIGN 2.1): a small file apart from the store that says how far this server's own
// log had come. A log that is behind its anchor has lost acknowledged work: deleted WAL files open
// without an error (FACTS).
#pragma once

#include <optional>
#include <string>

#include "common/base/error.h"
#include "common/base/hash.h"
#include "common/base/ids.h"

namespace branchline {

struct Anchor {
  Incarnation incarnation;  // a branch: whose sequence; a master: of this process start
  uint64_t number = 0;      // a branch: last order; a master: head csn
  Digest chain;             // after it
  bool operator==(const Anchor&) const = default;
};

// Writes to a temporary file, syncs, renames, syncs the folder. Blocks; any thread, one at a time.
Result<void> write_anchor(const std::string& path, const Anchor& anchor);
// Nothing if there is no file; `corrupt` if it is damaged.
Result<std::optional<Anchor>> read_anchor(const std::string& path);

}  // namespace branchline
