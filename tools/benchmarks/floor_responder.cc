#include <array>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/message.hpp>
#include <boost/beast/http/read.hpp>
#include <boost/beast/http/string_body.hpp>
#include <boost/beast/http/write.hpp>
#include <cstdio>

#include "tools/benchmarks/floors.h"

namespace branchline::bench {
namespace {

namespace asio = boost::asio;
namespace http = boost::beast::http;
using tcp = asio::ip::tcp;
constexpr auto kTuple = asio::as_tuple(asio::use_awaitable);

asio::awaitable<void> serve(tcp::socket socket, std::string body) {
  boost::beast::flat_buffer buffer;
  for (;;) {
    http::request<http::string_body> request;
    auto [ec, n] = co_await http::async_read(socket, buffer, request, kTuple);
    if (ec) co_return;
    bool get = request.method() == http::verb::get;
    http::response<http::string_body> answer(get ? http::status::ok : http::status::no_content, 11);
    answer.set("OData-Version", "4.0");
    if (get) {
      answer.set(http::field::content_type, "application/json; odata.metadata=minimal");
      answer.set(http::field::etag, "W/\"0123456789abcdef\"");
      answer.body() = body;
      answer.prepare_payload();
    } else {
      answer.set("OData-EntityId",
                 "http://127.0.0.1/api/data/v9.2/contacts(00000000-0000-8000-8000-000000000000)");
      answer.set("Branchline-Mutation", "office.0123456789abcdef.interactive.123456");
    }
    auto [write_error, written] = co_await http::async_write(socket, answer, kTuple);
    if (write_error) co_return;
  }
}

asio::awaitable<void> echo(tcp::socket socket) {
  std::array<char, 16 * 1024> bytes;
  for (;;) {
    auto [ec, n] = co_await socket.async_read_some(asio::buffer(bytes), kTuple);
    if (ec) co_return;
    auto [write_error, written] =
        co_await asio::async_write(socket, asio::buffer(bytes, n), kTuple);
    if (write_error) co_return;
  }
}

template <typename Serve>
int listen(const std::string& host, uint16_t port, Serve serve_one) {
  asio::io_context io(1);
  tcp::acceptor acceptor(io, {asio::ip::make_address(host), port});
  auto accept = [&]() -> asio::awaitable<void> {
    for (;;) {
      auto [ec, socket] = co_await acceptor.async_accept(kTuple);
      if (ec) co_return;
      socket.set_option(tcp::no_delay(true));
      asio::co_spawn(io, serve_one(std::move(socket)), asio::detached);
    }
  };
  asio::co_spawn(io, accept(), asio::detached);
  io.run();
  return 0;
}

}  // namespace

int run_responder(uint16_t port, size_t body_bytes) {
  std::string body =
      "{\"name\":\"" + std::string(body_bytes > 11 ? body_bytes - 11 : 0, 'x') + "\"}";
  return listen("127.0.0.1", port, [body](tcp::socket s) { return serve(std::move(s), body); });
}

int run_echo(const std::string& host, uint16_t port) {
  return listen(host, port, [](tcp::socket s) { return echo(std::move(s)); });
}

}  // namespace branchline::bench
