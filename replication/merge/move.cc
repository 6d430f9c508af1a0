// Territories: moves, and children that follow (SEMANTICS 14, 23).
#include <deque>
#include <set>

#include "common/base/limits.h"
#include "common/base/probe.h"
#include "replication/merge/arrival.h"
#include "replication/merge/merge_context.h"

namespace branchline {
namespace {

// As stored: each once, in order, without the home.
std::vector<TerritoryId> normal(TerritoryId home, const std::vector<TerritoryId>& also_in) {
  std::set<TerritoryId> out(also_in.begin(), also_in.end());
  out.erase(home);
  return {out.begin(), out.end()};
}

bool is_in(const Record& record, TerritoryId home, const std::vector<TerritoryId>& also_in) {
  return record.territory() == home && record.also_in() == also_in;
}

}  // namespace

Result<void> Merger::move(Context& c, Record& record, const RecordOp& op) {
  const Entity& entity = *ws_.schema().entity(record.key().entity);
  if (parent_of(record, entity)) {
    c.reject(FieldId(0), Reason::has_parent);
    return {};
  }
  // Home and also_in are one value, under `latest`; its version is that of the cell which says
  // where the record was.
  const Cell* last = record.find(system_field::kMovedFrom);
  if (last && !was_seen(record.version(*last), c.m, c.base, lineage_)) {
    Version there = record.version(*last);
    bool wins =
        c.m.hlc != there.hlc ? c.m.hlc > there.hlc : c.m.id > there.id;  // ties: any order will do
    if (!wins) {
      BL_PROBE("merge.move_lost");
      c.outcome(system_field::kTerritory, Fate::overridden, Reason::older, there.id);
      return {};
    }
    BL_PROBE("merge.move_won");
    c.outcome(system_field::kTerritory, Fate::merged, Reason::newer, there.id);
  }
  std::vector<TerritoryId> also_in = normal(op.territory, op.also_in);
  if (!c.may_move(record, op.territory, also_in)) return {};
  return relocate(c, record, op.territory, std::move(also_in));
}

Result<void> Merger::follow_parent(Context& c, Record& record, const Entity& entity) {
  auto key = parent_of(record, entity);
  if (!key) return {};  // it keeps the territories it has
  BL_ASSIGN(auto parent, ws_.find(*key));
  if (!parent.record) return {};  // not held here: no forecast (SEMANTICS 12)
  const Record& above = *parent.record;
  if (is_in(record, above.territory(), above.also_in())) return {};
  if (!c.permitted(entity, above)) return {};
  return relocate(c, record, above.territory(), above.also_in());
}

Result<void> Merger::bring_together(Context& c, Record& survivor, const Entity& entity,
                                    const Record& merged) {
  TerritoryId home = survivor.territory();
  std::vector<TerritoryId> also_in = survivor.also_in();
  if (auto key = parent_of(survivor, entity)) {
    BL_ASSIGN(auto parent, ws_.find(*key));
    if (parent.record) {
      home = parent.record->territory();
      also_in = parent.record->also_in();
    }
  } else {
    also_in.push_back(merged.territory());
    also_in.insert(also_in.end(), merged.also_in().begin(), merged.also_in().end());
    also_in = normal(home, also_in);
  }
  BL_ASSIGN(auto all, ws_.elements(survivor.key(), system_field::kMergedFrom));
  for (const auto& [at, element] : all) {
    Lookup l = decode_lookup(element.value().payload);
    BL_ASSIGN(auto found, ws_.find({l.entity, l.id}));
    if (!found.record || is_in(*found.record, home, also_in)) continue;
    BL_PROBE("merge.merged_follows");
    BL_TRY(relocate(c, *found.record, home, also_in));
    if (c.rejected) return {};
  }
  if (is_in(survivor, home, also_in)) return {};
  BL_PROBE("merge.territories_united");
  return relocate(c, survivor, home, std::move(also_in));
}

Result<void> Merger::relocate(Context& c, Record& top, TerritoryId home,
                              std::vector<TerritoryId> also_in) {
  std::string history = move_history(top, home, also_in);
  put(c, top, system_field::kMovedFrom, {ValueType::text, history});
  std::deque<RecordKey> open{top.key()};
  size_t moved = 0;
  while (!open.empty()) {
    RecordKey key = open.front();
    open.pop_front();
    BL_ASSIGN(auto found, ws_.find(key));
    if (!found.record) continue;
    Record& record = *found.record;
    if (is_in(record, home, also_in)) continue;
    if (++moved > limits::kMaxMovedRecords) {
      c.reject(FieldId(0), Reason::move_too_large);
      return {};
    }
    BL_TRY(ws_.set_territories(record, home, also_in));
    c.effects.note_move(key);
    std::vector<RecordKey> below;
    for (const auto& link : ws_.schema().entity(key.entity)->children) {
      BL_ASSIGN(auto live, ws_.children(link.child, link.field, key));
      below.insert(below.end(), live.begin(), live.end());
    }
    // The deleted ones too: an edit that had not seen the deletion brings them back, and they must
    // be where their parent is then.
    BL_ASSIGN(auto deleted, ws_.deleted_children(key));
    below.insert(below.end(), deleted.begin(), deleted.end());
    for (const auto& k : below) {
      BL_ASSIGN(auto child, ws_.find(k));
      // The first of several parents decides.
      if (child.record && parent_of(*child.record, *ws_.schema().entity(k.entity)) == key)
        open.push_back(k);
    }
    if (!record.find(system_field::kMergedFrom)) continue;
    // Whoever holds the survivor must know what its other ids lead to.
    BL_ASSIGN(auto merges, ws_.elements(key, system_field::kMergedFrom));
    for (const auto& [at, element] : merges) {
      Lookup l = decode_lookup(element.value().payload);
      open.push_back({l.entity, l.id});
    }
  }
  return {};
}

}  // namespace branchline
