#include <cstdio>
#include <fstream>
#include <iterator>

#include "common/config/topology.h"
#include "common/json/json_writer.h"
#include "tools/branchline/cluster.h"
#include "tools/branchline/commands.h"

namespace branchline {

void add_topology_apply(CLI::App& topology, CommandContext& context);

void add_topology_command(CLI::App& app, CommandContext& context) {
  auto* topology = app.add_subcommand("topology", "the topology file");
  topology->footer("Example:\n  branchline topology check company.yaml");
  topology->require_subcommand(1);
  add_topology_apply(*topology, context);
  auto* check = topology->add_subcommand(
      "check", "read a topology file and explain every mistake with file, line and the mend");
  auto file = std::make_shared<std::string>();
  check->add_option("FILE", *file, "the topology file")->required();
  check->callback([&context, file] {
    context.run = [&context, file]() -> int {
      auto t = load_topology(*file);
      std::string out;
      JsonWriter w(out);
      if (!t) {
        if (context.json) {
          w.begin_object().member("valid", false).key("mistakes").begin_array();
          std::string_view rest = t.error().message;
          while (!rest.empty()) {
            size_t end = std::min(rest.find('\n'), rest.size());
            if (end > 0) w.text(rest.substr(0, end));
            rest.remove_prefix(std::min(end + 1, rest.size()));
          }
          w.end_array().end_object();
          std::printf("%s\n", out.c_str());
        } else {
          std::fprintf(stderr, "%s\n", t.error().message.c_str());
        }
        return 1;
      }
      if (context.json) {
        w.begin_object()
            .member("valid", true)
            .member("name", t->name)
            .member("digest", t->digest());
        w.member("servers", uint64_t{t->servers.size()})
            .member("territories", uint64_t{t->territories.size()})
            .end_object();
        std::printf("%s\n", out.c_str());
      } else {
        std::printf("%s is valid: %zu servers, %zu territories, digest %s\n", file->c_str(),
                    t->servers.size(), t->territories.size(), t->digest().substr(0, 16).c_str());
      }
      return 0;
    };
  });
}

namespace {

void print_names(const char* what, const Json& answer, const char* member) {
  const Json* list = answer.member(member);
  if (!list || list->items.empty()) return;
  std::printf("%s:", what);
  for (const auto& n : list->items) std::printf(" %s", n.text.c_str());
  std::printf("\n");
}

}  // namespace

void add_topology_apply(CLI::App& topology, CommandContext& context) {
  auto* apply = topology.add_subcommand(
      "apply", "hand a topology file to the master: subscriptions, servers, policies; no restart");
  struct Options {
    std::string file;
    bool force = false;
  };
  auto o = std::make_shared<Options>();
  apply->add_option("FILE", o->file, "the topology file as it is to be")->required();
  apply->add_flag("--force", o->force,
                  "remove servers though they had changes that the master does not have");
  apply->add_option("--token", context.token,
                    "an operator's or administrator's token; default: $BRANCHLINE_TOKEN");
  apply->footer(
      "Example:\n  branchline topology apply company.yaml\n"
      "A branch whose territories change connects anew and gets what it lacks at one csn; what it "
      "holds no longer goes from its disk, its pending changes are shipped all the same.\n"
      "Exit codes: 0 committed, or nothing to do; 1 the file or the change is refused; 2 wrong use "
      "or the token is refused; 3 the master does not answer.");
  apply->callback([&context, o] {
    context.run = [&context, o]() -> int {
      auto t = load_topology(o->file);
      if (!t) {
        std::fprintf(stderr, "%s\n", t.error().message.c_str());
        return 1;
      }
      std::ifstream in(o->file, std::ios::binary);
      std::string text{std::istreambuf_iterator<char>(in), {}};
      auto done =
          ask_master(*t, context.token, "POST",
                     std::string("/admin/topology") + (o->force ? "?force=true" : ""), text);
      if (!done) {
        bool refused = done.error().code.starts_with("topology.");
        if (!refused) return complain(done.error());
        std::fprintf(stderr, "%s\n", done.error().message.c_str());
        return 1;
      }
      if (context.json) {
        std::string out;
        put_json(out, *done);
        std::printf("%s\n", out.c_str());
        return 0;
      }
      if (!flag_of(*done, "changed")) {
        std::printf("nothing to do: this topology is the committed one\n");
        return 0;
      }
      std::printf("committed with csn %llu\n",
                  static_cast<unsigned long long>(number_of(*done, "csn")));
      print_names("new territories", *done, "territoriesAdded");
      print_names("new servers", *done, "serversAdded");
      print_names("removed servers", *done, "serversRemoved");
      print_names("other subscriptions", *done, "subscriptionsChanged");
      print_names("other upstreams", *done, "upstreamsChanged");
      return 0;
    };
  });
}

}  // namespace branchline
