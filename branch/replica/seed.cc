// Snapshots: the other side of the keyspace is filled beside the live one, pending work is replayed
// on it, and one batch switches (SEMANTICS 24, 25).
#include <algorithm>
#include <utility>

#include "branch/replica/replica.h"
#include "common/base/check.h"
#include "common/base/limits.h"
#include "common/base/probe.h"
#include "replication/line/mutation_block.h"
#include "replication/merge/companions.h"
#include "replication/merge/effects.h"
#include "replication/merge/undo.h"

namespace branchline {
namespace {

void erase_side(Batch& batch, keys::Side side) {
  std::string begin(1, static_cast<char>(side));
  for (Table table : {Table::records, Table::elements, Table::index, Table::outbox}) {
    batch.erase_range(table, begin, prefix_end(begin));
  }
  batch.erase(Table::meta, keys::meta_collation(side));
}

Error not_seeding() {
  return {ErrorKind::invalid, "snapshot.unexpected", "a part of a snapshot that was not announced"};
}

Error damaged(const char* what) {
  return {ErrorKind::corrupt, "snapshot.corrupt", std::string("snapshot: ") + what};
}

}  // namespace

Result<void> Replica::begin_seed(const SnapshotHead& head, const Write& write) {
  seed_ = std::make_unique<Seed>();
  seed_->head = head;
  seed_->side = static_cast<keys::Side>(1 - state_.side);
  seed_->expected = head.records;
  Batch batch;
  erase_side(batch, seed_->side);  // of an attempt that broke off
  batch.put(Table::meta, keys::meta_collation(seed_->side), collation_);
  return write(batch, Sync::no);
}

Result<void> Replica::seed_chunk(std::string_view payload, const Write& write) {
  if (!seed_) return std::unexpected(not_seeding());
  Seed& s = *seed_;
  Batch batch;
  std::optional<Record> record;
  auto add_term = [&](const Sum128& term) {
    s.totals.sums[record->territory()] += term;
    for (auto t : record->also_in()) s.totals.sums[t] += term;
  };
  auto visit = [&](Table table, std::string_view key, std::string_view value) -> Result<void> {
    std::string full(1, static_cast<char>(s.side));
    full += key;
    if (table == Table::records) {
      auto parsed = keys::parse_record(full);
      if (!parsed) return std::unexpected(damaged("a record under a damaged key"));
      BL_ASSIGN(record, Record::decode(*parsed, std::string(value)));
      record->set_pending({});
      batch.put(Table::records, full, record->encode());
      for (const auto& k :
           index_keys(*record, schema_->entity(parsed->entity), s.side, IndexScope::all))
        batch.put(Table::index, k, {});
      if (record->state() != RecordState::tombstone) add_term(record_sum(*record));
      if (record->live()) {
        ++s.totals.counts[{parsed->entity, record->territory()}];
        ++s.records;
      }
      return {};
    }
    auto parsed = keys::parse_element(full);
    if (!parsed || !record || parsed->record != record->key()) {
      return std::unexpected(damaged("an element without its record"));
    }
    BL_ASSIGN(auto element, decode_element(value));
    batch.put(Table::elements, full, value);
    if (record->state() != RecordState::tombstone) {
      add_term(element_term(record->key(), parsed->field, parsed->key, element.value()));
    }
    return {};
  };
  BL_TRY(s.reader.open(payload, visit));
  return write(batch, Sync::no);
}

Result<ApplyResult> Replica::end_seed(const SnapshotEnd& end, const Write& write) {
  if (!seed_) return std::unexpected(not_seeding());
  Seed& s = *seed_;
  BL_TRY(s.reader.finish(end.chunks, end.digest));
  for (const auto& [t, sum] : end.totals.sums) {
    auto at = s.totals.sums.find(t);
    if ((at == s.totals.sums.end() ? Sum128{} : at->second) != sum) {
      return std::unexpected(damaged("the checksum of a territory differs from the master's"));
    }
  }
  ReplicaState next = state_;
  next.cursor = s.head.at;
  next.side = s.side;
  next.totals = s.totals;
  hlc_.observe(end.hlc);

  ApplyResult result;
  ReplicaState old = state_;
  state_ = next;
  auto old_workspace = std::move(workspace_);
  auto old_merger = std::move(merger_);
  auto old_unplaced = std::exchange(unplaced_, {});
  Workspace::Config config;
  config.side = s.side;
  config.holds_everything = state_.holds_everything;
  workspace_ = std::make_unique<Workspace>(store_, schema_, config);
  merger_ = std::make_unique<Merger>(*workspace_, lineage_);
  auto ok = take_level();
  if (ok) ok = replay_pending(end, write, result, old);
  if (!ok) {
    state_ = std::move(old);
    workspace_ = std::move(old_workspace);
    merger_ = std::move(old_merger);
    unplaced_ = std::move(old_unplaced);
    seed_.reset();
    return std::unexpected(ok.error());
  }
  workspace_->flush(result.batch);
  erase_side(result.batch, old.side);
  write_state(result.batch);
  seed_.reset();
  return result;
}

// The pending mutations of one lane, block by block.
struct Replica::LaneWalk {
  OutboxReader reader;
  Lane lane;
  std::optional<OutboxBlock> block;
  size_t at = 0;
  bool any_left = false;  // of this block, for the new side

  PendingRef next() const { return block->ref(block->entries[at]); }
  Result<void> read(PendingRef after) {
    BL_ASSIGN(block, reader.next(after));
    if (block && block->lane != lane) block.reset();
    at = 0;
    any_left = false;
    return {};
  }
};

// Decides pending mutations on the new side; those that the snapshot holds are retired. In the
// order in which they were accepted, across the lanes: on another base a mutation may reach records
// where one of the other lane waits, and what waits on a record is undone newest first.
Result<void> Replica::replay_pending(const SnapshotEnd& end, const Write& write,
                                     ApplyResult& result, ReplicaState& old) {
  std::map<Stream, Seq> high;
  for (auto h : end.high_waters) {
    h.stream.origin = state_.self;
    high[h.stream] = h.seq;
  }
  std::map<MutationId, const FateEntry*> fates;
  for (const auto& f : end.fates) fates[f.id] = &f;
  std::vector<LaneWalk> walks;
  for (int l = 0; l < kLaneCount; ++l) {
    Lane lane = static_cast<Lane>(l);
    walks.push_back({OutboxReader(store_, old.side), lane, {}, 0, false});
    BL_TRY(walks.back().read({0, Order(0), lane}));
  }
  for (;;) {
    LaneWalk* walk = nullptr;
    for (auto& w : walks) {
      if (w.block && (!walk || w.next() < walk->next())) walk = &w;
    }
    if (!walk) return {};
    OutboxBlock& block = *walk->block;
    PendingRef ref = walk->next();
    PendingEntry& e = block.entries[walk->at];
    if (!is_pending(old.retired, ref)) {
      e.undo = std::string(1, '\0');  // decided before: an empty pre-image
      e.sums.clear();
    } else if (e.mutation.id.seq <= high[stream_of(e.mutation.id)]) {
      BL_TRY(retire_by_snapshot(fates, ref, e, result));
    } else {
      walk->any_left = true;
      BL_TRY(replay_one(ref, e, result));
    }
    if (++walk->at < block.entries.size()) continue;
    PendingRef last = block.last();
    if (walk->any_left) {
      // The new side is not live yet: what is written to it early harms nobody.
      Batch early;
      early.put(Table::outbox, keys::outbox(state_.side, last), encode_outbox_block(block));
      workspace_->flush(early);
      workspace_->evict();
      BL_TRY(write(early, Sync::no));
    }
    BL_TRY(walk->read(last));
  }
}

Result<void> Replica::retire_by_snapshot(const std::map<MutationId, const FateEntry*>& fates,
                                         PendingRef ref, PendingEntry& e, ApplyResult& result) {
  auto f = fates.upper_bound(e.mutation.id);
  const FateEntry* fate = f == fates.begin() ? nullptr : std::prev(f)->second;
  bool covers = fate && stream_of(fate->id) == stream_of(e.mutation.id) &&
                e.mutation.id.seq.value < fate->id.seq.value + fate->count;
  if (!covers) return std::unexpected(damaged("the fate of a committed mutation is missing"));
  BL_PROBE("seed.pending_retired");
  FateEntry one = *fate;
  one.csn = Csn(fate->csn.value + (e.mutation.id.seq.value - fate->id.seq.value));
  one.id = e.mutation.id;
  one.count = 1;
  std::string content;
  Writer w(content);
  if (one.fate >= Fate::overridden) put_mutation(w, e.mutation);
  write_fate(result.batch, one, content);
  count_fate(one, 1, true);
  ++result.retired;
  state_.retired.at(lane_of(ref)) = {e.mutation.id.seq, ref.order};
  e.undo = std::string(1, '\0');
  e.sums.clear();
  return {};
}

Result<void> Replica::replay_one(PendingRef ref, PendingEntry& e, ApplyResult& result) {
  BL_PROBE("seed.pending_replayed");
  BL_ASSIGN(Decision decision, merger_->run(e.mutation, Csn(0)));
  BL_TRY(note_unplaced(e.mutation, ref));
  std::string bytes;
  put_forecast(bytes, e.mutation.hlc, decision.effects);
  // Nothing behind the high-water was shipped to anyone who still listens: the forecast starts
  // anew.
  e.forecast = e.current = forecast_digest(bytes);
  e.original.clear();
  if (decision.fate == Fate::rejected && takes_from_share(e.mutation)) {
    BL_ASSIGN(decision.journal, merger_->hold(e.mutation));
  }
  e.undo.clear();
  Writer undo(e.undo);
  put_undo(undo, *workspace_, decision.journal);
  for (const auto& b : decision.journal.records) {
    BL_ASSIGN(auto found, workspace_->find(b.key));
    if (found.record) workspace_->set_pending(*found.record, ref);
    result.changes.records.push_back(b.key);
  }
  e.sums = decision.journal.deltas;
  e.sums.counts.clear();
  add_counts(decision.journal.deltas);
  return {};
}

}  // namespace branchline
