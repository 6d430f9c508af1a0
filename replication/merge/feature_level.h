// What a main line may hold, as one number that only a commit raises (SEMANTICS 38): programs learn
// new kinds first, and use them once every server of the company reads them.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "common/record/operation.h"
#include "common/schema/schema.h"
#include "replication/merge/workspace.h"

namespace branchline {

// What this program reads and, where the line has reached it, writes.
inline constexpr uint32_t kFeatureLevel = 2;
// Of a line that says nothing: version 0.1 began it.
inline constexpr uint32_t kFirstLevel = 1;

// Since when an office's outbox may have two lanes.
inline constexpr uint32_t kLanesLevel = 2;
// Since when a branch's subscription may change and a server may be removed: before, a branch
// refuses to go on.
inline constexpr uint32_t kSubscriptionLevel = 2;

// The one table of what came with which level. A kind that is added gets its row here; of entities
// and fields the schema says it (`since` in crm.yaml).
constexpr uint32_t level_of(RecordOpKind kind) {
  switch (kind) {
    case RecordOpKind::create:
    case RecordOpKind::update:
    case RecordOpKind::remove:
    case RecordOpKind::put_new:
    case RecordOpKind::put_cells:
    case RecordOpKind::tombstone:
    case RecordOpKind::revive:
      return 1;
    case RecordOpKind::merge:
    case RecordOpKind::redirect:
    case RecordOpKind::move:
    case RecordOpKind::relocate:
    case RecordOpKind::arrive:
      return 2;
  }
  return kFeatureLevel;
}
constexpr uint32_t level_of(CellOpKind kind) {
  switch (kind) {
    case CellOpKind::set:
    case CellOpKind::add:
    case CellOpKind::insert:
    case CellOpKind::remove:
    case CellOpKind::append:
    case CellOpKind::correct:
    case CellOpKind::put:
    case CellOpKind::put_element:
    case CellOpKind::remove_element:
      return 1;
    case CellOpKind::spend:
    case CellOpKind::grant:
    case CellOpKind::give_back:
      return 2;
  }
  return kFeatureLevel;
}
constexpr uint32_t level_of(Policy policy) {
  switch (policy) {
    case Policy::latest:
    case Policy::sum:
    case Policy::set:
    case Policy::append:
    case Policy::max:
    case Policy::min:
      return 1;
    case Policy::first:
    case Policy::ask:
    case Policy::escrow:
      return 2;
  }
  return kFeatureLevel;
}
// The policy that a field merges by on a line of this level: `latest` until its own is active.
constexpr Policy active(Policy policy, uint32_t level) {
  return level_of(policy) <= level ? policy : Policy::latest;
}

// Something in operations or effects that a line of `level` does not hold yet.
struct BeyondLevel {
  std::string what;    // "the entity conflict"
  uint32_t level = 0;  // that has it
};
std::optional<BeyondLevel> beyond_level(const Schema& schema, const std::vector<RecordOp>& ops,
                                        uint32_t level);

// The record that holds the committed topology and the level, on every line.
RecordKey topology_key();
// The level that the line has committed, as far as it is known here; the newest where nothing is
// committed yet: a line begins with it.
uint32_t level_in(const Schema& schema, const Record& topology);
Result<uint32_t> committed_level(Workspace& workspace);
// `conflict`, code "feature_level.newer", where this program does not know that level.
Result<void> check_level(uint32_t level, const std::string& whose);

}  // namespace branchline
