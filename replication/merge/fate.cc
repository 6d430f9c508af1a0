#include "replication/merge/fate.h"

namespace branchline {
namespace {

constexpr size_t kMinOutcomeBytes = 5;

struct Words {
  std::string_view name;
  std::string_view sentence;
};

constexpr Words kReasons[] = {
    {"none", ""},
    {"newer", "It replaced a change made elsewhere at the same time, which was older."},
    {"older", "A change made elsewhere at the same time is newer and stands instead."},
    {"combined", "It was combined with changes made elsewhere at the same time."},
    {"beyond", "The value there lies further already, so it stayed."},
    {"exists", "A record with this id existed; the fields were merged into it."},
    {"revived", "The record was deleted elsewhere at the same time; this change brought it back."},
    {"deleted", "The record was deleted."},
    {"already_deleted", "The record was deleted before."},
    {"concurrent_edit",
     "The record was changed elsewhere at the same time, so it was not deleted."},
    {"cycle", "It would have made a record its own ancestor."},
    {"overflow", "The sum would have left the range of numbers."},
    {"duplicate_operation", "The same operation key had been used before; it was not done again."},
    {"duplicate_key",
     "Another record holds the same unique key; both are kept and this one is marked."},
    {"unknown_record", "There is no record with this id."},
    {"unknown_parent", "The record it belongs to does not exist."},
    {"parent_deleted", "The record it belongs to was deleted."},
    {"denied", "The author may not do this, or not from that office."},
    {"guard", "A value it depended on had changed."},
    {"atomic", "It was to be done whole or not at all, and part of it would have been overridden."},
    {"too_large",
     "The change would touch more than the limit allows, with all that it deletes or brings back."},
    {"territory_move",
     "It would have moved the record to another territory, which version 0.1 could not."},
    {"not_activated", "This kind of operation is not activated yet."},
    {"crashed", "Deciding it ended the master twice; its content is kept for the operator."},
    {"malformed", "It does not fit the schema."},
    {"no_territory", "The record has no territory."},
    {"clock_ahead", "The office's clock was too far ahead; the stamp was corrected."},
    {"first_stands", "Another value was set first and stands; this one was not seen there."},
    {"asked",
     "Another value was set elsewhere at the same time; it stands until somebody decides the "
     "conflict."},
    {"agreed", "The same value was set elsewhere at the same time."},
    {"share_exceeded", "It is more than the share that this office may spend."},
    {"not_holder", "Only the office that holds a share may give it back."},
    {"from_reserve",
     "It was more than the office's share; what no office holds covered the difference."},
};

// From Reason::redirected on.
constexpr Words kMergeReasons[] = {
    {"redirected",
     "The record had been merged into another one; what could be done was done to that one."},
    {"survivor_stays",
     "The record had been merged into another one, whose value was chosen and stands instead."},
    {"unseen_merge",
     "Another record was merged into this one elsewhere at the same time, so it was not deleted."},
    {"open_conflict",
     "Values of the record that is to be merged wait for a decision: decide its conflicts first."},
};
constexpr Words kMoveTooLarge{"move_too_large",
                              "It would move more than 40,000 records or 24 MiB at once, with all "
                              "that belongs to the record. "
                              "Move parts of it first: give them to a new record in the other "
                              "territory, then move the rest."};
constexpr Words kHasParent{
    "has_parent",
    "The record is in the territories of the record that it belongs to; move that one."};

const Words& words(Reason reason) {
  if (reason == Reason::move_too_large) return kMoveTooLarge;
  if (reason == Reason::has_parent) return kHasParent;
  auto at = static_cast<size_t>(reason);
  constexpr auto kFirst = static_cast<size_t>(Reason::redirected);
  if (at >= kFirst && at < kFirst + std::size(kMergeReasons)) return kMergeReasons[at - kFirst];
  return kReasons[at < std::size(kReasons) ? at : 0];
}

}  // namespace

std::string_view to_string(Fate fate) {
  switch (fate) {
    case Fate::applied:
      return "applied";
    case Fate::merged:
      return "merged";
    case Fate::overridden:
      return "overridden";
    case Fate::rejected:
      return "rejected";
  }
  return "unknown";
}
std::string_view to_string(Reason reason) { return words(reason).name; }
std::string_view explain(Reason reason) { return words(reason).sentence; }

void put_outcomes(Writer& w, const std::vector<Outcome>& outcomes) {
  w.varint(outcomes.size());
  for (const auto& o : outcomes) {
    w.varint(o.op);
    w.varint(o.field.value);
    w.u8(static_cast<uint8_t>(o.fate));
    w.u8(static_cast<uint8_t>(o.reason));
    bool names_other = !o.other.is_none();
    w.u8(names_other ? 1 : 0);
    if (names_other) put_mutation_id(w, o.other);
  }
}

std::vector<Outcome> get_outcomes(Reader& r) {
  std::vector<Outcome> outcomes(r.varint_max(r.remaining() / kMinOutcomeBytes));
  for (auto& o : outcomes) {
    o.op = static_cast<uint16_t>(r.varint_max(0xffff));
    o.field = FieldId(static_cast<uint16_t>(r.varint_max(0xffff)));
    uint8_t fate = r.u8();
    if (!valid_fate(fate)) r.fail();
    o.fate = static_cast<Fate>(fate);
    // A reason we do not know comes from a newer master; it is kept as it is.
    o.reason = static_cast<Reason>(r.u8());
    if (r.flag()) o.other = get_mutation_id(r);
    if (!r.ok()) break;
  }
  return outcomes;
}

}  // namespace branchline
