#include "replication/line/report_json.h"

namespace branchline {

void put_ledger_json(JsonWriter& w, const Ledger& l) {
  w.begin_object();
  w.member("accepted", l.accepted)
      .member("pending", l.pending)
      .member("applied", l.applied)
      .member("merged", l.merged);
  w.member("overridden", l.overridden).member("rejected", l.rejected).member("lost", l.lost);
  w.end_object();
}

void put_audit_json(JsonWriter& w, const AuditReport& report, const ReportNames& names) {
  w.begin_object();
  w.member("clean", report.clean());
  w.member("line", to_hex(report.at.line.value)).member("csn", report.at.csn.value);
  w.member("records", report.records).member("elements", report.elements);
  w.key("ledgers").begin_object();
  for (const auto& [origin, ledger] : report.counted) {
    w.key(names.server(origin));
    put_ledger_json(w, ledger);
  }
  w.end_object();
  w.key("sums").begin_object();
  for (const auto& [t, sum] : report.sums) {
    std::string name = names.territory(t);
    if (!name.empty()) w.member(name, to_hex(sum));
  }
  w.end_object();
  w.key("problems").begin_array();
  for (const auto& p : report.problems) w.text(p);
  w.end_array();
  w.end_object();
}

}  // namespace branchline
