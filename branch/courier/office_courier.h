// Files instead of a line, at an office. I/O thread only.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <memory>
#include <string>

#include "branch/uplink/uplink.h"
#include "common/http/http.h"
#include "replication/courier/transfer.h"

namespace branchline {

class OfficeCourier {
 public:
  struct Parts {
    std::string server, master;
    std::string topology_digest;
    Runtime* runtime = nullptr;
    const Store* store = nullptr;
    Committer* committer = nullptr;
    Uplink* uplink = nullptr;
    Clock* clock = nullptr;
    std::shared_ptr<const LinkContext> tls;
  };
  explicit OfficeCourier(Parts parts) : parts_(std::move(parts)) {}

  // ?token=T for the parts behind the first; the body may be the master's certificate. A part of
  // what is pending as it stands in a file; `Branchline-Next` where there is more.
  boost::asio::awaitable<HttpResponse> export_part(const HttpRequest& request);
  // ?upload=ID&at=N&size=N, a piece of a part in the body. After the last piece of a part: what
  // became of it, as JSON.
  boost::asio::awaitable<HttpResponse> import_piece(const HttpRequest& request);

 private:
  boost::asio::awaitable<Result<HttpResponse>> give(const HttpRequest& request);
  boost::asio::awaitable<Result<HttpResponse>> take(std::string framed);

  Parts parts_;
  PieceCollector pieces_;
};

}  // namespace branchline
