#include "master/verify/verify.h"

#include <algorithm>

#include "master/ingest/ingest.h"
#include "replication/snapshot/ranges.h"

namespace branchline {
namespace {

constexpr keys::Side kSide = 0;  // the master's only one

RangeFilter filter_of(const std::set<TerritoryId>& territories) {
  return [&territories](TerritoryId home, const std::vector<TerritoryId>& also_in) {
    return territories.count(home) > 0 ||
           std::any_of(also_in.begin(), also_in.end(),
                       [&](TerritoryId t) { return territories.count(t) > 0; });
  };
}

// What is wrong with the master's disk is its operators' business, not the office's.
Error told(const Error& e) {
  if (!is_store_fault(e)) return e;
  return {ErrorKind::unavailable, "verify.failed",
          "the master could not read its store; its log says why"};
}

Result<MasterState> state_of(const StoreView& view) {
  BL_ASSIGN(auto row, view.get(Table::meta, keys::meta_state()));
  if (!row) return fail(ErrorKind::unavailable, "verify.empty", "the master has no state yet");
  return decode_master_state(*row);
}

}  // namespace

Result<LineCursor> line_at(const StoreView& view) {
  BL_ASSIGN(auto state, state_of(view));
  return LineCursor{state.line, state.head, state.chain};
}

Result<VerifyPoint> verify_point(const StoreView& view, const std::set<TerritoryId>& territories,
                                 const VerifyRequest& question) {
  BL_ASSIGN(auto state, state_of(view));
  VerifyPoint out;
  out.number = question.number;
  out.at = {state.line, state.head, state.chain};
  for (TerritoryId t : territories) {
    auto sum = state.totals.sums.find(t);
    if (sum != state.totals.sums.end() && sum->second != Sum128{}) out.totals.insert(*sum);
  }
  if (question.rows.empty()) return out;
  auto rows = rows_of_ranges(view, kSide, filter_of(territories), question.rows);
  if (rows) {
    out.rows = std::move(*rows);
  } else {
    out.error = told(rows.error());
  }
  return out;
}

VerifySums verify_sums(const StoreView& view, const std::set<TerritoryId>& territories,
                       const VerifyRequest& question) {
  VerifySums out;
  out.number = question.number;
  auto sums = sum_ranges(view, kSide, filter_of(territories), question.sums);
  if (sums) {
    out.sums = std::move(*sums);
  } else {
    out.error = told(sums.error());
  }
  return out;
}

}  // namespace branchline
