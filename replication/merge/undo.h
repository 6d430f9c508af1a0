// Pre-images of pending mutations: what to put back so that the view becomes the base again.
//
// A branch keeps one copy of each record, the view. Every pending mutation carries what it changed;
// undoing the pending ones newest first gives the base. The alternative, a second copy of every
// record, would cost a key per write (FACTS, "What the hot paths cost").
#pragma once

#include "common/base/arena.h"
#include "replication/merge/workspace.h"

namespace branchline {

// Bytes of a journal, taken before the workspace changes again.
void put_undo(Writer& w, Workspace& workspace, const Journal& journal);

// Which records a pending mutation touched, and the pending one before it on each.
struct UndoRecord {
  RecordKey key;
  PendingRef previous;
};
Result<std::vector<UndoRecord>> undo_records(std::string_view undo);

// What the mutation did, as effects: read from the workspace while it shows the state right after
// it (all later pending mutations on its records undone). Payloads go into `arena`.
Result<std::vector<RecordOp>> effects_of(Workspace& workspace, std::string_view undo, Arena& arena);

// Puts the pre-images back, newest change first.
Result<void> apply_undo(Workspace& workspace, std::string_view undo);

}  // namespace branchline
