// Deletes: what they take along, what stops them, and what brings it back (SEMANTICS 14).
#include <deque>
#include <set>

#include "common/base/limits.h"
#include "common/base/probe.h"
#include "replication/merge/merge_context.h"

namespace branchline {

Result<bool> Merger::collect_cascade(const RecordKey& root, std::vector<RecordKey>& out) {
  std::deque<RecordKey> open{root};
  std::set<RecordKey> known{root};
  while (!open.empty()) {
    RecordKey key = open.front();
    open.pop_front();
    out.push_back(key);
    if (out.size() > limits::kMaxCascade) return false;
    for (const auto& link : ws_.schema().entity(key.entity)->children) {
      BL_ASSIGN(auto below, ws_.children(link.child, link.field, key));
      for (const auto& k : below) {
        if (known.insert(k).second) open.push_back(k);
      }
    }
  }
  return true;
}

Result<bool> Merger::all_seen(Context& c, const Record& record, MutationId& unseen) {
  const Entity& entity = *ws_.schema().entity(record.key().entity);
  auto check = [&](const Version& v) {
    if (was_seen(v, c.m, c.base, lineage_)) return true;
    unseen = v.id;
    return false;
  };
  if (!check(record.state_version())) return false;
  for (const auto& cell : record.cells()) {
    const Field* field = entity.field(cell.field);
    // A sum that a concurrent line changed is not an edit of the order; the line itself is tested.
    if (field && field->derived.kind != Derived::Kind::none) continue;
    if (!check(record.version(cell))) return false;
  }
  BL_ASSIGN(auto all, ws_.elements(record.key(), FieldId(0)));
  for (const auto& [key, element] : all) {
    if (!check(element.version)) return false;
  }
  return true;
}

Result<void> Merger::remove(Context& c, const RecordOp& op) {
  BL_ASSIGN(auto found, ws_.find(op.record));
  if (found.held == Held::not_held) return {};
  if (!found.record) {
    c.reject(FieldId(0), Reason::unknown_record);
    return {};
  }
  if (!c.permitted(*ws_.schema().entity(op.record.entity), *found.record)) return {};
  if (found.record->state() == RecordState::redirect) {
    // Its author meant this record, not the one it became part of (SEMANTICS 16).
    BL_PROBE("merge.delete_of_redirect");
    c.outcome(FieldId(0), Fate::overridden, Reason::redirected, found.record->state_version().id);
    return {};
  }
  if (found.record->state() != RecordState::live) {
    c.outcome(FieldId(0), Fate::merged, Reason::already_deleted, found.record->state_version().id);
    return {};
  }
  std::vector<RecordKey> group;
  BL_ASSIGN(bool fits, collect_cascade(op.record, group));
  if (!fits) {
    c.reject(FieldId(0), Reason::too_large);
    return {};
  }
  for (const auto& key : group) {
    BL_ASSIGN(auto member, ws_.find(key));
    MutationId merge;
    BL_ASSIGN(bool all, merges_seen(c, *member.record, merge));
    if (!all) {
      BL_PROBE("merge.delete_unseen_merge");
      c.outcome(FieldId(0), Fate::overridden, Reason::unseen_merge, merge);
      return {};
    }
    if (ws_.schema().entity(key.entity)->on_delete == DeletePolicy::delete_wins) continue;
    MutationId unseen;
    BL_ASSIGN(bool seen, all_seen(c, *member.record, unseen));
    if (!seen) {
      BL_PROBE("merge.delete_overridden");
      c.outcome(FieldId(0), Fate::overridden, Reason::concurrent_edit, unseen);
      return {};
    }
  }
  // What feeds a sum of a record that stays is taken out of it; sums within the group rest as they
  // are.
  BL_TRY(feed_whole(c, *found.record, *ws_.schema().entity(op.record.entity), true));
  for (const auto& key : group) {
    BL_ASSIGN(auto member, ws_.find(key));
    BL_TRY(ws_.set_state(*member.record, RecordState::tombstone, c.version));
    c.effects.set_state(key, RecordOpKind::tombstone);
  }
  return {};
}

Result<bool> Merger::groups_to_revive(Context& c, const Record& deleted, bool always,
                                      std::set<MutationId>& known,
                                      std::vector<MutationId>& groups) {
  const Version& deletion = deleted.state_version();
  if (known.count(deletion.id) > 0) return true;
  const Entity* deleted_entity = ws_.schema().entity(deleted.key().entity);
  bool wins = deleted_entity && deleted_entity->on_delete == DeletePolicy::delete_wins;
  if (!always && (wins || was_seen(deletion, c.m, c.base, lineage_))) return false;
  known.insert(deletion.id);
  BL_ASSIGN(auto members,
            ws_.with_index_prefix(EntityId(0), keys::group_prefix(ws_.config().side, deletion.id)));
  for (const auto& key : members) {
    BL_ASSIGN(auto member, ws_.find(key));
    const Entity* entity = ws_.schema().entity(key.entity);
    if (!member.record || !entity) continue;
    for (FieldId field : entity->parents) {
      Value lookup = member.record->value(field);
      if (lookup.is_null()) continue;
      Lookup l = decode_lookup(lookup.payload);
      BL_ASSIGN(auto parent, ws_.resolve({l.entity, l.id}));
      if (!parent.record || parent.record->state() != RecordState::tombstone) continue;
      BL_ASSIGN(bool fits, groups_to_revive(c, *parent.record, always, known, groups));
      if (!fits) return false;
    }
  }
  groups.push_back(deletion.id);
  return true;
}

Result<bool> Merger::bring_back(Context& c, const Record& deleted, bool always) {
  // A line deleted on its own, then its order deleted: the line alone would be an orphan outside of
  // every sum.
  std::set<MutationId> known;
  std::vector<MutationId> groups;  // parents first: a child adds itself to their sums
  BL_ASSIGN(bool fits, groups_to_revive(c, deleted, always, known, groups));
  if (!fits) return false;
  if (groups.size() > 1) BL_PROBE("merge.revived_with_parent");
  for (const auto& group : groups) BL_TRY(revive(c, group));
  return true;
}

Result<void> Merger::revive(Context& c, const MutationId& deletion) {
  BL_ASSIGN(auto group,
            ws_.with_index_prefix(EntityId(0), keys::group_prefix(ws_.config().side, deletion)));
  std::set<RecordKey> members(group.begin(), group.end());
  std::string now = encode_integer(c.m.hlc.ms());
  for (const auto& key : group) {
    BL_ASSIGN(auto found, ws_.find(key));
    if (!found.record || found.record->state() != RecordState::tombstone) continue;
    BL_TRY(ws_.set_state(*found.record, RecordState::live, c.version));
    c.effects.set_state(key, RecordOpKind::revive);
    put(c, *found.record, system_field::kRevivedOn, {ValueType::instant, now});
    BL_TRY(lead_to_survivors(c, *found.record));
  }
  for (const auto& key : group) {
    BL_ASSIGN(auto found, ws_.find(key));
    const Entity* known = ws_.schema().entity(key.entity);
    if (!found.record || !known) continue;
    const Entity& entity = *known;
    bool fed_outside = false;
    for (const auto& feed : entity.feeds) {
      Value lookup = found.record->value(feed.lookup);
      if (lookup.is_null()) continue;
      Lookup l = decode_lookup(lookup.payload);
      fed_outside = fed_outside || !members.count({l.entity, l.id});
    }
    if (fed_outside) BL_TRY(feed_whole(c, *found.record, entity, false));
    for (const auto& index : entity.indexes) {
      if (index.unique) BL_TRY(mark_duplicate(c, *found.record, entity, index.fields[0]));
    }
  }
  return {};
}

}  // namespace branchline
