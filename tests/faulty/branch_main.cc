// A branch that lies: it answers every thousandth write with success and forgets it.
// tools/quickstart --check must notice (ctest check_catches_drops). The objects are the product's;
// the fault comes in through the constructor.
#include <CLI/CLI.hpp>

#include <cstdio>
#include <memory>

#include "branch/server/branch_server.h"
#include "common/program/command_line.h"

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
  branchline::BranchConfig config;
  if (auto code = read_command_line(app, argc, argv, config)) return *code;
  config.wrap_office = drop_writes;
  return branchline::run_branch(config);
}
