// What an audit found (SEMANTICS 19): counted from outbox and line, not from the counters it
// checks.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "replication/line/commit.h"

namespace branchline {

struct AuditReport {
  LineCursor at;
  std::map<OriginId, Ledger> counted;  // a branch: itself only
  std::map<TerritoryId, Sum128> sums;  // of base records, counted
  std::map<std::pair<EntityId, TerritoryId>, uint64_t> counts;
  uint64_t records = 0;
  uint64_t elements = 0;
  std::vector<std::string> problems;

  bool clean() const { return problems.empty(); }
  void problem(std::string text) {
    if (problems.size() < 50) problems.push_back(std::move(text));
  }
};

// Compares stored totals with counted ones, both ways; a zero and an absence are the same.
void compare_totals(const Totals& stored, AuditReport& report);

// Follows fates of one stream: every seq once, none twice.
class FateCoverage {
 public:
  // Entries in order of key. `whole`: whether the stream must begin at 1.
  void add(const FateEntry& entry, bool whole, AuditReport& report);
  // Seqs that need none, where they continue the stream; nothing where they were passed before.
  void pass(const Stream& stream, Seq first, Seq last);
  // The last seq with a fate, per stream.
  const std::map<Stream, Seq>& ends() const { return ends_; }

 private:
  std::map<Stream, Seq> ends_;
};

}  // namespace branchline
