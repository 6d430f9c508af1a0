#include "branch/replica/recount.h"

#include <algorithm>

#include "branch/replica/outbox.h"
#include "common/base/bytes.h"
#include "common/base/probe.h"
#include "replication/line/mutation_block.h"
#include "replication/merge/effects.h"
#include "replication/merge/undo.h"

namespace branchline {
namespace {

Result<ReplicaState> state_of(const StoreView& view) {
  BL_ASSIGN(auto row, view.get(Table::meta, keys::meta_state()));
  if (!row) return fail(ErrorKind::corrupt, "replica.state", "the replica's state row is missing");
  return decode_replica_state(*row);
}

// What a journal did and what was noted of a mutation must cancel each other out.
bool cancels(Deltas undone, const Deltas& noted) {
  for (const auto& [t, sum] : noted.sums) undone.add_sum(t, sum, false);
  for (const auto& [t, sum] : undone.sums) {
    if (sum != Sum128{}) return false;
  }
  return true;
}

bool is_damage(const Error& e) { return e.kind == ErrorKind::corrupt; }

}  // namespace

// --- Base ---

BaseView::BaseView(const StoreView& view, ReplicaState state)
    : view_(view), state_(std::move(state)) {}

Result<std::unique_ptr<BaseView>> BaseView::open(const StoreView& view,
                                                 std::shared_ptr<const Schema> schema,
                                                 const std::set<PendingRef>* only) {
  BL_ASSIGN(auto state, state_of(view));
  std::unique_ptr<BaseView> out(new BaseView(view, std::move(state)));
  Workspace::Config config;
  config.side = out->state_.side;
  config.holds_everything = out->state_.holds_everything;
  out->workspace_ = std::make_unique<Workspace>(view, std::move(schema), config);
  BL_TRY(out->take_back(only));
  return out;
}

Result<bool> BaseView::readable(const RecordKey& key) {
  if (suspects_.count(key) > 0) return false;
  auto found = workspace_->find(key);
  if (!found && !is_damage(found.error())) return std::unexpected(found.error());
  const Record* record = found ? found->record : nullptr;
  if (!record) return false;
  return std::all_of(record->cells().begin(), record->cells().end(),
                     [&](const Cell& c) { return valid(record->value(c)); });
}

Result<void> BaseView::take_back(const std::set<PendingRef>* only) {
  struct Noted {
    std::string undo;
    Deltas sums;
    Hlc hlc;
    uint64_t current = 0;
  };
  // The outbox has the lanes apart, but what they did lies upon one another in order of acceptance.
  std::map<PendingRef, Noted> pending;
  std::string side(1, static_cast<char>(state_.side));
  auto blocks = scan_prefix(view_, Table::outbox, side);
  for (; blocks->valid(); blocks->next()) {
    auto last = keys::parse_outbox(blocks->key());
    if (!last) return fail(ErrorKind::corrupt, "outbox.corrupt", "outbox block: damaged key");
    BL_ASSIGN(auto block, decode_outbox_block(*last, std::string(blocks->value())));
    for (auto& e : block.entries) {
      PendingRef ref = block.ref(e);
      if (!is_pending(state_.retired, ref) || (only && only->count(ref) == 0)) continue;
      pending.emplace(ref, Noted{std::move(e.undo), std::move(e.sums), e.mutation.hlc, e.current});
    }
  }
  if (auto e = blocks->error()) return std::unexpected(*e);
  for (auto at = pending.rbegin(); at != pending.rend(); ++at) {
    const auto& [ref, noted] = *at;
    BL_ASSIGN(auto records, undo_records(noted.undo));
    bool all_readable = true;
    for (const auto& u : records) {
      touched_.insert(u.key);
      BL_ASSIGN(bool one, readable(u.key));
      all_readable = all_readable && one;
    }
    auto doubt = [&] {
      for (const auto& u : records) suspects_.insert(u.key);
    };
    // What lies beneath something that could not be taken back cannot be told.
    if (!all_readable) {
      BL_PROBE("verify.suspect_beneath_pending");
      doubt();
      continue;
    }
    if (auto effects = effects_of(*workspace_, noted.undo, arena_)) {
      std::string bytes;
      put_forecast(bytes, noted.hlc, *effects);
      if (forecast_digest(bytes) == noted.current) effects_[ref] = std::move(*effects);
    }
    workspace_->begin();
    auto ok = apply_undo(*workspace_, noted.undo);
    Journal journal = workspace_->end();
    if (!ok && !is_damage(ok.error())) return ok;
    if (ok && cancels(std::move(journal.deltas), noted.sums)) continue;
    BL_PROBE("verify.suspect_beneath_pending");
    doubt();
  }
  return {};
}

Result<std::optional<BaseView::Base>> BaseView::base_of(const RowWalk& row) {
  auto key = keys::parse_record(row.key());
  if (!key || suspects_.count(*key) > 0) return std::optional<Base>();
  auto stored = sum_row(row);
  if (!stored) {
    if (!is_damage(stored.error())) return std::unexpected(stored.error());
    suspects_.insert(*key);
    return std::optional<Base>();
  }
  if (touched_.count(*key) == 0) {
    const Record& r = stored->record;
    return std::optional(Base{r.territory(), r.also_in(), stored->sum, stored->elements});
  }
  BL_ASSIGN(auto found, workspace_->find(*key));
  if (!found.record) return std::optional<Base>();
  const Record& r = *found.record;
  Base out{r.territory(), r.also_in(), {}, 0};
  bool counts = r.state() != RecordState::tombstone;
  if (counts) out.sum = record_sum(r);
  BL_ASSIGN(auto elements, workspace_->elements(*key, FieldId(0)));
  for (const auto& [place, element] : elements) {
    ++out.elements;
    if (counts) out.sum += element_term(*key, place.field, place.key, element.value());
  }
  return std::optional(std::move(out));
}

Result<std::vector<Sum128>> BaseView::sum_ranges(const RangeFilter& counts,
                                                 const std::vector<KeyRange>& ranges) {
  std::vector<Sum128> out;
  for (const auto& range : ranges) {
    Sum128 sum;
    RowWalk walk(view_, state_.side, range);
    for (;;) {
      BL_ASSIGN(bool more, walk.next());
      if (!more) break;
      BL_ASSIGN(auto base, base_of(walk));
      if (base && counts(base->home, base->also_in)) sum += base->sum;
    }
    out.push_back(sum);
  }
  return out;
}

// --- Recount ---

std::vector<std::pair<TerritoryId, Sum128>> Findings::sums_off() const {
  std::map<TerritoryId, Sum128> off = counted.sums;
  for (const auto& [t, sum] : stored.sums) off[t] -= sum;
  std::erase_if(off, [](const auto& o) { return o.second == Sum128{}; });
  return {off.begin(), off.end()};
}

std::optional<RecordKey> owner_of_index_row(std::string_view key) {
  constexpr size_t kLeast = 1 + 2 + 2 + 16;
  if (key.size() < kLeast) return std::nullopt;
  EntityId entity(Reader(key.substr(1)).fixed16());
  // Groups and deleted children: the member's own entity stands before its id.
  if (entity.value == 0) {
    if (key.size() < kLeast + 2) return std::nullopt;
    entity = EntityId(Reader(key.substr(key.size() - 18)).fixed16());
  }
  return RecordKey{entity, keys::index_record(key)};
}

Recount::Recount(std::shared_ptr<const StoreView> view, std::shared_ptr<const Schema> schema)
    : view_(std::move(view)), schema_(std::move(schema)) {}

Result<std::unique_ptr<Recount>> Recount::open(std::shared_ptr<const StoreView> view,
                                               std::shared_ptr<const Schema> schema,
                                               size_t sample_every) {
  std::unique_ptr<Recount> out(new Recount(std::move(view), std::move(schema)));
  out->sample_every_ = sample_every;
  BL_ASSIGN(out->base_, BaseView::open(*out->view_, out->schema_));
  const ReplicaState& state = out->base_->state();
  out->findings_.at = state.cursor;
  out->findings_.side = state.side;
  out->findings_.stored = state.totals;
  std::erase_if(out->findings_.stored.counts, [](const auto& c) { return c.second == 0; });
  out->walk_ = std::make_unique<RowWalk>(*out->view_, state.side, KeyRange{});
  return out;
}

void Recount::note_orphans(const std::vector<std::string>& rows) {
  for (const auto& k : rows) {
    // Its record's key, whatever else is wrong with it.
    auto key = keys::parse_record(std::string_view(k).substr(0, 19));
    if (key) {
      findings_.suspects.insert(*key);
    } else {
      findings_.unreadable = true;
    }
  }
}

Result<void> Recount::count(const RowWalk& row) {
  note_orphans(row.orphans());
  auto key = keys::parse_record(row.key());
  if (!key) {
    findings_.unreadable = true;
    return {};
  }
  if (findings_.records++ % sample_every_ == 0) findings_.samples.push_back(row.key().substr(1));
  BL_ASSIGN(auto base, base_->base_of(row));
  if (base) {
    findings_.elements += base->elements;
    findings_.counted.sums[base->home] += base->sum;
    for (auto t : base->also_in) findings_.counted.sums[t] += base->sum;
  }
  if (base_->suspects().count(*key) > 0) return {};
  auto view = Record::decode(*key, row.value());
  if (!view) return {};
  if (view->live()) ++findings_.counted.counts[{key->entity, view->territory()}];
  const Entity* entity = schema_->entity(key->entity);
  for (const auto& k : index_keys(*view, entity, base_->state().side, IndexScope::all)) {
    ++index_rows_;
    BL_ASSIGN(auto there, view_->get(Table::index, k));
    if (there) continue;
    findings_.index_missing.push_back(*key);
    break;
  }
  return {};
}

Result<bool> Recount::step_index(size_t rows) {
  std::string prefix(1, static_cast<char>(base_->state().side));
  if (!index_) index_ = scan_prefix(*view_, Table::index, prefix);
  for (; index_->valid() && rows > 0; index_->next(), --rows) {
    ++index_found_;
    if (!search_extra_) continue;
    std::string key(index_->key());
    auto owner = owner_of_index_row(key);
    bool known = false;
    if (owner) {
      BL_ASSIGN(auto flat, view_->get(Table::records, keys::record(base_->state().side, *owner)));
      auto record = flat ? Record::decode(*owner, std::move(*flat))
                         : Result<Record>(std::unexpected(Error{}));
      if (flat && !record) continue;  // a suspect: its rows are made anew with it
      if (record) {
        for (const auto& k : index_keys(*record, schema_->entity(owner->entity),
                                        base_->state().side, IndexScope::all))
          known = known || k == key;
      }
    }
    if (!known) findings_.index_extra.push_back(std::move(key));
  }
  if (auto e = index_->error()) return std::unexpected(*e);
  if (index_->valid()) return false;
  // As many as there should be, and none of those is missing: then they are the same.
  bool wrong = index_found_ != index_rows_ || !findings_.index_missing.empty();
  if (!wrong || search_extra_) return true;
  search_extra_ = true;
  index_.reset();
  return false;
}

Result<bool> Recount::step(size_t rows) {
  for (size_t i = 0; !records_done_ && i < rows; ++i) {
    BL_ASSIGN(bool more, walk_->next());
    if (more) {
      BL_TRY(count(*walk_));
      continue;
    }
    note_orphans(walk_->orphans());
    records_done_ = true;
    findings_.suspects.insert(base_->suspects().begin(), base_->suspects().end());
    std::erase_if(findings_.counted.sums, [](const auto& s) { return s.second == Sum128{}; });
    return false;
  }
  return records_done_ ? step_index(rows) : Result<bool>(false);
}

}  // namespace branchline
