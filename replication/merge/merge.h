// What a mutation does: the one function that the master runs for good and a branch as forecast.
#pragma once

#include <set>
#include <vector>

#include "common/base/arena.h"
#include "common/record/decimal.h"
#include "common/record/mutation.h"
#include "replication/merge/fate.h"
#include "replication/merge/feature_level.h"
#include "replication/merge/seen.h"
#include "replication/merge/workspace.h"

namespace branchline {

struct Decision {
  Fate fate = Fate::applied;
  // Only what is not plainly applied; empty for most mutations.
  std::vector<Outcome> outcomes;
  // Resulting values, in the order of first change. Payloads point into the mutation, into the
  // records of the workspace, until its next change, or into `arena`.
  std::vector<RecordOp> effects;
  Journal journal;
  // Where an escrow share, or what is nobody's, did not suffice: how much there is.
  std::optional<Decimal> share_left;
  Arena arena;
};

// Collects effects: per record at most one operation with its cells, each with its last value, and
// one that changes its state.
class EffectList {
 public:
  RecordOp& cells_of(const RecordKey& key, RecordOpKind kind_if_new);
  void set_state(const RecordKey& key, RecordOpKind kind);
  // `merged` becomes a redirect to `target`, which takes over the cells of `taken`.
  void redirect(const RecordKey& merged, const RecordId& target, const std::vector<FieldId>& taken);
  // A lookup followed a redirect: its value is read when the list is complete.
  void follow(const RecordKey& key, FieldId field);
  // Its territories are read from the record when the list is complete, as values are.
  void note_move(const RecordKey& key);
  // Values are read from the records when the list is complete.
  void note(const RecordKey& key, FieldId field);
  void note_element(const RecordKey& key, FieldId field, CellOpKind kind, const ElementKey& element,
                    const Value& value);
  std::vector<RecordOp>& list() { return ops_; }

 private:
  std::vector<RecordOp> ops_;
  std::unordered_map<RecordKey, size_t> cells_;
  std::unordered_map<RecordKey, size_t> states_;
  std::unordered_map<RecordKey, size_t> follows_;
  std::unordered_map<RecordKey, size_t> moves_;
};

// Whether the author may touch a record of `entity` where `place` is: asked for every operation, of
// the record as it is, or of the record that a new or moved child belongs to.
struct Permit : std::function<bool(const Entity& entity, const Record& place)> {
  using function::function;
  // Whether he may also give it these territories; empty: as the above says.
  std::function<bool(const Record& record, TerritoryId home,
                     const std::vector<TerritoryId>& also_in)>
      move;
};

class Merger {
 public:
  Merger(Workspace& workspace, const Lineage& lineage);

  // Decides `m`, changes the workspace by its effects and returns them; a rejected mutation changes
  // nothing. `csn` is the place it gets, 0 for a forecast. `m.hlc` is already clamped. Errors are
  // faults of the store only, after which nothing of this batch may be written. `permit` may be
  // empty: then all is permitted.
  Result<Decision> run(const Mutation& m, Csn csn, const Permit& permit = {});

  // The level that the line has committed: what lies beyond is rejected, and policies beyond it act
  // as `latest`. The newest until it is set.
  void set_level(uint32_t level) { level_ = level; }
  uint32_t level() const { return level_; }
  // At a branch, of a pending mutation that its forecast rejects: takes what it spends from the
  // share all the same, since the master may yet apply it (escrow.cc). No effects.
  Result<Journal> hold(const Mutation& m);

  // A rejection decided before any look at records.
  static Decision reject(Reason reason);

 private:
  struct Context;
  Result<void> create(Context& c, const RecordOp& op);
  Result<void> update(Context& c, const RecordOp& op);
  Result<void> remove(Context& c, const RecordOp& op);
  Result<void> finish_effects(Context& c);

  // Redirects (redirect.cc).
  Result<void> merge(Context& c, const RecordOp& op);
  // The operation with every lookup to a merged record led to the survivor; nothing if there is
  // none. Payloads of such lookups live in the decision.
  Result<std::optional<RecordOp>> led_to_survivors(Context& c, const RecordOp& op);
  // The same for the lookups of a record that comes back.
  Result<void> lead_to_survivors(Context& c, Record& record);
  // An update of what was merged into `survivor` by way of `through`.
  Result<void> redirected(Context& c, Record& survivor, const std::vector<RecordKey>& through,
                          const RecordOp& op, const Entity& entity);
  Result<void> outlive_in_hierarchy(Context& c, Record& merged, Record& survivor,
                                    const RecordOp& op, const Entity& entity);
  Result<void> take_over(Context& c, Record& merged, Record& survivor, const RecordOp& op,
                         const Entity& entity);
  Result<void> reparent(Context& c, const Record& merged, Record& survivor, const Entity& entity);
  // Whether values wait for a decision: a conflict is about one record, and stays there.
  Result<bool> has_open_conflicts(const Record& record, const Entity& entity);
  Result<bool> leads_to(const Value& lookup, FieldId field, const RecordKey& wanted);
  // Whether every merge into the record was seen; else one that was not.
  Result<bool> merges_seen(Context& c, const Record& record, MutationId& unseen);

  Result<void> cells(Context& c, Record& record, const RecordOp& op, const Entity& entity,
                     bool created);
  Result<void> cell(Context& c, Record& record, const CellOp& op, const Field& field);
  void latest(Context& c, Record& record, const CellOp& op);
  void first(Context& c, Record& record, const CellOp& op);
  Result<void> group(Context& c, Record& record, const RecordOp& op, const Entity& entity,
                     uint16_t group);
  void add(Context& c, Record& record, const CellOp& op);
  void extreme(Context& c, Record& record, const CellOp& op, bool greater);

  // `ops` on one field, or on one group; `name` stands for it. `unseen`: the version there that the
  // author had not seen.
  Result<void> ask(Context& c, Record& record, const std::vector<const CellOp*>& ops, FieldId name,
                   const Version* unseen);
  // The record that the merge keeps beside `of` under `key`, made if there is none.
  Result<Record*> companion(Context& c, const Record& of, FieldId field, const RecordKey& key);

  // Escrow (escrow.cc).
  RecordKey share_at(const RecordKey& record, const CellOp& op, const MutationId& by) const;
  Result<void> set_stock(Context& c, Record& record, const CellOp& op, const Field& field);
  Result<void> spend(Context& c, Record& record, const CellOp& op, const Field& field);
  Result<void> grant(Context& c, Record& record, const CellOp& op, const Field& field);
  Result<void> give_back(Context& c, Record& record, const CellOp& op);
  Result<void> exceeded(Context& c, const CellOp& op, const Decimal& left);

  // Where a new record belongs, or why it cannot be.
  struct Home {
    TerritoryId territory;
    std::vector<TerritoryId> also_in;
    Reason refused = Reason::none;
    const Record* parent = nullptr;
  };
  Result<Home> home_of(Context& c, const RecordOp& op, const Entity& entity);
  Result<Reason> parent_refused(const CellOp& op);

  // Territories (move.cc).
  Result<void> move(Context& c, Record& record, const RecordOp& op);
  // The record gets the territories of the one that it belongs to.
  Result<void> follow_parent(Context& c, Record& record, const Entity& entity);
  // For merging duplicates: the survivor goes where what it belongs to is, or else to the
  // territories of both, and all that was merged into it goes there too.
  Result<void> bring_together(Context& c, Record& survivor, const Entity& entity,
                              const Record& merged);
  // Sets the territories of a record, of all beneath it, the deleted ones too, and of what was
  // merged into any of it.
  Result<void> relocate(Context& c, Record& top, TerritoryId home,
                        std::vector<TerritoryId> also_in);
  Result<bool> closes_cycle(const Record& record, const CellOp& op);
  Result<void> mark_duplicate(Context& c, Record& record, const Entity& entity, FieldId field);
  // Revives what was deleted with `deleted`, and deleted parents of any of it; false, and nothing
  // is changed, where the author had seen one of these deletions or it wins by the schema.
  // `always`: regardless of both, for a merge.
  Result<bool> bring_back(Context& c, const Record& deleted, bool always = false);
  Result<bool> groups_to_revive(Context& c, const Record& deleted, bool always,
                                std::set<MutationId>& known, std::vector<MutationId>& groups);
  Result<void> revive(Context& c, const MutationId& deletion);
  Result<bool> all_seen(Context& c, const Record& record, MutationId& unseen);
  Result<bool> collect_cascade(const RecordKey& root, std::vector<RecordKey>& out);
  Result<bool> guards_hold(const Mutation& m);
  static Csn seen_through(const Mutation& m, const RecordOp& op, Csn csn);
  Reason check_shape(const Mutation& m) const;

  // Derived fields (derived.cc).
  Result<void> derive(Context& c, Record& record, const Entity& entity);
  Result<void> feed_parents(Context& c, Record& record, const Entity& entity, const Value& before,
                            const Value& after, FieldId field);
  Result<void> add_to_parent(Context& c, const Value& lookup, const Entity::FeedsParent& feed,
                             const Decimal& delta, const Money& like);
  Result<void> feed_whole(Context& c, Record& record, const Entity& entity, bool subtract);

  // Changes, noted as effects.
  void put(Context& c, Record& record, FieldId field, const Value& value);

  Workspace& ws_;
  const Lineage& lineage_;
  uint32_t level_ = kFeatureLevel;
};

}  // namespace branchline
