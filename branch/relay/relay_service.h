// Links of the servers beneath this one, as long as it runs. I/O thread only.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "branch/uplink/uplink.h"
#include "replication/relay/hub_relay.h"
#include "replication/transport/tls_transport.h"

namespace branchline {

struct LeafLinkStatus {
  std::string server;
  uint64_t bytes_in = 0, bytes_out = 0;
  size_t queued_bytes = 0;
};

class RelayService : public UplinkSharer {
 public:
  // `uplink` outlives this.
  RelayService(Runtime& runtime, Uplink& uplink, Clock& clock, const std::string& server,
               const std::string& upstream);

  boost::asio::awaitable<void> run(TlsAcceptor& acceptor);
  void stop();

  void uplink_up(uint32_t channels) override;
  void uplink_down(const Error& why) override;
  Result<std::vector<Frame>> uplink_frame(const Frame& frame) override;
  void uplink_tick() override;

  std::vector<LeafLinkStatus> leaves() const;
  // Sessions carried, those of servers further below included, and what waits for the line up.
  size_t sessions() const { return relay_.channels(); }
  size_t waiting_bytes() const { return relay_.waiting_bytes(); }

 private:
  struct Leaf;
  boost::asio::awaitable<void> serve(std::shared_ptr<Leaf> leaf);
  void perform(RelayEffects effects);

  Runtime& runtime_;
  Uplink& uplink_;
  Clock& clock_;
  HubRelay relay_;
  std::map<uint64_t, std::shared_ptr<Leaf>> leaves_;
  uint64_t last_leaf_ = 0;
  bool stopping_ = false;
};

}  // namespace branchline
