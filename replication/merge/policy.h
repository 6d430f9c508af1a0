// SEMANTICS 13: for every kind of field operation under every policy, what happens. The table is
// total; a test enumerates it and compares it with docs/merging.md.
#pragma once

#include "common/record/operation.h"
#include "common/schema/schema.h"

namespace branchline {

enum class Rule : uint8_t {
  latest_wins,     // seen: applies; else the later HLC wins, ties by mutation id
  add,             // differences add, seen or not
  raise,           // the greater stays
  lower,           // the lesser stays
  insert_element,  // always
  remove_element,  // removes the element it names if it is there
  first_stands,    // seen, or nothing there: applies; else what is there stays
  ask_people,      // seen: applies; else what is there stays and a conflict opens
  spend,           // from the share of the author's server, never beyond it
  grant,           // from what is nobody's share, never beyond it
  give_back,       // of a share, never beyond it
  set_stock,       // drafted before the line divided stocks: as latest_wins, not below all shares
  refuse,          // does not fit: the mutation is rejected as malformed
};

// Whether an operation replaces a value, rather than adding to what is there. Aimed at a record
// that was merged into another, what adds always reaches the survivor; what replaces does so only
// where the survivor's value is the merged record's (SEMANTICS 16).
constexpr bool replaces(Rule rule) {
  return rule == Rule::latest_wins || rule == Rule::first_stands || rule == Rule::ask_people ||
         rule == Rule::set_stock;
}

constexpr Rule rule_of(CellOpKind kind, Policy policy) {
  switch (policy) {
    case Policy::latest:
      return kind == CellOpKind::set ? Rule::latest_wins : Rule::refuse;
    case Policy::sum:
      return kind == CellOpKind::add ? Rule::add : Rule::refuse;
    case Policy::set:
      return kind == CellOpKind::insert   ? Rule::insert_element
             : kind == CellOpKind::remove ? Rule::remove_element
                                          : Rule::refuse;
    case Policy::append:
      return kind == CellOpKind::append   ? Rule::insert_element
             : kind == CellOpKind::remove ? Rule::remove_element
                                          : Rule::refuse;
    case Policy::max:
      return kind == CellOpKind::set       ? Rule::raise
             : kind == CellOpKind::correct ? Rule::latest_wins
                                           : Rule::refuse;
    case Policy::min:
      return kind == CellOpKind::set       ? Rule::lower
             : kind == CellOpKind::correct ? Rule::latest_wins
                                           : Rule::refuse;
    case Policy::first:
      return kind == CellOpKind::set ? Rule::first_stands : Rule::refuse;
    case Policy::ask:
      return kind == CellOpKind::set ? Rule::ask_people : Rule::refuse;
    case Policy::escrow:
      return kind == CellOpKind::add         ? Rule::add
             : kind == CellOpKind::spend     ? Rule::spend
             : kind == CellOpKind::grant     ? Rule::grant
             : kind == CellOpKind::give_back ? Rule::give_back
             : kind == CellOpKind::set       ? Rule::set_stock
                                             : Rule::refuse;
  }
  return Rule::refuse;
}

}  // namespace branchline
