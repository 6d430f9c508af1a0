#include "branch/crm/overlay.h"

#include <algorithm>
#include <set>

#include "branch/replica/state.h"
#include "common/base/limits.h"
#include "replication/line/compress.h"
#include "replication/merge/undo.h"

namespace branchline {
namespace {

constexpr size_t kMaxCommittedBytes = 64 * 1024 * 1024;  // of pending work that is put back

// Two walks in one order; where both have a key, the upper one's row is taken, or none if it says
// so.
class MergedCursor : public Cursor {
 public:
  using Row = std::pair<std::string, std::optional<std::string>>;
  MergedCursor(std::vector<Row> upper, std::unique_ptr<Cursor> lower, bool back)
      : upper_(std::move(upper)), lower_(std::move(lower)), back_(back) {
    settle();
  }
  bool valid() const override { return on_upper_ || lower_->valid(); }
  void next() override {
    if (on_upper_) {
      ++at_;
    } else {
      lower_->next();
    }
    settle();
  }
  std::string_view key() const override {
    return on_upper_ ? std::string_view(upper_[at_].first) : lower_->key();
  }
  std::string_view value() const override {
    return on_upper_ ? std::string_view(*upper_[at_].second) : lower_->value();
  }
  std::optional<Error> error() const override { return lower_->error(); }

 private:
  void settle() {
    for (;;) {
      on_upper_ = false;
      if (at_ == upper_.size()) return;
      const Row& row = upper_[at_];
      if (lower_->valid()) {
        int order = std::string_view(row.first).compare(lower_->key());
        if (back_ ? order < 0 : order > 0) return;
        if (order == 0) {
          lower_->next();
          continue;
        }
      }
      on_upper_ = row.second.has_value();
      if (on_upper_) return;
      ++at_;
    }
  }

  std::vector<Row> upper_;
  size_t at_ = 0;
  std::unique_ptr<Cursor> lower_;
  bool back_;
  bool on_upper_ = false;
};

}  // namespace

void OverlayView::put(Table table, std::string_view key, std::string_view value) {
  rows_[static_cast<size_t>(table)].insert_or_assign(std::string(key), std::string(value));
}

void OverlayView::lay(const Batch& batch) {
  batch.for_each([&](Batch::Op op, Table table, std::string_view key, std::string_view value) {
    Rows& rows = rows_[static_cast<size_t>(table)];
    switch (op) {
      case Batch::Op::put:
        rows.insert_or_assign(std::string(key), std::string(value));
        break;
      case Batch::Op::erase:
        rows.insert_or_assign(std::string(key), std::nullopt);
        break;
      case Batch::Op::erase_range:
        for (auto cursor = walk(table, key, value, false); cursor->valid(); cursor->next())
          rows.insert_or_assign(std::string(cursor->key()), std::nullopt);
        break;
    }
  });
}

Result<std::optional<std::string>> OverlayView::get(Table table, std::string_view key) const {
  const Rows& rows = rows_[static_cast<size_t>(table)];
  if (auto at = rows.find(key); at != rows.end()) return at->second;
  return below_->get(table, key);
}

std::unique_ptr<Cursor> OverlayView::walk(Table table, std::string_view begin, std::string_view end,
                                          bool back) const {
  const Rows& rows = rows_[static_cast<size_t>(table)];
  auto first = rows.lower_bound(begin);
  auto last = end.empty() ? rows.end() : rows.lower_bound(end);
  if (!end.empty() && begin >= end) last = first;
  std::vector<MergedCursor::Row> upper(first, last);
  if (back) std::reverse(upper.begin(), upper.end());
  auto lower = back ? below_->scan_back(table, begin, end) : below_->scan(table, begin, end);
  return std::make_unique<MergedCursor>(std::move(upper), std::move(lower), back);
}

std::unique_ptr<Cursor> OverlayView::scan(Table table, std::string_view begin,
                                          std::string_view end) const {
  return walk(table, begin, end, false);
}

std::unique_ptr<Cursor> OverlayView::scan_back(Table table, std::string_view begin,
                                               std::string_view end) const {
  return walk(table, begin, end, true);
}

Result<std::shared_ptr<const StoreView>> lay_upstream(std::shared_ptr<const StoreView> view,
                                                      const Schema& schema, keys::Side side,
                                                      std::string_view container) {
  auto overlay = std::make_shared<OverlayView>(view);
  if (container.empty()) return overlay;
  auto damaged = [] {
    return fail(ErrorKind::corrupt, "lookup.corrupt", "an answer of head office is damaged");
  };
  BL_ASSIGN(std::string rows, decompress(container, limits::kMaxLookupRowBytes));
  std::set<RecordKey> laid;
  Reader in(rows);
  while (in.ok() && in.remaining() > 0) {
    auto table = static_cast<Table>(in.u8());
    std::string key(1, static_cast<char>(side));
    key.append(in.blob());
    std::string_view value = in.blob();
    if (!in.ok()) return damaged();
    if (table == Table::records) {
      auto parsed = keys::parse_record(key);
      const Entity* entity = parsed ? schema.entity(parsed->entity) : nullptr;
      if (!entity || entity->virtual_set || entity->credential) return damaged();
      BL_ASSIGN(auto here, view->get(Table::records, key));
      if (here) continue;
      BL_ASSIGN(auto record, Record::decode(*parsed, std::string(value)));
      overlay->put(Table::records, key, value);
      for (const auto& k : index_keys(record, entity, side, IndexScope::all))
        overlay->put(Table::index, k, {});
      laid.insert(*parsed);
    } else if (table == Table::elements) {
      auto parsed = keys::parse_element(key);
      if (!parsed || !decode_element(value)) return damaged();
      if (laid.count(parsed->record) > 0) overlay->put(Table::elements, key, value);
    } else {
      return damaged();
    }
  }
  return overlay;
}

Result<Committed> lay_committed(std::shared_ptr<const StoreView> view,
                                std::shared_ptr<const Schema> schema) {
  BL_ASSIGN(auto row, view->get(Table::meta, keys::meta_state()));
  if (!row) return fail(ErrorKind::unavailable, "branch.joining", "this branch has no data yet");
  BL_ASSIGN(auto state, decode_replica_state(*row));
  Committed out{view, state.side, state.cursor.csn};
  if (state.ledger.pending == 0) return out;
  auto too_much = [&] {
    return fail(ErrorKind::unavailable, "committed.pending",
                std::to_string(state.ledger.pending) +
                    " changes of this office wait for head office; a committed read puts at most " +
                    std::to_string(limits::kMaxCommittedPending) + " of them, and " +
                    std::to_string(kMaxCommittedBytes >> 20) +
                    " MiB, back: read without Branchline-Read, or when fewer wait");
  };
  if (state.ledger.pending > limits::kMaxCommittedPending) return too_much();
  std::vector<OutboxBlock> blocks;
  size_t bytes = 0;
  OutboxReader reader(*view, state.side);
  for (PendingRef at;;) {
    BL_ASSIGN(auto block, reader.next(at));
    if (!block) break;
    at = block->last();
    bytes += block->bytes.size();
    if (bytes > kMaxCommittedBytes) return too_much();
    blocks.push_back(std::move(*block));
  }
  Workspace::Config config;
  config.side = state.side;
  config.holds_everything = state.holds_everything;
  Workspace workspace(*view, schema, config);
  for (auto block = blocks.rbegin(); block != blocks.rend(); ++block) {
    for (auto e = block->entries.rbegin(); e != block->entries.rend(); ++e) {
      if (!is_pending(state.retired, {block->generation, e->mutation.order})) continue;
      workspace.begin();
      BL_TRY(apply_undo(workspace, e->undo));
      workspace.end();
    }
  }
  Batch batch;
  workspace.flush(batch);
  auto overlay = std::make_shared<OverlayView>(view);
  overlay->lay(batch);
  out.view = overlay;
  return out;
}

}  // namespace branchline
