// Audit of a replica: counts pending work from the outbox and decided work from the fates, checks
// the chains, the checksums of the base, the counts of the view and every index. Over a consistent
// view, on any thread.
#pragma once

#include "branch/replica/state.h"
#include "common/schema/schema.h"
#include "replication/line/audit_report.h"

namespace branchline {

Result<AuditReport> audit_replica(const StoreView& view, const Schema& schema);

}  // namespace branchline
