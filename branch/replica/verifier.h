// Makes sure that a replica holds what its master holds (SEMANTICS 27), and fetches again what it
// does not. Decides what is to be done next; its owner does it: a recount over a view, a question
// over the link, an answer at its csn. Pure; one thread at a time.
//
// Comparing asks for the master's sums only. A verification counts everything again first, since
// what is kept as records change does not notice a bit that flips on the disk.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "branch/replica/recount.h"
#include "branch/replica/replica.h"

namespace branchline {

// Nothing is wrong here: what the master keeps of its checksums is not what its records add up to.
inline constexpr const char* kMasterDiffers = "the master differs";

struct VerifyStatus {
  std::string state = "resting";  // counting, comparing, searching, fetching
  uint64_t run = 0;               // verifications that were begun
  bool running = false;           // one is under way
  // The last one that came to its end: everything counted and compared.
  uint64_t done = 0;  // its number; 0: none yet
  int64_t done_ms = 0;
  Csn done_csn;
  uint64_t records = 0, elements = 0;
  std::string outcome;  // clean, mended, fetched anew, kMasterDiffers
  // The last comparison of sums.
  int64_t compared_ms = 0;
  Csn compared_csn;
  bool compared_equal = false;
  // Since this start.
  uint64_t comparisons = 0, mismatches = 0;
  uint64_t records_mended = 0, index_rows_mended = 0, totals_mended = 0, fetched_anew = 0;
  std::vector<std::string> found;  // by the last verification that found anything, at most 50 lines
};

class Verifier {
 public:
  enum class Step { rest, count, ask, wait, sum, reseed };

  // Begins a verification; false while one is under way.
  bool begin();
  // Begins a comparison of sums; false while anything is under way.
  bool compare();

  Step step() const { return step_; }
  // count: with what a recount found.
  void counted(Result<Findings> findings);
  // ask: the question; its number is the session's business.
  VerifyRequest request();
  // wait: the answer at its csn, at which the replica stands; on the thread that writes it. Writes
  // what it mends. An error is a fault of the store, or rows that the master must not send.
  struct Effects {
    Changes changes;
    std::vector<std::string> news;  // for the log: found and mended
  };
  Result<Effects> at_point(const VerifyPoint& point, Replica& replica, const Store& store,
                           const Replica::Write& write, int64_t now_ms);
  void sums_came(VerifySums sums);
  // sum: these ranges of the base beneath this view.
  const std::shared_ptr<const StoreView>& view() const { return view_; }
  const std::vector<KeyRange>& ranges() const { return ranges_; }
  static Result<std::vector<Sum128>> sum(const std::shared_ptr<const StoreView>& view,
                                         std::shared_ptr<const Schema> schema,
                                         const std::vector<KeyRange>& ranges);
  void summed(Result<std::vector<Sum128>> own);
  // The link broke: what was asked is not answered.
  void interrupted();
  // reseed: the replica is being fetched anew.
  void reseeding();

  const VerifyStatus& status() const { return status_; }

 private:
  enum class Phase { none, comparing, searching, fetching };
  void ask(Phase phase);
  void count_again();
  void finish(const std::string& outcome, int64_t now_ms, Csn csn);
  void give_up(const std::string& why);
  void narrow();
  void master_differs();
  void split(size_t begin, size_t end, size_t parts);
  KeyRange range_of(size_t begin, size_t end) const;
  void want(const RecordKey& key);
  Result<void> compared(const VerifyPoint& point, Replica& replica, const Replica::Write& write,
                        int64_t now_ms, Effects& out);
  Result<void> fetched(const VerifyPoint& point, Replica& replica, const Replica::Write& write,
                       Effects& out);
  void tell(Effects& out, std::string line);

  Step step_ = Step::rest;
  Phase phase_ = Phase::none;
  bool full_ = false;  // a verification, not only a comparison
  int passes_ = 0;     // of counting, in this run
  int fruitless_ = 0;  // searches that found every range equal, in this run
  bool mended_ = false;
  std::optional<Findings> findings_;
  std::shared_ptr<const StoreView> view_;
  std::optional<VerifySums> sums_;
  std::optional<std::vector<Sum128>> own_;
  std::vector<KeyRange> ranges_;                      // asked for
  std::vector<std::pair<size_t, size_t>> intervals_;  // of samples, as ranges_ while searching
  VerifyStatus status_;
};

}  // namespace branchline
