#include "tools/wan/control.h"

#include <chrono>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include <spdlog/spdlog.h>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <boost/beast/http/error.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/read.hpp>
#include <boost/beast/http/write.hpp>
#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>
#include <boost/url/parse.hpp>
#include <boost/url/url_view.hpp>

#include "tools/wan/shape.h"

namespace branchline::wan {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;
namespace json = boost::json;
using boost::system::error_code;

namespace {

constexpr auto kSessionIdle = std::chrono::seconds(30);
constexpr auto kAcceptPause = std::chrono::milliseconds(100);
constexpr std::string_view kRequests =
    "GET /stats, GET /healthz, POST /up, POST /down, POST /set, POST /stats/reset";
constexpr std::string_view kParameters =
    "/set takes rtt, delay, rate, queue, loss and stall in the query, at least one: "
    "POST /set?rtt=80ms&rate=20Mbit&queue=256KiB&stall=false; up and down differ as in "
    "rate=5Mbit,20Mbit";

ControlResponse reply(const ControlRequest& request, http::status status, json::object body) {
  ControlResponse response(status, request.version());
  response.keep_alive(request.keep_alive());
  response.set(http::field::content_type, "application/json");
  response.set(http::field::cache_control, "no-store");
  response.body() = json::serialize(body) + "\n";
  response.prepare_payload();
  return response;
}

ControlResponse refuse(const ControlRequest& request, http::status status, std::string message) {
  return reply(request, status, {{"error", std::move(message)}});
}

ControlResponse stats_reply(const ControlRequest& request, const Line& line) {
  const LineStats s = line.stats();
  const auto micros = [](Nanos time) {
    return std::chrono::duration_cast<std::chrono::microseconds>(time).count();
  };
  json::object body{{"state", s.up ? "up" : "down"},
                    {"stalled", s.stalled},
                    {"rtt_us", micros(s.shape[0].delay + s.shape[1].delay)}};
  for (const Way way : {Way::up, Way::down}) {
    const auto i = static_cast<size_t>(way);
    const std::string prefix = way == Way::up ? "up_" : "down_";
    body[prefix + "delay_us"] = micros(s.shape[i].delay);
    body[prefix + "rate_bits"] = s.shape[i].rate_bits;
    body[prefix + "queue_bytes"] = s.shape[i].queue_bytes;
    if (line.can_lose()) body[prefix + "loss_ppm"] = s.shape[i].loss_ppm;
    body[prefix + "bytes"] = s.bytes[i];
    body[prefix + "queued"] = s.queued[i];
  }
  for (const auto& [name, value] : s.more) body[name] = value;
  return reply(request, http::status::ok, std::move(body));
}

struct Change {
  LineShape shape;
  std::optional<bool> stall;
};

// All or nothing: the change is applied only if every parameter is right.
Result<Change> read_change(const boost::urls::params_view& params, const Line& line) {
  Change change{line.stats().shape, std::nullopt};
  if (params.empty()) return fail(ErrorKind::invalid, "wan.set", std::string(kParameters));
  for (const auto param : params) {
    const std::string key = param.key;
    const std::string value = param.value;
    if (is_shape_part(key)) {
      if (key == "loss" && !line.can_lose()) {
        return fail(ErrorKind::invalid, "wan.set",
                    "loss: a proxy carries bytes of TCP, of which none get lost; start the line "
                    "as branchline-wan tun, which carries packets");
      }
      if (const auto set = set_shape_part(change.shape, key, value); !set) {
        return fail(ErrorKind::invalid, set.error().code, key + ": " + set.error().message);
      }
    } else if (key == "stall") {
      if (value != "true" && value != "false") {
        return fail(ErrorKind::invalid, "wan.set",
                    "stall: '" + value + "' is not possible: write true or false");
      }
      change.stall = value == "true";
    } else {
      return fail(ErrorKind::invalid, "wan.set",
                  "unknown parameter '" + key + "': " + std::string(kParameters));
    }
  }
  return change;
}

ControlResponse set(const ControlRequest& request, const boost::urls::params_view& params,
                    Line& line) {
  const auto change = read_change(params, line);
  if (!change) return refuse(request, http::status::bad_request, change.error().message);
  line.set_shape(change->shape);
  if (change->stall) line.stall(*change->stall);
  spdlog::info("set {}", std::string_view(request.target().data(), request.target().size()));
  return stats_reply(request, line);
}

ControlResponse up(const ControlRequest& request, Line& line) {
  if (auto listening = line.up(); !listening) {
    return refuse(request, http::status::service_unavailable,
                  "the line stays down: " + listening.error().message);
  }
  spdlog::info("up");
  return stats_reply(request, line);
}

}  // namespace

ControlResponse answer(const ControlRequest& request, Line& line) {
  const auto url = boost::urls::parse_origin_form(request.target());
  if (!url) {
    return refuse(request, http::status::bad_request,
                  "the target is not a path: try " + std::string(kRequests));
  }
  const std::string path(url->encoded_path().data(), url->encoded_path().size());
  const bool reads = path == "/stats" || path == "/healthz";
  if (!reads && path != "/up" && path != "/down" && path != "/set" && path != "/stats/reset") {
    return refuse(request, http::status::not_found,
                  "no such path: there are " + std::string(kRequests));
  }
  if (request.method() != (reads ? http::verb::get : http::verb::post)) {
    const std::string allowed = reads ? "GET" : "POST";
    auto response =
        refuse(request, http::status::method_not_allowed, path + " takes " + allowed + " only");
    response.set(http::field::allow, allowed);
    return response;
  }
  if (path == "/set") return set(request, url->params(), line);
  if (url->has_query()) {
    return refuse(request, http::status::bad_request,
                  path + " takes no parameters; " + std::string(kParameters));
  }
  if (path == "/healthz") return reply(request, http::status::ok, {{"status", "ok"}});
  if (path == "/up") return up(request, line);
  if (path == "/down") {
    line.down();
    spdlog::info("down");
  } else if (path == "/stats/reset") {
    line.reset_stats();
  }
  return stats_reply(request, line);
}

// One connection; handlers keep it alive, the server's set lets it be closed.
class Control::Session : public std::enable_shared_from_this<Session> {
 public:
  Session(asio::ip::tcp::socket socket, Control& control)
      : stream_(std::move(socket)), control_(control) {}

  void read() {
    parser_.emplace();
    parser_->header_limit(kMaxControlHeaderBytes);
    parser_->body_limit(kMaxControlBodyBytes);
    stream_.expires_after(kSessionIdle);
    http::async_read(
        stream_, buffer_, *parser_,
        [self = shared_from_this()](const error_code& error, size_t) { self->on_read(error); });
  }
  void close() { stream_.close(); }

 private:
  void on_read(const error_code& error) {
    if (!error) return write(answer(parser_->get(), control_.line_));
    std::optional<http::status> status;
    if (error == http::error::header_limit) {
      status = http::status::request_header_fields_too_large;
    } else if (error == http::error::body_limit) {
      status = http::status::payload_too_large;
    } else if (error.category() == make_error_code(http::error::bad_method).category() &&
               error != http::error::end_of_stream && error != http::error::partial_message) {
      status = http::status::bad_request;
    }
    if (!status) return leave();
    ControlRequest broken;
    broken.version(11);
    broken.keep_alive(false);
    write(refuse(broken, *status,
                 error.message() + ": headers have " + std::to_string(kMaxControlHeaderBytes) +
                     " bytes at most, bodies " + std::to_string(kMaxControlBodyBytes)));
  }

  void write(ControlResponse response) {
    response_ = std::move(response);
    http::async_write(stream_, response_,
                      [self = shared_from_this()](const error_code& error, size_t) {
                        if (error || self->response_.need_eof()) return self->leave();
                        self->read();
                      });
  }

  void leave() {
    error_code ignored;
    stream_.socket().shutdown(asio::ip::tcp::socket::shutdown_send, ignored);
    stream_.close();
    control_.sessions_.erase(shared_from_this());
  }

  beast::tcp_stream stream_;
  beast::flat_buffer buffer_{kMaxControlHeaderBytes + kMaxControlBodyBytes};
  std::optional<http::request_parser<http::string_body>> parser_;
  ControlResponse response_;
  Control& control_;
};

Control::Control(asio::io_context& io, Line& line)
    : line_(line), acceptor_(io), accept_pause_(io) {}

Control::~Control() = default;

Result<void> Control::listen(const asio::ip::tcp::endpoint& endpoint) {
  error_code error;
  acceptor_.open(endpoint.protocol(), error);
  if (!error) acceptor_.set_option(asio::ip::tcp::acceptor::reuse_address(true), error);
  if (!error) acceptor_.bind(endpoint, error);
  if (!error) acceptor_.listen(asio::socket_base::max_listen_connections, error);
  if (error) return fail(ErrorKind::unavailable, "wan.control", error.message());
  accept();
  return {};
}

void Control::close() {
  error_code ignored;
  acceptor_.close(ignored);
  accept_pause_.cancel();
  for (const auto& session : sessions_) session->close();
  sessions_.clear();
}

void Control::accept() {
  acceptor_.async_accept([this](const error_code& error, asio::ip::tcp::socket socket) {
    if (error == asio::error::operation_aborted) return;
    if (error) {
      accept_pause_.expires_after(kAcceptPause);
      accept_pause_.async_wait([this](const error_code& cancelled) {
        if (!cancelled) accept();
      });
      return;
    }
    if (sessions_.size() < kMaxControlSessions) {
      auto session = std::make_shared<Session>(std::move(socket), *this);
      sessions_.insert(session);
      session->read();
    }
    accept();
  });
}

}  // namespace branchline::wan
