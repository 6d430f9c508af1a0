// The master's decisions as they are stored and fed.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "common/base/arena.h"
#include "common/record/mutation.h"
#include "replication/merge/fate.h"

namespace branchline {

// One decided mutation, as far as one territory is concerned.
struct Commit {
  Csn csn;
  MutationId id;
  Order order;
  Hlc hlc;  // clamped, where the author's clock was ahead
  RecordId author;
  std::vector<RecordOp> effects;
  // Values that lost against a newer one: the record's history keeps them (DESIGN 3).
  struct Lost {
    RecordKey record;
    FieldId field;
    Value value;
  };
  std::vector<Lost> lost;
};
inline Version version_of(const Commit& c) { return {c.id, c.order, c.csn, c.hlc, c.author}; }

// A place on the main line, never a bare number (SEMANTICS 4).
struct LineCursor {
  LineId line;
  Csn csn;
  Digest chain;
  bool operator==(const LineCursor&) const = default;
};
Digest line_start(LineId line);

// Which rows of a batch are whose: the unit of feeding.
struct BlockTag {
  TerritoryId territory;
  OriginId origin;
  // Whether the author needs the effects too: false where they are what it forecast.
  bool echo = false;
  constexpr auto operator<=>(const BlockTag&) const = default;
};

// --- Commit block: the commits of one tag in one ingest batch, by column ---

class CommitBlockWriter {
 public:
  CommitBlockWriter();
  ~CommitBlockWriter();
  // In order of csn, all of one origin. What the commit points to must live until finish().
  void add(const Commit& c);
  size_t count() const;
  std::string finish();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

struct CommitBlock {
  OriginId origin;
  std::vector<Commit> commits;
  Arena arena;
  std::string bytes;
};
Result<CommitBlock> decode_commit_block(std::string bytes);

// The digest that the line's chain covers: over each commit's header and salted effects (SEMANTICS
// 41).
Digest commit_digest(Sha256& sha, const SaltKey& key, const Commit& c);

// --- Fate block: what became of one origin's mutations in a batch ---

struct FateEntry {
  MutationId id;  // of the first
  uint32_t count = 1;
  Csn csn;  // of the first; the others follow densely
  Fate fate = Fate::applied;
  // Whether the effects are what the author forecast, so that this entry stands for them.
  bool as_forecast = false;
  // The author's stamp was clamped to this; 0: it was not. Then count is 1.
  Hlc clamped;
  std::vector<Outcome> outcomes;  // then count is 1
};
std::string encode_fate_block(const std::vector<FateEntry>& entries);
Result<std::vector<FateEntry>> decode_fate_block(std::string_view bytes);

// Rows of Table::fates: an entry without its id, which is the key. Permanent (SEMANTICS 19).
// `content` is the mutation's canonical bytes where its author may want them back: overridden or
// rejected, at its branch.
struct FateRow {
  FateEntry entry;
  std::string content;
};
std::string encode_fate_row(const FateEntry& entry, std::string_view content);
Result<FateRow> decode_fate_row(const MutationId& first, std::string_view bytes);

// --- Batch header: one per ingest batch; feed ranges end here ---

struct BatchHeader {
  Csn from;  // exclusive
  Csn to;    // inclusive
  Term term;
  int64_t wall_ms = 0;
  Digest chain;  // of the line after this batch
  struct Row {
    uint8_t kind;  // keys::LineRow
    BlockTag tag;  // effects, arrivals: whole; fates: origin
    Digest digest;
    uint32_t part = 0;  // arrivals: which of the tag's blocks, from 0
  };
  std::vector<Row> rows;
};
std::string encode_batch_header(const BatchHeader& header);
Result<BatchHeader> decode_batch_header(std::string_view bytes);
// chain(n) = SHA-256(chain(n-1) | header without the chain).
Digest batch_chain(const Digest& previous, const BatchHeader& header);

// --- Ledger (SEMANTICS 19) ---

struct Ledger {
  uint64_t accepted = 0;
  uint64_t pending = 0;
  uint64_t applied = 0;
  uint64_t merged = 0;
  uint64_t overridden = 0;
  uint64_t rejected = 0;
  uint64_t lost = 0;

  void count(Fate fate, uint64_t n);
  bool balances() const {
    return accepted == pending + applied + merged + overridden + rejected + lost;
  }
  Ledger& operator+=(const Ledger& o);
  bool operator==(const Ledger&) const = default;
};
void put_ledger(Writer& w, const Ledger& ledger);
Ledger get_ledger(Reader& r);

// Sums and counts that every server keeps of what it holds.
struct Totals {
  std::map<TerritoryId, Sum128> sums;
  std::map<std::pair<EntityId, TerritoryId>, uint64_t> counts;
};
void put_totals(Writer& w, const Totals& totals);
Totals get_totals(Reader& r);
uint64_t live_records(const Totals& totals);

}  // namespace branchline
