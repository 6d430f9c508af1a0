// The Link over a TlsConnection. For .cc files of this folder.
#pragma once

#include <memory>

#include "replication/transport/tls_connection.h"

namespace branchline {

class TlsLink final : public Link {
 public:
  explicit TlsLink(std::shared_ptr<TlsConnection> connection)
      : connection_(std::move(connection)) {}
  ~TlsLink() override {
    if (connection_->is_open()) {
      connection_->drop({ErrorKind::shutdown, "link.closed", "the link was dropped on this side"});
    }
  }

  const std::string& peer() const override { return connection_->peer(); }
  std::string peer_certificate() const override { return connection_->peer_certificate(); }
  boost::asio::awaitable<Result<std::vector<Frame>>> read() override { return connection_->read(); }
  Result<void> send(std::string frame) override { return connection_->send(std::move(frame)); }
  size_t queued_bytes() const override { return connection_->queued_bytes(); }
  LinkCounters counters() const override { return connection_->counters(); }
  void close() override { connection_->close(); }
  boost::asio::awaitable<void> closed() override { return connection_->closed(); }

 private:
  std::shared_ptr<TlsConnection> connection_;
};

}  // namespace branchline
