#include "replication/snapshot/snapshot.h"

#include "common/base/limits.h"
#include "common/record/record.h"
#include "replication/line/compress.h"

namespace branchline {

Digest chunk_chain(const Digest& before, const Digest& digest) {
  std::string both(before.view());
  both += digest.view();
  return sha256(both);
}

SnapshotWriter::SnapshotWriter(std::shared_ptr<const StoreView> view, keys::Side side,
                               Filter filter, size_t chunk_bytes)
    : view_(std::move(view)), side_(side), filter_(std::move(filter)), chunk_bytes_(chunk_bytes) {
  seek(std::string(1, static_cast<char>(side_)));
}

// Keys of both tables begin alike, so both walks begin at the same one.
void SnapshotWriter::seek(const std::string& begin) {
  std::string end = prefix_end(std::string(1, static_cast<char>(side_)));
  records_ = view_->scan(Table::records, begin, end);
  elements_ = view_->scan(Table::elements, begin, end);
}

bool SnapshotWriter::rewind(uint64_t number) {
  if (number > made_.size()) return false;
  if (number == made_.size()) return true;
  seek(made_[number].begin);
  made_.resize(number);
  finished_ = false;
  return true;
}

Digest SnapshotWriter::chain_before(uint64_t number) const {
  return number == 0 ? Digest{} : made_.at(number - 1).chain;
}

Digest SnapshotWriter::digest() const {
  Sha256 all;
  for (const auto& m : made_) all.add(m.digest.view());
  return all.finish();
}

Result<std::optional<std::string>> SnapshotWriter::next() {
  if (finished_) return std::optional<std::string>();
  std::string rows, begin;
  if (records_->valid()) begin = std::string(records_->key());
  Writer w(rows);
  // Both tables start their keys alike, so one walk over each finds every record's elements.
  for (; records_->valid() && rows.size() < chunk_bytes_; records_->next()) {
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
    return std::optional<std::string>();
  }
  Digest digest = sha256(rows);
  std::string payload;
  Writer(payload).varint(made_.size());
  made_.push_back({std::move(begin), digest, chunk_chain(chain_before(made_.size()), digest)});
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
  BL_TRY(visit_rows(rows, {ErrorKind::corrupt, "snapshot.corrupt", "a snapshot chunk is damaged"},
                    visit));
  Digest digest = sha256(rows);
  all_.add(digest.view());
  chain_ = chunk_chain(chain_, digest);
  ++chunks_;
  return {};
}

Result<void> SnapshotReader::finish(uint64_t chunks, const Digest& digest, const Digest& chain) {
  bool same = chunks == chunks_ && (chain.is_zero() ? !resumed_ : chain == chain_);
  if (!resumed_) same = same && digest == all_.finish();
  if (!same) {
    return fail(ErrorKind::corrupt, "snapshot.corrupt",
                "the snapshot received is not the one that was sent; it will be fetched again");
  }
  return {};
}

}  // namespace branchline
