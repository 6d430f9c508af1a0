// Subcommands that ask servers: status, token, log, release, escrow.
#include <algorithm>
#include <cstdio>
#include <limits>
#include <map>

#include "common/json/json_writer.h"
#include "common/record/value.h"
#include "common/store/store_fault.h"
#include "common/time/clock.h"
#include "tools/branchline/cluster.h"
#include "tools/branchline/commands.h"

namespace branchline {
namespace {

void print_answers(const std::vector<ServerAnswer>& answers) {
  std::string out = "{";
  put_answers(out, answers);
  std::printf("%s}\n", out.c_str());
}

// A server that is stopped or cut off must not hold up what the others say.
constexpr int64_t kStatusTimeoutMs = 3000;

std::string age(uint64_t ms) {
  if (ms < 1000) return std::to_string(ms) + " ms";
  if (ms < 120'000) return std::to_string(ms / 1000) + " s";
  return std::to_string(ms / 60'000) + " min";
}

// A few look-ups are what the WAN is for; so many mean that the office works with those records.
constexpr uint64_t kManyLookups = 20;

// Which subscription would make an office's look-ups local.
void propose_subscription(const ServerSpec& server, const Json& status,
                          std::vector<std::string>& notes) {
  const Json* lookups = status.member("lookups");
  if (!lookups) return;
  std::string list;
  for (const auto& t : server.territories) list += (list.empty() ? "" : ", ") + t;
  for (const auto& l : lookups->items) {
    if (number_of(l, "times") < kManyLookups) continue;
    std::string territory = text_of(l, "territory");
    notes.push_back(server.name + " asked head office " + std::to_string(number_of(l, "times")) +
                    " times since " + text_of(l, "since") + " for records of " + territory +
                    ": they would be local with territories: [" + list + ", " + territory +
                    "] in the topology");
  }
}

std::string about(uint64_t seconds) {
  if (seconds < 120) return std::to_string(seconds) + " s";
  if (seconds < 7200) return std::to_string(seconds / 60) + " min";
  return std::to_string(seconds / 3600) + " h";
}

// What of a lane waits for its hours or for the day's bytes, or for longer than a moment.
void tell_lanes(const ServerSpec& server, const Json& link, std::vector<std::string>& notes) {
  constexpr uint64_t kMoment = 60;
  const Json* lanes = link.member("lanes");
  if (!lanes) return;
  for (const auto& [name, lane] : lanes->members) {
    uint64_t pending = number_of(lane, "pending");
    std::string held = text_of(lane, "held");
    const Json* drain = lane.member("drainSeconds");
    uint64_t seconds = number_of(lane, "drainSeconds");
    bool waits = held == "hours" || held == "budget";
    if (pending == 0 || (!waits && (!drain || seconds < kMoment))) continue;
    notes.push_back(server.name + ": " + std::to_string(pending) + " " + name + " changes wait" +
                    (held == "hours"    ? " for the hours of the line"
                     : held == "budget" ? ", the line's bytes of today are used up"
                                        : "") +
                    (drain ? "; gone in about " + about(seconds) + " while the link is up"
                           : "; not gone within 60 days"));
  }
}

int run_status(const CommandContext& context) {
  auto topology = load_topology(context.topology);
  if (!topology) return complain(topology.error());
  auto answers = ask_all(*topology, context.token, "/admin/status", kStatusTimeoutMs);
  int code = exit_code_of(answers);
  if (context.json) {
    print_answers(answers);
    return code;
  }
  // What the master knows of each link adds to what the branch itself says.
  std::map<std::string, const Json*> links;
  const Json* master = nullptr;
  for (const auto& a : answers) {
    if (a.json && a.server->kind == ServerKind::master) master = &*a.json;
    const Json* branches = a.json ? a.json->member("branches") : nullptr;
    if (!branches) continue;
    for (const auto& b : branches->items) links[text_of(b, "server")] = &b;
  }
  std::vector<std::vector<std::string>> rows{
      {"SERVER", "ROLE", "CSN", "PENDING", "LAG", "LINK", "ROUND TRIP"}};
  std::vector<std::string> notes;
  if (const Json* r = master ? master->member("reconciling") : nullptr; r && flag_of(*r, "open")) {
    std::string awaited;
    for (const auto& name : r->member("awaited")->items) awaited += " " + name.text;
    notes.push_back("the master is reconciling since " + text_of(*r, "since") + " (" +
                    text_of(*r, "why") + "); awaited:" + awaited +
                    ". `branchline reconcile --help` tells more");
  }
  for (const auto& a : answers) {
    // Also of a branch that does not answer here itself.
    if (auto seen = links.find(a.server->name); seen != links.end()) {
      const Json* link = a.json ? a.json->member("link") : nullptr;
      const Json* connected = seen->second->member("connected");
      if (std::string why = text_of(*seen->second, "quarantined"); !why.empty())
        notes.push_back(a.server->name + " is quarantined: " + why);
      if (flag_of(*seen->second, "lapsed"))
        notes.push_back(a.server->name +
                        " was away for longer than max_offline; it gets a snapshot when it comes "
                        "back, its changes are kept and shipped");
      if (const Json* unshipped = seen->second->member("unshipped")) {
        // The office itself knows better than its last heartbeat.
        bool shipped = a.json && number_of(*a.json, "pending") == 0;
        if (uint64_t n = number_of(*unshipped, "mutations"); n > 0 && !shipped) {
          uint64_t heard = number_of(*seen->second, "heardMsAgo");
          notes.push_back(a.server->name + " would lose " + std::to_string(n) + " changes (" +
                          std::to_string((number_of(*unshipped, "bytes") + 1023) / 1024) +
                          " KiB, the oldest " + age(number_of(*unshipped, "oldestMs")) +
                          " old) with its disk" +
                          (heard > 0 ? ", as it said " + age(heard) + " ago" : ""));
        }
      }
      if (std::string since = text_of(*seen->second, "copyRefused"); !since.empty()) {
        notes.push_back("two copies of " + a.server->name + " are running; one was refused at " +
                        since + ". Stop the one that is to go; `branchline release " +
                        a.server->name + "` lets the refused one take over");
      }
      if (uint64_t missing = number_of(*seen->second, "missing"); missing > 0) {
        notes.push_back(
            std::to_string(missing) + " changes of " + a.server->name +
            " are missing at the restored master, and it does not keep them any more. Restore a "
            "newer backup, or enter them as lost with `branchline reconcile --close`");
      }
      if (flag_of(*seen->second, "writtenOff"))
        notes.push_back(a.server->name + " is written off until it joins with an empty disk");
      std::string closed = connected && connected->boolean ? "" : text_of(*seen->second, "refused");
      if (!closed.empty() && (!link || closed != text_of(*link, "problem")))
        notes.push_back("the link of " + a.server->name + " was closed: " + closed);
    }
    if (!a.json) {
      rows.push_back({a.server->name, a.server->kind == ServerKind::master ? "master" : "branch",
                      "-", "-", "-",
                      a.refused()       ? "refused"
                      : a.status == 0   ? "down"
                      : a.status == 503 ? "not ready"
                                        : "error",
                      "-"});
      notes.push_back(a.server->name + ": " + a.problem);
      continue;
    }
    const Json& s = *a.json;
    if (flag_of(s, "diskFull")) {
      notes.push_back(a.server->name + (a.server->kind == ServerKind::master
                                            ? ": its disk is nearly full: links are closed and no "
                                              "token is created; free space there. Offices work on "
                                              "and keep their changes"
                                            : ": its disk is nearly full: its writes are refused; "
                                              "free space there. Reading and shipping go on"));
    }
    if (std::string damage = text_of(s, "storeDamage"); !damage.empty())
      notes.push_back(a.server->name + ": " + damage_text(damage));
    propose_subscription(*a.server, s, notes);
    if (flag_of(s, "outboxWarning")) {
      uint64_t quota = number_of(s, "outboxQuota");
      notes.push_back(
          a.server->name + ": changes that wait for the master take " +
          std::to_string(number_of(s, "outboxBytes") / std::max<uint64_t>(quota / 100, 1)) +
          " % of the " + std::to_string(quota >> 20) +
          " MiB that they may; beyond that its writes are refused");
    }
    const Json* link = s.member("link");
    std::string state = "-", trip = "-", lag = "-";
    if (link) {
      state = text_of(*link, "state");
      trip = std::to_string(number_of(*link, "roundTripMs")) + " ms";
      if (master) {
        // What the branch has heard of the master's commits is as old as its link: only the master
        // knows.
        uint64_t head = number_of(*master, "csn"), own = number_of(s, "csn");
        auto seen = links.find(a.server->name);
        uint64_t oldest = seen == links.end() ? 0 : number_of(*seen->second, "oldestPendingMs");
        lag = std::to_string(head > own ? head - own : 0) + " commits";
        if (number_of(s, "pending") > 0 && oldest > 0) lag += ", oldest change " + age(oldest);
      }
      if (const Json* joining = s.member("joining")) {
        notes.push_back(a.server->name + " is receiving its data: " +
                        std::to_string(number_of(*joining, "records")) + " of about " +
                        std::to_string(number_of(*joining, "expected")) + " records");
      }
      tell_lanes(*a.server, *link, notes);
      if (std::string problem = text_of(*link, "problem"); !problem.empty())
        notes.push_back(a.server->name + ": " + problem);
    }
    rows.push_back({a.server->name, text_of(s, "role"), std::to_string(number_of(s, "csn")),
                    std::to_string(number_of(s, "pending")), lag, state, trip});
  }
  print_table(rows);
  for (const auto& n : notes) std::printf("! %s\n", n.c_str());
  return code;
}

constexpr int64_t kLastCommit = std::numeric_limits<int64_t>::max();

int run_log(const CommandContext& context, int64_t after, int64_t limit) {
  auto topology = load_topology(context.topology);
  if (!topology) return complain(topology.error());
  auto log =
      ask_master(*topology, context.token, "GET",
                 "/admin/log?after=" + std::to_string(after) + "&limit=" + std::to_string(limit));
  if (!log) return complain(log.error());
  if (context.json) {
    std::string out;
    put_json(out, *log);
    std::printf("%s\n", out.c_str());
    return 0;
  }
  std::vector<std::vector<std::string>> rows{{"CSN", "MUTATION", "FATE", "REASON"}};
  for (const auto& c : log->member("commits")->items) {
    rows.push_back({std::to_string(number_of(c, "csn")), text_of(c, "mutation"), text_of(c, "fate"),
                    text_of(c, "reason")});
  }
  print_table(rows);
  return 0;
}

}  // namespace

void add_server_access(CLI::App& command, CommandContext& context, bool required) {
  command.add_option("--topology", context.topology, "the topology file: where the servers are")
      ->required(required);
  command.add_option("--token", context.token,
                     "an operator's or administrator's token; default: $BRANCHLINE_TOKEN");
}

void add_status_command(CLI::App& app, CommandContext& context) {
  auto* status = app.add_subcommand(
      "status", "every server: role, commit, pending changes, lag, link, round trip");
  add_server_access(*status, context);
  status->footer(
      "Example (the token is an administrator's: offices know it, and not the master's "
      "operator.token):\n"
      "  export BRANCHLINE_TOKEN=$(branchline token create --topology company.yaml \\\n"
      "    --token \"$(cat data/master/operator.token)\" --user ops --admin)\n"
      "  branchline status --topology company.yaml\n"
      "Exit codes: 0 all answered, 1 one answered with an error, 2 the token is refused, 3 one did "
      "not answer.");
  status->callback([&context] { context.run = [&context] { return run_status(context); }; });
}

void add_token_revoke_command(CLI::App& token, CommandContext& context);

void add_token_command(CLI::App& app, CommandContext& context) {
  auto* token = app.add_subcommand("token", "API tokens");
  token->footer(
      "Example:\n  branchline token create --topology company.yaml --user ann --territory east");
  token->require_subcommand(1);
  auto* create =
      token->add_subcommand("create", "make a token; it is shown once and kept only as a hash");
  add_server_access(*create, context);
  struct Options {
    std::string user, full_name, name, access = "write", expires;
    std::vector<std::string> territories;
    bool admin = false;
  };
  auto o = std::make_shared<Options>();
  create->add_option("--user", o->user, "user name; a new user is made where there is none")
      ->required();
  create->add_option("--full-name", o->full_name, "of a new user");
  create->add_option("--name", o->name, "what the token is for");
  create->add_option("--access", o->access, "read or write")
      ->check(CLI::IsMember({"read", "write"}))
      ->capture_default_str();
  create->add_option("--territory", o->territories,
                     "where it is good, repeatable; none: everywhere");
  create->add_option("--expires", o->expires, "YYYY-MM-DDTHH:MM:SSZ");
  create->add_flag("--admin", o->admin,
                   "a new user becomes an administrator, whose tokens are good everywhere");
  create->footer(
      "Examples:\n"
      "  branchline token create --topology company.yaml --token \"$(cat "
      "data/master/operator.token)\" --user ops --admin\n"
      "  branchline token create --topology company.yaml --user ann --territory east\n"
      "The token goes to stdout, its record id to stderr.\n"
      "Exit codes: 0 made, 1 the master could not (its disk is nearly full), 2 wrong use or the "
      "token is refused, 3 it does not answer.");
  create->callback([&context, o] {
    context.run = [&context, o]() -> int {
      auto topology = load_topology(context.topology);
      if (!topology) return complain(topology.error());
      if (o->admin && !o->territories.empty()) {
        std::fprintf(stderr,
                     "--admin with --territory: an administrator's token is good everywhere; leave "
                     "one of them out\n");
        return 2;
      }
      if (!o->expires.empty()) {
        auto end = parse_instant(o->expires);
        SystemClock clock;
        if (!end || *end <= clock.wall_ms()) {
          std::fprintf(stderr, "--expires %s: %s\n", o->expires.c_str(),
                       end ? "this has passed; the token would never be good"
                           : "expected YYYY-MM-DDTHH:MM:SSZ");
          return 2;
        }
      }
      std::string body;
      JsonWriter w(body);
      w.begin_object()
          .member("user", o->user)
          .member("fullname", o->full_name)
          .member("name", o->name)
          .member("access", o->access);
      w.member("admin", o->admin);
      if (!o->expires.empty()) w.member("expires", o->expires);
      w.key("territories").begin_array();
      for (const auto& t : o->territories) w.text(t);
      w.end_array().end_object();
      auto made = ask_master(*topology, context.token, "POST", "/admin/tokens", body);
      if (!made) return complain(made.error());
      if (context.json) {
        std::string out;
        put_json(out, *made);
        std::printf("%s\n", out.c_str());
      } else {
        std::printf("%s\n", text_of(*made, "token").c_str());
        std::fprintf(stderr, "id %s: for `branchline token revoke`\n",
                     text_of(*made, "id").c_str());
      }
      return 0;
    };
  });
  add_token_revoke_command(*token, context);
}

void add_token_revoke_command(CLI::App& token, CommandContext& context) {
  auto* revoke =
      token.add_subcommand("revoke", "end a token; offices refuse it as soon as they hear of it");
  add_server_access(*revoke, context);
  auto id = std::make_shared<std::string>();
  revoke->add_option("ID", *id, "its record id, as `token create` told it")->required();
  revoke->footer(
      "Example:\n  branchline token revoke --topology company.yaml "
      "01a202d5-136c-8000-b13b-83c7b4a45086");
  revoke->callback([&context, id] {
    context.run = [&context, id]() -> int {
      auto topology = load_topology(context.topology);
      if (!topology) return complain(topology.error());
      auto done =
          ask_master(*topology, context.token, "POST", "/admin/tokens/revoke?id=" + *id, "");
      if (!done) return complain(done.error());
      std::string out;
      put_json(out, *done);
      if (context.json) {
        std::printf("%s\n", out.c_str());
      } else {
        std::printf("revoked with csn %llu; an office refuses it once `status` shows it there\n",
                    static_cast<unsigned long long>(number_of(*done, "csn")));
      }
      return 0;
    };
  });
}

void add_log_command(CLI::App& app, CommandContext& context) {
  auto* log = app.add_subcommand(
      "log", "read the main line: every commit, whose mutation it is and its fate");
  add_server_access(*log, context);
  auto after = std::make_shared<int64_t>(0);
  auto limit = std::make_shared<int64_t>(100);
  log->add_option("--after", *after, "start behind this commit")
      ->check(CLI::Range(int64_t{0}, kLastCommit))
      ->capture_default_str();
  log->add_option("--limit", *limit, "how many, at most 10000")
      ->check(CLI::Range(int64_t{1}, int64_t{10'000}))
      ->capture_default_str();
  log->footer("Example:\n  branchline log --topology company.yaml --after 12000 --limit 50");
  log->callback([&context, after, limit] {
    context.run = [&context, after, limit] { return run_log(context, *after, *limit); };
  });
}

void add_escrow_command(CLI::App& app, CommandContext& context) {
  auto* escrow = app.add_subcommand("escrow", "parts of stocks that branches hold");
  escrow->footer("Example:\n  branchline escrow write-off --topology company.yaml east --sold");
  escrow->require_subcommand(1);
  auto* off = escrow->add_subcommand(
      "write-off",
      "take back what a lost data directory of a branch held; only you can know that it is lost");
  add_server_access(*off, context);
  auto server = std::make_shared<std::string>();
  auto sold = std::make_shared<bool>(false), all = std::make_shared<bool>(false);
  off->add_option("SERVER", *server, "its name")->required();
  off->add_flag("--sold", *sold,
                "count the pieces as sold: they leave the stock instead of returning to it");
  off->add_flag("--all", *all,
                "also what its present data directory holds: the branch itself is gone for good");
  off->footer(
      "Example:\n  branchline escrow write-off --topology company.yaml east --sold\n"
      "Exit codes: 0 done (also where there was nothing), 1 the master refused, 2 wrong use, 3 the "
      "master does not answer.");
  off->callback([&context, server, sold, all] {
    context.run = [&context, server, sold, all]() -> int {
      auto topology = load_topology(context.topology);
      if (!topology) return complain(topology.error());
      auto done = ask_master(*topology, context.token, "POST",
                             "/admin/escrow/write-off?server=" + *server +
                                 "&shares=" + (*all ? "all" : "frozen") +
                                 "&pieces=" + (*sold ? "sold" : "returned"));
      if (!done) return complain(done.error());
      std::string out;
      put_json(out, *done);
      if (context.json) {
        std::printf("%s\n", out.c_str());
      } else {
        std::printf("%llu shares of %s written off\n",
                    static_cast<unsigned long long>(number_of(*done, "shares")), server->c_str());
      }
      return 0;
    };
  });
}

void add_release_command(CLI::App& app, CommandContext& context) {
  auto* release = app.add_subcommand(
      "release",
      "let a quarantined branch connect again, or the refused one of two copies take over");
  add_server_access(*release, context);
  auto server = std::make_shared<std::string>();
  release->add_option("SERVER", *server, "its name")->required();
  release->footer(
      "Example:\n  branchline release --topology company.yaml east\n"
      "Of two copies of a branch: stop the one that is to go, then release; what both had shipped "
      "counts.\n"
      "Exit codes: 0 released, 1 it is neither quarantined nor refused, 2 wrong use, 3 the master "
      "does not "
      "answer.");
  release->callback([&context, server] {
    context.run = [&context, server]() -> int {
      auto topology = load_topology(context.topology);
      if (!topology) return complain(topology.error());
      auto done = ask_master(*topology, context.token, "POST", "/admin/release?server=" + *server);
      if (!done && done.error().code == "release.not_quarantined") {
        std::fprintf(stderr, "%s: %s\n", server->c_str(), done.error().message.c_str());
        return 1;
      }
      if (!done) return complain(done.error());
      std::printf("%s may connect again\n", server->c_str());
      return 0;
    };
  });
}

}  // namespace branchline
