// Audit of the main line: recomputes the hash chain over every stored row, counts commits and fates
// from the line, and checks ledgers, high-water marks, checksums and indexes against it. Over a
// consistent view.
#pragma once

#include "master/ingest/ingest.h"
#include "replication/line/audit_report.h"

namespace branchline {

Result<AuditReport> audit_line(const StoreView& view, const Schema& schema);

}  // namespace branchline
