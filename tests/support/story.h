// Operations, records and fates as short lines of text, for tests that read like what people do:
//
//   create account a @common name=Acme tags+=gold
//   update a name=Acme_Ltd loyaltypoints+=5 lastcontacted=2026-11-22
//   delete a
//   merge b a name=Acme      (b into a, which survives)
//   move a @east @west name=Acme       home and also_in; cells as in an update
//
// `field=value` sets (`field=` clears), `+=` adds, inserts or appends as the field's policy says,
// `-=` subtracts, spends, or removes the elements with that value that the view shows, `!=`
// corrects. `stock>5=10` grants 10 to server 5 (whose first process start is number 500),
// `stock<=3` gives 3 back, `stock>5<=3` is what the master writes off of server 5's. Letters name
// records.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "common/base/arena.h"
#include "common/record/mutation.h"
#include "replication/merge/fate.h"
#include "replication/merge/workspace.h"

namespace branchline::story {

class Names {
 public:
  explicit Names(std::shared_ptr<const Schema> schema) : schema_(std::move(schema)) {}

  // The record that a letter names; made up, always the same ids in the same order, where it is
  // new.
  RecordKey key(const std::string& name, const std::string& entity = "");
  std::string name_of(const RecordKey& key) const;
  void territory(const std::string& name, TerritoryId id) { territories_[name] = id; }
  const std::map<std::string, RecordKey>& all() const { return records_; }

  // One operation; payloads live in `arena`. `view` finds the elements that `-=` removes.
  RecordOp parse(const std::string& line, Workspace& view, Arena& arena, uint32_t& element_index);
  // "a.name=X": the value that a guard names.
  Guard guard(const std::string& text, Arena& arena);
  // Several, separated by `;`.
  std::vector<RecordOp> parse_all(const std::string& lines, Workspace& view, Arena& arena);

  // "live: name=Acme tags={gold}"; "absent", "not held". What waits in a field's conflict stands
  // behind its value, "creditlimit=5?{7}"; of an escrow field the shares by server do,
  // "stock=9{5:4}".
  std::string show(Workspace& view, const std::string& name);
  // "east west": its territories by name, the home first; empty where it is not held.
  std::string where(Workspace& view, const std::string& name);
  // "merged: name newer, #1 deleted": what differs from plainly applied, with fields by name.
  std::string verdict(Fate fate, const std::vector<Outcome>& outcomes,
                      const std::vector<RecordOp>& ops) const;

  const Schema& schema() const { return *schema_; }

 private:
  Value value(const Field& field, const std::string& text, Arena& arena);
  std::string text(const Value& value) const;
  std::string contenders(Workspace& view, const RecordKey& record, const Field& field);
  void cell(RecordOp& op, const std::string& word, Workspace& view, Arena& arena,
            uint32_t& element_index);

  std::shared_ptr<const Schema> schema_;
  std::map<std::string, RecordKey> records_;
  std::map<std::string, TerritoryId> territories_;
};

std::vector<std::string> words(const std::string& line);

}  // namespace branchline::story
