// Files instead of a line, at the master. I/O thread only.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <memory>
#include <string>

#include "common/http/http.h"
#include "common/runtime/runtime.h"
#include "common/tls/link_context.h"
#include "master/ingest/ingest_loop.h"
#include "master/link/link_service.h"
#include "replication/courier/file_part.h"
#include "replication/courier/transfer.h"

namespace branchline {

class MasterCourier {
 public:
  struct Parts {
    std::string server;
    Runtime* runtime = nullptr;
    const Store* store = nullptr;
    IngestLoop* ingest = nullptr;
    LinkService* links = nullptr;
    Clock* clock = nullptr;
    std::shared_ptr<const LinkContext> tls;
  };
  explicit MasterCourier(Parts parts) : parts_(std::move(parts)) {}

  // ?upload=ID&at=N&size=N, a piece of a part in the body. After the last piece of a part: what
  // became of it, as JSON.
  boost::asio::awaitable<HttpResponse> import_piece(const HttpRequest& request);
  // ?server=NAME, with from=CSN or token=T; the body may be that server's certificate. A part of
  // the office's feed as it stands in a file; `Branchline-Next` where there is more.
  boost::asio::awaitable<HttpResponse> export_part(const HttpRequest& request);

 private:
  struct Report;
  struct Wanted;
  boost::asio::awaitable<Result<Report>> take(std::string framed);
  boost::asio::awaitable<Result<HttpResponse>> give(const HttpRequest& request);
  boost::asio::awaitable<Result<Wanted>> read_request(const HttpRequest& request);

  Parts parts_;
  PieceCollector pieces_;
};

}  // namespace branchline
