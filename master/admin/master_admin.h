// Routes of the master's operators' interface. I/O thread only.
#pragma once

#include <boost/asio/awaitable.hpp>

#include "common/http/operator_access.h"
#include "common/program/backup_job.h"
#include "common/runtime/runtime.h"
#include "master/courier/master_courier.h"
#include "master/ingest/ingest_loop.h"
#include "master/link/link_service.h"

namespace branchline {

struct MasterParts {
  std::string server;
  Runtime* runtime = nullptr;
  const Store* store = nullptr;
  std::shared_ptr<const Schema> schema;
  IngestLoop* ingest = nullptr;
  LinkService* links = nullptr;
  LineFeed* feed = nullptr;
  Clock* clock = nullptr;
  const OperatorAccess* access = nullptr;
  BackupJob* backup = nullptr;
  MasterCourier* courier = nullptr;
  std::function<std::string()> metrics;
};

class MasterAdmin {
 public:
  explicit MasterAdmin(MasterParts parts) : parts_(std::move(parts)) {}
  boost::asio::awaitable<HttpResponse> handle(const HttpRequest& request);

 private:
  boost::asio::awaitable<HttpResponse> status();
  boost::asio::awaitable<HttpResponse> audit();
  boost::asio::awaitable<HttpResponse> create_token(const HttpRequest& request);
  boost::asio::awaitable<HttpResponse> revoke_token(const std::string& id);
  boost::asio::awaitable<HttpResponse> log(uint64_t after, uint64_t limit);
  boost::asio::awaitable<HttpResponse> feature_level();
  boost::asio::awaitable<HttpResponse> raise_feature_level(const std::string& level);
  boost::asio::awaitable<HttpResponse> write_off(std::string_view target);
  boost::asio::awaitable<HttpResponse> release(const std::string& server);
  boost::asio::awaitable<HttpResponse> apply_topology(const HttpRequest& request);
  boost::asio::awaitable<HttpResponse> write_off_disk(const std::string& server);
  boost::asio::awaitable<HttpResponse> close_reconciling();
  boost::asio::awaitable<HttpResponse> start_backup(const HttpRequest& request);

  MasterParts parts_;
};

}  // namespace branchline
