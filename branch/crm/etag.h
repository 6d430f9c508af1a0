// ETags (SEMANTICS 34): from the last writers of a record's cells and a digest of its sums,
// derived values and lookups, not from csns, so that a client's own commit does not fail its next
// save.
#pragma once

#include <string>

#include "common/record/record.h"
#include "common/schema/schema.h"

namespace branchline {

uint64_t etag_of(const Record& record, const Entity& entity);
// W/"16 hex digits"
std::string etag_text(uint64_t etag);

}  // namespace branchline
