// Creating, changing and deleting records. prepare() runs in the replica's transaction.
#pragma once

#include <map>

#include "branch/crm/expression.h"
#include "branch/crm/input.h"
#include "branch/replica/replica.h"
#include "common/access/access.h"

namespace branchline {

// What an office knows of itself, for commands: names of territories and which of them are here.
struct OfficeFacts {
  std::map<std::string, TerritoryId, std::less<>> territories;  // all
  std::vector<TerritoryId> held;                                // subscribed here
};

struct Precondition {
  bool must_exist = false;      // If-Match: *
  bool must_not_exist = false;  // If-None-Match: *
  std::vector<uint64_t> etags;  // If-Match: one of these
};

// A record that is not held here, as its upstream showed it for this request.
struct UpstreamRecord {
  std::shared_ptr<const StoreView> view;  // in which it can be read
  keys::Side side = 0;
  RecordId id;
  Csn seen;  // as of which commit
};

class SaveCommand : public Command {
 public:
  enum class Mode {
    create,
    update,  // 404 where there is none
    upsert,  // update, or create under the address given
    remove,
    merge,  // `subordinate` into the record addressed, whose fields may be set with it
  };
  SaveCommand(std::shared_ptr<const Schema> schema, const Principal& principal,
              std::shared_ptr<const OfficeFacts> office, Mode mode, RecordInput input,
              Precondition precondition);

  // The record to update or remove is elsewhere, and the author has seen it. Should it be here by
  // the time of prepare(), then what is here counts.
  void set_upstream(UpstreamRecord record) { upstream_ = std::move(record); }
  // Rejected whole where any part would be overridden.
  void set_atomic(bool atomic) { atomic_ = atomic; }
  // `field eq value`, joined by `and`: checked here, and by the master when it decides: the fields
  // must then have the values that this office shows now.
  void set_guard(Expression guard) { guard_ = std::move(guard); }

  Result<Draft> prepare(Workspace& view, RecordIdMaker& ids, int64_t now_ms) override;

  // Mode::merge: the record that goes, and whether both must be under the same parents.
  RecordId subordinate;
  bool same_parents = false;

  // After success: the record, and whether it was created. A replayed keyed create has the id it
  // had.
  RecordKey record() const;
  bool created() const { return created_; }

 private:
  Result<Draft> prepare_upstream();
  Result<std::optional<RecordId>> resolve(Workspace& view);
  Result<void> check_precondition(const Record* record) const;
  Result<void> add_guards(const Record& record, const Expression& guard, Draft& draft) const;
  Result<void> create(Workspace& view, RecordIdMaker& ids, int64_t now_ms, const RecordInput& input,
                      std::optional<RecordId> id, std::optional<Lookup> parent,
                      FieldId parent_field, Draft& draft);
  Result<void> update(Workspace& view, const Record& record, Draft& draft);
  Result<void> remove(Workspace& view, const Record& record, Draft& draft);
  Result<void> merge(Workspace& view, const Record& survivor, Draft& draft);
  Result<TerritoryId> choose_territory(const Entity& entity, const std::string& name) const;
  Result<TerritoryId> territory_named(const std::string& name) const;
  bool names_territories() const;
  // Turns `op` into a move where the record shall have other territories.
  Result<void> add_move(const Record& record, RecordOp& op) const;
  Result<void> check_move(const Record& record, TerritoryId home,
                          const std::vector<TerritoryId>& also_in) const;
  Result<void> check_values(Workspace& view, const Entity& entity,
                            const std::vector<FieldInput>& fields, const RecordId& self,
                            const Draft& draft) const;
  Result<void> check_required(const Entity& entity, const RecordOp& op, const Record* record) const;
  Result<void> add_cells(Workspace& view, const Entity& entity, const Record* record,
                         const std::vector<FieldInput>& fields, RecordOp& op, Draft& draft);
  void add_group(const Entity& entity, const Record* record, uint16_t group, RecordOp& op,
                 Draft& draft);

  std::shared_ptr<const Schema> schema_;
  Principal principal_;
  std::shared_ptr<const OfficeFacts> office_;
  Mode mode_;
  RecordInput input_;
  Precondition precondition_;
  bool atomic_ = false;
  std::optional<Expression> guard_;
  RecordKey record_;
  bool created_ = false;
  std::optional<UpstreamRecord> upstream_;
  uint32_t element_index_ = 0;
};

// Removes elements of a record's collection (a note) by their keys. Without a record: the note is
// not there (any more), which is an error unless the same request removed it before.
class RemoveElementCommand : public Command {
 public:
  RemoveElementCommand(std::shared_ptr<const Schema> schema, const Principal& principal,
                       RecordKey record, FieldId field, ElementKey key);
  Result<Draft> prepare(Workspace& view, RecordIdMaker& ids, int64_t now_ms) override;

 private:
  std::shared_ptr<const Schema> schema_;
  Principal principal_;
  RecordKey record_;
  FieldId field_;
  ElementKey key_;
};

}  // namespace branchline
