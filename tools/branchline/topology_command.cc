#include <cstdio>

#include "common/config/topology.h"
#include "common/json/json_writer.h"
#include "tools/branchline/commands.h"

namespace branchline {

void add_topology_command(CLI::App& app, CommandContext& context) {
  auto* topology = app.add_subcommand("topology", "the topology file");
  topology->footer("Example:\n  branchline topology check company.yaml");
  topology->require_subcommand(1);
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

}  // namespace branchline
