// Operations (what an author asked for) and effects (what the master decided), in one shape: a list
// of record operations, each with operations on fields. SEMANTICS 13's table says what each kind
// does under each policy (replication/merge/policy.h).
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "common/base/error.h"
#include "common/record/record.h"
#include "common/record/value.h"

namespace branchline {

// Numbers are part of the formats: never reused.
enum class RecordOpKind : uint8_t {
  // Operations.
  create = 1,
  update = 2,
  remove = 3,  // delete; a keyword in C++
  merge = 4,   // `record` into `target`, which survives; the cells are edits of the survivor
  move = 5,    // new territories, and cells as in an update
  // Effects.
  put_new = 16,    // the record comes into being with these cells
  put_cells = 17,  // cells and elements of an existing record change
  tombstone = 18,
  revive = 19,  // a tombstone lives again, with the cells it had
  // With a target: the record was merged into it. All its elements, and the cells named here (put,
  // null), go over with the versions they have. Without one: the record's lookups followed such a
  // redirect; the cells hold the new values, their versions stay.
  redirect = 20,
  relocate = 21,  // the record has other territories now
  arrive = 22,    // to a territory that it newly enters: the record as it is now, in `image`
};

constexpr std::string_view to_string(RecordOpKind kind) {
  switch (kind) {
    case RecordOpKind::create:
      return "create";
    case RecordOpKind::update:
      return "update";
    case RecordOpKind::remove:
      return "delete";
    case RecordOpKind::merge:
      return "merge";
    case RecordOpKind::move:
      return "move";
    case RecordOpKind::put_new:
      return "put_new";
    case RecordOpKind::put_cells:
      return "put_cells";
    case RecordOpKind::tombstone:
      return "tombstone";
    case RecordOpKind::revive:
      return "revive";
    case RecordOpKind::redirect:
      return "redirect";
    case RecordOpKind::relocate:
      return "relocate";
    case RecordOpKind::arrive:
      return "arrive";
  }
  return "unknown";
}

enum class CellOpKind : uint8_t {
  // Operations.
  set = 1,      // the value; null clears
  add = 2,      // a difference, under `sum`
  insert = 3,   // an element, under `set`
  remove = 4,   // the element `key`, under `set` and `append`
  append = 5,   // an element, under `append`
  correct = 6,  // the value, under `max` and `min`, also against their direction
  // Under `escrow`; amounts above zero.
  spend = 7,      // from the share of the author's server
  grant = 8,      // by the master, to the server that `key` names
  give_back = 9,  // what the holder does not need; the master may write off another's by `key`
  // Effects.
  put = 16,
  put_element = 17,
  remove_element = 18,
};

constexpr std::string_view to_string(CellOpKind kind) {
  switch (kind) {
    case CellOpKind::set:
      return "set";
    case CellOpKind::add:
      return "add";
    case CellOpKind::insert:
      return "insert";
    case CellOpKind::remove:
      return "remove";
    case CellOpKind::append:
      return "append";
    case CellOpKind::correct:
      return "correct";
    case CellOpKind::spend:
      return "spend";
    case CellOpKind::grant:
      return "grant";
    case CellOpKind::give_back:
      return "give_back";
    case CellOpKind::put:
      return "put";
    case CellOpKind::put_element:
      return "put_element";
    case CellOpKind::remove_element:
      return "remove_element";
  }
  return "unknown";
}

struct CellOp {
  FieldId field;
  CellOpKind kind = CellOpKind::set;
  Value value;
  // Of the element that is put or removed. An element that an operation inserts is keyed by its
  // mutation and `key.index`, which counts up within the mutation; then `key.mutation` is not
  // written. Of grants and of what is given back: origin and incarnation are the holder, a server
  // and the first process start of its data directory; none means the author's own.
  ElementKey key;
};

struct RecordOp {
  RecordOpKind kind = RecordOpKind::update;
  RecordKey record;
  TerritoryId territory;  // create, move, put_new, relocate: the home; 0 where it follows a parent
  std::vector<TerritoryId> also_in;  // likewise
  RecordId target;                   // merge, redirect
  Csn seen;  // of the upstream read it was based on; 0: the record was held here
  std::vector<CellOp> cells;
  std::string_view image;  // arrive: replication/merge/arrival.h
};

bool is_operation(RecordOpKind kind);
bool is_effect(RecordOpKind kind);
bool is_cell_op(uint8_t kind);  // a kind that bytes may name
// Whether the element key's mutation is part of the bytes.
bool names_element(CellOpKind kind);
bool counts_element(CellOpKind kind);  // whether key.index is part of the bytes

// Canonical bytes of one record operation, as hashed and as kept in outbox blocks.
void put_record_op(Writer& w, const RecordOp& op);
// Payloads point into the reader's bytes. Fails the reader on any malformed or invalid value.
RecordOp get_record_op(Reader& r);

}  // namespace branchline
