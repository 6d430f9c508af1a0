// branchline-master: the authority.
#include <CLI/CLI.hpp>

#include "common/program/command_line.h"
#include "master/server/master_server.h"

int main(int argc, char** argv) {
  CLI::App app{
      "The Branchline master: decides the one order in which all offices' changes count, and feeds "
      "each branch its territories.\n"
      "It serves no office itself: people at head office use a branch server beside it."};
  branchline::ServerConfig config;
  app.footer(
      "Example:\n  branchline-master --topology topology/demo.yaml --server master --data "
      "/var/lib/branchline/master");
  if (auto code = read_command_line(app, argc, argv, config)) return *code;
  return branchline::run_master(config);
}
