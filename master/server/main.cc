// branchline-master: the authority.
#include <CLI/CLI.hpp>

#include <cstdio>

#include "common/program/server_options.h"
#include "master/server/master_server.h"

int main(int argc, char** argv) {
  CLI::App app{
      "The Branchline master: decides the one order in which all offices' changes count, and feeds "
      "each branch its territories.\n"
      "It serves no office itself: people at head office use a branch server beside it."};
  branchline::ServerOptions options;
  branchline::MasterConfig config;
  add_server_options(app, options);
  app.add_flag("--accept-lost-log", config.accept_lost_log,
               "start although confirmed commits are missing (only after the complete data "
               "directory is lost for good)");
  app.footer(
      "Example:\n  branchline-master --topology topology/demo.yaml --server master --data "
      "/var/lib/branchline/master");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    return app.exit(e) == 0 ? 0 : 2;
  }
  auto topology = finish_server_options(options);
  if (!topology) {
    std::fprintf(stderr, "%s\n", topology.error().message.c_str());
    return 2;
  }
  config.topology = std::move(*topology);
  config.server = options.server;
  config.data_directory = options.data_directory;
  config.tls_directory = options.tls_directory;
  return branchline::run_master(config);
}
