// One record: its state, territories and cells, each cell with the version that wrote it.
//
// Flat form (docs/formats.md, "Record"): versions stand once per distinct writer, a cell costs
// about four bytes beside its value. The same bytes are kept at master and branches; a branch
// appends a reference to the newest pending mutation that touched the record, which never leaves
// it.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "common/base/error.h"
#include "common/base/hash.h"
#include "common/record/value.h"
#include "common/time/hlc.h"

namespace branchline {

// Who wrote a cell (SEMANTICS 5). `csn` is 0 while it is not known here: a branch's own mutation
// that committed as it forecast costs no record write, so its csn is found in the fates instead.
struct Version {
  MutationId id;
  Order order;
  Csn csn;
  Hlc hlc;
  RecordId author;

  bool operator==(const Version&) const = default;
};

enum class RecordState : uint8_t {
  live = 0,
  tombstone = 1,  // deleted; cells stay until retention ends, so that it can come back
  redirect = 2,   // merged into `target`
};

struct Cell {
  FieldId field;
  uint16_t writer;  // index into the record's versions
  ValueType type;
  uint32_t offset;  // of the payload in the record's heap
  uint32_t size;
};

// Where a pending mutation stands at its branch: the process start that took it, its order there,
// and its lane. Sorted by age: orders count across the lanes of a start.
struct PendingRef {
  uint32_t generation = 0;
  Order order;
  Lane lane = Lane::interactive;
  auto operator<=>(const PendingRef&) const = default;
  bool is_none() const { return order.value == 0; }

  // Generation and lane as one number, as stored: the lane is the highest bit, so that keys sort
  // the lanes apart and what was written before there was a second lane reads as interactive.
  static constexpr uint32_t kBulkBit = 0x80000000;
  uint32_t packed_generation() const {
    return lane == Lane::bulk ? generation | kBulkBit : generation;
  }
  static PendingRef unpack(uint32_t packed, Order order) {
    return {packed & ~kBulkBit, order, packed & kBulkBit ? Lane::bulk : Lane::interactive};
  }
};

class Record {
 public:
  // A new live record without cells, created by `version`.
  Record(RecordKey key, TerritoryId territory, std::vector<TerritoryId> also_in,
         const Version& version);

  // `corrupt` if the bytes are not exactly one record of a known format.
  static Result<Record> decode(RecordKey key, std::string flat);
  std::string encode() const;
  void encode_to(std::string& out) const;

  const RecordKey& key() const { return key_; }
  RecordState state() const { return state_; }
  bool live() const { return state_ == RecordState::live; }
  // Who created, deleted, revived or redirected it last. For a tombstone this is its deletion
  // group.
  const Version& state_version() const { return writers_[state_writer_]; }
  const Version& created_version() const { return writers_[created_writer_]; }
  void set_state(RecordState state, const Version& version);
  // Puts back what set_state changed.
  void restore_state(RecordState state, const Version& state_version, const RecordId& target);
  const RecordId& target() const { return target_; }
  void set_target(const RecordId& target) { target_ = target; }

  TerritoryId territory() const { return territory_; }
  const std::vector<TerritoryId>& also_in() const { return also_in_; }
  bool in_territory(TerritoryId t) const;
  void set_territories(TerritoryId home, std::vector<TerritoryId> also_in);

  const std::vector<Cell>& cells() const { return cells_; }  // sorted by field
  const Cell* find(FieldId field) const;
  Value value(const Cell& cell) const {
    return {cell.type, std::string_view(heap_).substr(cell.offset, cell.size)};
  }
  // Null where there is no such cell.
  Value value(FieldId field) const;
  const Version& version(const Cell& cell) const { return writers_[cell.writer]; }
  // Copies the payload. `value` must not point into this record.
  void set(FieldId field, const Version& version, const Value& value);
  // As if it had never been written (undoing a pending edit).
  void remove_cell(FieldId field);
  // Puts back a cell copied from this record earlier; null: there was none.
  void restore_cell(FieldId field, const Cell* before);
  // Whether what edits left behind, payloads and versions, outweighs the rest.
  bool bloated() const;
  // Drops that, where it is so. Cells and values taken from this record before no longer hold.
  void compact();

  PendingRef pending() const { return pending_; }
  void set_pending(PendingRef ref) { pending_ = ref; }

  // The newest stamp among all versions, and its author: when and by whom it was last changed.
  const Version& last_version() const;

 private:
  Record() = default;
  uint16_t intern(const Version& version);

  RecordKey key_;
  RecordState state_ = RecordState::live;
  TerritoryId territory_;
  std::vector<TerritoryId> also_in_;
  RecordId target_;
  uint16_t state_writer_ = 0;
  uint16_t created_writer_ = 0;
  std::vector<Version> writers_;
  std::vector<Cell> cells_;
  std::string heap_;
  PendingRef pending_;
};

void put_version(Writer& w, const Version& v);
Version get_version(Reader& r);

// --- Additive checksums (SEMANTICS 27) ---
// ----------------------------------------------------------------- A territory's checksum is the
// sum of one term per live or redirected record and one per cell and element of it. Terms cover
// ids, territories, values and the versions' mutation ids; neither csn nor HLC, which a branch may
// not know yet. Tombstones add nothing.

Sum128 state_term(const Record& record);
Sum128 cell_term(const RecordKey& key, FieldId field, const Value& value, const MutationId& writer);
Sum128 element_term(const RecordKey& key, FieldId field, const ElementKey& element,
                    const Value& value);
// state_term and all cell_terms; zero for a tombstone. Elements are the caller's, who stores them.
Sum128 record_sum(const Record& record);

}  // namespace branchline
