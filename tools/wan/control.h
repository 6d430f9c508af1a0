// The control address: a small HTTP/1.1 server with JSON answers (README.md lists the requests). No
// sign-in: it belongs on a loopback address.
#pragma once

#include <cstddef>
#include <memory>
#include <unordered_set>

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/beast/http/message.hpp>
#include <boost/beast/http/string_body.hpp>

#include "common/base/error.h"
#include "tools/wan/line.h"

namespace branchline::wan {

inline constexpr size_t kMaxControlHeaderBytes = 8 * 1024;
inline constexpr size_t kMaxControlBodyBytes = 4 * 1024;
inline constexpr size_t kMaxControlSessions = 64;

using ControlRequest = boost::beast::http::request<boost::beast::http::string_body>;
using ControlResponse = boost::beast::http::response<boost::beast::http::string_body>;

// Carries out one request. Every answer is JSON; an error is {"error": "..."} and says what is
// allowed.
ControlResponse answer(const ControlRequest& request, Line& line);

class Control {
 public:
  // `io` and `line` must outlive the server.
  Control(boost::asio::io_context& io, Line& line);
  ~Control();
  Control(const Control&) = delete;
  Control& operator=(const Control&) = delete;

  // unavailable if the address cannot be had.
  Result<void> listen(const boost::asio::ip::tcp::endpoint& endpoint);
  void close();

 private:
  class Session;
  void accept();

  Line& line_;
  boost::asio::ip::tcp::acceptor acceptor_;
  boost::asio::steady_timer accept_pause_;
  std::unordered_set<std::shared_ptr<Session>> sessions_;
};

}  // namespace branchline::wan
