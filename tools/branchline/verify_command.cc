// branchline verify: whether offices hold what the master holds, what was found and mended.
#include <chrono>
#include <cstdio>
#include <thread>

#include "tools/branchline/cluster.h"
#include "tools/branchline/commands.h"

namespace branchline {
namespace {

constexpr int64_t kTimeoutMs = 5000;
constexpr std::chrono::milliseconds kLook{200};

struct Options {
  std::string at;
  bool now = false;
  int64_t wait_s = 3600;
};

std::vector<const ServerSpec*> offices_of(const Topology& topology, const std::string& at) {
  std::vector<const ServerSpec*> out;
  for (const auto& s : topology.servers) {
    if (s.kind == ServerKind::branch && (at.empty() || s.name == at)) out.push_back(&s);
  }
  return out;
}

// Asks for a verification and waits for its end. It needs the link: without one it waits too.
ServerAnswer verify_now(const ServerSpec& office, const std::string& token, int64_t wait_s) {
  auto end = std::chrono::steady_clock::now() + std::chrono::seconds(wait_s);
  ServerAnswer answer = ask_one(office, token, "POST", "/admin/verify", kTimeoutMs);
  if (!answer.json) return answer;
  uint64_t run = number_of(*answer.json, "asked");
  while (number_of(*answer.json, "done") < run) {
    if (std::chrono::steady_clock::now() >= end) {
      bool linked = flag_of(*answer.json, "linked");
      answer.problem = "not done within " + std::to_string(wait_s) + " s: " +
                       (linked ? "it is " + text_of(*answer.json, "state")
                               : std::string("its link to the master is down, and it goes on when "
                                             "that is up"));
      answer.json.reset();
      return answer;
    }
    std::this_thread::sleep_for(kLook);
    answer = ask_one(office, token, "GET", "/admin/verify", kTimeoutMs);
    if (!answer.json) return answer;
  }
  return answer;
}

// Whether what was found last is mended, or nothing was found.
bool sound(const Json& v) {
  const Json* compared = v.member("compared");
  return !compared || flag_of(*compared, "equal");
}

void print(const ServerAnswer& a) {
  if (!a.json) {
    std::printf("%s: %s\n", a.server->name.c_str(), a.problem.c_str());
    return;
  }
  const Json& v = *a.json;
  std::string line = a.server->name + ": ";
  if (number_of(v, "done") == 0) {
    line += "not verified since it was started";
  } else {
    line +=
        text_of(v, "outcome") + ", " + std::to_string(number_of(v, "records")) + " records counted";
    if (!text_of(v, "at").empty())
      line +=
          " and compared at csn " + std::to_string(number_of(v, "csn")) + ", " + text_of(v, "at");
  }
  if (const Json* compared = v.member("compared")) {
    line += std::string("; checksums ") + (flag_of(*compared, "equal") ? "equal" : "DIFFERENT") +
            " at csn " + std::to_string(number_of(*compared, "csn"));
  }
  if (text_of(v, "state") != "resting") line += "; " + text_of(v, "state") + " now";
  std::printf("%s\n", line.c_str());
  if (const Json* found = v.member("found")) {
    for (const auto& f : found->items) std::printf("  ! %s\n", f.text.c_str());
  }
}

int run_verify(const CommandContext& context, const Options& o) {
  auto topology = load_topology(context.topology);
  if (!topology) return complain(topology.error());
  auto offices = offices_of(*topology, o.at);
  if (offices.empty()) {
    std::fprintf(stderr, "%s is no branch of this topology\n", o.at.c_str());
    return 2;
  }
  std::vector<ServerAnswer> answers(offices.size());
  {
    std::vector<std::jthread> askers;
    for (size_t i = 0; i < offices.size(); ++i) {
      askers.emplace_back([&, i] {
        answers[i] = o.now
                         ? verify_now(*offices[i], context.token, o.wait_s)
                         : ask_one(*offices[i], context.token, "GET", "/admin/verify", kTimeoutMs);
      });
    }
  }
  if (context.json) {
    std::string out = "{";
    put_answers(out, answers);
    std::printf("%s}\n", out.c_str());
  } else {
    for (const auto& a : answers) print(a);
  }
  if (int code = exit_code_of(answers)) return code;
  bool all = true;
  for (const auto& a : answers) all = all && sound(*a.json);
  return all ? 0 : 1;
}

}  // namespace

void add_verify_command(CLI::App& app, CommandContext& context) {
  auto* verify = app.add_subcommand(
      "verify",
      "whether offices hold what the master holds: checksums, and what was found and mended");
  add_server_access(*verify, context);
  auto o = std::make_shared<Options>();
  verify->add_option("--at", o->at, "this office only");
  verify->add_flag("--now", o->now, "count and compare everything now, and wait for the end");
  verify->add_option("--wait", o->wait_s, "with --now: how many seconds at most")
      ->capture_default_str();
  verify->footer(
      "Examples (the token is an administrator's, as for status):\n"
      "  branchline verify --topology company.yaml\n"
      "  branchline verify --topology company.yaml --at hamburg --now\n"
      "Exit codes: 0 all that was compared is equal (what was found is mended), 1 something "
      "differs or was not done, 2 the\n"
      "token is refused, 3 an office did not answer.");
  verify->callback(
      [&context, o] { context.run = [&context, o] { return run_verify(context, *o); }; });
}

}  // namespace branchline
