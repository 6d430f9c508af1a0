// branchline: the operators' command line.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "common/logging/logging.h"
#include "tools/branchline/commands.h"

namespace {

// CLI11 says only that "A subcommand is required", also where one was given that there is not.
std::string failure(const CLI::App* app, const CLI::Error& error) {
  std::vector<std::string> words = app->remaining(true);
  std::string command = "branchline";
  const CLI::App* at = app;
  while (!at->get_subcommands().empty()) {
    at = at->get_subcommands().back();
    command += " " + at->get_name();
  }
  if (error.get_name() != "RequiredError" || at->get_require_subcommand_min() == 0)
    return CLI::FailureMessage::simple(app, error);
  std::string text = command + " needs a subcommand";
  if (!words.empty()) {
    text = "`" + words.front() + "` is no " +
           (words.front().starts_with("-") ? "option" : "subcommand") + " of " + command;
  }
  text += "; its subcommands are:\n";
  for (const CLI::App* sub : at->get_subcommands([](const CLI::App*) { return true; }))
    text += "  " + sub->get_name() +
            std::string(12 - std::min<size_t>(11, sub->get_name().size()), ' ') +
            sub->get_description() + "\n";
  return text + "Run with --help for more information.\n";
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{
      "Branchline for operators: topology, certificates, status, audit, tokens, the main line, "
      "imports, files instead of a line."};
  branchline::CommandContext context;
  std::string output = "text";
  app.add_option("--output", output, "text for people, json for programs")
      ->check(CLI::IsMember({"text", "json"}))
      ->capture_default_str();
  app.set_version_flag("--version", "branchline 0.1.0");
  app.require_subcommand(1);
  app.fallthrough();
  app.failure_message(failure);
  app.footer(
      "Examples:\n"
      "  branchline topology check topology/demo.yaml\n"
      "  export BRANCHLINE_TOKEN=$(branchline token create --topology topology/demo.yaml \\\n"
      "    --token \"$(cat data/master/operator.token)\" --user ops --admin)\n"
      "  branchline status --topology topology/demo.yaml\n"
      "Exit codes: 0 done, 1 the answer is no or the server could not, 2 wrong use, 3 a server did "
      "not answer.");
  branchline::add_topology_command(app, context);
  branchline::add_ca_command(app, context);
  branchline::add_status_command(app, context);
  branchline::add_audit_command(app, context);
  branchline::add_verify_command(app, context);
  branchline::add_token_command(app, context);
  branchline::add_log_command(app, context);
  branchline::add_release_command(app, context);
  branchline::add_feature_level_command(app, context);
  branchline::add_escrow_command(app, context);
  branchline::add_backup_command(app, context);
  branchline::add_restore_command(app, context);
  branchline::add_reconcile_command(app, context);
  branchline::add_write_off_command(app, context);
  branchline::add_export_command(app, context);
  branchline::add_import_command(app, context);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    int code = app.exit(e);
    return code == 0 ? 0 : 2;
  }
  context.json = output == "json";
  // Not by CLI11's envname: the options of all subcommands share context.token, and those of the
  // subcommands that were not chosen would put the environment's token over the one that was typed.
  if (const char* token = std::getenv("BRANCHLINE_TOKEN"); token && context.token.empty())
    context.token = token;
  (void)branchline::setup_logging("text", "warn", "branchline");
  return context.run ? context.run() : 2;
}
