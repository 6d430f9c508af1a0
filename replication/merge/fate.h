// What became of a mutation, and why.
#pragma once

#include <optional>
#include <string_view>
#include <vector>

#include "common/base/bytes.h"
#include "common/base/ids.h"

namespace branchline {

// Ordered: a mutation's fate is the worst outcome of its operations (SEMANTICS 8). Numbers are part
// of the formats.
enum class Fate : uint8_t {
  applied = 1,
  merged = 2,      // took effect together with concurrent changes
  overridden = 3,  // a concurrent change stands instead, for at least one field
  rejected = 4,    // nothing of it took effect
};
std::string_view to_string(Fate fate);

// Numbers are part of the formats: never reused.
enum class Reason : uint8_t {
  none = 0,
  newer = 1,     // replaced a concurrent, older value
  older = 2,     // a concurrent change is newer
  combined = 3,  // added to, or kept beside, concurrent changes
  beyond = 4,    // max, min: the value there lies further already
  exists = 5,    // created under an id that exists: its fields were merged in
  revived = 6,   // brought back what was deleted concurrently
  deleted = 7,   // the record was deleted
  already_deleted = 8,
  concurrent_edit = 9,       // a delete that had not seen this edit
  cycle = 10,                // would close a cycle in a hierarchy
  overflow = 11,             // a sum left its range
  duplicate_operation = 12,  // the operation key was used before
  duplicate_key = 13,  // another record holds the unique key; both are kept and this one is marked
  unknown_record = 14,
  unknown_parent = 15,
  parent_deleted = 16,
  denied = 17,          // author or territory not within what that branch may speak for
  guard = 18,           // a guard's value differed
  atomic = 19,          // atomic, and part of it would have been overridden
  too_large = 20,       // a cascade beyond the limit
  territory_move = 21,  // would move the record to another territory; of feature level 1 only
  not_activated = 22,   // an operation kind that no feature-level commit activated yet
  crashed = 23,         // deciding it ended the master twice
  malformed = 24,       // does not fit the schema
  no_territory = 25,    // a root record without a territory
  clock_ahead = 26,     // its stamp lay too far ahead and was clamped
  first_stands = 27,    // first: another value was there before
  asked = 28,           // ask: another value was there before, and people shall decide
  agreed = 29,          // ask: another author wrote the same value at the same time
  share_exceeded = 30,  // escrow: more than the server's share, or than what is left
  not_holder = 31,      // escrow: only the holder gives a share back, only the master grants
  from_reserve = 32,    // escrow: more than the share was spent; nobody's part covered it
  redirected = 34,      // the record had been merged into another, and this went to that one
  survivor_stays = 35,  // redirected, and the survivor's value was never that of the merged record
  unseen_merge = 36,    // a delete that had not seen a merge into its target
  open_conflict = 37,   // a merge of a record about which a conflict is open
  move_too_large = 38,  // more records or bytes than one move may take along
  has_parent = 39,      // it is where the record is that it belongs to
};
std::string_view to_string(Reason reason);
// A sentence for people.
std::string_view explain(Reason reason);

struct Outcome {
  uint16_t op = 0;  // index of the record operation
  FieldId field;    // 0: the whole operation
  Fate fate = Fate::applied;
  Reason reason = Reason::none;
  MutationId other;  // the concurrent mutation, if one is meant
};

void put_outcomes(Writer& w, const std::vector<Outcome>& outcomes);
std::vector<Outcome> get_outcomes(Reader& r);
inline bool valid_fate(uint8_t v) { return v >= 1 && v <= 4; }

}  // namespace branchline
