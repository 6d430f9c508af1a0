// Subcommands that ask servers: status, audit, token, log, release.
#include <algorithm>
#include <cstdio>
#include <map>

#include "common/json/json_writer.h"
#include "tools/branchline/cluster.h"
#include "tools/branchline/commands.h"

namespace branchline {
namespace {

Result<Topology> topology_of(const CommandContext& context) { return load_topology(context.topology); }

int complain(const Error& e) {
  std::fprintf(stderr, "%s\n", e.message.c_str());
  return e.kind == ErrorKind::unavailable ? 3 : 2;
}

// Answers of all servers as one JSON document, each as the server gave it.
void put_json(std::string& out, const Json& json) {
  switch (json.kind) {
    case Json::Kind::null: out += "null"; break;
    case Json::Kind::boolean: out += json.boolean ? "true" : "false"; break;
    case Json::Kind::number: out += json.text; break;
    case Json::Kind::string: append_json_string(out, json.text); break;
    case Json::Kind::array:
      out.push_back('[');
      for (size_t i = 0; i < json.items.size(); ++i) {
        if (i) out.push_back(',');
        put_json(out, json.items[i]);
      }
      out.push_back(']');
      break;
    case Json::Kind::object:
      out.push_back('{');
      for (size_t i = 0; i < json.members.size(); ++i) {
        if (i) out.push_back(',');
        append_json_string(out, json.members[i].name);
        out.push_back(':');
        put_json(out, json.members[i].value);
      }
      out.push_back('}');
  }
}

void print_answers(const std::vector<ServerAnswer>& answers) {
  std::string out = "{\"servers\":[";
  for (size_t i = 0; i < answers.size(); ++i) {
    if (i) out.push_back(',');
    out += "{\"name\":";
    append_json_string(out, answers[i].server->name);
    if (answers[i].json) {
      out += ",\"answer\":";
      put_json(out, *answers[i].json);
    } else {
      out += ",\"problem\":";
      append_json_string(out, answers[i].problem);
    }
    out.push_back('}');
  }
  std::printf("%s]}\n", out.c_str());
}

std::string age(uint64_t ms) {
  if (ms < 1000) return std::to_string(ms) + " ms";
  if (ms < 120'000) return std::to_string(ms / 1000) + " s";
  return std::to_string(ms / 60'000) + " min";
}

int run_status(const CommandContext& context) {
  auto topology = topology_of(context);
  if (!topology) return complain(topology.error());
  auto answers = ask_all(*topology, context.token, "/admin/status");
  bool silent = std::any_of(answers.begin(), answers.end(), [](const auto& a) { return !a.json; });
  if (context.json) {
    print_answers(answers);
    return silent ? 3 : 0;
  }
  // What the master knows of each link adds to what the branch itself says.
  std::map<std::string, const Json*> links;
  for (const auto& a : answers) {
    const Json* branches = a.json ? a.json->member("branches") : nullptr;
    if (!branches) continue;
    for (const auto& b : branches->items) links[text_of(b, "server")] = &b;
  }
  std::vector<std::vector<std::string>> rows{{"SERVER", "ROLE", "CSN", "PENDING", "LAG", "LINK", "ROUND TRIP"}};
  std::vector<std::string> notes;
  for (const auto& a : answers) {
    if (!a.json) {
      rows.push_back({a.server->name, a.server->kind == ServerKind::master ? "master" : "branch", "-", "-", "-", "down", "-"});
      notes.push_back(a.server->name + ": " + a.problem);
      continue;
    }
    const Json& s = *a.json;
    const Json* link = s.member("link");
    std::string state = "-", trip = "-", lag = "-";
    if (link) {
      state = text_of(*link, "state");
      trip = std::to_string(number_of(*link, "roundTripMs")) + " ms";
      uint64_t behind = number_of(*link, "masterCsn") > number_of(s, "csn") ? number_of(*link, "masterCsn") - number_of(s, "csn") : 0;
      auto seen = links.find(a.server->name);
      uint64_t oldest = seen == links.end() ? 0 : number_of(*seen->second, "oldestPendingMs");
      lag = std::to_string(behind) + " commits";
      if (number_of(s, "pending") > 0 && oldest > 0) lag += ", oldest change " + age(oldest);
      if (const Json* joining = s.member("joining")) {
        notes.push_back(a.server->name + " is receiving its data: " + std::to_string(number_of(*joining, "records")) + " of about " +
                        std::to_string(number_of(*joining, "expected")) + " records");
      }
      if (std::string problem = text_of(*link, "problem"); !problem.empty()) notes.push_back(a.server->name + ": " + problem);
    }
    if (auto seen = links.find(a.server->name); seen != links.end()) {
      if (std::string why = text_of(*seen->second, "quarantined"); !why.empty()) notes.push_back(a.server->name + " is quarantined: " + why);
    }
    rows.push_back({a.server->name, text_of(s, "role"), std::to_string(number_of(s, "csn")), std::to_string(number_of(s, "pending")), lag, state, trip});
  }
  print_table(rows);
  for (const auto& n : notes) std::printf("! %s\n", n.c_str());
  return silent ? 3 : 0;
}

int run_audit(const CommandContext& context) {
  auto topology = topology_of(context);
  if (!topology) return complain(topology.error());
  auto answers = ask_all(*topology, context.token, "/admin/audit");
  if (context.json) print_answers(answers);
  bool silent = false, problems = false;
  std::vector<std::string> text;
  const Json* master = nullptr;
  for (const auto& a : answers) {
    if (a.json && a.server->kind == ServerKind::master) master = &*a.json;
  }
  for (const auto& a : answers) {
    if (!a.json) {
      silent = true;
      text.push_back(a.server->name + ": " + a.problem);
      continue;
    }
    bool clean = flag_of(*a.json, "clean");
    problems = problems || !clean;
    text.push_back(a.server->name + ": " + (clean ? "true" : "FALSE") + " at csn " + std::to_string(number_of(*a.json, "csn")) + ", " +
                   std::to_string(number_of(*a.json, "records")) + " records");
    for (const auto& p : a.json->member("problems")->items) text.push_back("  " + p.text);
    // Replicas are compared where they stand at the same commit.
    if (!master || &*a.json == master) continue;
    if (number_of(*a.json, "csn") != number_of(*master, "csn")) {
      text.push_back("  not compared with the master: it stands at another commit");
      continue;
    }
    const Json* truth = master->member("sums");
    for (const auto& [territory, sum] : a.json->member("sums")->members) {
      const Json* expected = truth->member(territory);
      std::string want = expected ? expected->text : std::string(32, '0');
      if (want == sum.text) continue;
      problems = true;
      text.push_back("  territory " + territory + " DIFFERS from the master");
    }
  }
  if (!context.json) {
    for (const auto& line : text) std::printf("%s\n", line.c_str());
    if (!silent && !problems) std::printf("all servers agree, and their ledgers are true\n");
  }
  return problems ? 1 : silent ? 3 : 0;
}

int run_log(const CommandContext& context, uint64_t after, uint64_t limit) {
  auto topology = topology_of(context);
  if (!topology) return complain(topology.error());
  auto log = ask_master(*topology, context.token, "GET", "/admin/log?after=" + std::to_string(after) + "&limit=" + std::to_string(limit));
  if (!log) return complain(log.error());
  if (context.json) {
    std::string out;
    put_json(out, *log);
    std::printf("%s\n", out.c_str());
    return 0;
  }
  std::vector<std::vector<std::string>> rows{{"CSN", "MUTATION", "FATE", "REASON"}};
  for (const auto& c : log->member("commits")->items) {
    rows.push_back({std::to_string(number_of(c, "csn")), text_of(c, "mutation"), text_of(c, "fate"), text_of(c, "reason")});
  }
  print_table(rows);
  return 0;
}

}  // namespace

void add_server_access(CLI::App& command, CommandContext& context) {
  command.add_option("--topology", context.topology, "the topology file: where the servers are")->required();
  command.add_option("--token", context.token, "an operator's or administrator's token; default: $BRANCHLINE_TOKEN")->envname("BRANCHLINE_TOKEN");
}

void add_status_command(CLI::App& app, CommandContext& context) {
  auto* status = app.add_subcommand("status", "every server: role, commit, pending changes, lag, link, round trip");
  add_server_access(*status, context);
  status->callback([&context] { context.run = [&context] { return run_status(context); }; });
}

void add_audit_command(CLI::App& app, CommandContext& context) {
  auto* audit = app.add_subcommand("audit", "recount every server's ledger from its outbox or main line, check chains, checksums and indexes, and compare servers");
  add_server_access(*audit, context);
  audit->callback([&context] { context.run = [&context] { return run_audit(context); }; });
}

void add_token_revoke_command(CLI::App& token, CommandContext& context);

void add_token_command(CLI::App& app, CommandContext& context) {
  auto* token = app.add_subcommand("token", "API tokens");
  token->require_subcommand(1);
  auto* create = token->add_subcommand("create", "make a token; it is shown once and kept only as a hash");
  add_server_access(*create, context);
  struct Options {
    std::string user, full_name, name, access = "write", expires;
    std::vector<std::string> territories;
    bool admin = false;
  };
  auto o = std::make_shared<Options>();
  create->add_option("--user", o->user, "user name; a new user is made where there is none")->required();
  create->add_option("--full-name", o->full_name, "of a new user");
  create->add_option("--name", o->name, "what the token is for");
  create->add_option("--access", o->access, "read or write")->check(CLI::IsMember({"read", "write"}))->capture_default_str();
  create->add_option("--territory", o->territories, "where it is good, repeatable; none: everywhere");
  create->add_option("--expires", o->expires, "YYYY-MM-DDTHH:MM:SSZ");
  create->add_flag("--admin", o->admin, "a new user becomes an administrator");
  create->callback([&context, o] {
    context.run = [&context, o]() -> int {
      auto topology = topology_of(context);
      if (!topology) return complain(topology.error());
      std::string body;
      JsonWriter w(body);
      w.begin_object().member("user", o->user).member("fullname", o->full_name).member("name", o->name).member("access", o->access);
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
      }
      return 0;
    };
  });
  add_token_revoke_command(*token, context);
}

void add_token_revoke_command(CLI::App& token, CommandContext& context) {
  auto* revoke = token.add_subcommand("revoke", "end a token; offices refuse it as soon as they hear of it");
  add_server_access(*revoke, context);
  auto id = std::make_shared<std::string>();
  revoke->add_option("ID", *id, "its record id, from `token create --output json`")->required();
  revoke->callback([&context, id] {
    context.run = [&context, id]() -> int {
      auto topology = topology_of(context);
      if (!topology) return complain(topology.error());
      auto done = ask_master(*topology, context.token, "POST", "/admin/tokens/revoke?id=" + *id, "");
      if (!done) return complain(done.error());
      std::string out;
      put_json(out, *done);
      std::printf("%s\n", context.json ? out.c_str() : "revoked");
      return 0;
    };
  });
}

void add_log_command(CLI::App& app, CommandContext& context) {
  auto* log = app.add_subcommand("log", "read the main line: every commit, whose mutation it is and its fate");
  add_server_access(*log, context);
  auto after = std::make_shared<uint64_t>(0);
  auto limit = std::make_shared<uint64_t>(100);
  log->add_option("--after", *after, "start behind this commit")->capture_default_str();
  log->add_option("--limit", *limit, "how many, at most 10000")->capture_default_str();
  log->callback([&context, after, limit] { context.run = [&context, after, limit] { return run_log(context, *after, *limit); }; });
}

void add_release_command(CLI::App& app, CommandContext& context) {
  auto* release = app.add_subcommand("release", "let a quarantined branch connect again, after you have looked at it");
  add_server_access(*release, context);
  auto server = std::make_shared<std::string>();
  release->add_option("SERVER", *server, "its name")->required();
  release->callback([&context, server] {
    context.run = [&context, server]() -> int {
      auto topology = topology_of(context);
      if (!topology) return complain(topology.error());
      auto done = ask_master(*topology, context.token, "POST", "/admin/release?server=" + *server);
      if (!done) return complain(done.error());
      std::printf("%s may connect again\n", server->c_str());
      return 0;
    };
  });
}

}  // namespace branchline
