// branchline-branch: an office server.
#include <CLI/CLI.hpp>

#include <filesystem>

#include "branch/server/branch_server.h"
#include "common/program/command_line.h"

int main(int argc, char** argv) {
  CLI::App app{
      "A Branchline branch server: answers every read, report and write of its office from its own "
      "replica, and ships the\n"
      "writes to the master in the background. With the WAN down the office loses nothing but "
      "fresh news from elsewhere."};
  branchline::BranchConfig config;
  app.add_option("--web", config.web_directory,
                 "folder of the built web app; default: ../share/web beside this program");
  app.footer(
      "Example:\n  branchline-branch --topology topology/demo.yaml --server east --data "
      "/var/lib/branchline/east");
  if (auto code = read_command_line(app, argc, argv, config)) return *code;
  if (config.web_directory.empty()) {
    std::error_code ec;
    auto self = std::filesystem::read_symlink("/proc/self/exe", ec);
    config.web_directory = (self.parent_path().parent_path() / "share" / "web").string();
  }
  return branchline::run_branch(config);
}
