// Many record operations as columns, so that what is alike lies together: shapes, ids, then per
// shape and field its values. docs/formats.md, "Columns", has a worked example.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "common/base/arena.h"
#include "common/record/mutation.h"

namespace branchline {

// Columns are written side by side and joined at the end: varint length and bytes each.
class ColumnSet {
 public:
  // References stay valid.
  std::string& add() { return *columns_.emplace_back(std::make_unique<std::string>()); }
  void join(std::string& out) const;

 private:
  std::vector<std::unique_ptr<std::string>> columns_;
};

class ColumnSplitter {
 public:
  explicit ColumnSplitter(std::string_view joined) : r_(joined) {}
  Reader next() { return Reader(r_.blob()); }
  bool ok() const { return r_.ok(); }
  bool done() const { return r_.done(); }

 private:
  Reader r_;
};

// Ids made by RecordIdMaker as (node, milliseconds, counter): node by table, time as difference.
class IdColumnWriter {
 public:
  explicit IdColumnWriter(ColumnSet& set);
  // `derived`: what the decoder can compute itself (a keyed create's id), or nil.
  void put(const RecordId& id, const RecordId& derived);

 private:
  std::string& nodes_;
  std::string& codes_;
  std::string& times_;
  std::string& counters_;
  std::string& raw_;
  std::unordered_map<uint64_t, size_t> places_;
  uint64_t last_ms_ = 0;
};

// What a keyed create's id is computed from, where the block says that it can be.
struct KeyedId {
  RecordId author;
  std::string_view operation_key;  // empty: none
  uint32_t index = 0;
};

class IdColumnReader {
 public:
  explicit IdColumnReader(ColumnSplitter& split);
  RecordId get(const KeyedId& keyed);
  bool ok() const;
  bool done() const;  // all read, without a fault

 private:
  Reader nodes_, codes_, times_, counters_, raw_;
  std::vector<uint64_t> table_;
  uint64_t last_ms_ = 0;
};

class OpColumnWriter {
 public:
  explicit OpColumnWriter(ColumnSet& set);
  // `mutation`: whose elements need no key of their own. `derived`: see IdColumnWriter.
  void put(const RecordOp& op, const MutationId& mutation, const RecordId& derived);
  // Adds the columns whose number depends on the shapes. Once, at the end.
  void finish();

 private:
  struct Shape {
    size_t index;
    std::vector<std::unique_ptr<std::string>> values;   // per cell
    std::vector<std::unique_ptr<std::string>> lengths;  // per cell
    std::vector<int64_t> last;                          // per cell: the previous integer
  };
  ColumnSet& set_;
  std::string& shapes_;
  std::string& indexes_;
  std::string& extras_;
  std::string& elements_;
  IdColumnWriter ids_;
  std::unordered_map<std::string, Shape> by_shape_;
  std::vector<Shape*> in_order_;
  std::string scratch_;
};

// Reads what OpColumnWriter wrote; every value is checked (valid()), texts point into the block's
// bytes, rebuilt payloads into `arena`.
class OpColumnReader {
 public:
  OpColumnReader(ColumnSplitter& split, Arena& arena);
  RecordOp get(const MutationId& mutation, const KeyedId& keyed);
  bool ok() const { return ok_; }
  bool done() const;

 private:
  struct Shape {
    RecordOpKind kind;
    EntityId entity;
    uint8_t flags;
    std::vector<CellOp> cells;  // field, kind, type
    std::vector<Reader> values;
    std::vector<Reader> lengths;
    std::vector<int64_t> last;
  };
  Value value(Shape& shape, size_t cell);

  Arena& arena_;
  Reader shapes_, indexes_, extras_, elements_;
  IdColumnReader ids_;
  std::vector<Shape> table_;
  size_t cells_ = 0;
  bool ok_ = true;
};

// Stamps: milliseconds as differences, counters beside them.
class HlcColumnWriter {
 public:
  explicit HlcColumnWriter(ColumnSet& set) : ms_(set.add()), counters_(set.add()) {}
  void put(Hlc hlc);

 private:
  std::string& ms_;
  std::string& counters_;
  Hlc last_;
};
class HlcColumnReader {
 public:
  explicit HlcColumnReader(ColumnSplitter& split) : ms_(split.next()), counters_(split.next()) {}
  Hlc get();
  bool ok() const { return ms_.ok() && counters_.ok(); }
  bool done() const { return ms_.done() && counters_.done(); }

 private:
  Reader ms_, counters_;
  Hlc last_;
};

}  // namespace branchline
