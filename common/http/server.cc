#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/string_body.hpp>

#include <array>
#include <chrono>
#include <list>

#include "common/http/http.h"
#include "common/runtime/listen_address.h"

namespace branchline {
namespace {

namespace asio = boost::asio;
namespace http = boost::beast::http;
using tcp = asio::ip::tcp;
constexpr auto kTuple = asio::as_tuple(asio::use_awaitable);
constexpr int64_t kLeavingMs = 3'000;  // for a refused client to read why
constexpr size_t kMaxTurnedAway =
    100;  // clients over the limit that are told so; others are just cut

bool same_name(std::string_view a, std::string_view b) {
  if (a.size() != b.size()) return false;
  for (size_t i = 0; i < a.size(); ++i) {
    if (std::tolower(static_cast<unsigned char>(a[i])) !=
        std::tolower(static_cast<unsigned char>(b[i])))
      return false;
  }
  return true;
}

const char* reason(int status) {
  switch (status) {
    case 200:
      return "OK";
    case 201:
      return "Created";
    case 202:
      return "Accepted";
    case 204:
      return "No Content";
    case 304:
      return "Not Modified";
    case 400:
      return "Bad Request";
    case 401:
      return "Unauthorized";
    case 403:
      return "Forbidden";
    case 404:
      return "Not Found";
    case 405:
      return "Method Not Allowed";
    case 408:
      return "Request Timeout";
    case 409:
      return "Conflict";
    case 410:
      return "Gone";
    case 412:
      return "Precondition Failed";
    case 413:
      return "Content Too Large";
    case 414:
      return "URI Too Long";
    case 415:
      return "Unsupported Media Type";
    case 417:
      return "Expectation Failed";
    case 422:
      return "Unprocessable Content";
    case 429:
      return "Too Many Requests";
    case 431:
      return "Request Header Fields Too Large";
    case 500:
      return "Internal Server Error";
    case 501:
      return "Not Implemented";
    case 503:
      return "Service Unavailable";
    case 505:
      return "HTTP Version Not Supported";
    case 507:
      return "Insufficient Storage";
    default:
      return "Status";
  }
}

void append_head(std::string& out, const HttpResponse& r, bool keep_alive, bool head_only_length) {
  out += "HTTP/1.1 ";
  out += std::to_string(r.status);
  out.push_back(' ');
  out += reason(r.status);
  out += "\r\n";
  if (!r.content_type.empty()) {
    out += "Content-Type: ";
    out += r.content_type;
    out += "\r\n";
  }
  for (const auto& [name, value] : r.headers) {
    out += name;
    out += ": ";
    out += value;
    out += "\r\n";
  }
  if (head_only_length) {
    out += "Content-Length: ";
    out += std::to_string(r.body.size());
    out += "\r\n";
  }
  if (!keep_alive) out += "Connection: close\r\n";
  out += "\r\n";
}

struct Refusal {
  int status = 400;
  Error error;
};

Refusal malformed(const std::string& what) {
  return {400, {ErrorKind::invalid, "http.malformed", "malformed HTTP request: " + what}};
}

Refusal header_too_large(const HttpOptions& o) {
  return {
      431,
      {ErrorKind::invalid, "http.header_too_large",
       "the request's line and header fields take more than " + std::to_string(o.max_header_bytes) +
           " bytes; shorten the URL or send fewer header fields"}};
}

Refusal refusal(const boost::beast::error_code& ec, const HttpOptions& o) {
  if (ec == http::error::header_limit) return header_too_large(o);
  if (ec == http::error::body_limit || ec == http::error::buffer_overflow) {
    return {413,
            {ErrorKind::invalid, "http.body_too_large",
             "the request's body is larger than " + std::to_string(o.max_body_bytes) +
                 " bytes; send less at a time"}};
  }
  if (ec == http::error::bad_version) {
    return {505, {ErrorKind::invalid, "http.version", "this port speaks HTTP/1.1 without TLS"}};
  }
  if (ec == http::error::bad_method)
    return malformed("it does not begin with a method (this port speaks HTTP/1.1 without TLS)");
  return malformed(ec.message());
}

// What may stand in a Host field (RFC 9112 3.2): it comes back in links, so nothing else may.
bool is_host(std::string_view host) {
  if (host.empty() || host.size() > 255) return false;
  for (char c : host) {
    bool plain = std::isalnum(static_cast<unsigned char>(c)) || c == '.' || c == '-' || c == ':' ||
                 c == '_' || c == '[' || c == ']';
    if (!plain) return false;
  }
  return true;
}

}  // namespace

std::string_view HttpRequest::header(std::string_view name) const {
  for (const auto& [n, v] : headers) {
    if (same_name(n, name)) return v;
  }
  return {};
}

bool HttpRequest::has_header(std::string_view name) const {
  return std::any_of(headers.begin(), headers.end(),
                     [&](const auto& h) { return same_name(h.first, name); });
}

struct Connection;

struct HttpServer::State : std::enable_shared_from_this<HttpServer::State> {
  State(asio::io_context& context, Handler h, HttpOptions o)
      : io(context),
        acceptor(context),
        handler(std::move(h)),
        options(o),
        ticker(context),
        idle(context) {}

  asio::io_context& io;
  tcp::acceptor acceptor;
  Handler handler;
  HttpOptions options;
  HttpCounters counters;
  asio::steady_timer ticker;
  asio::steady_timer idle;  // cancelled when the last connection is gone
  std::list<Connection*> connections;
  size_t serving = 0;  // of them: not being turned away
  bool stopping = false;
  int64_t now_ms = 0;

  asio::awaitable<void> accept();
  asio::awaitable<void> tick();
};

// One connection. Deadlines are kept as numbers that the server's ticker looks at: a timer per
// request would cost more than the request's parsing.
struct Connection : HttpStream, std::enable_shared_from_this<Connection> {
  Connection(std::shared_ptr<HttpServer::State> s, tcp::socket sock, std::string address)
      : server(std::move(s)), socket(std::move(sock)), remote(std::move(address)) {
    at = server->connections.insert(server->connections.end(), this);
    ++server->counters.open;
  }
  ~Connection() override {
    if (serves) --server->serving;
    server->connections.erase(at);
    --server->counters.open;
    if (server->connections.empty()) server->idle.cancel();
  }

  std::shared_ptr<HttpServer::State> server;
  tcp::socket socket;
  std::string remote;
  std::list<Connection*>::iterator at;
  enum class Phase { idle, reading, working, writing, leaving } phase = Phase::idle;
  int64_t since_ms = 0;
  bool timed_out = false;
  bool serves = false;
  boost::beast::flat_buffer buffer;

  void enter(Phase p) {
    phase = p;
    since_ms = server->now_ms;
  }
  bool overdue(int64_t now) const {
    const auto& o = server->options;
    int64_t spent = now - since_ms;
    return (phase == Phase::idle && spent > o.idle_ms) ||
           (phase == Phase::reading && spent > o.request_ms) ||
           (phase == Phase::writing && spent > o.write_ms) ||
           (phase == Phase::leaving && spent > kLeavingMs);
  }
  // A request that does not arrive is told so; everything else that takes too long is just cut.
  void expire() {
    if (phase != Phase::reading || timed_out) return cut();
    timed_out = true;
    boost::system::error_code ignored;
    socket.cancel(ignored);
  }
  void cut() {
    boost::system::error_code ignored;
    socket.close(ignored);
  }

  asio::awaitable<bool> write(std::string bytes) override {
    enter(Phase::writing);
    auto [ec, n] = co_await asio::async_write(socket, asio::buffer(bytes), kTuple);
    enter(Phase::working);
    co_return !ec;
  }

  asio::awaitable<void> run() {
    bool more = true;
    while (more && !server->stopping) more = co_await one_request();
    boost::system::error_code ignored;
    socket.shutdown(tcp::socket::shutdown_send, ignored);
    socket.close(ignored);
  }

  // Reads a request, answers it; false when the connection ends.
  asio::awaitable<bool> one_request() {
    http::request_parser<http::string_body> parser;
    parser.header_limit(static_cast<uint32_t>(server->options.max_header_bytes));
    parser.body_limit(server->options.max_body_bytes);
    parser.eager(true);
    enter(buffer.size() > 0 ? Phase::reading : Phase::idle);
    bool continue_sent = false;
    boost::beast::error_code ec;
    while (!parser.is_done()) {
      // An empty line before a request is a habit of old clients (RFC 9112 2.2).
      for (; !parser.got_some() && buffer.size() > 0; buffer.consume(1)) {
        char c = *static_cast<const char*>(buffer.cdata().data());
        if (c != '\r' && c != '\n') break;
      }
      if (buffer.size() > 0) {
        size_t used = parser.put(buffer.data(), ec);
        buffer.consume(used);
        if (ec == http::error::need_more) ec = {};
        if (ec) co_return co_await refuse(refusal(ec, server->options));
        if (parser.is_done()) break;
        if (parser.is_header_done() && !continue_sent &&
            !parser.get()[http::field::expect].empty()) {
          if (!same_name(parser.get()[http::field::expect], "100-continue")) {
            co_return co_await refuse({417,
                                       {ErrorKind::invalid, "http.expect",
                                        "the only expectation known here is 100-continue"}});
          }
          continue_sent = true;
          int64_t begun = since_ms;
          if (!co_await write("HTTP/1.1 100 Continue\r\n\r\n")) co_return false;
          phase = Phase::reading;
          since_ms = begun;
        }
        if (buffer.size() > server->options.max_header_bytes + 65536) {
          co_return co_await refuse(header_too_large(server->options));
        }
      }
      auto [read_error, n] = co_await socket.async_read_some(buffer.prepare(16 * 1024), kTuple);
      if (timed_out) {
        co_return co_await refuse({408,
                                   {ErrorKind::invalid, "http.timeout",
                                    "the request did not arrive within " +
                                        std::to_string(server->options.request_ms / 1000) + " s"}});
      }
      if (read_error) {
        if (phase == Phase::reading && read_error == asio::error::eof) {
          co_return co_await refuse(malformed("it ends in the middle"));
        }
        co_return false;
      }
      if (phase == Phase::idle) enter(Phase::reading);
      buffer.commit(n);
    }
    ++server->counters.requests;
    auto& message = parser.get();
    // Two lengths that disagree, or a length beside chunks, are how requests are smuggled past
    // proxies.
    if (message.count(http::field::content_length) > 1 ||
        (message.count(http::field::content_length) > 0 &&
         message.count(http::field::transfer_encoding) > 0)) {
      co_return co_await refuse(malformed("contradictory lengths of the body"));
    }
    auto host = message[http::field::host];
    bool named = message.count(http::field::host) == 1 && is_host({host.data(), host.size()});
    if (!named && (message.version() >= 11 || message.count(http::field::host) > 0)) {
      co_return co_await refuse(malformed("it needs one Host field that names this server"));
    }
    HttpRequest request;
    request.method = {message.method_string().data(), message.method_string().size()};
    request.target = {message.target().data(), message.target().size()};
    request.body = message.body();
    request.remote = remote;
    for (const auto& field : message) {
      request.headers.emplace_back(
          std::string_view(field.name_string().data(), field.name_string().size()),
          std::string_view(field.value().data(), field.value().size()));
    }
    bool keep_alive = message.keep_alive();
    enter(Phase::working);
    HttpResponse response = co_await server->handler(request);
    keep_alive = keep_alive && !response.close && !server->stopping && !response.stream;
    co_return co_await answer(response, keep_alive, request.method == "HEAD");
  }

  asio::awaitable<bool> answer(HttpResponse& response, bool keep_alive, bool head_only) {
    enter(Phase::writing);
    std::string head;
    head.reserve(512);
    bool body_allowed = response.status != 204 && response.status != 304;
    append_head(head, response, keep_alive, body_allowed && !response.stream);
    std::array<asio::const_buffer, 2> parts{asio::buffer(head), asio::const_buffer()};
    if (body_allowed && !head_only && !response.stream) parts[1] = asio::buffer(response.body);
    auto [ec, n] = co_await asio::async_write(socket, parts, kTuple);
    if (ec) co_return false;
    if (response.stream && !head_only) {
      enter(Phase::working);
      co_await response.stream(*this);
      co_return false;
    }
    co_return keep_alive;
  }

  asio::awaitable<bool> refuse(Refusal why) {
    if (why.status != 503) ++server->counters.malformed;
    HttpResponse response = error_response(why.error);
    response.status = why.status;
    co_await answer(response, false, false);
    // What the client still sends must be read, or the kernel's reset would overtake the answer.
    boost::system::error_code ignored;
    socket.shutdown(tcp::socket::shutdown_send, ignored);
    enter(Phase::leaving);
    for (size_t drained = 0; drained < 4 * 1024 * 1024;) {
      buffer.clear();
      auto [ec, n] = co_await socket.async_read_some(buffer.prepare(16 * 1024), kTuple);
      if (ec) break;
      drained += n;
    }
    co_return false;
  }

  asio::awaitable<void> turn_away() {
    co_await refuse(
        {503,
         {ErrorKind::unavailable, "http.too_many_connections",
          "this server has as many connections open as it allows; try again in a moment"}});
    cut();
  }
};

asio::awaitable<void> HttpServer::State::accept() {
  auto self = shared_from_this();
  while (!stopping) {
    auto [ec, socket] = co_await acceptor.async_accept(kTuple);
    if (stopping || ec == asio::error::operation_aborted) co_return;
    if (ec) {  // out of descriptors, most likely: wait for some to come back
      asio::steady_timer pause(io, std::chrono::milliseconds(50));
      co_await pause.async_wait(kTuple);
      continue;
    }
    ++counters.connections;
    bool serves = serving < options.max_connections;
    if (!serves) {
      ++counters.refused_connections;
      if (connections.size() >= options.max_connections + kMaxTurnedAway) continue;  // closes it
    }
    boost::system::error_code ignored;
    socket.set_option(tcp::no_delay(true), ignored);
    auto endpoint = socket.remote_endpoint(ignored);
    auto connection =
        std::make_shared<Connection>(self, std::move(socket), endpoint.address().to_string());
    connection->serves = serves;
    serving += serves ? 1 : 0;
    asio::co_spawn(
        io,
        [connection, serves]() -> asio::awaitable<void> {
          co_await (serves ? connection->run() : connection->turn_away());
        },
        [](std::exception_ptr e) {
          if (e) std::rethrow_exception(e);  // a bug: the I/O loop ends, and the process with it
        });
  }
}

asio::awaitable<void> HttpServer::State::tick() {
  auto self = shared_from_this();
  while (!stopping || !connections.empty()) {
    now_ms = std::chrono::duration_cast<std::chrono::milliseconds>(
                 std::chrono::steady_clock::now().time_since_epoch())
                 .count();
    for (Connection* c : connections) {
      if (c->overdue(now_ms)) c->expire();
    }
    ticker.expires_after(std::chrono::milliseconds(500));
    auto [ec] = co_await ticker.async_wait(kTuple);
    if (ec && stopping && connections.empty()) co_return;
  }
}

Result<std::unique_ptr<HttpServer>> HttpServer::listen(asio::io_context& io,
                                                       const std::string& host, uint16_t port,
                                                       Handler handler, HttpOptions options) {
  boost::system::error_code ec;
  BL_ASSIGN(tcp::endpoint endpoint, listen_address(host, port));
  auto state = std::make_shared<State>(io, std::move(handler), options);
  state->acceptor.open(endpoint.protocol(), ec);
  if (!ec) state->acceptor.set_option(tcp::acceptor::reuse_address(true), ec);
  if (!ec) state->acceptor.bind(endpoint, ec);
  if (!ec) state->acceptor.listen(1024, ec);
  if (ec) {
    return fail(ErrorKind::unavailable, "http.cannot_listen",
                "cannot listen on " + host + ":" + std::to_string(port) + ": " + ec.message());
  }
  auto rethrow = [](std::exception_ptr e) {
    if (e) std::rethrow_exception(e);
  };
  state->now_ms = std::chrono::duration_cast<std::chrono::milliseconds>(
                      std::chrono::steady_clock::now().time_since_epoch())
                      .count();
  asio::co_spawn(io, [state]() -> asio::awaitable<void> { co_await state->accept(); }, rethrow);
  asio::co_spawn(io, [state]() -> asio::awaitable<void> { co_await state->tick(); }, rethrow);
  return std::unique_ptr<HttpServer>(new HttpServer(std::move(state)));
}

HttpServer::HttpServer(std::shared_ptr<State> state) : state_(std::move(state)) {}

HttpServer::~HttpServer() { stop(); }

void HttpServer::stop() {
  if (state_->stopping) return;
  state_->stopping = true;
  boost::system::error_code ignored;
  state_->acceptor.close(ignored);
  for (Connection* c : state_->connections) {
    if (c->phase == Connection::Phase::idle) c->cut();
  }
  state_->ticker.cancel();
}

asio::awaitable<void> HttpServer::drained(int64_t ms) {
  auto state = state_;
  // Twice: those that were cut must come to their end as well, or they would be destroyed with the
  // loop, when the handler that they are in is gone already.
  for (int round = 0; round < 2 && !state->connections.empty(); ++round) {
    state->idle.expires_after(std::chrono::milliseconds(ms));
    co_await state->idle.async_wait(kTuple);
    for (Connection* c : state->connections) c->cut();
  }
}

uint16_t HttpServer::port() const {
  boost::system::error_code ignored;
  return state_->acceptor.local_endpoint(ignored).port();
}

const HttpCounters& HttpServer::counters() const { return state_->counters; }

}  // namespace branchline
