// Records that come to territories where they were not: images of them as they are right after the
// commit that moved them (docs/formats.md, "Arrival"). A record with many elements has several: the
// first with its row, those that follow with further elements.
#pragma once

#include "common/base/arena.h"
#include "replication/merge/workspace.h"

namespace branchline {

// A record's territories, its home first.
std::vector<TerritoryId> territories_of(TerritoryId home, const std::vector<TerritoryId>& also_in);
std::vector<TerritoryId> territories_of(const Record& record);
std::vector<TerritoryId> without(std::vector<TerritoryId> all,
                                 const std::vector<TerritoryId>& taken);

// The value of system_field::kMovedFrom once `record` has these territories: those that it left,
// the last first, as numbers with spaces between.
std::string move_history(const Record& record, TerritoryId home,
                         const std::vector<TerritoryId>& also_in);
std::vector<TerritoryId> decode_move_history(std::string_view text);

// A record whose image goes to territories that lack it.
struct Arrival {
  RecordKey record;
  std::vector<TerritoryId> where;
};
// What arrives where by these effects, of which `journal` says what was before: what moved, in what
// it newly entered; of a merge across territories both ends, wherever not both were held.
Result<std::vector<Arrival>> arrivals_of(Workspace& workspace, const Journal& journal,
                                         const std::vector<RecordOp>& effects);

// Between begin() and end() of the workspace: whether the images that `effects` call for are within
// the limits (limits::kMaxMoveBytes).
Result<bool> arrivals_fit(Workspace& workspace, const std::vector<RecordOp>& effects);

// Images of a record, each about `part_bytes` at most; payloads in `arena`.
Result<std::vector<RecordOp>> images_of(Workspace& workspace, const RecordKey& key,
                                        size_t part_bytes, Arena& arena);
// The record of an image, without its elements; nothing where the image holds further elements
// only.
Result<std::optional<Record>> arrived_record(const RecordOp& op);
// Puts an image in the place of whatever is held of the record.
Result<void> apply_arrival(Workspace& workspace, const RecordOp& op);

}  // namespace branchline
