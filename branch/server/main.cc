// branchline-branch: an office server.
#include <CLI/CLI.hpp>

#include <cstdio>
#include <filesystem>

#include "branch/server/branch_server.h"
#include "common/program/server_options.h"

int main(int argc, char** argv) {
  CLI::App app{
      "A Branchline branch server: answers every read, report and write of its office from its own "
      "replica, and ships the\n"
      "writes to the master in the background. With the WAN down the office loses nothing but "
      "fresh news from elsewhere."};
  branchline::ServerOptions options;
  branchline::BranchConfig config;
  add_server_options(app, options);
  app.add_option("--web", config.web_directory,
                 "folder of the built web app; default: ../share/web beside this program");
  app.add_flag("--accept-lost-log", config.accept_lost_log,
               "start although acknowledged changes are missing (only after the complete data "
               "directory is lost for good)");
  app.footer(
      "Example:\n  branchline-branch --topology topology/demo.yaml --server east --data "
      "/var/lib/branchline/east");
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
  if (config.web_directory.empty()) {
    std::error_code ec;
    auto self = std::filesystem::read_symlink("/proc/self/exe", ec);
    config.web_directory = (self.parent_path().parent_path() / "share" / "web").string();
  }
  config.topology = std::move(*topology);
  config.server = options.server;
  config.data_directory = options.data_directory;
  config.tls_directory = options.tls_directory;
  return branchline::run_branch(config);
}
