// The state of one run of Merger; private to this folder.
#pragma once

#include <algorithm>
#include <utility>

#include "common/base/check.h"
#include "replication/merge/merge.h"

namespace branchline {

struct Merger::Context {
  const Mutation& m;
  Version version;
  Decision decision;
  EffectList effects;
  const Permit& permit;
  uint16_t op = 0;
  Csn base;  // up to where the author had seen what the operation is about
  bool rejected = false;

  bool forecast() const { return version.csn.value == 0; }
  // Bytes that live as long as the decision.
  std::string_view keep(std::string_view bytes) { return decision.arena.copy(bytes); }

  // Rejects the mutation unless its author may touch the record.
  bool permitted(const Entity& entity, const Record& record) {
    if (!permit || permit(entity, record)) return true;
    reject(FieldId(0), Reason::denied);
    return false;
  }
  bool may_move(const Record& record, TerritoryId home, const std::vector<TerritoryId>& also_in) {
    if (!permit.move || permit.move(record, home, also_in)) return true;
    reject(FieldId(0), Reason::denied);
    return false;
  }

  void outcome(FieldId field, Fate fate, Reason reason, const MutationId& other = {}) {
    decision.outcomes.push_back({op, field, fate, reason, other});
    decision.fate = std::max(decision.fate, fate);
    if (fate == Fate::rejected && !std::exchange(rejected, true)) {
      // What else it would have come to tells nobody anything: nothing of it counts (SEMANTICS 8).
      // Of an atomic one, what was overridden is the reason.
      bool atomic = reason == Reason::atomic;
      std::erase_if(decision.outcomes, [&](const Outcome& o) {
        return o.fate != Fate::rejected && !(atomic && o.fate == Fate::overridden);
      });
    }
  }
  void reject(FieldId field, Reason reason, const MutationId& other = {}) {
    outcome(field, Fate::rejected, reason, other);
  }
};

}  // namespace branchline
