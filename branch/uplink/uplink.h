// The link to the upstream server, kept up. I/O thread only.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/steady_timer.hpp>
#include <memory>
#include <stop_token>
#include <string>

#include "branch/replica/committer.h"
#include "branch/uplink/intake.h"
#include "branch/uplink/lookup_queue.h"
#include "branch/uplink/verify_loop.h"
#include "common/config/topology.h"
#include "common/runtime/event.h"
#include "common/runtime/runtime.h"
#include "common/tls/link_context.h"
#include "replication/courier/file_part.h"
#include "replication/session/branch_session.h"
#include "replication/transport/transport.h"

namespace branchline {

struct UplinkStatus {
  std::string state = "connecting";  // connecting, greeting, joining, following, refused
  std::string problem;               // why there is no link, for people
  std::string problem_code;
  int64_t down_since_ms = 0;  // wall time; 0 while there is a link
  int64_t round_trip_us = 0;
  int64_t clock_offset_ms = 0;
  Csn master_head;
  bool caught_up = false;
  uint64_t bytes_in = 0, bytes_out = 0;  // on the wire, over all connections
  uint64_t unacknowledged_bytes = 0;     // shipped over this connection, not yet acknowledged
  uint64_t connects = 0;
  struct LaneStatus {
    uint64_t pending = 0;  // without a fate
    SendHold hold = SendHold::no;
    std::optional<int64_t> drain_s;  // forecast; nothing: not within 60 days, or not known yet
  };
  std::array<LaneStatus, kLaneCount> lanes;
};

// Whoever sends others' sessions over this link (branch/relay).
class UplinkSharer {
 public:
  virtual ~UplinkSharer() = default;
  virtual void uplink_up(uint32_t channels) = 0;
  virtual void uplink_down(const Error& why) = 0;
  // A channel frame; what of it is for the link's own session.
  virtual Result<std::vector<Frame>> uplink_frame(const Frame& frame) = 0;
  virtual void uplink_tick() = 0;
};

class Uplink {
 public:
  struct Config {
    std::string server;    // our name
    std::string upstream;  // its name, as in its certificate
    Endpoint address;      // where to dial
    std::string topology_digest;
    LinePolicy line;  // what is known of the line up
    std::shared_ptr<const Schema> schema;
  };
  struct Events {  // for whoever shows the replica
    std::function<void(const Changes&)> changed;
    std::function<void()> installed;  // a snapshot: everything may be another
    std::function<void()> moved;      // its csn
  };
  Uplink(Runtime& runtime, Config config, std::shared_ptr<const LinkContext> tls,
         const Store& store, Committer& committer, Clock& clock, const Events& events);

  // Set once, before run(); outlives it.
  void set_sharer(UplinkSharer* sharer) { sharer_ = sharer; }
  void send_shared(std::string frame);
  LinkBudget& budget() { return budget_; }

  // Runs until stop().
  boost::asio::awaitable<void> run();
  void stop();
  // The committer wrote to the outbox.
  void on_outbox();

  // Asks the upstream and waits, at most `patience_ms`. `unavailable` "upstream.*" with the reason
  // and what helps; errors of the upstream's own answer as they are.
  boost::asio::awaitable<Result<LookupAnswer>> look_up(LookupRequest question, int64_t patience_ms);

  // As Intake's.
  boost::asio::awaitable<Result<FileTaken>> take_file(FilePart part) {
    return intake_.take_file(std::move(part));
  }
  // A file takes along what is pending now; before it is given to anybody.
  void on_export();
  VerifyLoop& verification() { return verification_; }

  UplinkStatus status() const;

 private:
  Intake::Events intake_events(const Events& events);
  VerifyLoop::Events verify_events(const Events& events);
  boost::asio::awaitable<Error> connect_once();
  boost::asio::awaitable<void> leave_line();
  boost::asio::awaitable<void> send_ticks(uint64_t connection);
  boost::asio::awaitable<void> refresh_oldest();
  // What the lanes' shipping has come to, for forecasts over connections.
  void measure_lanes();
  std::optional<int64_t> drain_of(Lane lane, uint64_t pending) const;
  void perform(BranchEffects effects);
  void on_frame(const Frame& frame);
  void give_up(const Error& why);
  void ask_waiting();
  void keep_certificate(std::string certificate);

  Runtime& runtime_;
  Config config_;
  std::shared_ptr<const LinkContext> tls_;
  const Store& store_;
  Committer& committer_;
  Clock& clock_;

  UplinkSharer* sharer_ = nullptr;
  std::unique_ptr<Link> link_;
  std::unique_ptr<BranchSession> session_;
  std::unique_ptr<ReplicaOutbox> outbox_;
  LinkBudget budget_;
  struct Shipped {
    uint64_t mutations = 0, bytes = 0;
  };
  std::array<Shipped, kLaneCount> shipped_;  // over earlier connections
  uint64_t measured_bytes_ = 0;              // a second ago
  uint64_t bytes_per_s_ = 0;                 // of the busiest seconds lately
  Intake intake_;
  VerifyLoop verification_;
  std::string certificate_;  // that the upstream showed last
  LookupQueue lookups_;
  uint64_t connection_ = 0;  // callbacks of an earlier connection are ignored
  boost::asio::steady_timer tick_timer_;
  bool resting_ = false;  // tick_timer_ is for later
  bool refreshing_ = false;
  bool stopping_ = false;
  std::optional<Error> close_reason_;
  int64_t oldest_pending_ms_ = 0;
  Csn durable_, passed_;
  UplinkStatus status_;
  std::stop_source stop_;
  boost::asio::steady_timer backoff_;
};

}  // namespace branchline
