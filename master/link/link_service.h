// Links of branches, as long as the master runs. I/O thread only.
#pragma once

#include <array>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/steady_timer.hpp>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "common/base/random.h"
#include "common/runtime/runtime.h"
#include "master/feed/audience.h"
#include "master/feed/feed.h"
#include "master/ingest/ingest_loop.h"
#include "replication/transport/tls_transport.h"

namespace branchline {

struct BranchLinkStatus {
  std::string server;
  std::string state;
  Csn sent, applied, durable;
  uint64_t pending = 0;
  int64_t oldest_pending_ms = 0;
  int64_t round_trip_us = 0;
  uint64_t bytes_in = 0, bytes_out = 0;
  size_t queued_bytes = 0;
  Csn passed;
  uint64_t pending_bytes = 0;
  std::string via;  // the hub over whose link it comes; empty: its own
};

class LinkService {
 public:
  // `lines`: what is known of the lines down to the branches, by server.
  LinkService(Runtime& runtime, const Store& store, std::shared_ptr<const Schema> schema,
              LineFeed& feed, Clock& clock, const std::map<std::string, LinePolicy>& lines = {});
  // Counts at once, also over lines that are up. What it does not name stays as it was.
  void set_lines(const std::map<std::string, LinePolicy>& lines);

  // Set once, before run(): they refer to each other.
  void set_ingest(IngestLoop* ingest) { ingest_ = ingest; }
  boost::asio::awaitable<void> run(TlsAcceptor& acceptor);
  void stop();
  // While it is set, branches are refused, with the reason: what they send could not be kept.
  void set_disk_full(bool full);
  bool disk_full() const { return disk_full_; }
  // After a batch is synced.
  void published(IngestResult&& result);
  // Another subscription was committed for these, or they were removed: they connect anew, and
  // learn it then.
  void subscriptions_changed(const std::vector<std::string>& servers);

  // What the connected ones told last, and from where on the line is needed by what is under way.
  std::vector<BranchNews> news() const;
  Csn needed() const;

  // Returns when every line down has room for bulk work, or this stops.
  boost::asio::awaitable<void> room_for_bulk();
  // Of the main line, as far as it may be fed.
  const LineCursor& head() const { return feed_.head(); }

  std::vector<BranchLinkStatus> status() const;
  // Why a branch's last link was closed, by us or by it, until it is registered again: for
  // operators.
  const std::map<std::string, std::string>& refusals() const { return refusals_; }

 private:
  struct Connection;
  using Handle = std::shared_ptr<Connection>;
  // A physical link: the session of the server at its other end, and those beneath that.
  struct Trunk;
  boost::asio::awaitable<void> serve(std::shared_ptr<Trunk> trunk);
  Handle connect(const std::shared_ptr<Trunk>& trunk, uint64_t channel,
                 std::vector<std::string> path);
  void on_frame(const std::shared_ptr<Trunk>& trunk, const Frame& frame);
  Result<void> on_channel(const std::shared_ptr<Trunk>& trunk, const Frame& frame);
  bool send(Connection& c, std::string frame);
  // Ends a session; its link too, where it is its own.
  void end(const Handle& c);
  boost::asio::awaitable<void> ticks(Handle c);
  boost::asio::awaitable<void> open_snapshot(Handle c);
  boost::asio::awaitable<void> next_chunk(Handle c);
  boost::asio::awaitable<void> look_up(Handle c, LookupRequest question);
  void line_replaced(const LineCursor& head, const Handle& by);
  void begin_verify(const Handle& c, VerifyRequest question);
  boost::asio::awaitable<void> verify(Handle c, std::shared_ptr<const StoreView> view,
                                      VerifyRequest question);
  void perform(const Handle& c, MasterEffects effects);
  // Lets ingest decide the next of the bulk work where every line has room for it; else looks again
  // soon.
  void allow_bulk();
  void closed(const Handle& c);
  bool has_room_for_bulk() const;
  void tell_line(const Handle& c);
  // Those whom the newest batches do not concern hear how far the line is: in a moment, and no more
  // often than they would say so to their branches.
  void tell_all_soon();
  // Of lines with bytes for a day, what was sent today: kept over a restart, two seconds old. One
  // write for all.
  void keep_use();
  // For files to a branch, when there is no link.
  void keep_peer(const Handle& c, Csn csn);

  Runtime& runtime_;
  const Store& store_;
  std::shared_ptr<const Schema> schema_;
  LineFeed& feed_;
  Clock& clock_;
  IngestLoop* ingest_ = nullptr;
  std::map<std::string, LinkBudget> budgets_;
  std::map<std::string, std::string> use_kept_;  // rows
  int64_t use_kept_at_ = 0;
  bool paced_ = false;  // the rate of some line is known
  boost::asio::steady_timer bulk_timer_;
  bool bulk_waits_ = false;  // bulk_timer_ runs
  int64_t bulk_allowed_at_ = 0;
  std::vector<Handle> connections_;
  Audience<Handle> audience_;  // those that are registered
  boost::asio::steady_timer tell_timer_;
  bool tell_waits_ = false;  // tell_timer_ runs
  int64_t told_all_us_;
  std::map<std::string, std::string> refusals_;
  SnapshotShelf shelf_;
  SystemRandom random_;  // of the snapshots' ids
  // Two connections of one branch may read its snapshot at the same time, for a moment.
  std::array<std::mutex, 16> snapshot_locks_;
  std::mutex& snapshot_lock(OriginId origin) {
    return snapshot_locks_[origin.value % snapshot_locks_.size()];
  }
  bool stopping_ = false;
  bool disk_full_ = false;
};

}  // namespace branchline
