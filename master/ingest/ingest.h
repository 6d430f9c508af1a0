// Decides mutations in order. A state machine: blocks in, a Batch and acknowledgements out. One
// thread.
#pragma once

#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "common/access/access.h"
#include "common/base/random.h"
#include "common/store/store.h"
#include "common/time/clock.h"
#include "master/ingest/directory.h"
#include "master/ingest/retention.h"
#include "replication/line/commit.h"
#include "replication/line/incarnation.h"
#include "replication/line/mutation_block.h"
#include "replication/merge/index_upkeep.h"
#include "replication/merge/merge.h"
#include "replication/session/greeting.h"

namespace branchline {

// Remembers, across a crash of this process, which mutation was being decided: one that ended the
// master twice is rejected and its bytes kept (SEMANTICS 13).
class AttemptLog {
 public:
  virtual ~AttemptLog() = default;
  virtual void begin(const MutationId& id) = 0;
  virtual void done() = 0;
  // How often deciding `id` ended the process.
  virtual int crashes(const MutationId& id) const = 0;
};

struct IncomingBlock {
  OriginId origin;
  uint64_t session = 0;
  MutationBlock block;
  // It came in a file: it is of no session, and nothing that is wrong with it touches the live one.
  bool by_file = false;
};

// A batch of the line as it was written: what feeds read without touching the disk.
struct LineBatch {
  BatchHeader header;
  std::vector<std::pair<BlockTag, std::string>> effects;  // compressed
  std::vector<std::pair<OriginId, std::string>> fates;
  struct Arrivals {
    BlockTag tag;
    uint32_t part;
    std::string block;  // compressed
  };
  std::vector<Arrivals> arrivals;
  size_t bytes = 0;
};

struct IngestResult {
  Batch batch;
  struct Ack {
    OriginId origin;
    uint64_t session;
    Stream stream;
    Seq seq;
  };
  std::vector<Ack> acks;
  struct Broken {
    OriginId origin;
    uint64_t session;
    Error error;
  };
  std::vector<Broken> broken;             // sessions to close, with the reason to tell
  std::shared_ptr<const LineBatch> line;  // null: nothing was committed
  std::vector<IncomingBlock>
      rest;  // to be given to ingest() again, before others: the batch is as large as may be
};

// Of one stream of an origin: mutations that a restored master lacks and their branch does not keep
// any more.
struct WorkGap {
  Incarnation incarnation;
  Lane lane = Lane::interactive;
  Seq first, last;
  Digest chain;  // of the stream, after `last`
  uint64_t count() const { return last.value - first.value + 1; }
  bool operator==(const WorkGap&) const = default;
};

struct OriginState {
  Ledger ledger;
  Incarnation latest;
  bool quarantined = false;
  std::string why;
  // Two live copies (SEMANTICS 30): the process start that was refused last, and when.
  Incarnation refused;
  int64_t refused_ms = 0;
  Incarnation admitted;      // an operator decided that this one takes over
  uint64_t announced = 0;    // mutations it named at its last contact that had not arrived then
  bool written_off = false;  // its disk is gone for good: only an empty one may join
  std::vector<WorkGap>
      missing;                // found at its last contact: it is refused until an operator closes
  std::vector<WorkGap> lost;  // closed
  bool operator==(const OriginState&) const = default;
};

// What a branch last said of its program.
struct ProgramSeen {
  uint32_t feature_level = 0;
  uint32_t schema_version = 0;
  int64_t wall_ms = 0;  // when, by the master's clock
};
// While a restored master waits for its branches (SEMANTICS 29).
struct Reconciling {
  LineHistory past;
  Csn restored_at;       // through this csn the line is as it was before the restore; 0: not known
  int64_t since_ms = 0;  // 0: not reconciling
  std::string why;
  std::set<OriginId> awaited;  // have not offered again all that they had when they connected
  std::set<OriginId> late;     // were not waited for when an operator closed it

  bool open() const { return since_ms != 0; }
};
std::string encode_reconciling(const Reconciling& reconciling);
Result<Reconciling> decode_reconciling(std::string_view bytes);
// Written into a master's store by `branchline restore`.
struct RestoredMark {
  int64_t wall_ms = 0;
  bool operator==(const RestoredMark&) const = default;
};
std::string encode_restored_mark(const RestoredMark& mark);
Result<RestoredMark> decode_restored_mark(std::string_view bytes);

struct StreamState {
  Seq seq;
  Order order;
  Digest chain;
  Csn last_csn;
};

struct MasterState {
  LineId line;
  Term term{1};
  Csn head;
  Digest chain;
  SaltKey salt_key;  // of the line's own digests
  Hlc hlc;
  Totals totals;
  uint64_t key_rows = 0;  // in Table::keys
  OriginId self;
  uint32_t generation = 0;
};
std::string encode_master_state(const MasterState& state);
Result<MasterState> decode_master_state(std::string_view bytes);
std::string encode_stream_state(const StreamState& state);
Result<StreamState> decode_stream_state(std::string_view bytes);
std::string encode_origin_state(const OriginState& state);
Result<OriginState> decode_origin_state(std::string_view bytes);
std::string encode_program_seen(const ProgramSeen& seen);
Result<ProgramSeen> decode_program_seen(std::string_view bytes);
// Rows of Table::keys at the master.
std::string encode_key_row(const MutationId& first, Hlc hlc);
std::optional<MutationId> decode_key_row(std::string_view bytes);

class Ingest {
 public:
  // Reads the state, or starts a new line in an empty store; draws an incarnation either way and
  // puts it in `start`, to be written synced before anything else. `attempts` may be null and must
  // outlive this. Indexes of another collation than this program's are rebuilt in `store` before it
  // returns.
  static Result<std::unique_ptr<Ingest>> open(Store& store, std::shared_ptr<const Schema> schema,
                                              Clock& clock, Random& random, AttemptLog* attempts,
                                              Batch& start, const IndexUpkeep& upkeep = {});
  ~Ingest();

  // A branch has connected; its name is proven. `rows` is to be written synced before it is
  // answered, also where it is refused: what it told of its past it will not tell again, and a new
  // line id must not be forgotten. `denied` where it is not in the topology, `conflict` where its
  // topology, schema or history is not this master's, its program does not know the line's feature
  // level, its link is quarantined or it is a second copy: an operator must act. `unavailable` with
  // code "session.line_replaced" where it is ahead of the line or off it: the line has, or now
  // gets, a new id, and the branch offers its work again. `other_alive`: another connection of this
  // server was heard a moment ago.
  Result<Registration> begin_session(const Introduction& intro, Batch& rows,
                                     bool other_alive = false);

  // For a file of a branch, whose signature is proven: nothing changes for a live session of it.
  // `rows` is to be written synced. Errors: `denied` and `conflict` as of begin_session(), of its
  // program and schema; conflict "file.other_line", "file.ahead", "file.off_line", "file.copy";
  // unavailable "file.never_joined" (the office has no data yet), "file.reconciling".
  Result<OriginId> introduce_file(const Introduction& intro, Batch& rows);

  // Decides blocks in the given order. The batch must be written synced, or the process end. While
  // reconciling, some are held back: call it with no blocks while held_ready().
  Result<IngestResult> ingest(std::vector<IncomingBlock> blocks);
  // Something that was held back may be decided now.
  bool held_ready() const;

  // A mutation of the master's own: topology, tokens.
  struct Local {
    IngestResult result;
    MutationId id;
    Csn csn;
    Fate fate;
    std::vector<Outcome> outcomes;
  };
  Result<Local> commit_local(std::vector<RecordOp> ops, const RecordId& author,
                             std::string_view operation_key);

  // Commits `level` as the line's feature level. `conflict`, code "feature_level.server", naming
  // every branch whose program is older or has never connected, and what holds each up;
  // "feature_level.set" where the line has it already.
  Result<Local> raise_feature_level(uint32_t level);
  // Tops up the shares of `escrow` fields, a bounded piece of the work at a time, by a mutation of
  // the master's own; nothing where none was due in this piece. To be called while grants_due().
  bool grants_due() const;
  Result<std::optional<Local>> grant_step();
  // An operator's word that what `origin` holds in data directories it no longer has (with
  // `everything`: in its present one too) is not coming back. What was not sold returns to nobody;
  // with `sold` it leaves the stock. A bounded piece of the work; again while `more`. `written`
  // writes each result synced before it returns, as with ingest().
  struct WriteOff {
    uint64_t shares = 0;
    bool more = false;
  };
  Result<WriteOff> write_off(OriginId origin, bool everything, bool sold,
                             const std::function<void(IngestResult&&)>& written);
  // Nothing is granted while it is not certain what offices hold (SEMANTICS 31): switched off while
  // the master is reconciling. What becomes due meanwhile waits.
  void allow_grants(bool allowed);
  // Notes what branches told, lets those lapse that were away too long, and trims a part of the
  // line that all live ones have passed. `rows` is to be written synced before anything else.
  Result<RetentionResult> retain(const RetentionInput& input, Batch& rows);
  const TrimState& trimmed() const;
  const std::map<OriginId, BranchProgress>& branches() const;

  // This credential was shown at a branch by its holder, who may write: from now on the branch may
  // speak for him about records that he read through it (SEMANTICS 6, 28). Empty rows: known.
  void note_shown(OriginId origin, const RecordId& credential, Batch& rows);

  // An operator decided that a quarantined origin may come back, or that the copy that was refused
  // takes over from the other.
  Result<void> release(OriginId origin, Batch& rows);
  // An operator decided that nothing more can come from this origin's disk: `lost` mutations that
  // it had announced are entered as such, its process starts are refused, and only an empty disk
  // may join under its name. Returns how many were entered.
  Result<uint64_t> write_off_disk(OriginId origin, Batch& rows);
  // Enters as lost what branches found missing, and ends the waiting for those that are not in
  // `connected`, other than these branches. `not_found` where nothing is open or missing.
  struct Closed {
    std::vector<OriginId> left;  // not waited for any longer
    std::map<OriginId, uint64_t> lost;
  };
  Result<Closed> close_reconciling(const std::set<OriginId>& connected, Batch& rows);
  const Reconciling& reconciling() const;

  const MasterState& state() const;
  const std::map<OriginId, OriginState>& origins() const;
  const std::map<OriginId, ProgramSeen>& programs() const;
  const Directory& directory() const;
  const StoreView& store() const;
  const Schema& schema() const;
  // Records as they stand, with what is not yet written. For the admin interface, on the ingest
  // thread.
  Workspace& workspace();

 private:
  struct Impl;
  explicit Ingest(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace branchline
