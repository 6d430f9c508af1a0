#include "replication/line/audit_report.h"

namespace branchline {

void compare_totals(const Totals& stored, AuditReport& report) {
  auto sum_in = [](const auto& map, TerritoryId t) {
    auto at = map.find(t);
    return at == map.end() ? Sum128{} : at->second;
  };
  auto territories = stored.sums;
  for (const auto& [t, sum] : report.sums) territories[t];
  for (const auto& [t, ignored] : territories) {
    if (sum_in(stored.sums, t) != sum_in(report.sums, t)) {
      report.problem("checksum of territory " + std::to_string(t.value) + ": stored " +
                     to_hex(sum_in(stored.sums, t)) + ", counted " +
                     to_hex(sum_in(report.sums, t)));
    }
  }
  auto count_in = [](const auto& map, const auto& key) {
    auto at = map.find(key);
    return at == map.end() ? uint64_t{0} : at->second;
  };
  auto all = stored.counts;
  for (const auto& [key, count] : report.counts) all[key];
  for (const auto& [key, ignored] : all) {
    if (count_in(stored.counts, key) != count_in(report.counts, key)) {
      report.problem("records of entity " + std::to_string(key.first.value) + " in territory " +
                     std::to_string(key.second.value) + ": the counter says " +
                     std::to_string(count_in(stored.counts, key)) + ", there are " +
                     std::to_string(count_in(report.counts, key)));
    }
  }
}

void FateCoverage::pass(const Stream& stream, Seq first, Seq last) {
  auto at = ends_.try_emplace(stream, Seq(0)).first;
  if (at->second.next() == first) at->second = last;
}

void FateCoverage::add(const FateEntry& entry, bool whole, AuditReport& report) {
  auto [at, fresh] = ends_.try_emplace(stream_of(entry.id), Seq(0));
  Seq due = at->second.next();
  bool continues = entry.id.seq == due || (fresh && !whole);
  if (!continues) {
    report.problem("stream " + to_hex(entry.id.incarnation.value) + ": fates go on at seq " +
                   std::to_string(entry.id.seq.value) + " where " + std::to_string(due.value) +
                   " was due");
  }
  at->second = Seq(entry.id.seq.value + entry.count - 1);
}

}  // namespace branchline
