// What clients do, and what the run must know to judge the end.
#pragma once

#include <optional>
#include <set>

#include "tests/simulation/servers.h"

namespace branchline::sim {

// A client's intention; it may be tried several times, at several offices, under one operation key.
struct Intention {
  std::string key;  // operation key; empty: tried once
  enum class Kind { note, badge, add, merge, other } kind = Kind::other;
  RecordKey record;
  RecordKey target;  // merge: the one that is to stay
  std::string note;  // a text that occurs nowhere else
  int64_t amount = 0;
  RecordId author;
  struct Attempt {
    MutationId id;
    std::string branch;
    int64_t at;
  };
  std::vector<Attempt> acknowledged;
  bool unanswered = false;  // the server died before the answer
};

class Workload {
 public:
  Workload(World& world, std::shared_ptr<const Schema> schema, std::vector<SimBranch*> branches);

  // Users and tokens, committed at the master.
  void set_up(SimMaster& master);
  // One operation at a random office.
  void step();
  // One operation at a random office on what `next` has and the schema before has not, or has
  // otherwise. `active`: whether the master knows it.
  void version_step(const Schema& next, bool active);
  // A client's try with another token than the office's own; whether he was told that it is done.
  using What = std::function<Result<Draft>(Workspace&, RecordIdMaker&, int64_t)>;
  bool attempt_as(SimBranch& branch, const RecordId& credential, const What& what);
  // A token that is for all territories.
  const RecordId& mover() const { return mover_; }

  const std::vector<Intention>& intentions() const { return intentions_; }
  const std::vector<RecordKey>& counters() const { return counters_; }
  const RecordId& user() const { return user_; }
  // Accounts that are merged, annotated and counted, and never deleted.
  const std::vector<std::pair<RecordKey, TerritoryId>>& doubles() const { return doubles_; }

 private:
  struct Account {
    RecordKey key;
    TerritoryId territory;
    bool counter = false;  // never deleted
  };
  void attempt(SimBranch& branch, Intention& intention,
               const std::function<Result<Draft>(Workspace&, RecordIdMaker&, int64_t)>& what,
               const RecordId& credential = {});
  std::string text(TerritoryId t);
  void create_account(SimBranch& b);
  void create_contact(SimBranch& b);
  void create_order(SimBranch& b);
  void change_line(SimBranch& b);
  void edit_account(SimBranch& b);
  void edit_contact(SimBranch& b);
  void add_points(SimBranch& b);
  void add_note(SimBranch& b);
  void change_tags(SimBranch& b);
  void touch_extremes(SimBranch& b);
  void remove_record(SimBranch& b);
  void set_parent(SimBranch& b);
  // workload_merges.cc
  void merge_step(SimBranch& b);
  void create_double(SimBranch& b);
  void merge_two(SimBranch& b, const RecordKey& merged, const RecordKey& target);
  void note_double(SimBranch& b);
  void count_double(SimBranch& b);
  void child_of_double(SimBranch& b);
  const Account* account_at(SimBranch& b, bool counter);
  std::optional<RecordKey> known(std::vector<std::pair<RecordKey, TerritoryId>>& list,
                                 SimBranch& b);
  std::vector<TerritoryId> territories_of(SimBranch& b);
  FieldId field(EntityId e, const char* name) const { return schema_->entity(e)->field(name)->id; }

  World& world_;
  std::shared_ptr<const Schema> schema_;
  std::vector<SimBranch*> branches_;
  RecordId user_;
  RecordId mover_;
  std::map<std::string, RecordId> tokens_;  // by branch
  std::vector<Account> accounts_;
  std::vector<std::pair<RecordKey, TerritoryId>> contacts_, orders_, lines_, doubles_, gadgets_;
  std::vector<RecordKey> counters_;
  std::vector<Intention> intentions_;
  uint64_t next_ = 0;
};

// What merges must leave at the master: every id leads to one record, nothing belongs to a redirect
// or waits there, sums are those of all that became one. `decided`: whether an attempt was, and
// not rejected. The first breach; empty: none.
std::string check_merges(const MemStore& master, std::shared_ptr<const Schema> schema,
                         const Workload& workload,
                         const std::function<bool(const MutationId&)>& decided,
                         std::map<std::string, uint64_t>& counts);

}  // namespace branchline::sim
