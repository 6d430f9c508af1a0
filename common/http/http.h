// Requests and answers as handlers see them, and the server.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "common/base/error.h"
#include "common/base/limits.h"

namespace boost::asio {
class io_context;
}

namespace branchline {

struct HttpRequest {
  std::string_view method;
  std::string_view target;
  std::vector<std::pair<std::string_view, std::string_view>> headers;  // names as sent
  std::string_view body;
  std::string_view remote;  // the client's address

  // The first header of this name, any case; empty if there is none.
  std::string_view header(std::string_view name) const;
  bool has_header(std::string_view name) const;
};

// What a stream's handler writes to.
class HttpStream {
 public:
  virtual ~HttpStream() = default;
  // False when the client is gone.
  virtual boost::asio::awaitable<bool> write(std::string bytes) = 0;
};

struct HttpResponse {
  int status = 200;
  std::string content_type;  // empty: no body is described
  std::string body;
  std::vector<std::pair<std::string, std::string>> headers;
  bool close = false;
  // If set: after the head, this writes the body until it returns; then the connection is closed.
  std::function<boost::asio::awaitable<void>(HttpStream&)> stream;
};

// 204 or 200; an error as {"error":{"code":..,"message":..}} with the status that its kind means.
int http_status(const Error& error);
HttpResponse error_response(const Error& error);
HttpResponse json_response(std::string body, int status = 200);
// 404 that names what there is.
HttpResponse not_found_response(std::string_view paths);

struct HttpOptions {
  size_t max_header_bytes = limits::kMaxHttpHeaderBytes;
  size_t max_body_bytes = limits::kMaxHttpBodyBytes;
  size_t max_connections = limits::kMaxHttpConnections;
  int64_t idle_ms = 75'000;     // between requests
  int64_t request_ms = 30'000;  // from a request's first byte to its last
  int64_t write_ms = 60'000;    // an answer that the client does not take
};

struct HttpCounters {
  uint64_t requests = 0;
  uint64_t connections = 0;
  uint64_t refused_connections = 0;  // over the limit
  uint64_t malformed = 0;
  uint64_t open = 0;
};

// I/O thread only.
class HttpServer {
 public:
  using Handler = std::function<boost::asio::awaitable<HttpResponse>(const HttpRequest&)>;

  // Errors: unavailable "http.cannot_listen" with the address and why.
  static Result<std::unique_ptr<HttpServer>> listen(boost::asio::io_context& io,
                                                    const std::string& host, uint16_t port,
                                                    Handler handler, HttpOptions options = {});
  ~HttpServer();

  // Accepts no more, closes idle connections, lets requests under way finish.
  void stop();
  // Returns when the last connection is gone, or after `ms`, when what is left is cut.
  boost::asio::awaitable<void> drained(int64_t ms);
  uint16_t port() const;
  const HttpCounters& counters() const;

  struct State;  // server.cc

 private:
  explicit HttpServer(std::shared_ptr<State> state);
  std::shared_ptr<State> state_;
};

}  // namespace branchline
