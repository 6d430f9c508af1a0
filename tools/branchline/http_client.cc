#include "tools/branchline/http_client.h"

#include <boost/asio/connect.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <boost/beast/http/message.hpp>
#include <boost/beast/http/read.hpp>
#include <boost/beast/http/string_body.hpp>
#include <boost/beast/http/write.hpp>

#include <algorithm>
#include <chrono>

#include "common/config/topology.h"
#include "common/json/json.h"

namespace branchline {
namespace {

namespace beast = boost::beast;
namespace http = beast::http;
using tcp = boost::asio::ip::tcp;

bool same_name(std::string_view a, std::string_view b) {
  return a.size() == b.size() &&
         std::equal(a.begin(), a.end(), b.begin(), [](unsigned char x, unsigned char y) {
           return std::tolower(x) == std::tolower(y);
         });
}

}  // namespace

struct HttpClient::Impl {
  std::string base, host, port, token;
  int64_t timeout_ms = 30'000;
  boost::asio::io_context io;
  std::unique_ptr<beast::tcp_stream> stream;
  beast::flat_buffer buffer;

  // Runs one asynchronous operation to its end: only asynchronous ones know timeouts.
  template <typename Start>
  beast::error_code wait(Start start) {
    beast::error_code result = boost::asio::error::timed_out;
    start([&result](beast::error_code ec, auto&&...) { result = ec; });
    io.restart();
    io.run();
    return result;
  }

  beast::error_code connect() {
    if (stream) return {};
    beast::error_code ec;
    tcp::resolver resolver(io);
    auto endpoints = resolver.resolve(host, port, ec);
    if (ec) return ec;
    stream = std::make_unique<beast::tcp_stream>(io);
    buffer.clear();
    stream->expires_after(std::chrono::milliseconds(timeout_ms));
    ec = wait([&](auto done) { stream->async_connect(endpoints, done); });
    if (ec) {
      stream.reset();
    } else {
      stream->socket().set_option(tcp::no_delay(true));
    }
    return ec;
  }

  beast::error_code exchange(const http::request<http::string_body>& request,
                             http::response<http::string_body>& response) {
    if (auto ec = connect()) return ec;
    stream->expires_after(std::chrono::milliseconds(timeout_ms));
    auto ec = wait([&](auto done) { http::async_write(*stream, request, done); });
    http::response_parser<http::string_body> parser;
    parser.body_limit(256ull * 1024 * 1024);
    if (!ec) ec = wait([&](auto done) { http::async_read(*stream, buffer, parser, done); });
    if (ec) {
      stream.reset();
      return ec;
    }
    response = parser.release();
    if (!response.keep_alive()) stream.reset();
    return {};
  }
};

std::string ClientResponse::header(std::string_view name) const {
  for (const auto& [n, v] : headers) {
    if (same_name(n, name)) return v;
  }
  return {};
}

HttpClient::HttpClient(const std::string& base) : impl_(std::make_unique<Impl>()) {
  std::string rest = base;
  if (rest.starts_with("http://")) rest = rest.substr(7);
  while (!rest.empty() && rest.back() == '/') rest.pop_back();
  impl_->base = "http://" + rest;
  if (auto e = parse_endpoint(rest)) {
    impl_->host = e->host;
    impl_->port = std::to_string(e->port);
  } else {
    impl_->host = rest;
    impl_->port = "80";
  }
}
HttpClient::~HttpClient() = default;
HttpClient::HttpClient(HttpClient&&) noexcept = default;
HttpClient& HttpClient::operator=(HttpClient&&) noexcept = default;

void HttpClient::set_token(std::string token) { impl_->token = std::move(token); }
void HttpClient::set_timeout_ms(int64_t ms) { impl_->timeout_ms = ms; }
const std::string& HttpClient::base() const { return impl_->base; }

Result<ClientResponse> HttpClient::request(const std::string& method, const std::string& target,
                                           const std::string& body, const Headers& headers) {
  http::request<http::string_body> request;
  request.version(11);
  request.method_string(method);
  request.target(target);
  request.set(http::field::host, impl_->host + ":" + impl_->port);
  if (!impl_->token.empty()) request.set(http::field::authorization, "Bearer " + impl_->token);
  for (const auto& [name, value] : headers) request.set(name, value);
  if (!body.empty()) {
    if (request.find(http::field::content_type) == request.end())
      request.set(http::field::content_type, "application/json");
    request.body() = body;
  }
  request.prepare_payload();
  http::response<http::string_body> response;
  // A kept connection may have been closed by the server meanwhile, and whether the request was
  // taken first nobody can say: what may not be done twice goes over a new one.
  bool repeatable = method == "GET" || request.find("Idempotency-Key") != request.end();
  if (!repeatable) impl_->stream.reset();
  bool kept = impl_->stream != nullptr;
  auto ec = impl_->exchange(request, response);
  bool closed = ec == http::error::end_of_stream || ec == boost::asio::error::connection_reset ||
                ec == boost::asio::error::broken_pipe;
  if (kept && closed) ec = impl_->exchange(request, response);
  if (ec) {
    return fail(ErrorKind::unavailable, "http.no_answer",
                impl_->base + " does not answer: " + ec.message());
  }
  ClientResponse out;
  out.status = static_cast<int>(response.result_int());
  for (const auto& f : response)
    out.headers.emplace_back(std::string(f.name_string()), std::string(f.value()));
  out.body = std::move(response.body());
  return out;
}

std::string error_code(const ClientResponse& response) {
  if (auto json = parse_json(response.body)) {
    if (const Json* error = json->member("error")) {
      if (const Json* code = error->member("code")) return code->text;
    }
  }
  return {};
}

std::string error_text(const ClientResponse& response) {
  if (auto json = parse_json(response.body)) {
    if (const Json* error = json->member("error")) {
      if (const Json* message = error->member("message")) return message->text;
    }
  }
  return "status " + std::to_string(response.status) + ": " + response.body.substr(0, 200);
}

}  // namespace branchline
