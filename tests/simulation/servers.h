// The servers of the simulation: the product's cores, driven by events instead of sockets and
// threads.
#pragma once

#include <optional>
#include <set>
#include <tuple>
#include <utility>
#include <vector>

#include "branch/replica/replica.h"
#include "branch/replica/verifier.h"
#include "branch/uplink/range_queue.h"
#include "common/config/topology.h"
#include "master/feed/feed.h"
#include "master/ingest/ingest.h"
#include "replication/relay/hub_relay.h"
#include "replication/session/branch_session.h"
#include "replication/session/master_session.h"
#include "tests/simulation/planted_bugs.h"
#include "tests/simulation/world.h"

namespace branchline::sim {

inline constexpr int64_t kTick = 20'000;

class SimMaster {
 public:
  SimMaster(World& world, std::shared_ptr<const Schema> program_schema, const Topology& topology,
            Bug bug);

  void start();
  void crash();
  bool up() const { return ingest != nullptr; }
  // A connection whose other end is `peer`.
  void accept(std::shared_ptr<Line> line, const std::string& peer);
  // As `branchline topology apply` does; also when it starts, where it went down before.
  void apply_topology();
  // As home and also_in of a record that is in all of them.
  std::pair<TerritoryId, std::vector<TerritoryId>> all_territories() const;
  // An operator lets the copy of `branch` that was refused take over; false: none was.
  bool release(const std::string& branch);
  // A part of a file of an office, as a courier brought it; why it was refused, if it was.
  Result<void> import_file(const std::string& bytes);
  // A part of the feed of `branch` behind `from`, where a batch ends there.
  Result<std::string> export_feed(const std::string& branch, Csn place);
  // A commit of its own (users, tokens).
  void commit(std::vector<RecordOp> ops, const std::string& key);

  std::shared_ptr<const Schema> schema;  // of its program, at the next start
  MemStore disk;
  SimClock clock;
  std::unique_ptr<Ingest> ingest;
  std::unique_ptr<LineFeed> feed;
  std::string failure;                       // an invariant broke inside
  std::function<std::string()> check_batch;  // what must hold after every batch; empty: it does

 private:
  struct Connection;
  // As master/link has it: a line, and the sessions that come over it.
  struct Trunk {
    std::shared_ptr<Line> line;
    std::string peer;
    FrameDecoder decoder;
    TrunkSender down;
    std::map<uint64_t, std::weak_ptr<Connection>> channels;
    uint64_t last_channel = 0;
    bool closed = false;
  };
  struct Connection {
    std::shared_ptr<Trunk> trunk;
    uint64_t channel = 0;
    std::vector<std::string> path;
    std::unique_ptr<MasterSession> session;
    std::shared_ptr<SnapshotSource> snapshot;
    std::vector<PendingRange> pending;
    JoinProgress join;
    uint64_t id = 0;
  };
  using Handle = std::shared_ptr<Connection>;
  void perform(const Handle& c, MasterEffects effects);
  Handle connect(const std::shared_ptr<Trunk>& trunk, uint64_t channel,
                 std::vector<std::string> path);
  void received(const std::shared_ptr<Trunk>& trunk, const std::string& bytes);
  Result<void> on_channel(const std::shared_ptr<Trunk>& trunk, const Frame& frame);
  void schedule_ingest();
  void run_ingest();
  void publish(const IngestResult& result);
  void open_snapshot(const Handle& c);
  void verify(const Handle& c, const VerifyRequest& question);
  void forget(const Handle& c);
  void retain();
  void tick();
  void fail(const std::string& what);

  World& world_;
  const Topology& topology_;
  LyingStore store_;
  std::vector<Handle> connections_;
  std::deque<std::pair<Handle, std::string>> queue_, bulk_;
  bool ingest_scheduled_ = false;
  SnapshotShelf shelf_;
  int64_t retained_at_ = 0;
  uint64_t epoch_ = 0;  // events of an earlier life are ignored
};

class SimBranch {
 public:
  SimBranch(World& world, std::string name, std::shared_ptr<const Schema> program_schema,
            const std::string& topology_digest, SimMaster& master, Bug bug);

  void start();
  // What was not synced is lost but for a random prefix.
  void crash();
  bool up() const { return replica != nullptr; }
  bool ready() const { return up() && replica->state().joined(); }
  // What is pending, as a courier takes it along; and a part of a feed that he brings.
  std::string export_file();
  Result<void> import_file(const std::string& bytes);
  // Drops the connection; a new one is tried later.
  void disconnect();
  bool joining() const { return session && session->state() == LinkState::joining; }
  // At its next greeting it asks for everything anew, as when the feed could not be applied.
  void ask_reseed() { reseed_ = true; }
  bool following() const { return session && session->state() == LinkState::following; }

  // Whom it dials; null: the master. Counts from the next connection on.
  void set_upstream(SimBranch* hub) { hub_ = hub; }
  // Started again with the file that says so.
  void move();
  // Others may have it as their upstream.
  void be_hub() { is_hub_ = true; }

  // Accepts as the servers do: batch synced, then the answer. Nothing if the server is down or dies
  // meanwhile.
  std::optional<Result<Accepted>> write(Command& command);

  std::shared_ptr<const Schema> schema;  // of its program, at the next start
  MemStore disk;
  SimClock clock;
  std::unique_ptr<Replica> replica;
  std::unique_ptr<BranchSession> session;
  std::unique_ptr<Verifier> verifier;
  const std::string name;
  bool partitioned = false;
  bool refused_as_copy = false;
  bool stalled = false;
  int64_t latency_us = 5'000;
  // Whether bulk work waits for its hours, and what the line carries (0: anything).
  void set_line(bool bulk_closed, uint64_t bytes_per_s);
  std::string failure;
  bool damaged = false;  // a byte on its disk was changed

 private:
  void connect();
  void accept_leaf(std::shared_ptr<Line> line, const std::string& peer);
  void perform_relay(RelayEffects effects);
  void perform(BranchEffects effects);
  void apply_later();
  void take_range(FeedRange range);
  void finish_later(const SnapshotEnd& end);
  bool moved_by_file_ = false;  // behind what the connection was greeted with
  void take_point_later(const VerifyPoint& point);
  void verify();
  void received(const std::string& bytes);
  void closed();
  void tick();
  void fail(const std::string& what);
  Result<void> put(const Batch& batch, Sync sync);

  World& world_;
  std::string topology_digest_;
  SimMaster& master_;
  SimBranch* hub_ = nullptr;
  bool is_hub_ = false;
  std::unique_ptr<HubRelay> relay_;
  struct LeafLine {
    std::shared_ptr<Line> line;
    FrameDecoder decoder;
  };
  std::map<uint64_t, LeafLine> leaves_;
  uint64_t last_leaf_ = 0;
  LyingStore store_;
  std::shared_ptr<Line> line_;
  FrameDecoder decoder_;
  std::unique_ptr<ReplicaOutbox> outbox_;
  LinkBudget budget_;
  std::unique_ptr<RangeQueue> ranges_ = std::make_unique<RangeQueue>();
  uint64_t redone_ = 0;  // by the last range
  uint64_t epoch_ = 0;
  uint64_t connection_ = 0;
  std::unique_ptr<Recount> recount_;
  int64_t verify_at_ = 0;
  bool reseed_ = false;
  bool finishing_ = false;
  std::vector<FeedRange> held_;
  Csn durable_;
};

}  // namespace branchline::sim
