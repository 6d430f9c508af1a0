// Snapshots: the other side of the keyspace is filled beside the live one, pending work is replayed
// on it, and one batch switches (SEMANTICS 24, 25).
#include <algorithm>

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

Result<void> Replica::check_newer(const SnapshotHead& head) const {
  if (!state_.joined() || head.at.line != state_.cursor.line || head.at.csn >= state_.cursor.csn)
    return {};
  return fail(ErrorKind::unavailable, "snapshot.older",
              "a file has brought this replica to csn " + std::to_string(state_.cursor.csn.value) +
                  " meanwhile, and the snapshot is of " + std::to_string(head.at.csn.value) +
                  "; it is asked for anew");
}

// --- What is there of a snapshot that is under way ---

Result<void> Replica::load_seed() {
  BL_ASSIGN(auto row, store_.get(Table::meta, keys::meta_join()));
  if (!row) return {};
  BL_ASSIGN(auto progress, decode_seed_row(*row));
  std::unique_ptr<Seed> seed(new Seed{
      .head = {progress.at, progress.expected, progress.id, 0, progress.partial},
      .side = progress.side,
      .reader = SnapshotReader(progress.chunks, progress.chain),
      .totals = progress.totals,
      .records = progress.records,
      .expected = progress.expected,
  });
  BL_ASSIGN(auto collation, store_.get(Table::meta, keys::meta_collation(progress.side)));
  // Index rows of another collation would stay; and what is applied is never taken back.
  bool ahead = history_.leaving ? !is_past(history_.past, progress.at.line)
                                : state_.cursor.csn <= progress.at.csn;
  bool usable = progress.side != state_.side && collation == collation_ && ahead;
  if (!usable) return {};  // what is there is erased when another begins
  BL_PROBE("seed.found_at_start");
  seed_ = std::move(seed);
  return {};
}

// Of a snapshot that nobody goes on with nothing stays: it may hold what this branch may not.
Result<void> Replica::abandon_seed(Batch& batch) {
  seed_.reset();
  auto other = static_cast<keys::Side>(1 - state_.side);
  bool left = false;
  for (Table table : {Table::records, Table::elements, Table::index, Table::outbox}) {
    auto rows = scan_prefix(store_, table, std::string(1, static_cast<char>(other)));
    left = left || rows->valid();
    if (auto e = rows->error()) return std::unexpected(*e);
  }
  BL_ASSIGN(auto row, store_.get(Table::meta, keys::meta_join()));
  if (row) batch.erase(Table::meta, keys::meta_join());
  if (!left) return {};
  BL_PROBE("seed.abandoned");
  erase_side(batch, other);
  batch.put(Table::meta, keys::meta_compact(), compaction_row(state_.cursor.csn));
  return {};
}

Result<void> Replica::begin_seed(const SnapshotHead& head, const Write& write) {
  BL_TRY(check_newer(head));
  if (head.first_chunk != 0) {
    bool ours = seed_ && seed_->head.id == head.id && seed_->head.at == head.at &&
                seed_->head.partial == head.partial && seed_->reader.chunks() == head.first_chunk;
    if (!ours) return std::unexpected(not_seeding());
    BL_PROBE("seed.resumed");
    if (seed_->before_copy) {
      seed_->totals = seed_->before_copy->first;
      seed_->records = seed_->before_copy->second;
      seed_->before_copy.reset();
    }
    seed_->copied = false;
    seed_->rows.reset();
    seed_->elements.reset();
    seed_->base.reset();
    seed_->view.reset();
    return {};
  }
  seed_ = std::make_unique<Seed>();
  seed_->head = head;
  seed_->side = static_cast<keys::Side>(1 - state_.side);
  seed_->expected = head.records;
  Batch batch;
  erase_side(batch, seed_->side);  // of an attempt that broke off
  batch.erase(Table::meta, keys::meta_join());
  batch.put(Table::meta, keys::meta_collation(seed_->side), collation_);
  return write(batch, Sync::no);
}

// Rows on their way to the side that is built, and what they add to its sums.
struct Replica::SeedBatch {
  SeedBatch(Seed& seed, const Schema& of) : s(seed), schema(of) {}

  void add_term(const Sum128& term) {
    s.totals.sums[record->territory()] += term;
    for (auto t : record->also_in()) s.totals.sums[t] += term;
  }
  Result<void> put_record(Record&& r) {
    record = std::move(r);
    record->set_pending({});
    batch.put(Table::records, keys::record(s.side, record->key()), record->encode());
    const Entity* entity = schema.entity(record->key().entity);
    for (const auto& k : index_keys(*record, entity, s.side, IndexScope::all))
      batch.put(Table::index, k, {});
    if (record->state() != RecordState::tombstone) add_term(record_sum(*record));
    if (record->live()) {
      ++s.totals.counts[{record->key().entity, record->territory()}];
      ++s.records;
    }
    return {};
  }
  Result<void> put_element(const keys::ParsedElement& key, std::string_view value) {
    if (!record || key.record != record->key())
      return std::unexpected(damaged("an element without its record"));
    BL_ASSIGN(auto element, decode_element(value));
    batch.put(Table::elements, keys::element(s.side, key.record, key.field, key.key), value);
    if (record->state() != RecordState::tombstone)
      add_term(element_term(key.record, key.field, key.key, element.value()));
    return {};
  }

  Seed& s;
  const Schema& schema;
  Batch batch;
  std::optional<Record> record;  // whose elements may follow
};

Result<void> Replica::seed_chunk(std::string_view payload, const Write& write) {
  if (!seed_) return std::unexpected(not_seeding());
  Seed& s = *seed_;
  // A chunk that is not whole leaves nothing behind: what was installed before it stays good.
  Totals totals = s.totals;
  uint64_t records = s.records;
  SeedBatch rows(s, *schema_);
  auto visit = [&](Table table, std::string_view key, std::string_view value) -> Result<void> {
    std::string full(1, static_cast<char>(s.side));
    full += key;
    if (table == Table::records) {
      auto parsed = keys::parse_record(full);
      if (!parsed) return std::unexpected(damaged("a record under a damaged key"));
      BL_ASSIGN(auto record, Record::decode(*parsed, std::string(value)));
      return rows.put_record(std::move(record));
    }
    auto parsed = keys::parse_element(full);
    if (!parsed) return std::unexpected(damaged("an element without its record"));
    return rows.put_element(*parsed, value);
  };
  if (auto ok = s.reader.open(payload, visit); !ok) {
    s.totals = std::move(totals);
    s.records = records;
    return ok;
  }
  if (s.head.id != 0) {
    // In the batch of the rows: what it names is there, whatever a crash leaves.
    rows.batch.put(Table::meta, keys::meta_join(),
                   encode_seed_row({s.head.id, s.head.at, s.head.partial, s.side, s.reader.chunks(),
                                    s.reader.chain(), s.records, s.expected, s.totals}));
  }
  return write(rows.batch, Sync::no);
}

// --- A change of the subscription: what stays is taken over from the live side ---

Result<void> Replica::open_kept() {
  Seed& s = *seed_;
  s.view = store_.snapshot();
  Workspace::Config config;
  config.side = state_.side;
  config.holds_everything = state_.holds_everything;
  s.base = std::make_unique<Workspace>(*s.view, schema_, config);
  s.touched.clear();
  // The view with the pending mutations taken back, newest first, is the base. The outbox has the
  // lanes apart, but what they did lies upon one another in order of acceptance.
  std::string side(1, static_cast<char>(state_.side));
  auto blocks = s.view->scan(Table::outbox, side, prefix_end(side));
  std::map<PendingRef, std::string> undos;
  for (; blocks->valid(); blocks->next()) {
    auto last = keys::parse_outbox(blocks->key());
    if (!last) return fail(ErrorKind::corrupt, "outbox.corrupt", "outbox block: damaged key");
    BL_ASSIGN(auto block, decode_outbox_block(*last, std::string(blocks->value())));
    for (auto& e : block.entries) {
      PendingRef ref = block.ref(e);
      if (is_pending(state_.retired, ref)) undos.emplace(ref, std::move(e.undo));
    }
  }
  if (auto e = blocks->error()) return std::unexpected(*e);
  for (auto undo = undos.rbegin(); undo != undos.rend(); ++undo) {
    BL_ASSIGN(auto records, undo_records(undo->second));
    for (const auto& u : records) s.touched.insert(u.key);
    s.base->begin();
    auto ok = apply_undo(*s.base, undo->second);
    (void)s.base->end();
    BL_TRY(std::move(ok));
  }
  s.before_copy.emplace(s.totals, s.records);
  s.rows = scan_prefix(*s.view, Table::records, side);
  s.elements = scan_prefix(*s.view, Table::elements, side);
  return {};
}

Result<bool> Replica::copy_kept(const Write& write) {
  if (!seed_) return std::unexpected(not_seeding());
  Seed& s = *seed_;
  if (!s.head.partial || s.copied) return true;
  if (state_.cursor.csn != s.head.at.csn) {
    return fail(ErrorKind::unavailable, "snapshot.early",
                "the feed has not come to the snapshot's csn");
  }
  std::set<TerritoryId> wanted(welcomed_.begin(), welcomed_.end());
  bool loses = std::any_of(state_.territories.begin(), state_.territories.end(),
                           [&](TerritoryId t) { return wanted.count(t) == 0; });
  if (!loses && s.reader.chunks() == 0) return true;  // nothing comes, nothing goes
  if (!s.view) BL_TRY(open_kept());
  wanted.insert(kReferenceTerritory);
  SeedBatch out(s, *schema_);
  for (; s.rows->valid() && out.batch.bytes() < limits::kSnapshotChunkBytes; s.rows->next()) {
    auto key = keys::parse_record(s.rows->key());
    if (!key) return fail(ErrorKind::corrupt, "record.key", "a record's key is damaged");
    std::optional<Record> record;
    bool touched = s.touched.count(*key) > 0;
    if (touched) {
      BL_ASSIGN(auto found, s.base->find(*key));
      if (!found.record) continue;  // created here, and pending
      BL_ASSIGN(record, Record::decode(*key, found.record->encode()));
    } else {
      BL_ASSIGN(record, Record::decode(*key, std::string(s.rows->value())));
    }
    bool stays = std::any_of(wanted.begin(), wanted.end(),
                             [&](TerritoryId t) { return record->in_territory(t); });
    if (!stays) continue;
    BL_TRY(out.put_record(std::move(*record)));
    if (touched) {
      BL_ASSIGN(auto elements, s.base->elements(*key, FieldId(0)));
      for (const auto& [place, element] : elements)
        BL_TRY(out.put_element(place, encode_element(element)));
      continue;
    }
    std::string prefix = keys::element_prefix(state_.side, *key);
    while (s.elements->valid() && s.elements->key() < prefix) s.elements->next();
    for (; s.elements->valid() && s.elements->key().starts_with(prefix); s.elements->next()) {
      auto place = keys::parse_element(s.elements->key());
      if (!place) return fail(ErrorKind::corrupt, "element.key", "an element's key is damaged");
      BL_TRY(out.put_element(*place, s.elements->value()));
    }
  }
  for (const auto* cursor : {s.rows.get(), s.elements.get()}) {
    if (auto e = cursor->error()) return std::unexpected(*e);
  }
  s.copied = !s.rows->valid();
  if (s.copied) {
    BL_PROBE("seed.kept_copied");
    s.rows.reset();
    s.elements.reset();
    s.base.reset();
    s.view.reset();
  }
  BL_TRY(write(out.batch, Sync::no));
  return s.copied;
}

// Of what came every record is here already, with another of its territories: there is nothing to
// build or to erase.
Result<ApplyResult> Replica::switch_territories(const SnapshotEnd& end) {
  BL_PROBE("seed.territories_only");
  for (const auto& [t, sum] : end.totals.sums) {
    auto at = state_.totals.sums.find(t);
    if ((at == state_.totals.sums.end() ? Sum128{} : at->second) != sum)
      return std::unexpected(damaged("the checksum of a territory differs from the master's"));
  }
  ApplyResult result;
  bool held_everything = state_.holds_everything;
  state_.territories = welcomed_;
  state_.holds_everything = welcomed_everything_;
  workspace_->reset(state_.side, state_.holds_everything);
  if (held_everything && !state_.holds_everything) BL_TRY(find_unplaced());
  erase_side(result.batch, seed_->side);
  result.batch.erase(Table::meta, keys::meta_join());
  seed_.reset();
  write_state(result.batch);
  return result;
}

Result<ApplyResult> Replica::end_seed(const SnapshotEnd& end, const Write& write) {
  if (!seed_) return std::unexpected(not_seeding());
  Seed& s = *seed_;
  auto give_up = [&](const Error& e) -> Result<ApplyResult> {
    // Begun anew, as a whole: what is kept here may be what is wrong.
    distrust_ = state_.joined();
    seed_.reset();
    Batch batch;
    batch.erase(Table::meta, keys::meta_join());
    BL_TRY(write(batch, Sync::no));
    return std::unexpected(e);
  };
  if (auto ok = s.reader.finish(end.chunks, end.digest, end.chain); !ok) return give_up(ok.error());
  if (s.head.partial && !s.copied) {
    auto light = switch_territories(end);
    return light ? std::move(light) : give_up(light.error());
  }
  for (const auto& [t, sum] : end.totals.sums) {
    auto at = s.totals.sums.find(t);
    if ((at == s.totals.sums.end() ? Sum128{} : at->second) != sum)
      return give_up(damaged("the checksum of a territory differs from the master's"));
  }
  ReplicaState next = state_;
  next.cursor = s.head.at;
  next.side = s.side;
  next.totals = s.totals;
  next.territories = welcomed_;
  next.holds_everything = welcomed_everything_;
  hlc_.observe(end.hlc);

  ApplyResult result;
  ReplicaState old = state_;
  uint64_t old_bytes = outbox_bytes_;
  state_ = next;
  auto old_workspace = std::move(workspace_);
  auto old_merger = std::move(merger_);
  auto old_unplaced = std::exchange(unplaced_, {});
  auto old_fates = open_fates_;
  Workspace::Config config;
  config.side = s.side;
  config.holds_everything = state_.holds_everything;
  workspace_ = std::make_unique<Workspace>(store_, schema_, config);
  merger_ = std::make_unique<Merger>(*workspace_, lineage_);
  outbox_bytes_ = 0;
  auto ok = take_level();
  if (ok) ok = replay_pending(end, write, result, old);
  if (!ok) {
    state_ = std::move(old);
    workspace_ = std::move(old_workspace);
    merger_ = std::move(old_merger);
    unplaced_ = std::move(old_unplaced);
    open_fates_ = std::move(old_fates);
    outbox_bytes_ = old_bytes;
    return give_up(ok.error());
  }
  workspace_->flush(result.batch);
  erase_side(result.batch, old.side);
  if (old.joined()) {
    result.batch.put(Table::meta, keys::meta_compact(), compaction_row(s.head.at.csn));
  }
  result.batch.erase(Table::meta, keys::meta_join());
  write_state(result.batch);
  distrust_ = false;
  if (history_.leaving) BL_PROBE("seed.line_changed");
  history_.leaving = false;
  write_history(result.batch);
  seed_.reset();
  return result;
}

namespace {

// What this branch may not hold it does not forecast (SEMANTICS 12): the rest of the mutation, or
// nothing where it holds all of it. Other operations than creating find nothing here to change.
bool holds_no_longer(const Schema& schema, const ReplicaState& state, const RecordOp& op) {
  if (op.kind != RecordOpKind::create || op.territory == kNoTerritory) return false;
  if (state.holds_everything) return false;
  const Entity* entity = schema.entity(op.record.entity);
  if (entity && entity->territory == TerritoryRule::reference) return false;
  auto held = [&](TerritoryId t) {
    return t == kReferenceTerritory || std::find(state.territories.begin(), state.territories.end(),
                                                 t) != state.territories.end();
  };
  return !held(op.territory) && std::none_of(op.also_in.begin(), op.also_in.end(), held);
}

}  // namespace

// SEMANTICS 12: on what this branch holds.
Result<Decision> Replica::decide_pending(const Mutation& m) {
  Mutation part = m;
  if (std::erase_if(part.ops, [&](const RecordOp& op) {
        return holds_no_longer(*schema_, state_, op);
      }) > 0) {
    BL_PROBE("seed.pending_beyond_subscription");
  }
  return part.ops.empty() ? Result<Decision>(Decision{}) : merger_->run(part, Csn(0));
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
      forget_effects(e);  // decided before
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
      std::string bytes = encode_outbox_block(block);
      outbox_bytes_ += bytes.size();
      early.put(Table::outbox, keys::outbox(state_.side, last), bytes);
      workspace_->flush(early);
      workspace_->evict();
      BL_TRY(write(early, Sync::no));
    } else {
      // Not bound to a side; a snapshot that broke off may have left it already.
      Batch early;
      BL_ASSIGN(auto kept, store_.get(Table::outbox, keys::outbox(keys::kKept, last)));
      if (!kept) keep_block(early, block);
      if (!early.empty()) BL_TRY(write(early, Sync::no));
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
  forget_effects(e);
  return {};
}

Result<void> Replica::replay_one(PendingRef ref, PendingEntry& e, ApplyResult& result) {
  BL_PROBE("seed.pending_replayed");
  BL_ASSIGN(Decision decision, run_again(e.mutation));
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
