// `branchline feature-level`: what every server's program knows, and what the main line uses of it.
#include <cstdio>

#include "tools/branchline/cluster.h"
#include "tools/branchline/commands.h"

namespace branchline {
namespace {

void print_json(const Json& answer) {
  std::string out;
  put_json(out, answer);
  std::printf("%s\n", out.c_str());
}

int run_show(const CommandContext& context) {
  auto topology = load_topology(context.topology);
  if (!topology) return complain(topology.error());
  auto answer = ask_master(*topology, context.token, "GET", "/admin/feature-level");
  if (!answer) return complain(answer.error());
  if (context.json) {
    print_json(*answer);
    return 0;
  }
  uint64_t committed = number_of(*answer, "committed"), newest = number_of(*answer, "newest");
  std::printf("the main line is at feature level %llu, the master's program knows %llu\n",
              static_cast<unsigned long long>(committed), static_cast<unsigned long long>(newest));
  std::vector<std::vector<std::string>> rows{{"SERVER", "LEVEL", "SCHEMA", "CONNECTED LAST"}};
  bool ready = true;
  for (const auto& s : answer->member("servers")->items) {
    bool known = s.member("level") != nullptr;
    ready = ready && known && number_of(s, "level") >= newest;
    std::string seen = text_of(s, "seen");
    rows.push_back({text_of(s, "server"), known ? std::to_string(number_of(s, "level")) : "-",
                    known ? std::to_string(number_of(s, "schema")) : "-",
                    !seen.empty() ? seen
                    : known       ? "the master"
                                  : "never, that this master knows"});
  }
  print_table(rows);
  if (committed < newest) {
    std::printf(ready ? "all know level %llu: branchline feature-level raise\n"
                      : "level %llu has to wait for the servers that do not know it\n",
                static_cast<unsigned long long>(newest));
  }
  return 0;
}

int run_raise(const CommandContext& context, uint32_t wanted) {
  auto topology = load_topology(context.topology);
  if (!topology) return complain(topology.error());
  std::string level = std::to_string(wanted);
  if (wanted == 0) {
    auto answer = ask_master(*topology, context.token, "GET", "/admin/feature-level");
    if (!answer) return complain(answer.error());
    level = std::to_string(number_of(*answer, "newest"));
  }
  auto done =
      ask_master(*topology, context.token, "POST", "/admin/feature-level?level=" + level, "");
  if (!done) {
    int code = complain(done.error());
    return done.error().code.starts_with("feature_level.") ? 1 : code;
  }
  if (context.json) {
    print_json(*done);
  } else {
    std::printf("feature level %s with csn %llu: every server uses it once it has followed there\n",
                level.c_str(), static_cast<unsigned long long>(number_of(*done, "csn")));
  }
  return 0;
}

}  // namespace

void add_feature_level_command(CLI::App& app, CommandContext& context) {
  auto* command = app.add_subcommand(
      "feature-level",
      "what every server's program knows, and what the main line uses of it; the last step of an "
      "upgrade raises it");
  command->footer(
      "Examples:\n"
      "  branchline feature-level show --topology company.yaml\n"
      "  branchline feature-level raise --topology company.yaml");
  command->require_subcommand(1);
  auto* show = command->add_subcommand("show", "every server's level and the committed one");
  add_server_access(*show, context);
  show->footer("Example:\n  branchline feature-level show --topology company.yaml");
  show->callback([&context] { context.run = [&context] { return run_show(context); }; });
  auto* raise = command->add_subcommand(
      "raise",
      "use what the new version brings, for good: servers of earlier versions are refused from "
      "then on");
  add_server_access(*raise, context);
  auto level = std::make_shared<uint32_t>(0);
  raise->add_option("--to", *level, "which level (default: the newest that the master knows)")
      ->check(CLI::Range(1, 1'000'000));
  raise->footer(
      "Example:\n  branchline feature-level raise --topology company.yaml\n"
      "Exit codes: 0 raised, 1 a server does not know it, has not connected yet, or it is set "
      "already, 2 wrong use or the\n"
      "token is refused, 3 the master does not answer.");
  raise->callback([&context, level] {
    context.run = [&context, level] { return run_raise(context, *level); };
  });
}

}  // namespace branchline
