#include "branch/replica/verifier.h"

#include <algorithm>
#include <utility>

#include "common/base/limits.h"
#include "common/base/probe.h"

namespace branchline {
namespace {

constexpr int kMaxPasses = 8;
constexpr int kMaxFruitless = 3;            // searches that find nothing
constexpr size_t kParts = 64;               // ranges of one question while searching
constexpr size_t kMaxLeaves = 64;           // ranges that are fetched; more: everything is
constexpr size_t kMaxFetchedRanges = 2048;  // of single records too
constexpr size_t kLeafSamples = 2;          // that many samples are a range to be fetched
constexpr size_t kMaxLines = 50;

std::set<TerritoryId> held_by(const ReplicaState& state) {
  std::set<TerritoryId> out(state.territories.begin(), state.territories.end());
  out.insert(kReferenceTerritory);
  return out;
}

// Whether what is kept here, with what a recount would add to it, is what the master says.
bool agree(const ReplicaState& state, const std::map<TerritoryId, Sum128>& master,
           const std::vector<std::pair<TerritoryId, Sum128>>& off) {
  std::map<TerritoryId, Sum128> mine = state.totals.sums;
  for (const auto& [t, sum] : off) mine[t] += sum;
  for (TerritoryId t : held_by(state)) {
    auto at = master.find(t);
    if (mine[t] != (at == master.end() ? Sum128{} : at->second)) return false;
  }
  return true;
}

// Not of the replica, but of a machine that has too much to do or is stopping.
bool is_passing(const Error& e) {
  return e.kind == ErrorKind::exhausted || e.kind == ErrorKind::shutdown;
}

std::string name_of(const Schema& schema, const RecordKey& key) {
  const Entity* entity = schema.entity(key.entity);
  return (entity ? entity->name : "entity " + std::to_string(key.entity.value)) + " " +
         to_string(key.id);
}

}  // namespace

bool Verifier::begin() {
  if (step_ != Step::rest) return false;
  ++status_.run;
  status_.running = true;
  full_ = true;
  passes_ = fruitless_ = 0;
  mended_ = false;
  count_again();
  return true;
}

bool Verifier::compare() {
  if (step_ != Step::rest) return false;
  full_ = false;
  mended_ = false;
  findings_.reset();
  ask(Phase::comparing);
  return true;
}

void Verifier::ask(Phase phase) {
  phase_ = phase;
  step_ = Step::ask;
  if (phase == Phase::comparing) ranges_.clear();
  status_.state = phase == Phase::comparing   ? "comparing"
                  : phase == Phase::searching ? "searching"
                                              : "fetching";
}

void Verifier::count_again() {
  phase_ = Phase::none;
  findings_.reset();
  view_.reset();
  sums_.reset();
  own_.reset();
  if (++passes_ > kMaxPasses) return give_up("what was fetched again did not mend it");
  step_ = Step::count;
  status_.state = "counting";
}

void Verifier::counted(Result<Findings> findings) {
  if (step_ != Step::count) return;
  if (!findings && is_passing(findings.error())) return;  // the same again
  if (!findings) return give_up("it cannot be counted: " + findings.error().message);
  if (findings->unreadable) return give_up("a row stands under a damaged key");
  findings_ = std::move(*findings);
  ask(Phase::comparing);
}

VerifyRequest Verifier::request() {
  step_ = Step::wait;
  VerifyRequest out;
  if (phase_ == Phase::searching) out.sums = ranges_;
  if (phase_ == Phase::fetching) out.rows = ranges_;
  return out;
}

void Verifier::tell(Effects& out, std::string line) {
  if (!mended_ && out.news.empty()) status_.found.clear();
  if (status_.found.size() < kMaxLines) status_.found.push_back(line);
  out.news.push_back(std::move(line));
}

Result<Verifier::Effects> Verifier::at_point(const VerifyPoint& point, Replica& replica,
                                             const Store& store, const Replica::Write& write,
                                             int64_t now_ms) {
  Effects out;
  if (step_ != Step::wait) return out;
  if (phase_ == Phase::comparing) {
    BL_TRY(compared(point, replica, write, now_ms, out));
  } else if (phase_ == Phase::searching) {
    view_ = store.snapshot();
    step_ = Step::sum;
  } else if (phase_ == Phase::fetching) {
    BL_TRY(fetched(point, replica, write, out));
  }
  return out;
}

Result<void> Verifier::compared(const VerifyPoint& point, Replica& replica,
                                const Replica::Write& write, int64_t now_ms, Effects& out) {
  const ReplicaState& state = replica.state();
  ++status_.comparisons;
  status_.compared_ms = now_ms;
  status_.compared_csn = state.cursor.csn;
  status_.compared_equal = agree(state, point.totals, {});
  if (!status_.compared_equal) {
    BL_PROBE("verify.sums_differ");
    ++status_.mismatches;
  }
  if (!findings_) {
    if (status_.compared_equal) {
      step_ = Step::rest;
      status_.state = "resting";
      return {};
    }
    tell(out, "at csn " + std::to_string(state.cursor.csn.value) +
                  " the checksums kept here differ from the master's");
    mended_ = true;
    ++status_.run;
    status_.running = true;
    full_ = true;
    passes_ = fruitless_ = 0;
    count_again();
    return {};
  }
  Findings& f = *findings_;
  // Of another copy, which has been replaced since.
  if (f.side != state.side || f.at.line != state.cursor.line) {
    count_again();
    return {};
  }
  if (!f.suspects.empty()) {
    BL_PROBE("verify.suspects");
    ranges_.clear();
    for (const auto& key : f.suspects) want(key);
    if (ranges_.size() > kMaxFetchedRanges) {
      give_up("too many records are damaged");
    } else {
      ask(Phase::fetching);
    }
    return {};
  }
  auto off = f.sums_off();
  if (!agree(state, point.totals, off)) {
    BL_PROBE("verify.searched");
    split(0, f.samples.size(), kParts);
    ask(Phase::searching);
    return {};
  }
  if (!f.index_missing.empty() || !f.index_extra.empty()) {
    BL_PROBE("verify.index_mended");
    uint64_t mended = 0;
    BL_ASSIGN(auto batch, replica.mend_index(f.index_missing, f.index_extra, mended));
    if (!batch.empty()) BL_TRY(write(batch, Sync::yes));
    status_.index_rows_mended += mended;
    tell(out, std::to_string(mended) + " index rows were wrong; they are written anew");
    mended_ = true;
  }
  if (!off.empty() || f.counts_off()) {
    BL_PROBE("verify.totals_mended");
    BL_TRY(write(replica.mend_totals(off, f.stored, f.counted), Sync::yes));
    ++status_.totals_mended;
    if (!off.empty())
      tell(out, "the checksums kept here were not those of the records; the records are right");
    if (f.counts_off()) tell(out, "the numbers of records kept here were wrong");
    mended_ = true;
  }
  status_.records = f.records;
  status_.elements = f.elements;
  finish(mended_ ? "mended" : "clean", now_ms, state.cursor.csn);
  return {};
}

void Verifier::finish(const std::string& outcome, int64_t now_ms, Csn csn) {
  status_.done = status_.run;
  status_.done_ms = now_ms;
  status_.done_csn = csn;
  status_.outcome = outcome;
  status_.running = false;
  status_.state = "resting";
  status_.compared_equal = true;
  step_ = Step::rest;
  phase_ = Phase::none;
  findings_.reset();
}

void Verifier::want(const RecordKey& key) {
  KeyRange one = only(key);
  auto at =
      std::lower_bound(ranges_.begin(), ranges_.end(), one,
                       [](const KeyRange& a, const KeyRange& b) { return a.begin < b.begin; });
  // In one that is asked for already?
  if (at != ranges_.begin() && std::prev(at)->holds(one.begin)) return;
  if (at != ranges_.end() && at->begin == one.begin) return;
  ranges_.insert(at, std::move(one));
}

// --- Searching: ranges of samples, halved and halved again, many at a time ---

KeyRange Verifier::range_of(size_t begin, size_t end) const {
  const auto& samples = findings_->samples;
  return {begin == 0 ? std::string() : samples[begin],
          end >= samples.size() ? std::string() : samples[end]};
}

void Verifier::split(size_t begin, size_t end, size_t parts) {
  ranges_.clear();
  intervals_.clear();
  end = std::max(end, begin + 1);
  size_t step = std::max(kLeafSamples, (end - begin + parts - 1) / parts);
  for (size_t at = begin; at < end; at += step)
    intervals_.emplace_back(at, std::min(at + step, end));
  for (const auto& [from, to] : intervals_) ranges_.push_back(range_of(from, to));
}

void Verifier::sums_came(VerifySums sums) {
  if (step_ != Step::wait && step_ != Step::sum) return;
  sums_ = std::move(sums);
  if (own_) narrow();
}

Result<std::vector<Sum128>> Verifier::sum(const std::shared_ptr<const StoreView>& view,
                                          std::shared_ptr<const Schema> schema,
                                          const std::vector<KeyRange>& ranges) {
  BL_ASSIGN(auto base, BaseView::open(*view, std::move(schema)));
  auto held = held_by(base->state());
  auto counts = [&](TerritoryId home, const std::vector<TerritoryId>& also_in) {
    return held.count(home) > 0 || std::any_of(also_in.begin(), also_in.end(),
                                               [&](TerritoryId t) { return held.count(t) > 0; });
  };
  return base->sum_ranges(counts, ranges);
}

void Verifier::summed(Result<std::vector<Sum128>> own) {
  if (step_ != Step::sum) return;
  if (!own && is_passing(own.error())) return;  // the same again
  view_.reset();
  if (!own) return give_up("it cannot be summed up: " + own.error().message);
  own_ = std::move(*own);
  step_ = Step::wait;
  if (sums_) narrow();
}

void Verifier::narrow() {
  // The master could not; it is asked again.
  if (sums_->error || sums_->sums.size() != own_->size()) return interrupted();
  auto theirs = std::exchange(sums_, std::nullopt)->sums;
  auto own = *std::exchange(own_, std::nullopt);
  std::vector<std::pair<size_t, size_t>> wrong;
  for (size_t i = 0; i < own.size(); ++i) {
    if (own[i] != theirs[i]) wrong.push_back(intervals_[i]);
  }
  // It was something that has changed since, or the sums that are kept: counted again, it is told.
  if (wrong.empty()) return ++fruitless_ < kMaxFruitless ? count_again() : master_differs();
  if (wrong.size() > kMaxLeaves) return give_up("too much of it differs from the master");
  bool leaves = std::all_of(wrong.begin(), wrong.end(),
                            [](const auto& w) { return w.second - w.first <= kLeafSamples; });
  intervals_.clear();
  ranges_.clear();
  if (leaves) {
    for (const auto& [from, to] : wrong) ranges_.push_back(range_of(from, to));
    return ask(Phase::fetching);
  }
  BL_PROBE("verify.narrowed");
  size_t parts = std::max<size_t>(2, kParts / wrong.size());
  for (const auto& [from, to] : wrong) {
    size_t step = std::max(kLeafSamples, (to - from + parts - 1) / parts);
    for (size_t at = from; at < to; at += step)
      intervals_.emplace_back(at, std::min(at + step, to));
  }
  for (const auto& [from, to] : intervals_) ranges_.push_back(range_of(from, to));
  ask(Phase::searching);
}

// A fresh copy would differ as much, at every office.
void Verifier::master_differs() {
  BL_PROBE("verify.master_differs");
  if (!mended_) status_.found.clear();
  status_.found.push_back(
      "every record here is the master's, but they do not add up to the checksums that the master "
      "keeps: `branchline audit` recounts the master");
  finish(kMasterDiffers, status_.compared_ms, status_.compared_csn);
  status_.compared_equal = false;
}

// --- Fetching ---

Result<void> Verifier::fetched(const VerifyPoint& point, Replica& replica,
                               const Replica::Write& write, Effects& out) {
  if (point.error) {
    // Less at a time; what is left shows in the next pass.
    if (point.error->code == "verify.too_large" && ranges_.size() > 1) {
      ranges_.resize(ranges_.size() / 2);
      ask(Phase::fetching);
      return {};
    }
    if (point.error->code == "verify.too_large") {
      give_up("what differs is too much to be fetched by itself");
      return {};
    }
    interrupted();
    return {};
  }
  auto repaired = replica.repair(ranges_, point.rows);
  if (!repaired && repaired.error().code == "repair.failed") {
    give_up(repaired.error().message);
    return {};
  }
  if (!repaired) return std::unexpected(repaired.error());
  if (!repaired->more.empty()) {
    for (const auto& key : repaired->more) want(key);
    if (ranges_.size() > kMaxFetchedRanges) {
      give_up("too many pending changes hang together with what is damaged");
    } else {
      ask(Phase::fetching);
    }
    return {};
  }
  if (!repaired->batch.empty()) BL_TRY(write(repaired->batch, Sync::yes));
  for (const auto& m : repaired->mended) {
    BL_PROBE("verify.record_mended");
    ++status_.records_mended;
    tell(out, name_of(replica.schema(), m.record) + " " + m.what + "; it is the master's of csn " +
                  std::to_string(point.at.csn.value) + " now");
    mended_ = true;
  }
  out.changes = std::move(repaired->changes);
  count_again();
  return {};
}

void Verifier::interrupted() {
  if (step_ == Step::rest || step_ == Step::count || step_ == Step::reseed) return;
  view_.reset();
  sums_.reset();
  own_.reset();
  if (!full_) {
    step_ = Step::rest;
    status_.state = "resting";
    return;
  }
  // What was counted is as good as before.
  if (findings_) {
    ask(Phase::comparing);
  } else {
    count_again();
  }
}

void Verifier::give_up(const std::string& why) {
  BL_PROBE("verify.fetched_anew");
  if (!mended_) status_.found.clear();
  mended_ = true;
  if (status_.found.size() < kMaxLines)
    status_.found.push_back("this replica is fetched anew: " + why);
  ++status_.fetched_anew;
  step_ = Step::reseed;
  status_.state = "fetching";
}

void Verifier::reseeding() {
  if (step_ != Step::reseed) return;
  view_.reset();
  sums_.reset();
  own_.reset();
  findings_.reset();
  phase_ = Phase::none;
  step_ = Step::rest;
  status_.done = status_.run;
  status_.outcome = "fetched anew";
  status_.running = false;
  status_.state = "resting";
}

}  // namespace branchline
