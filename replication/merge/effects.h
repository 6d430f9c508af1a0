// What a follower does with a commit's effects: puts values in place. No decisions are left.
#pragma once

#include "replication/merge/workspace.h"

namespace branchline {

// `version` names the commit's mutation, csn and stamp. `corrupt` with code "effects.diverged" if
// an effect names a record that is not here in the state it needs: base differs from the master's.
Result<void> apply_effects(Workspace& workspace, const std::vector<RecordOp>& effects,
                           const Version& version);

// Canonical bytes of effects with their stamp: what a forecast's digest is taken of
// (docs/formats.md, "Forecast"). Equal bytes at branch and master mean equal effects.
void put_forecast(std::string& out, Hlc hlc, const std::vector<RecordOp>& effects);

// About what they take in a commit block, rather too much than too little.
size_t effect_bytes(const std::vector<RecordOp>& effects);

}  // namespace branchline
