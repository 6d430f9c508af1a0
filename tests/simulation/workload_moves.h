// Accounts with children that move between territories while others work on them, and what an
// office may hold of them: nothing of a record that is in none of its territories.
#pragma once

#include "tests/simulation/workload.h"

namespace branchline::sim {

class MovesWorkload {
 public:
  MovesWorkload(World& world, std::shared_ptr<const Schema> schema, Workload& clients,
                std::vector<SimBranch*> branches)
      : world_(world),
        schema_(std::move(schema)),
        clients_(clients),
        branches_(std::move(branches)) {}

  // One operation at a random office.
  void step(const Directory& directory);
  // At rest: every value of a record stands only where the record is; what its own people wrote and
  // lost is kept at their office with its fate. Empty, or what is wrong.
  std::string check(SimMaster& master) const;

  // Whether a block that is kept says what its mutations did to records here.
  static bool has_effects(std::string_view key, std::string_view value);

 private:
  struct Known {
    RecordKey key;
    uint64_t number;
  };
  std::string text(uint64_t number);
  const Known* one_of(const std::vector<Known>& list);
  FieldId field(EntityId e, const char* name) const { return schema_->entity(e)->field(name)->id; }
  void create_account(SimBranch& b, const std::vector<TerritoryId>& all);
  void create_child(SimBranch& b);
  void edit(SimBranch& b);
  void move(SimBranch& b, const std::vector<TerritoryId>& all);
  void merge(SimBranch& b);
  void give_away(SimBranch& b);
  void remove(SimBranch& b);
  void remove(SimBranch& b, const RecordKey& key, std::optional<RecordKey>* above);

  World& world_;
  std::shared_ptr<const Schema> schema_;
  Workload& clients_;
  std::vector<SimBranch*> branches_;
  std::vector<Known> accounts_, children_, lines_;
  uint64_t next_ = 1;
};

}  // namespace branchline::sim
