// Reads a topology file: what stands in each entry, then what the entries say of one another.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "common/config/mistakes.h"
#include "common/config/topology.h"
#include "common/config/yaml_fields.h"
#include "common/config/yaml_tree.h"

namespace branchline {

// In place of a list of territories: every one there is.
inline constexpr std::string_view kAll = "all";

// For one file; parse() is called once.
class TopologyParser {
 public:
  explicit TopologyParser(std::string origin) : mistakes_(std::move(origin)) {}
  Result<Topology> parse(std::string_view text);

 private:
  // A name and the line that first has it. A name that is no good is known all the same, lest each
  // use of it be one more mistake.
  using Names = std::map<std::string, int, std::less<>>;

  // Where the upstream and the addresses of a server stand, for the checks across servers.
  struct Lines {
    bool kind_known = false;
    int upstream = 0, link = 0, http = 0, admin = 0, dial = 0;
  };

  // topology_parser.cc
  void read(const YamlNode& root);
  void read_site(const YamlNode& node);
  void read_territory(const YamlNode& node, std::vector<int>& parent_lines);
  void check_territory_tree(const std::vector<int>& parent_lines);
  void read_link(const YamlNode& node, Names& pairs);
  void read_policies(const YamlNode& node);
  std::string read_name(Fields& fields, const std::string& kind, Names& names);
  void check_name(int line, const std::string& name, const std::string& kind, Names& names);
  std::string read_reference(Fields& fields, const std::string& key, const std::string& kind,
                             const Names& names, const std::string& list);
  void unknown(int line, const std::string& what, const std::string& name, const Names& names,
               const std::string& list);
  void each(Fields& root, const std::string& list, std::string_view example, Need need,
            const std::function<void(const YamlNode&)>& read_entry);
  static std::string title(const std::string& kind, const YamlNode& node);

  // topology_servers.cc
  void read_server(const YamlNode& node);
  void read_master(Fields& fields, ServerSpec& server, Lines& lines);
  void read_branch(Fields& fields, ServerSpec& server, Lines& lines);
  void read_subscription(Fields& fields, ServerSpec& server);
  Endpoint read_endpoint(Fields& fields, const std::string& key, Need need, int& line);
  void check_masters(int line);
  void check_upstreams();
  void check_hub(const ServerSpec& server, const ServerSpec& hub, const Lines& lines);
  void check_addresses();

  Mistakes mistakes_;
  Topology topology_;
  Names sites_, territories_, servers_;
  std::vector<Lines> server_lines_;  // of each of topology_.servers
  std::vector<std::pair<std::string, int>> masters_;
};

}  // namespace branchline
