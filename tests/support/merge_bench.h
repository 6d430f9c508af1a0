// The merge alone, as the master runs it, with authors whose knowledge the test sets. Beside every
// decision it checks what must hold for all: deciding twice gives the same, undoing gives the state
// before, a follower that applies the effects has the same rows, and the sums kept are the sums
// counted. A breach throws.
#pragma once

#include <string>

#include "common/store/mem_store.h"
#include "replication/merge/merge.h"
#include "tests/support/story.h"

namespace branchline {

inline constexpr int64_t kBenchMs = 1'780'000'000'000;

class MergeBench {
 public:
  // `pending`: mutations are decided without a csn, as a branch forecasts them.
  struct Options {
    bool holds_everything = true;
    bool flush = true;  // every mutation is a batch of its own
  };
  explicit MergeBench(Options options);
  MergeBench() : MergeBench(Options{}) {}

  struct Author {
    OriginId origin;
    Incarnation incarnation;
    uint64_t order = 0;
    Csn base;
    int64_t clock_ms = kBenchMs;  // grows by one with every mutation
  };
  Author author(uint16_t origin, uint64_t incarnation = 0);
  // The author has seen everything so far.
  void sees_all(Author& a) const { a.base = head; }

  // Decides "update a name=X; delete b"; the verdict in words.
  std::string run(Author& by, const std::string& ops);
  std::string show(const std::string& name) { return names.show(ws, name); }
  // The same with what the next mutation of run() shall carry.
  bool atomic = false;
  std::vector<Guard> guards;
  Csn seen;  // of the upstream read; 0: the records are held
  Permit permit;

  MutationId last;  // of the last run()
  Csn head;
  std::shared_ptr<const Schema> schema = Schema::built_in();
  story::Names names{schema};
  MemStore store;
  Lineage lineage;
  Workspace ws;
  Merger merger{ws, lineage};
  Arena arena;
  Decision decision;  // of the last run(); payloads live as long as the bench

 private:
  std::string row_of(const RecordKey& key);
  void check_undo(const Mutation& m);
  void check_follower(const Mutation& m);
  void check_sums();

  Options options_;
  std::set<RecordKey> companions_;  // records that effects named and no test did
  MemStore follower_store_;
  Workspace follower_;
  Deltas totals_;
};

}  // namespace branchline
