#include "replication/snapshot/snapshot.h"

#include "common/base/limits.h"
#include "common/record/record.h"
#include "replication/line/compress.h"

namespace branchline {
namespace {

void put_row(Writer& w, Table table, std::string_view key_with_side, std::string_view value) {
  w.u8(static_cast<uint8_t>(table));
  w.blob(key_with_side.substr(1));
  w.blob(value);
}

}  // namespace

SnapshotWriter::SnapshotWriter(std::shared_ptr<const StoreView> view, keys::Side side,
                               Filter filter)
    : view_(std::move(view)), side_(side), filter_(std::move(filter)) {
  std::string begin(1, static_cast<char>(side_));
  records_ = scan_prefix(*view_, Table::records, begin);
  elements_ = scan_prefix(*view_, Table::elements, begin);
}

Result<std::optional<std::string>> SnapshotWriter::next() {
  if (finished_) return std::optional<std::string>();
  std::string rows;
  Writer w(rows);
  // Both tables start their keys alike, so one walk over each finds every record's elements.
  for (; records_->valid() && rows.size() < limits::kSnapshotChunkBytes; records_->next()) {
    auto key = keys::parse_record(records_->key());
    if (!key) return fail(ErrorKind::corrupt, "record.key", "a record's key is damaged");
    BL_ASSIGN(auto record, Record::decode(*key, std::string(records_->value())));
    if (!filter_(record.territory(), record.also_in())) continue;
    put_row(w, Table::records, records_->key(), records_->value());
    std::string prefix = keys::element_prefix(side_, *key);
    while (elements_->valid() && elements_->key() < prefix) elements_->next();
    for (; elements_->valid() && elements_->key().starts_with(prefix); elements_->next()) {
      put_row(w, Table::elements, elements_->key(), elements_->value());
    }
  }
  for (const auto* cursor : {records_.get(), elements_.get()}) {
    if (auto e = cursor->error()) return std::unexpected(*e);
  }
  if (rows.empty()) {
    finished_ = true;
    digest_ = all_.finish();
    return std::optional<std::string>();
  }
  all_.add(sha256(rows).view());
  std::string payload;
  Writer(payload).varint(chunks_++);
  payload += compress(rows);
  return std::optional<std::string>(std::move(payload));
}

Result<void> SnapshotReader::open(std::string_view payload, const Visit& visit) {
  Reader r(payload);
  uint64_t number = r.varint();
  if (!r.ok() || number != chunks_) {
    return fail(ErrorKind::invalid, "snapshot.order",
                "snapshot chunk " + std::to_string(number) + " where " + std::to_string(chunks_) +
                    " was due");
  }
  BL_ASSIGN(std::string rows, decompress(r.rest(), limits::kMaxFrameBytes * 4));
  all_.add(sha256(rows).view());
  ++chunks_;
  Reader in(rows);
  while (in.ok() && in.remaining() > 0) {
    uint8_t table = in.u8();
    std::string_view key = in.blob();
    std::string_view value = in.blob();
    bool known = table == static_cast<uint8_t>(Table::records) ||
                 table == static_cast<uint8_t>(Table::elements);
    if (!in.ok() || !known)
      return fail(ErrorKind::corrupt, "snapshot.corrupt", "a snapshot chunk is damaged");
    BL_TRY(visit(static_cast<Table>(table), key, value));
  }
  return {};
}

Result<void> SnapshotReader::finish(uint64_t chunks, const Digest& digest) {
  if (chunks != chunks_ || digest != all_.finish()) {
    return fail(ErrorKind::corrupt, "snapshot.corrupt",
                "the snapshot received is not the one that was sent; it will be fetched again");
  }
  return {};
}

}  // namespace branchline
