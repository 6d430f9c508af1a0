// Feed ranges: effects onto the base, pending mutations replayed on it, fates retire them
// (SEMANTICS 18).
//
// Order within a range: pending mutations that touch what the range touches are undone, newest
// first; then events are taken in order of csn; then what is still pending is decided again on the
// new base. A mutation whose effects are as forecast and which nothing disturbed is only forgotten:
// its view becomes base.
#include <algorithm>
#include <set>
#include <utility>

#include "branch/replica/replica.h"
#include "common/base/check.h"
#include "common/base/limits.h"
#include "common/base/probe.h"
#include "replication/line/compress.h"
#include "replication/line/mutation_block.h"
#include "replication/merge/arrival.h"
#include "replication/merge/companions.h"
#include "replication/merge/effects.h"
#include "replication/merge/undo.h"

namespace branchline {
namespace {

Error diverged(const MutationId& id, const char* what) {
  return {
      ErrorKind::corrupt, "effects.diverged",
      "mutation " + to_hex(id.incarnation.value) + "." + std::to_string(id.seq.value) + " " + what};
}

}  // namespace

struct Replica::Apply {
  Apply(Replica& replica, const FeedRange& feed_range)
      : r(replica), range(feed_range), outbox(replica.store_, replica.state_.side) {}

  Replica& r;
  const FeedRange& range;
  OutboxReader outbox;
  ApplyResult out;
  std::vector<CommitBlock> blocks;
  // What happens at one csn: effects of one or more territories, or a run of fates, or both.
  struct Event {
    std::vector<const Commit*> commits;
    const FateEntry* fate = nullptr;
  };
  std::map<Csn, Event> events;
  // By lane and last order: blocks of two lanes may overlap in their orders.
  std::map<std::pair<PendingLane, Order>, OutboxBlock> cache;
  // Where the pending mutations of a lane stand, from the first without a fate on; grows as fates
  // ask for them.
  struct Walk {
    Seq first;
    PendingRef at;
    std::vector<PendingRef> refs;
  };
  std::map<PendingLane, Walk> walks;
  std::set<PendingRef> touched;    // pending mutations that were undone
  std::set<PendingRef> rewritten;  // blocks whose entries changed
  std::vector<FateEntry> single_fates;
  std::vector<PendingRef> finished;  // blocks whose last mutation is decided
  std::set<RecordKey> changed;
  // Records that changed territories or are not held here any more: where they were.
  std::map<RecordKey, std::vector<TerritoryId>> were_in;
  // Records whose territories the commit under way set: those that it took from here are dropped.
  std::set<RecordKey> placed;
  // What undone mutations did. A fate "as forecast" puts it back as it was: deciding again at its
  // place would see what was written here after it.
  std::map<PendingRef, std::vector<RecordOp>> undone;
  std::set<PendingRef> unknown;  // what they did cannot be read any more
  Arena arena;
  std::map<RecordKey, PendingRef>
      walked;                        // down to where a record's pending mutations were looked up
  uint64_t freed = 0;                // what the finished blocks took
  std::map<Stream, Seq> last_fates;  // of streams of which this disk forgot the end
  bool single = false;               // fates are taken one by one
  bool dropped = false;  // a record is held here no longer: its bytes must go from the files

  // --- Finding what is affected ---

  Result<void> decode() {
    for (const auto& b : range.blocks) {
      BL_ASSIGN(std::string raw, decompress(b, limits::kMaxBlockBytes * 4));
      BL_ASSIGN(auto block, decode_commit_block(std::move(raw)));
      blocks.push_back(std::move(block));
    }
    for (const auto& block : blocks) {
      for (const auto& c : block.commits) {
        if (c.csn <= range.from || c.csn > range.to.csn) {
          return fail(ErrorKind::invalid, "feed.range", "a commit outside of its range");
        }
        if (!c.effects.empty()) events[c.csn].commits.push_back(&c);
        single = single || c.id.origin == r.state_.self;
      }
    }
    single = single || range.from < echo_until();
    if (single) split_fates();
    for (const auto& f : fates()) {
      if (f.csn <= range.from || f.csn.value + f.count - 1 > range.to.csn.value ||
          f.id.origin != r.state_.self) {
        return fail(ErrorKind::invalid, "feed.range", "a fate outside of its range");
      }
      events[f.csn].fate = &f;
    }
    return {};
  }

  // Up to here our own effects come along, as this disk may have forgotten the mutations.
  Csn echo_until() const { return range.with_own ? range.to.csn : r.echo_until_; }

  // Where effects of our own may come along, each fate meets those of its csn.
  void split_fates() {
    for (const auto& f : range.fates) {
      for (uint32_t k = 0; k < f.count; ++k) {
        FateEntry& one = single_fates.emplace_back(f);
        one.id.seq = Seq(f.id.seq.value + k);
        one.csn = Csn(f.csn.value + k);
        one.count = 1;
      }
    }
  }
  const std::vector<FateEntry>& fates() const { return single ? single_fates : range.fates; }

  Result<OutboxBlock*> block_of(PendingRef ref) {
    auto at = cache.lower_bound({lane_of(ref), ref.order});
    if (at != cache.end() && at->first.first == lane_of(ref) &&
        at->second.entries.front().mutation.order <= ref.order) {
      return &at->second;
    }
    BL_ASSIGN(auto block, outbox.holding(ref));
    if (!block)
      return fail(ErrorKind::corrupt, "outbox.missing", "a pending mutation is not in the outbox");
    return &keep(std::move(*block));
  }
  OutboxBlock& keep(OutboxBlock&& block) {
    auto place = std::pair(lane_of(block.last()), block.last().order);
    return cache.insert_or_assign(place, std::move(block)).first->second;
  }

  Result<PendingEntry*> entry_of(PendingRef ref) {
    BL_ASSIGN(OutboxBlock * block, block_of(ref));
    for (auto& e : block->entries) {
      if (e.mutation.order == ref.order) return &e;
    }
    return fail(ErrorKind::corrupt, "outbox.missing", "a pending mutation is not in its block");
  }

  // The pending mutations on a record behind `after`, by the links that their pre-images hold.
  Result<void> pending_on(const RecordKey& key, PendingRef after, std::set<PendingRef>& found) {
    auto [place, fresh] = walked.try_emplace(key, after);
    if (!fresh) {
      if (place->second <= after) return {};
      place->second = after;
    }
    BL_ASSIGN(auto record, r.workspace_->find(key));
    if (!record.record) return {};
    PendingRef at = record.record->pending();
    while (is_pending(r.state_.retired, at) && at > after) {
      found.insert(at);
      BL_ASSIGN(PendingEntry * entry, entry_of(at));
      BL_ASSIGN(auto records, undo_records(entry->undo));
      PendingRef previous;
      for (const auto& u : records) {
        if (u.key == key) previous = u.previous;
      }
      if (previous >= at && is_pending(r.state_.retired, previous)) {
        return fail(ErrorKind::corrupt, "outbox.links",
                    "pending mutations on one record lead to one another in a circle");
      }
      at = previous;
    }
    return {};
  }

  // Children that the deleter had not seen are decided again: they may bring their parent back.
  // What refers to a record that was merged follows to the survivor.
  Result<void> pending_below(const RecordKey& parent, const std::vector<ChildLink>& links,
                             std::set<PendingRef>& found) {
    for (const auto& link : links) {
      BL_ASSIGN(auto children, r.workspace_->children(link.child, link.field, parent));
      for (const auto& child : children) BL_TRY(pending_on(child, {}, found));
    }
    return {};
  }

  // What comes to refer to a record that is merged here, pending, follows to the survivor: the
  // merge is decided again.
  Result<void> pending_merges(const RecordOp& op, std::set<PendingRef>& found) {
    if (r.state_.ledger.pending == 0) return {};
    for (const auto& cell : op.cells) {
      if (cell.kind == CellOpKind::put) BL_TRY(pending_merge_of(cell.value, found));
    }
    if (op.kind != RecordOpKind::arrive) return {};
    BL_ASSIGN(auto arrived, arrived_record(op));
    if (!arrived) return {};
    for (const auto& cell : arrived->cells()) BL_TRY(pending_merge_of(arrived->value(cell), found));
    return {};
  }

  Result<void> pending_merge_of(const Value& lookup, std::set<PendingRef>& found) {
    if (lookup.type != ValueType::lookup) return {};
    Lookup l = decode_lookup(lookup.payload);
    const Entity* entity = r.schema_->entity(l.entity);
    if (!entity || !entity->mergeable) return {};
    RecordKey target{l.entity, l.id};
    BL_ASSIGN(auto named, r.workspace_->find(target));
    bool merged = named.record && named.record->state() == RecordState::redirect;
    return merged ? pending_on(target, {}, found) : Result<void>();
  }

  void take_unplaced(const RecordKey& key, std::set<PendingRef>& found) {
    auto at = r.unplaced_.find(key);
    if (at == r.unplaced_.end()) return;
    for (PendingRef ref : at->second) {
      if (is_pending(r.state_.retired, ref)) found.insert(ref);
    }
    BL_PROBE("apply.unplaced_found_its_record");
    r.unplaced_.erase(at);
  }

  // Whether all that it changed is in territories that are held here: else its view is not base
  // once it is decided, for its records leave.
  bool stays(const PendingEntry& entry) const {
    return std::all_of(entry.sums.sums.begin(), entry.sums.sums.end(),
                       [&](const auto& sum) { return r.holds(sum.first); });
  }

  Result<void> find_affected() {
    std::set<PendingRef> open;
    for (const auto& [csn, event] : events) {
      for (const Commit* c : event.commits) {
        for (const auto& op : c->effects) {
          BL_TRY(pending_on(op.record, {}, open));
          const Entity* entity = r.schema_->entity(op.record.entity);
          bool displaces = op.kind == RecordOpKind::tombstone || op.kind == RecordOpKind::relocate;
          // null: a newer server's, and nothing that this one wrote hangs on it
          if (entity && displaces) BL_TRY(pending_below(op.record, entity->children, open));
          if (entity && op.kind == RecordOpKind::redirect && !op.target.is_nil())
            BL_TRY(pending_below(op.record, entity->referrers, open));
          BL_TRY(pending_merges(op, open));
          if (op.kind == RecordOpKind::arrive) take_unplaced(op.record, open);
        }
      }
      if (!event.fate) continue;
      BL_ASSIGN(auto refs, refs_of(*event.fate));
      for (PendingRef ref : refs) {
        BL_ASSIGN(PendingEntry * entry, entry_of(ref));
        // Where its forecast has changed since it was shipped, the master's decision is not what is
        // shown.
        bool shown = forecast_stands(*event.fate) && entry->current == entry->forecast;
        if (!shown || only_holds(*entry) || !stays(*entry)) open.insert(ref);
        if (!stays(*entry)) {
          BL_ASSIGN(auto records, undo_records(entry->undo));
          for (const auto& u : records) {
            const Entity* entity = r.schema_->entity(u.key.entity);
            if (entity) BL_TRY(pending_below(u.key, entity->children, open));
          }
        }
      }
    }
    return spread(open, touched);
  }

  // A mutation that is decided again may decide otherwise, for later ones on all its records too.
  // What is in `reached` is known; the others are added to it.
  Result<void> spread(std::set<PendingRef>& open, std::set<PendingRef>& reached) {
    while (!open.empty()) {
      PendingRef ref = *open.begin();
      open.erase(open.begin());
      if (!reached.insert(ref).second) continue;
      BL_ASSIGN(PendingEntry * entry, entry_of(ref));
      BL_ASSIGN(auto records, undo_records(entry->undo));
      for (const auto& u : records) BL_TRY(pending_on(u.key, ref, open));
      if (entry->current == entry->forecast) continue;
      // Its fate may put back what it did at first, which lay elsewhere: a merge finds its ends
      // where they are, and a record may have left and come again.
      BL_ASSIGN(auto original, decode_effects(entry->original));
      for (const auto& op : original) BL_TRY(pending_on(op.record, ref, open));
    }
    return {};
  }

  // Whether what was shipped is what this disk forecasts. One that was rolled back may forecast
  // otherwise than it did when it shipped: it made its forecasts anew on a snapshot since. Through
  // echo_until all effects are sent, and where none come there are none.
  bool forecast_stands(const FateEntry& fate) const {
    return fate.as_forecast && fate.csn > echo_until();
  }

  // Where the mutations of a fate are pending here; empty where this disk does not know them.
  Result<std::vector<PendingRef>> refs_of(const FateEntry& fate) {
    std::vector<PendingRef> refs;
    for (const auto& i : r.incarnations_) {
      if (i.incarnation != fate.id.incarnation) continue;
      PendingLane lane{i.generation, fate.id.lane};
      auto retired = r.state_.retired.find(lane);
      if (retired == r.state_.retired.end()) continue;
      auto [at, fresh] = walks.try_emplace(lane);
      Walk& walk = at->second;
      if (fresh) {
        walk.first = retired->second.seq.next();
        walk.at = {lane.generation, retired->second.order, lane.lane};
      }
      uint64_t end = fate.id.seq.value + fate.count;
      while (walk.first.value + walk.refs.size() < end) {
        BL_ASSIGN(auto block, outbox.next(walk.at));
        if (!block || lane_of(block->last()) != lane) break;
        for (const auto& e : block->entries) {
          if (e.mutation.order > walk.at.order) walk.refs.push_back(block->ref(e));
        }
        walk.at = block->last();
        auto place = std::pair(lane, walk.at.order);
        if (!cache.count(place)) keep(std::move(*block));
      }
      for (uint64_t seq = fate.id.seq.value; seq < end; ++seq) {
        bool there = seq > retired->second.seq.value && seq < walk.first.value + walk.refs.size();
        if (there) refs.push_back(walk.refs[seq - walk.first.value]);
      }
    }
    return refs;
  }

  // Whether its forecast was a rejection, so that all it changed here is its author's share.
  static bool only_holds(const PendingEntry& entry) {
    if (!takes_from_share(entry.mutation)) return false;
    std::string nothing;
    put_forecast(nothing, entry.mutation.hlc, {});
    return entry.current == forecast_digest(nothing);
  }

  // --- Undo, take in, redo ---

  Result<void> undo_all(const std::set<PendingRef>& refs) {
    for (auto ref = refs.rbegin(); ref != refs.rend(); ++ref) {
      BL_ASSIGN(PendingEntry * entry, entry_of(*ref));
      // What was held back of a share is no effect: nothing of it is ever put back.
      if (!only_holds(*entry)) {
        BL_ASSIGN(undone[*ref], effects_of(*r.workspace_, entry->undo, arena));
      }
      r.workspace_->begin();
      BL_TRY(apply_undo(*r.workspace_, entry->undo));
      note(r.workspace_->end());
    }
    return {};
  }

  // Counts are of the view, so every change counts; returns the sums for whom they concern.
  Deltas note(Journal&& journal) {
    r.add_counts(journal.deltas);
    for (const auto& b : journal.records) {
      changed.insert(b.key);
      if (!b.relocated || b.created) continue;
      were_in.emplace(b.key, territories_of(b.territory, b.also_in));
    }
    return std::move(journal.deltas);
  }

  void add_to_base(const Deltas& deltas) {
    for (const auto& [t, sum] : deltas.sums) r.state_.totals.sums[t] += sum;
  }

  Result<void> take_events() {
    for (const auto& [csn, event] : events) {
      for (const Commit* c : event.commits) BL_TRY(take_effects(*c));
      BL_TRY(drop_what_left());
      if (event.fate) BL_TRY(take_fate(*event.fate, !event.commits.empty()));
    }
    return {};
  }

  Result<void> take_effects(const Commit& c) {
    r.hlc_.observe(c.hlc);
    r.highest_seen_ = std::max(r.highest_seen_, c.hlc);
    r.workspace_->begin();
    // A record in several territories comes once per territory; the second time its creation is
    // here.
    std::vector<RecordOp> fresh;
    for (const auto& op : c.effects) {
      BL_ASSIGN(auto found, r.workspace_->find(op.record));
      bool again = found.record && op.kind == RecordOpKind::put_new &&
                   found.record->created_version().id == c.id;
      if (!again) fresh.push_back(op);
      if (op.kind == RecordOpKind::arrive) changed.insert(op.record);
      if (op.kind == RecordOpKind::arrive || op.kind == RecordOpKind::relocate)
        placed.insert(op.record);
    }
    auto ok = apply_effects(*r.workspace_, fresh, version_of(c));
    add_to_base(note(r.workspace_->end()));
    BL_TRY(std::move(ok));
    // There is a territory that is not held yet: from here on, what is not here may be there.
    bool grows = std::any_of(c.effects.begin(), c.effects.end(), [](const RecordOp& op) {
      return op.record.entity == entity_id::kTerritory && op.kind == RecordOpKind::put_new;
    });
    if (grows && r.state_.holds_everything) {
      BL_PROBE("apply.everything_grew");
      r.state_.holds_everything = false;
      r.workspace_->holds_less();
      r.unplaced_due_ = true;
    }
    // What is decided again behind this is decided by the new level.
    bool topology = std::any_of(c.effects.begin(), c.effects.end(),
                                [](const RecordOp& op) { return op.record == topology_key(); });
    return topology ? r.take_level() : Result<void>();
  }

  // A record that moved out of all territories held here is held no longer.
  Result<void> drop_what_left() {
    for (const auto& key : placed) {
      BL_ASSIGN(auto found, r.workspace_->find(key));
      if (!found.record || r.holds_any(territories_of(*found.record))) continue;
      BL_PROBE("apply.record_left");
      were_in.emplace(key, territories_of(*found.record));
      dropped = true;
      r.workspace_->begin();
      auto ok = r.workspace_->drop(*found.record);
      add_to_base(note(r.workspace_->end()));
      BL_TRY(std::move(ok));
      changed.insert(key);
    }
    placed.clear();
    return {};
  }

  Result<void> take_fate(const FateEntry& fate, bool with_effects) {
    BL_ASSIGN(auto refs, refs_of(fate));
    // What is decided otherwise than forecast comes with all its effects, also where this disk
    // never heard of the mutation: a file that was written before it was rolled back came late.
    if (refs.empty() && (fate.csn <= echo_until() || (!fate.as_forecast && never_known(fate)))) {
      // Forgotten by a rolled-back disk: accepted after all, and decided.
      BL_ASSIGN(bool goes_on, continues_fates(fate));
      if (!goes_on) {
        // Its fellows before it were decided before a snapshot brought what they did: the ledger
        // knows none of them.
        BL_PROBE("apply.forgotten_before_snapshot");
        return {};
      }
      BL_PROBE("apply.forgotten_mutation");
      r.count_fate(fate, fate.count, false);
      r.write_fate(out.batch, fate, {});
      return {};
    }
    if (refs.size() != fate.count) return std::unexpected(diverged(fate.id, "is not pending here"));
    for (size_t i = 0; i < refs.size(); ++i) {
      PendingRef ref = refs[i];
      Decided& retired = r.state_.retired.at(lane_of(ref));
      Seq seq(fate.id.seq.value + i);
      if (seq != retired.seq.next())
        return std::unexpected(diverged(fate.id, "is decided out of order"));
      bool was_undone = touched.count(ref) > 0;
      std::string content;
      BL_ASSIGN(PendingEntry * entry, entry_of(ref));
      if (forecast_stands(fate) && !with_effects) {
        if (was_undone) {
          BL_PROBE("apply.forecast_put_back");
          BL_TRY(put_forecast_back(ref, *entry, Csn(fate.csn.value + i)));
        } else {
          add_to_base(entry->sums);
        }
      } else if (!was_undone) {
        return std::unexpected(
            diverged(fate.id, "came with effects that did not touch its records"));
      }
      if (fate.clamped.value != 0) {
        BL_PROBE("apply.clock_clamped");
        int64_t ahead = entry->mutation.hlc.ms() - fate.clamped.ms();
        r.clock_correction_ms_ = std::min(r.clock_correction_ms_, -ahead);
        r.hlc_.reset(std::max(fate.clamped, r.highest_seen_));
      }
      if (fate.fate >= Fate::overridden) {
        Writer w(content);
        put_mutation(w, entry->mutation);
      }
      retired = {seq, ref.order};
      touched.erase(ref);
      if (fate.count == 1) r.write_fate(out.batch, fate, content);
      BL_ASSIGN(OutboxBlock * block, block_of(ref));
      if (ref == block->last()) {
        finished.push_back(ref);
        freed += block->bytes.size();
        r.keep_block(out.batch, *block);
        // A lane is decided in order, so nothing of the block is asked for again; ranges of fates
        // may be long.
        cache.erase({lane_of(ref), ref.order});
      }
    }
    if (fate.count > 1) r.write_fate(out.batch, fate, {});
    r.count_fate(fate, fate.count, true);
    out.retired += fate.count;
    return {};
  }

  // Whether the fates that are kept of its stream end where this one begins.
  Result<bool> continues_fates(const FateEntry& fate) {
    auto [at, fresh] = last_fates.try_emplace(stream_of(fate.id));
    if (fresh) {
      auto rows = scan_prefix(r.store_, Table::fates, keys::fate_prefix(at->first));
      for (; rows->valid(); rows->next()) {
        auto id = keys::parse_fate(rows->key());
        if (!id) return fail(ErrorKind::corrupt, "fate.key", "a fate's key is damaged");
        BL_ASSIGN(auto row, decode_fate_row(*id, rows->value()));
        at->second = Seq(id->seq.value + row.entry.count - 1);
      }
      if (auto e = rows->error()) return std::unexpected(*e);
      for (const auto& i : r.incarnations_) {
        auto retired = r.state_.retired.find({i.generation, fate.id.lane});
        if (i.incarnation == fate.id.incarnation && retired != r.state_.retired.end())
          at->second = std::max(at->second, retired->second.seq);
      }
    }
    if (fate.id.seq != at->second.next()) return false;
    at->second = Seq(fate.id.seq.value + fate.count - 1);
    return true;
  }

  bool never_known(const FateEntry& fate) const {
    for (const auto& i : r.incarnations_) {
      if (i.incarnation == fate.id.incarnation)
        return fate.id.seq > r.last_of({i.generation, fate.id.lane});
    }
    return true;
  }

  Result<void> put_forecast_back(PendingRef ref, const PendingEntry& entry, Csn csn) {
    std::vector<RecordOp> effects = undone[ref];
    if (entry.current != entry.forecast) {
      BL_PROBE("apply.original_forecast_put_back");
      BL_ASSIGN(effects, decode_effects(entry.original));
    }
    // What left here meanwhile has its new place to be changed at.
    std::vector<RecordOp> here;
    for (auto& op : effects) {
      BL_ASSIGN(auto found, r.workspace_->find(op.record));
      bool left = found.held == Held::not_held && op.kind != RecordOpKind::put_new;
      if (left) {
        BL_PROBE("apply.forecast_of_record_that_left");
        continue;
      }
      placed.insert(op.record);
      here.push_back(std::move(op));
    }
    r.workspace_->begin();
    auto ok = apply_effects(*r.workspace_, here, version_of(entry.mutation, csn));
    add_to_base(note(r.workspace_->end()));
    BL_TRY(std::move(ok));
    return drop_what_left();
  }

  // Also a mutation without effects hangs on its records: when they change, it is decided again.
  Result<void> link_operations(const Mutation& m, Journal& journal) {
    for (const auto& op : m.ops) {
      BL_ASSIGN(auto found, r.workspace_->find(op.record));
      if (!found.record || journal.places.count(op.record)) continue;
      journal.places.emplace(op.record, journal.records.size());
      auto& b = journal.records.emplace_back();
      b.key = op.record;
      b.pending = found.record->pending();
    }
    return {};
  }

  // Decided again on another base a mutation may reach records that it did not reach before, on
  // which later ones wait that nothing has disturbed so far. Those are undone first, since
  // pre-images are put back newest first.
  Result<Decision> decide_again(PendingRef ref, Mutation& m) {
    for (;;) {
      BL_ASSIGN(Decision decision, r.run_again(m));
      walked.clear();
      std::set<PendingRef> open, later;
      for (const auto& b : decision.journal.records) {
        if (b.pending > ref && is_pending(r.state_.retired, b.pending))
          BL_TRY(pending_on(b.key, ref, open));
      }
      for (const auto& op : m.ops) {
        if (decision.journal.places.count(op.record) == 0) BL_TRY(pending_on(op.record, ref, open));
      }
      if (open.empty()) return decision;
      BL_PROBE("apply.later_undone");
      std::string undo;
      Writer w(undo);
      put_undo(w, *r.workspace_, decision.journal);
      r.workspace_->begin();
      BL_TRY(apply_undo(*r.workspace_, undo));
      r.workspace_->end();
      walked.clear();
      BL_TRY(spread(open, later));
      BL_TRY(undo_all(later));
      touched.insert(later.begin(), later.end());
    }
  }

  Result<void> redo_touched() {
    for (PendingRef ref : touched) {
      BL_PROBE("apply.pending_redone");
      BL_ASSIGN(PendingEntry * entry, entry_of(ref));
      BL_ASSIGN(Decision decision, decide_again(ref, entry->mutation));
      BL_ASSIGN(entry, entry_of(ref));
      std::string bytes;
      put_forecast(bytes, entry->mutation.hlc, decision.effects);
      uint64_t current_before = entry->current;
      bool was_original = entry->current == entry->forecast;
      entry->current = forecast_digest(bytes);
      if (entry->current == entry->forecast) {
        entry->original.clear();
      } else if (was_original) {
        BL_PROBE("apply.forecast_changed");
        // A fate "as forecast" would mean what nobody knows here.
        if (unknown.count(ref) > 0) {
          return fail(ErrorKind::corrupt, "repair.failed",
                      "what was forecast for a pending change can no longer be read");
        }
        entry->original = encode_effects(undone[ref]);
      }
      if (decision.fate == Fate::rejected && takes_from_share(entry->mutation)) {
        BL_ASSIGN(decision.journal, r.merger_->hold(entry->mutation));
      }
      BL_TRY(link_operations(entry->mutation, decision.journal));
      BL_TRY(r.note_unplaced(entry->mutation, ref));
      std::string undo_before = std::exchange(entry->undo, {});
      Writer undo(entry->undo);
      put_undo(undo, *r.workspace_, decision.journal);
      for (const auto& b : decision.journal.records) {
        BL_ASSIGN(auto found, r.workspace_->find(b.key));
        if (found.record) r.workspace_->set_pending(*found.record, ref);
      }
      Deltas sums_before = std::exchange(entry->sums, note(std::move(decision.journal)));
      entry->sums.counts.clear();
      ++out.redone;
      // Behind a fate that put back what was there already, nothing is another: what is stored of
      // thousands of pending mutations need not be written again.
      if (entry->current == current_before && entry->undo == undo_before &&
          entry->sums.sums == sums_before.sums)
        continue;
      BL_ASSIGN(OutboxBlock * block, block_of(ref));
      rewritten.insert(block->last());
    }
    return {};
  }

  // --- Writing ---

  void write() {
    for (PendingRef last : rewritten) {
      const OutboxBlock& held = cache.at({lane_of(last), last.order});
      std::string block = encode_outbox_block(held);
      r.outbox_bytes_ += block.size();
      r.outbox_bytes_ -= std::min<uint64_t>(r.outbox_bytes_, held.bytes.size());
      out.batch.put(Table::outbox, keys::outbox(r.state_.side, last), block);
    }
    r.outbox_bytes_ -= std::min<uint64_t>(r.outbox_bytes_, freed);
    for (PendingRef last : finished)
      out.batch.erase(Table::outbox, keys::outbox(r.state_.side, last));
    // Process starts without pending work need no entry.
    for (auto at = r.state_.retired.begin(); at != r.state_.retired.end();) {
      const auto& [lane, decided] = *at;
      bool current = lane.generation == r.state_.generation;
      bool done = !current && decided.seq == r.last_of(lane);
      at = done ? r.state_.retired.erase(at) : std::next(at);
    }
    if (!finished.empty()) {
      std::erase_if(r.unplaced_, [&](const auto& entry) {
        return std::none_of(entry.second.begin(), entry.second.end(),
                            [&](PendingRef ref) { return is_pending(r.state_.retired, ref); });
      });
    }
    r.workspace_->flush(out.batch);
    r.state_.cursor = range.to;
    if (dropped) out.batch.put(Table::meta, keys::meta_compact(), compaction_row(range.to.csn));
    r.drop_old_kept(out.batch);
    r.write_state(out.batch);
    r.workspace_->evict();
    out.changes.records.assign(changed.begin(), changed.end());
    out.changes.were_in = std::move(were_in);
  }
};

Result<ApplyResult> Replica::apply(const FeedRange& range) {
  if (unplaced_due_) BL_TRY(find_unplaced());
  if (range.from != state_.cursor.csn || range.to.line != state_.cursor.line ||
      range.to.csn <= range.from) {
    return fail(ErrorKind::invalid, "feed.gap",
                "a range from csn " + std::to_string(range.from.value) +
                    ", but this replica is at " + std::to_string(state_.cursor.csn.value));
  }
  if (range.with_own && history_.leaving) {
    // What was decided on the line that is left is pending again.
    return fail(ErrorKind::conflict, "file.line_replaced",
                "the main line that the file is of was replaced; this office fetches its data anew "
                "over its link");
  }
  Apply work(*this, range);
  ReplicaState before = state_;
  auto open_before = open_fates_;
  uint32_t level_before = merger_->level();
  ReplicaHistory history_before = history_;
  auto steps = [&]() -> Result<void> {
    BL_TRY(work.decode());
    BL_TRY(work.find_affected());
    BL_TRY(work.undo_all(work.touched));
    BL_TRY(work.take_events());
    BL_TRY(work.redo_touched());
    if (range.with_own && seed_) {
      // What is fetched of a snapshot does not know what the file has retired: it begins anew.
      BL_PROBE("seed.overtaken_by_file");
      BL_TRY(abandon_seed(work.out.batch));
    }
    return {};
  };
  if (auto ok = steps(); !ok) {
    // Nothing was written; what the cache holds is no longer what is stored.
    state_ = std::move(before);
    open_fates_ = std::move(open_before);
    merger_->set_level(level_before);
    history_ = std::move(history_before);
    workspace_->discard();
    workspace_->reset(state_.side, state_.holds_everything);
    return std::unexpected(ok.error());
  }
  work.write();
  return std::move(work.out);
}

Result<ApplyResult> Replica::redo_pending(const std::set<PendingRef>& refs,
                                          const std::map<PendingRef, std::vector<RecordOp>>& did,
                                          const std::function<Result<void>()>& before_write) {
  FeedRange nothing;
  nothing.from = state_.cursor.csn;
  nothing.to = state_.cursor;
  Apply work(*this, nothing);
  ReplicaState before = state_;
  auto steps = [&]() -> Result<void> {
    BL_TRY(take_level());
    work.touched = refs;
    work.undone = did;
    for (PendingRef ref : refs) {
      BL_ASSIGN(PendingEntry * entry, work.entry_of(ref));
      if (work.undone.count(ref) > 0 || Apply::only_holds(*entry)) continue;
      work.unknown.insert(ref);
    }
    BL_TRY(work.redo_touched());
    return before_write();
  };
  auto ok = steps();
  // What is kept of sums and counts is judged by a recount, not by what was wrong before.
  state_.totals = before.totals;
  if (!ok) {
    state_ = std::move(before);
    return std::unexpected(ok.error());
  }
  work.write();
  return std::move(work.out);
}

void Replica::count_fate(const FateEntry& entry, uint64_t n, bool was_pending) {
  if (was_pending) {
    state_.ledger.pending -= n;
  } else {
    state_.ledger.accepted += n;
  }
  state_.ledger.count(entry.fate, n);
}

void Replica::write_fate(Batch& batch, FateEntry entry, std::string_view content) {
  Stream stream = stream_of(entry.id);
  bool plain = entry.outcomes.empty() && entry.clamped.value == 0 && content.empty();
  auto open = open_fates_.find(stream);
  if (!plain) {
    open_fates_.erase(stream);
  } else if (open != open_fates_.end() && open->second.fate == entry.fate &&
             open->second.as_forecast == entry.as_forecast &&
             open->second.id.seq.value + open->second.count == entry.id.seq.value &&
             open->second.csn.value + open->second.count == entry.csn.value) {
    open->second.count += entry.count;
    batch.put(Table::fates, keys::fate(open->second.id), encode_fate_row(open->second, {}));
    return;
  } else {
    open_fates_.insert_or_assign(stream, entry);
  }
  batch.put(Table::fates, keys::fate(entry.id), encode_fate_row(entry, content));
}

}  // namespace branchline
