// A branch that lies: it answers every thousandth write with success and forgets it.
// tools/quickstart --check must notice (ctest check_catches_drops). The objects are the product's;
// the fault comes in through the constructor.
#include <CLI/CLI.hpp>

#include <cstdio>
#include <memory>

#include "branch/server/branch_server.h"
#include "common/program/server_options.h"

namespace {

using branchline::HttpRequest;
using branchline::HttpResponse;
using branchline::HttpServer;

constexpr uint64_t kDropped = 1000;

boost::asio::awaitable<HttpResponse> forget() {
  HttpResponse r;
  r.status = 204;
  co_return r;
}

HttpServer::Handler drop_writes(HttpServer::Handler next) {
  auto writes = std::make_shared<uint64_t>(0);
  return [next, writes](const HttpRequest& request) {
    bool write = request.method == "POST" || request.method == "PATCH";
    if (write && ++*writes % kDropped == 0) return forget();
    return next(request);
  };
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{
      "branchline-branch, but every thousandth write is answered with success and dropped. For "
      "tests."};
  branchline::ServerOptions options;
  add_server_options(app, options);
  CLI11_PARSE(app, argc, argv);
  auto topology = finish_server_options(options);
  if (!topology) {
    std::fprintf(stderr, "%s\n", topology.error().message.c_str());
    return 2;
  }
  branchline::BranchConfig config;
  config.topology = std::move(*topology);
  config.server = options.server;
  config.data_directory = options.data_directory;
  config.tls_directory = options.tls_directory;
  config.wrap_office = drop_writes;
  return branchline::run_branch(config);
}
