#include "replication/snapshot/ranges.h"

#include "common/base/limits.h"
#include "replication/line/compress.h"
#include "replication/merge/element.h"

namespace branchline {
namespace {

std::string with_side(keys::Side side, const std::string& key) {
  return std::string(1, static_cast<char>(side)) + key;
}

std::unique_ptr<Cursor> scan_range(const StoreView& view, Table table, keys::Side side,
                                   const KeyRange& range) {
  std::string prefix(1, static_cast<char>(side));
  std::string end = range.end.empty() ? prefix_end(prefix) : with_side(side, range.end);
  return view.scan(table, with_side(side, range.begin), end);
}

Result<void> check(const Cursor& cursor) {
  if (auto e = cursor.error()) return std::unexpected(*e);
  return {};
}

}  // namespace

RowWalk::RowWalk(const StoreView& view, keys::Side side, const KeyRange& range)
    : records_(scan_range(view, Table::records, side, range)),
      elements_(scan_range(view, Table::elements, side, range)) {}

Result<bool> RowWalk::next() {
  rows_.clear();
  orphans_.clear();
  bool more = records_->valid();
  if (more) {
    key_ = records_->key();
    value_ = records_->value();
    records_->next();
  }
  for (; elements_->valid() && (!more || elements_->key() < key_); elements_->next())
    orphans_.emplace_back(elements_->key());
  for (; more && elements_->valid() && elements_->key().starts_with(key_); elements_->next())
    rows_.emplace_back(elements_->key(), elements_->value());
  BL_TRY(check(*records_));
  BL_TRY(check(*elements_));
  return more;
}

Result<SummedRecord> sum_row(const RowWalk& row) {
  auto damaged = [](const char* what) {
    return fail(ErrorKind::corrupt, "record.corrupt", std::string("a record's row: ") + what);
  };
  auto key = keys::parse_record(row.key());
  if (!key) return damaged("its key");
  BL_ASSIGN(auto record, Record::decode(*key, row.value()));
  SummedRecord out{std::move(record), {}, 0};
  for (const auto& cell : out.record.cells()) {
    if (!valid(out.record.value(cell))) return damaged("a value that is none of its type");
  }
  bool counts = out.record.state() != RecordState::tombstone;
  if (counts) out.sum = record_sum(out.record);
  for (const auto& [element_key, value] : row.elements()) {
    auto parsed = keys::parse_element(element_key);
    if (!parsed) return damaged("the key of an element");
    BL_ASSIGN(auto element, decode_element(value));
    if (!valid(element.value())) return damaged("an element's value");
    ++out.elements;
    if (counts) out.sum += element_term(*key, parsed->field, parsed->key, element.value());
  }
  return out;
}

Result<std::vector<Sum128>> sum_ranges(const StoreView& view, keys::Side side,
                                       const RangeFilter& counts,
                                       const std::vector<KeyRange>& ranges) {
  std::vector<Sum128> out;
  for (const auto& range : ranges) {
    Sum128 sum;
    RowWalk walk(view, side, range);
    for (;;) {
      BL_ASSIGN(bool more, walk.next());
      if (!more) break;
      BL_ASSIGN(auto row, sum_row(walk));
      if (counts(row.record.territory(), row.record.also_in())) sum += row.sum;
    }
    out.push_back(sum);
  }
  return out;
}

Result<std::string> rows_of_ranges(const StoreView& view, keys::Side side,
                                   const RangeFilter& counts, const std::vector<KeyRange>& ranges) {
  std::string rows;
  Writer w(rows);
  for (const auto& range : ranges) {
    RowWalk walk(view, side, range);
    for (;;) {
      BL_ASSIGN(bool more, walk.next());
      if (!more) break;
      BL_ASSIGN(auto row, sum_row(walk));
      if (!counts(row.record.territory(), row.record.also_in())) continue;
      put_row(w, Table::records, walk.key(), walk.value());
      for (const auto& [key, value] : walk.elements()) put_row(w, Table::elements, key, value);
      if (rows.size() > limits::kMaxVerifyRowBytes) {
        return fail(ErrorKind::invalid, "verify.too_large",
                    "the records that were asked for are too much for one answer");
      }
    }
  }
  return compress(rows);
}

Result<void> open_rows(std::string_view container, const RowVisit& visit) {
  BL_ASSIGN(std::string rows, decompress(container, limits::kMaxVerifyRowBytes * 2));
  return visit_rows(
      rows, {ErrorKind::invalid, "verify.rows", "rows of a repair that cannot be read"}, visit);
}

}  // namespace branchline
