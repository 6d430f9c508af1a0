// The subcommands of `branchline`.
#pragma once

#include <CLI/CLI.hpp>

#include <functional>
#include <string>

namespace branchline {

// What all subcommands share.
struct CommandContext {
  bool json = false;         // --output json
  std::string topology;      // --topology, for those that ask servers
  std::string token;         // --token or $BRANCHLINE_TOKEN
  std::function<int()> run;  // set by the subcommand that was chosen
};

// Adds --topology and --token, which find servers and show who asks.
void add_server_access(CLI::App& command, CommandContext& context, bool required = true);

void add_topology_command(CLI::App& app, CommandContext& context);
void add_ca_command(CLI::App& app, CommandContext& context);
void add_status_command(CLI::App& app, CommandContext& context);
void add_verify_command(CLI::App& app, CommandContext& context);
void add_audit_command(CLI::App& app, CommandContext& context);
void add_token_command(CLI::App& app, CommandContext& context);
void add_log_command(CLI::App& app, CommandContext& context);
void add_escrow_command(CLI::App& app, CommandContext& context);
void add_release_command(CLI::App& app, CommandContext& context);
void add_feature_level_command(CLI::App& app, CommandContext& context);
void add_backup_command(CLI::App& app, CommandContext& context);
void add_restore_command(CLI::App& app, CommandContext& context);
void add_reconcile_command(CLI::App& app, CommandContext& context);
void add_write_off_command(CLI::App& app, CommandContext& context);
void add_export_command(CLI::App& app, CommandContext& context);
void add_import_command(CLI::App& app, CommandContext& context);

}  // namespace branchline
