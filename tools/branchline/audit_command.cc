// branchline audit: every server recounts itself, and the branches are compared with the master.
#include <cstdio>
#include <map>

#include "common/json/json_writer.h"
#include "tools/branchline/cluster.h"
#include "tools/branchline/commands.h"

namespace branchline {
namespace {

constexpr int64_t kAuditTimeoutMs = 120'000;  // whole stores are read
constexpr int64_t kStatusTimeoutMs = 3000;

struct NotCompared {
  std::string server, why;
};

struct Comparison {
  size_t branches = 0;
  bool problems = false;
  std::vector<NotCompared> missing;
  std::vector<std::string> text;
  bool complete() const { return missing.empty(); }
};

// Why the master refuses branches now: one that is refused may follow another history up to the
// same commit number.
std::map<std::string, std::string> refused_links(const std::vector<ServerAnswer>& statuses) {
  std::map<std::string, std::string> out;
  for (const auto& a : statuses) {
    const Json* branches = a.json ? a.json->member("branches") : nullptr;
    if (!branches) continue;
    for (const auto& b : branches->items) {
      std::string why = text_of(b, "quarantined");
      if (why.empty()) why = text_of(b, "refused");
      if (!why.empty()) out[text_of(b, "server")] = why;
    }
  }
  return out;
}

// Replicas are compared where they stand at the same commit of the same line; empty if they do.
std::string why_not_compared(const ServerAnswer& branch, const Json* master,
                             const std::map<std::string, std::string>& refused) {
  if (!branch.json) return (branch.status == 0 ? "" : "it answers: ") + branch.problem;
  if (!master) return "the master gave no audit";
  if (auto at = refused.find(branch.server->name); at != refused.end())
    return "the master refuses its link: " + at->second;
  if (text_of(*branch.json, "line") != text_of(*master, "line"))
    return "it follows another main line than the master's";
  uint64_t own = number_of(*branch.json, "csn"), head = number_of(*master, "csn");
  if (own == head) return {};
  return "it stands at csn " + std::to_string(own) + ", the master at " + std::to_string(head);
}

Comparison compare(const std::vector<ServerAnswer>& audits,
                   const std::map<std::string, std::string>& refused) {
  Comparison out;
  const Json* master = nullptr;
  for (const auto& a : audits) {
    if (a.json && a.server->kind == ServerKind::master) master = &*a.json;
  }
  for (const auto& a : audits) {
    const std::string& name = a.server->name;
    if (a.json) {
      bool clean = flag_of(*a.json, "clean");
      out.problems = out.problems || !clean;
      out.text.push_back(name + ": " + (clean ? "true" : "FALSE") + " at csn " +
                         std::to_string(number_of(*a.json, "csn")) + ", " +
                         std::to_string(number_of(*a.json, "records")) + " records");
      if (const Json* found = a.json->member("problems")) {
        for (const auto& p : found->items) out.text.push_back("  " + p.text);
      }
    } else {
      out.text.push_back(name + ": " + a.problem);
    }
    if (a.server->kind == ServerKind::master) continue;
    ++out.branches;
    if (std::string why = why_not_compared(a, master, refused); !why.empty()) {
      out.missing.push_back({name, why});
      continue;
    }
    const Json* truth = master->member("sums");
    const Json* sums = a.json->member("sums");
    if (!truth || !sums) {
      out.missing.push_back({name, "there are no checksums in the answers"});
      continue;
    }
    for (const auto& [territory, sum] : sums->members) {
      const Json* expected = truth->member(territory);
      std::string want = expected ? expected->text : std::string(32, '0');
      if (want == sum.text) continue;
      out.problems = true;
      out.text.push_back("  territory " + territory + " DIFFERS from the master");
    }
  }
  return out;
}

void print_json(const std::vector<ServerAnswer>& audits, const Comparison& c) {
  std::string out = "{";
  put_answers(out, audits);
  std::string told;
  JsonWriter w(told);
  w.begin_object().member("agree", c.complete() && !c.problems);
  w.member("branches", uint64_t{c.branches})
      .member("compared", uint64_t{c.branches - c.missing.size()});
  w.key("notCompared").begin_array();
  for (const auto& m : c.missing)
    w.begin_object().member("name", m.server).member("why", m.why).end_object();
  w.end_array().end_object();
  std::printf("%s,%s\n", out.c_str(), told.c_str() + 1);
}

void print_text(const Comparison& c) {
  for (const auto& line : c.text) std::printf("%s\n", line.c_str());
  if (!c.complete()) {
    std::printf("%zu of %zu servers compared with the master\n", c.branches - c.missing.size(),
                c.branches);
    for (const auto& m : c.missing)
      std::printf("%s was not compared: %s\n", m.server.c_str(), m.why.c_str());
  } else if (!c.problems) {
    std::printf("all servers agree, and their ledgers are true\n");
  }
}

int run_audit(const CommandContext& context) {
  auto topology = load_topology(context.topology);
  if (!topology) return complain(topology.error());
  auto audits = ask_all(*topology, context.token, "/admin/audit", kAuditTimeoutMs);
  Topology master_only = *topology;
  std::erase_if(master_only.servers,
                [](const ServerSpec& s) { return s.kind != ServerKind::master; });
  auto statuses = ask_all(master_only, context.token, "/admin/status", kStatusTimeoutMs);
  Comparison c = compare(audits, refused_links(statuses));
  if (context.json) {
    print_json(audits, c);
  } else {
    print_text(c);
  }
  if (c.problems) return 1;
  // Where a server gave no audit at all, that is told first: what the others miss may come of it.
  if (int code = exit_code_of(audits)) return code;
  return c.complete() ? 0 : 1;
}

}  // namespace

void add_audit_command(CLI::App& app, CommandContext& context) {
  auto* audit = app.add_subcommand("audit",
                                   "recount every server's ledger from its outbox or main line, "
                                   "check chains, checksums and indexes, and compare servers");
  add_server_access(*audit, context);
  audit->footer(
      "Example (the token is an administrator's, as for status):\n"
      "  branchline audit --topology company.yaml\n"
      "Exit codes: 0 all servers were compared and agree, 1 something is false or was not "
      "compared, 2 the token is\n"
      "refused, 3 a server did not answer.");
  audit->callback([&context] { context.run = [&context] { return run_audit(context); }; });
}

}  // namespace branchline
