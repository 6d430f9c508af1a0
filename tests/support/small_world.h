// A master and offices over stores in memory, moved by hand: what was written waits at its office
// until the test ships it, what was committed waits at the master until the test fetches it. No
// sessions; see session_lab.h.
//
// Territories: `common` is everyone's, `east` and `west` their offices'; `hq` holds all.
#pragma once

#include <array>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "branch/replica/replica.h"
#include "common/config/topology.h"
#include "common/store/mem_store.h"
#include "master/feed/feed.h"
#include "master/ingest/ingest.h"
#include "tests/support/fixed_clock.h"
#include "tests/support/story.h"

namespace branchline {

inline constexpr int64_t kWorldMs = 1'780'000'000'000;

class SmallWorld;

// The master: everything but its links.
class SmallMaster {
 public:
  explicit SmallMaster(SmallWorld& world);
  void start();
  void crash(size_t keep = 0);
  // The world's topology, as `branchline topology apply` commits it; offices learn it by connect().
  void apply_topology();
  // One pass of retention, the offices that are told having come to where their stores are.
  RetentionResult retain(const std::vector<std::string>& told, int64_t max_offline_ms,
                         Csn floor = Csn(UINT64_MAX));
  // A commit of the master's own; the verdict in words.
  std::string commit(std::vector<RecordOp> ops);
  Registration register_branch(const Introduction& intro);
  // Decides blocks as one batch and writes it.
  IngestResult decide(std::vector<IncomingBlock> blocks);
  // Tops up escrow shares until none is due; decide() does so at its end.
  void grant();
  std::string show(const std::string& name);

  std::shared_ptr<const Schema> schema;  // of its program, at the next start; null: the world's
  MemStore store;
  FixedClock clock{kWorldMs};
  std::unique_ptr<Ingest> ingest;
  std::unique_ptr<LineFeed> feed;
  AttemptLog* attempts = nullptr;
  size_t batches = 0;  // that decide() has made

 private:
  SmallWorld& world_;
};

class SmallOffice {
 public:
  SmallOffice(SmallWorld& world, std::string name);
  void start();
  void crash(size_t keep = 0);

  // A client's write: "update a name=X; delete b", behind "atomic " and "guard a.name=Y " where it
  // shall be so; "ok", or the code that it was refused with.
  std::string write(const std::string& ops, const std::string& operation_key = "");
  std::string write(const std::vector<std::string>& group);  // one commit group
  // First contact: registers, takes a snapshot where it must.
  void connect();
  // Ships at most `blocks` blocks of what is pending and not yet shipped, each decided in a batch
  // of its own.
  void ship(size_t blocks = 1000);
  // As ship(), but the master's answer is not awaited: the bytes of the blocks, for delivering them
  // as one likes.
  std::vector<std::string> take_blocks(size_t blocks = 1000);
  // Follows the line to its head.
  void fetch(size_t range_bytes = 256 * 1024);
  void take_snapshot();
  // As the master would open it for this office now.
  std::unique_ptr<SnapshotSource> open_snapshot(size_t chunk_bytes = limits::kSnapshotChunkBytes,
                                                uint64_t id = 0);
  FeedScope scope() const;
  void end_join(const SnapshotEnd& end);

  std::string show(const std::string& name);
  // What became of the last write: "pending", or the fate in words.
  std::string fate_of(const MutationId& id);
  std::string fate() { return fate_of(last.id); }
  Introduction introduction();

  const std::string name;
  std::shared_ptr<const Schema> schema;  // of its program, at the next start; null: the world's
  // Where its data are: on `disk` where one is set, else in memory.
  Store& home() { return disk ? *disk : static_cast<Store&>(store); }
  MemStore store;
  std::unique_ptr<Store> disk;
  FixedClock clock{kWorldMs};
  std::unique_ptr<Replica> replica;
  std::unique_ptr<ReplicaOutbox> outbox;
  Registration registration;
  Accepted last;
  std::map<MutationId, std::vector<RecordOp>> made;  // by what it accepted, for words
  RecordId credential;
  Lane lane = Lane::interactive;  // that writes ask for

 private:
  SmallWorld& world_;
  std::array<PendingRef, kLaneCount> shipped_;  // by lane
};

class SmallWorld {
 public:
  // `connected`: the offices have joined; else they are started and hold nothing.
  explicit SmallWorld(bool connected = true,
                      std::shared_ptr<const Schema> schema = Schema::built_in());

  SmallOffice& operator[](const std::string& name) { return *offices.at(name); }
  // Ships, then fetches, until nothing is pending anywhere.
  void settle();
  // What the audits of all servers say, and whether all hold the same; empty: all is well.
  std::vector<std::string> audit();

  SeededRandom random{1};
  std::shared_ptr<const Schema> schema;
  Topology topology;
  story::Names names{schema};
  SmallMaster master;
  std::map<std::string, std::unique_ptr<SmallOffice>> offices;
  RecordId user;
  Arena arena;
};

}  // namespace branchline
