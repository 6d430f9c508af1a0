#include "master/feed/feed.h"

#include <algorithm>

#include "common/base/limits.h"
#include "common/store/keyspace.h"
#include "replication/line/compress.h"

namespace branchline {
namespace {

// Retention took it; the link is made anew, and the greeting then asks for a snapshot.
Error line_trimmed(Csn after) {
  return {ErrorKind::unavailable, "line.trimmed",
          "the main line behind csn " + std::to_string(after.value) + " is kept no longer"};
}

Error line_gap(Csn after) {
  return {ErrorKind::corrupt, "line.gap",
          "the main line has no batch behind csn " + std::to_string(after.value) +
              "; the store is damaged"};
}

bool wanted(const BatchHeader& header, const BlockTag& tag, const FeedScope& scope) {
  if (!scope.territories.count(tag.territory)) return false;
  // Its own effects, where they are what it forecast, it has already, unless it forgot them.
  return tag.origin != scope.origin || tag.echo || header.to <= scope.echo_until;
}

}  // namespace

void append_fate(std::vector<FateEntry>& list, FateEntry next) {
  if (!list.empty()) {
    FateEntry& last = list.back();
    auto plain = [](const FateEntry& e) { return e.outcomes.empty() && e.clamped.value == 0; };
    if (plain(last) && plain(next) && stream_of(last.id) == stream_of(next.id) &&
        last.fate == next.fate && last.as_forecast == next.as_forecast &&
        last.id.seq.value + last.count == next.id.seq.value &&
        last.csn.value + last.count == next.csn.value) {
      last.count += next.count;
      return;
    }
  }
  list.push_back(std::move(next));
}

LineFeed::LineFeed(const StoreView& store, LineCursor head, size_t tail_bytes)
    : store_(store), head_(head), tail_limit_(tail_bytes), indexed_from_(head.csn) {}

void LineFeed::add(std::shared_ptr<const LineBatch> batch) {
  head_.csn = batch->header.to;
  head_.chain = batch->header.chain;
  for (const auto& r : batch->header.rows) {
    if (r.kind == static_cast<uint8_t>(keys::LineRow::fates)) {
      fated_[r.tag.origin] = head_.csn;
    } else {
      touched_[r.tag.territory] = head_.csn;
    }
  }
  tail_bytes_ += batch->bytes;
  tail_.push_back(std::move(batch));
  while (tail_bytes_ > tail_limit_ && tail_.size() > 1) {
    tail_bytes_ -= tail_.front()->bytes;
    tail_.pop_front();
  }
}

Result<LineCursor> LineFeed::cursor_before(Csn csn) const {
  if (csn >= head_.csn) return head_;
  auto next = store_.scan(Table::line, keys::line_prefix(csn.next()), {});
  if (auto e = next->error()) return std::unexpected(*e);
  if (!next->valid()) return std::unexpected(line_gap(csn));
  BL_ASSIGN(auto behind, decode_batch_header(next->value()));
  LineCursor out{head_.line, behind.from, {}};
  BL_ASSIGN(auto trim, read_trim(store_));
  if (behind.from > csn || behind.from < trim.csn) return std::unexpected(line_trimmed(csn));
  if (behind.from == trim.csn) {
    out.chain = trim.chain;
    return out;
  }
  BL_ASSIGN(auto row, store_.get(Table::line, keys::line_batch(behind.from)));
  if (!row) return std::unexpected(line_gap(csn));
  BL_ASSIGN(auto header, decode_batch_header(*row));
  out.chain = header.chain;
  return out;
}

Result<std::optional<LineFeed::Row>> LineFeed::next_batch(Csn after) const {
  if (after >= head_.csn) return std::optional<Row>();
  if (!tail_.empty() && after >= tail_.front()->header.from) {
    auto at = std::upper_bound(tail_.begin(), tail_.end(), after,
                               [](Csn csn, const auto& b) { return csn < b->header.to; });
    if (at == tail_.end() || (*at)->header.from != after) return std::unexpected(line_gap(after));
    return std::optional<Row>(Row{at->get(), {}});
  }
  auto cursor = store_.scan(Table::line, keys::line_prefix(after.next()), {});
  if (auto e = cursor->error()) return std::unexpected(*e);
  if (!cursor->valid()) return std::unexpected(line_gap(after));
  // A batch's header is the first of its rows.
  auto header = decode_batch_header(cursor->value());
  if (!header) return std::unexpected(header.error());
  if (header->from != after) {
    BL_ASSIGN(auto trimmed, read_trim(store_));
    if (after < trimmed.csn) return std::unexpected(line_trimmed(after));
    return std::unexpected(line_gap(after));
  }
  return std::optional<Row>(Row{nullptr, std::move(*header)});
}

Result<void> LineFeed::take(const Row& row, const FeedScope& scope, FeedRange& range,
                            size_t& bytes) const {
  const BatchHeader& header = row.header();
  auto row_missing = [&] { return std::unexpected(line_gap(header.from)); };
  for (const auto& r : header.rows) {
    if (r.kind == static_cast<uint8_t>(keys::LineRow::effects) && wanted(header, r.tag, scope)) {
      std::string block;
      if (row.in_memory) {
        for (const auto& [tag, b] : row.in_memory->effects) {
          if (tag == r.tag) block = b;
        }
      } else {
        BL_ASSIGN(auto stored,
                  store_.get(Table::line, keys::line_effects(header.to, r.tag.territory,
                                                             r.tag.origin, r.tag.echo)));
        if (!stored) return row_missing();
        block = std::move(*stored);
      }
      bytes += block.size();
      range.blocks.push_back(std::move(block));
    }
    if (r.kind == static_cast<uint8_t>(keys::LineRow::arrivals) && wanted(header, r.tag, scope)) {
      std::string block;
      if (row.in_memory) {
        for (const auto& a : row.in_memory->arrivals) {
          if (a.tag == r.tag && a.part == r.part) block = a.block;
        }
      } else {
        BL_ASSIGN(auto stored,
                  store_.get(Table::line, keys::line_arrivals(header.to, r.tag.territory,
                                                              r.tag.origin, r.tag.echo, r.part)));
        if (!stored) return row_missing();
        block = std::move(*stored);
      }
      bytes += block.size();
      range.blocks.push_back(std::move(block));
    }
    if (r.kind == static_cast<uint8_t>(keys::LineRow::fates) && r.tag.origin == scope.origin) {
      std::string stored;
      if (row.in_memory) {
        for (const auto& [origin, b] : row.in_memory->fates) {
          if (origin == scope.origin) stored = b;
        }
      } else {
        BL_ASSIGN(auto found, store_.get(Table::line, keys::line_fates(header.to, scope.origin)));
        if (!found) return row_missing();
        stored = std::move(*found);
      }
      BL_ASSIGN(std::string raw, decompress(stored, limits::kMaxBlockBytes));
      BL_ASSIGN(auto fates, decode_fate_block(raw));
      bytes += raw.size();
      for (const auto& f : fates) bytes += f.count * 64;  // work for the receiver
      for (auto& f : fates) append_fate(range.fates, std::move(f));
    }
  }
  return {};
}

bool LineFeed::touched_since(Csn csn, const FeedScope& scope) const {
  if (csn < indexed_from_) return true;
  auto behind = [csn](const auto& index, const auto& key) {
    auto at = index.find(key);
    return at != index.end() && csn < at->second;
  };
  return behind(fated_, scope.origin) ||
         std::any_of(scope.territories.begin(), scope.territories.end(),
                     [&](TerritoryId t) { return behind(touched_, t); });
}

void LineFeed::rename(const LineCursor& head) { head_ = head; }

Result<FeedRange> LineFeed::read(const LineCursor& after, const FeedScope& scope,
                                 size_t budget) const {
  FeedRange range;
  range.from = after.csn;
  range.to = after;
  if (after.csn < head_.csn && scope.until.value == 0 && !touched_since(after.csn, scope)) {
    range.to.csn = head_.csn;
    range.to.chain = head_.chain;
    return range;
  }
  size_t bytes = 0;
  while (bytes < budget && (scope.until.value == 0 || range.to.csn < scope.until)) {
    BL_ASSIGN(auto row, next_batch(range.to.csn));
    if (!row) break;
    BL_TRY(take(*row, scope, range, bytes));
    range.to.csn = row->header().to;
    range.to.chain = row->header().chain;
  }
  return range;
}

// --- Snapshots ---

namespace {

bool holds(const FeedScope& scope, TerritoryId home, const std::vector<TerritoryId>& also_in) {
  if (scope.territories.count(home)) return true;
  return std::any_of(also_in.begin(), also_in.end(),
                     [&](TerritoryId t) { return scope.territories.count(t); });
}

}  // namespace

SnapshotSource::SnapshotSource(std::shared_ptr<const StoreView> view, const FeedScope& scope,
                               const std::set<TerritoryId>& held, size_t chunk_bytes)
    : view_(view),
      scope_(scope),
      held_(held),
      writer_(
          view, 0,
          [scope, had = FeedScope{scope.origin, held, {}, {}}](
              TerritoryId home, const std::vector<TerritoryId>& also_in) {
            return holds(scope, home, also_in) && !holds(had, home, also_in);
          },
          chunk_bytes) {}

Result<std::unique_ptr<SnapshotSource>> SnapshotSource::open(
    std::shared_ptr<const StoreView> view, const FeedScope& scope,
    const std::vector<PendingRange>& pending, const std::set<TerritoryId>& held, uint64_t id,
    size_t chunk_bytes) {
  BL_ASSIGN(auto row, view->get(Table::meta, keys::meta_state()));
  if (!row) return fail(ErrorKind::unavailable, "snapshot.empty", "the master has no state yet");
  BL_ASSIGN(auto state, decode_master_state(*row));
  std::unique_ptr<SnapshotSource> out(new SnapshotSource(view, scope, held, chunk_bytes));
  out->head_.at = {state.line, state.head, state.chain};
  out->head_.id = id;
  out->head_.partial = !held.empty();
  out->end_.hlc = state.hlc;
  for (const auto& [t, sum] : state.totals.sums) {
    if (scope.territories.count(t)) out->end_.totals.sums[t] = sum;
  }
  for (const auto& [key, count] : state.totals.counts) {
    if (!scope.territories.count(key.second)) continue;
    out->end_.totals.counts[key] = count;
    if (!held.count(key.second)) out->head_.records += count;
  }
  BL_TRY(out->describe_end(pending));
  return out;
}

// What became of the receiver's pending mutations up to here (SEMANTICS 25).
Result<void> SnapshotSource::describe_end(const std::vector<PendingRange>& pending) {
  end_.high_waters.clear();
  end_.fates.clear();
  for (const auto& p : pending) {
    Stream stream = p.stream;
    stream.origin = scope_.origin;
    BL_ASSIGN(auto high, view_->get(Table::meta, keys::meta_stream(stream)));
    if (!high) continue;
    BL_ASSIGN(auto at, decode_stream_state(*high));
    end_.high_waters.push_back({stream, at.seq, at.chain});
    auto cursor = scan_prefix(*view_, Table::fates, keys::fate_prefix(stream));
    for (; cursor->valid(); cursor->next()) {
      auto id = keys::parse_fate(cursor->key());
      if (!id) return fail(ErrorKind::corrupt, "fate.key", "a fate's key is damaged");
      BL_ASSIGN(auto fate, decode_fate_row(*id, cursor->value()));
      if (fate.entry.id.seq.value + fate.entry.count <= p.first.value) continue;
      append_fate(end_.fates, std::move(fate.entry));
    }
    if (auto e = cursor->error()) return std::unexpected(*e);
  }
  return {};
}

Result<bool> SnapshotSource::resume(const JoinProgress& join, const FeedScope& scope,
                                    const std::set<TerritoryId>& held,
                                    const std::vector<PendingRange>& pending) {
  bool same = join.snapshot != 0 && join.snapshot == head_.id && scope.origin == scope_.origin &&
              scope.territories == scope_.territories && held == held_;
  if (!same || !writer_.rewind(join.chunks)) return false;
  if (writer_.chain_before(join.chunks) != join.chain) return false;
  // A disk that was rolled back meanwhile may hold as pending what it had no more.
  BL_TRY(describe_end(pending));
  head_.first_chunk = join.chunks;
  return true;
}

Result<std::optional<std::string>> SnapshotSource::next() { return chunk(writer_.chunks()); }

Result<std::optional<std::string>> SnapshotSource::chunk(uint64_t number) {
  if (!writer_.rewind(number)) {
    return fail(ErrorKind::invalid, "snapshot.order",
                "chunk " + std::to_string(number) + " of a snapshot that has come to " +
                    std::to_string(writer_.chunks()));
  }
  BL_ASSIGN(auto chunk, writer_.next());
  if (!chunk) {
    end_.chunks = writer_.chunks();
    end_.digest = writer_.digest();
    end_.chain = writer_.chain_before(writer_.chunks());
  }
  return chunk;
}

// --- Snapshots that broke off ---

void SnapshotShelf::put(std::shared_ptr<SnapshotSource> source, int64_t now_us) {
  if (source->head().id == 0) return;
  OriginId origin = source->scope().origin;
  kept_.insert_or_assign(origin, Kept{std::move(source), now_us});
}

std::shared_ptr<SnapshotSource> SnapshotShelf::take(OriginId origin, int64_t now_us) {
  expire(now_us);
  auto at = kept_.find(origin);
  if (at == kept_.end()) return nullptr;
  auto source = std::move(at->second.source);
  kept_.erase(at);
  return source;
}

void SnapshotShelf::expire(int64_t now_us) {
  std::erase_if(kept_, [&](const auto& k) { return now_us - k.second.since_us >= kKeepUs; });
}

std::optional<Csn> SnapshotShelf::lowest() const {
  std::optional<Csn> out;
  for (const auto& [origin, k] : kept_) {
    Csn at = k.source->head().at.csn;
    if (!out || at < *out) out = at;
  }
  return out;
}

}  // namespace branchline
