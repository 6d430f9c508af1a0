// Ledgers and audits as JSON, alike at master and branch, for the operators' command line.
#pragma once

#include <functional>

#include "common/json/json_writer.h"
#include "replication/line/audit_report.h"

namespace branchline {

void put_ledger_json(JsonWriter& w, const Ledger& ledger);
// {"clean":..,"csn":..,"line":..,"records":..,"elements":..,"ledgers":{name:{..}},"sums":{territory:hex},"problems":[..]}
struct ReportNames {
  std::function<std::string(OriginId)> server;
  std::function<std::string(TerritoryId)> territory;  // empty: left out
};
void put_audit_json(JsonWriter& w, const AuditReport& report, const ReportNames& names);

}  // namespace branchline
