// The servers of a topology file, and what they say of one another.
#include <algorithm>
#include <tuple>

#include "common/base/limits.h"
#include "common/config/cycles.h"
#include "common/config/topology_parser.h"

namespace branchline {
namespace {

std::optional<ServerKind> parse_kind(std::string_view text) {
  if (text == "master") return ServerKind::master;
  if (text == "branch") return ServerKind::branch;
  return std::nullopt;
}

}  // namespace

void TopologyParser::read_server(const YamlNode& node) {
  Fields fields(
      node, title("server", node),
      {"name", "site", "kind", "upstream", "territories", "link", "http", "admin", "dial"},
      mistakes_);
  ServerSpec server;
  Lines lines;
  server.name = read_name(fields, "server", servers_);
  server.site = read_reference(fields, "site", "site", sites_, "sites");
  auto kind = fields.parsed("kind", "branch", "`master` or `branch`", parse_kind);
  lines.kind_known = kind.has_value();
  if (kind) server.kind = *kind;
  if (kind == ServerKind::master) read_master(fields, server, lines);
  if (kind == ServerKind::branch) read_branch(fields, server, lines);
  server.admin = read_endpoint(fields, "admin", Need::required, lines.admin);
  topology_.servers.push_back(std::move(server));
  server_lines_.push_back(lines);
}

void TopologyParser::read_master(Fields& fields, ServerSpec& server, Lines& lines) {
  masters_.emplace_back(server.name, fields.line("kind"));
  fields.forbid("upstream", "the master is where all upstreams lead; remove it");
  fields.forbid("territories", "the master has them all and subscribes to none; remove it");
  fields.forbid("http",
                "the master serves no office; remove it and put a branch beside the master");
  fields.forbid("dial", "the master dials nobody; remove it");
  server.link = read_endpoint(fields, "link", Need::required, lines.link);
}

void TopologyParser::read_branch(Fields& fields, ServerSpec& server, Lines& lines) {
  if (fields.has("link")) server.link = read_endpoint(fields, "link", Need::optional, lines.link);
  server.upstream =
      fields.text("upstream", masters_.empty() ? "master" : masters_[0].first).value_or("");
  lines.upstream = fields.line("upstream");
  read_subscription(fields, server);
  server.http = read_endpoint(fields, "http", Need::required, lines.http);
  if (fields.has("dial")) server.dial = read_endpoint(fields, "dial", Need::optional, lines.dial);
}

void TopologyParser::read_subscription(Fields& fields, ServerSpec& server) {
  const YamlNode* node = fields.text_or_list("territories", "[my-territory]");
  if (!node) return;
  std::vector<std::string> held;
  if (node->kind == YamlNode::Kind::list) {
    Names seen;
    for (const YamlNode& item : node->items) {
      if (item.kind == YamlNode::Kind::refused) continue;
      if (item.kind != YamlNode::Kind::scalar) {
        mistakes_.add(item.line, "`territories` of " + fields.what() +
                                     " must be names; write e.g. `[central, east]`");
      } else if (item.text == kAll) {
        mistakes_.add(item.line,
                      "`all` is no territory; write `territories: all`, without brackets");
      } else if (!territories_.count(item.text)) {
        unknown(item.line, "territory " + quoted(item.text) + " of " + fields.what(), item.text,
                territories_, "territories");
      } else if (!seen.emplace(item.text, item.line).second) {
        mistakes_.add(item.line, "territory " + quoted(item.text) + " stands twice in " +
                                     fields.what() + "; keep one");
      } else {
        held.push_back(item.text);
      }
    }
    if (node->items.empty()) {
      mistakes_.add(
          node->line,
          fields.what() + " holds no territory; name those of its office, or write `all`");
    }
  } else if (node->text == kAll) {
    for (const auto& t : topology_.territories) held.push_back(t.name);
  } else {
    mistakes_.add(node->line, "`territories` of " + fields.what() + " is " + quoted(node->text) +
                                  ", not a list; write `[name, ...]` with brackets, or `all`");
  }
  held = with_below(topology_.territories, held);
  size_t length = held.size();
  for (const auto& name : held) length += name.size();
  if (length > limits::kMaxSubscriptionText) {
    mistakes_.add(node->line, "the names of the territories of " + fields.what() + " come to " +
                                  std::to_string(length) + " characters, at most " +
                                  std::to_string(limits::kMaxSubscriptionText) +
                                  " fit; use fewer territories or shorter names");
    return;
  }
  server.territories = std::move(held);
}

Endpoint TopologyParser::read_endpoint(Fields& fields, const std::string& key, Need need,
                                       int& line) {
  line = fields.line(key);
  auto endpoint = fields.parsed(key, "\"127.0.0.1:7400\"",
                                "an address `host:port` or `[v6]:port` with a port from 1 to 65535",
                                parse_endpoint, need);
  if (!endpoint) return {};
  if (endpoint->host == "0.0.0.0" || endpoint->host == "::") {
    mistakes_.add(
        line, "`" + key + "` of " + fields.what() + " is " + quoted(endpoint->host) +
                  ", which nobody else can connect to; write the name or address that others use");
    return {};
  }
  return *endpoint;
}

void TopologyParser::check_masters(int line) {
  bool kinds_known = std::all_of(server_lines_.begin(), server_lines_.end(),
                                 [](const Lines& l) { return l.kind_known; });
  if (masters_.empty() && kinds_known && !server_lines_.empty()) {
    mistakes_.add(line, "no server is the master; give one of them `kind: master`");
  }
  for (size_t i = 1; i < masters_.size(); ++i) {
    mistakes_.add(masters_[i].second, "a second master, " + quoted(masters_[i].first) +
                                          " besides " + quoted(masters_[0].first) + " (line " +
                                          std::to_string(masters_[0].second) +
                                          "); keep one and make the other a branch");
  }
}

void TopologyParser::check_upstreams() {
  const auto& list = topology_.servers;
  std::map<std::string_view, int> place;
  for (size_t i = 0; i < list.size(); ++i) place.emplace(list[i].name, static_cast<int>(i));
  std::vector<int> next(list.size(), -1);
  for (size_t i = 0; i < list.size(); ++i) {
    if (list[i].upstream.empty()) continue;
    auto upstream = place.find(list[i].upstream);
    if (upstream == place.end()) {
      unknown(server_lines_[i].upstream,
              "upstream " + quoted(list[i].upstream) + " of server " + quoted(list[i].name),
              list[i].upstream, servers_, "servers");
    } else {
      auto at = static_cast<size_t>(upstream->second);
      bool branch = server_lines_[at].kind_known && list[at].kind == ServerKind::branch;
      if (branch) next[i] = upstream->second;
    }
  }
  for (const auto& cycle : find_cycles(next)) {
    auto name = [&](int i) { return list[static_cast<size_t>(i)].name; };
    auto first = static_cast<size_t>(cycle[0]);
    mistakes_.add(
        server_lines_[first].upstream,
        "the upstreams go in a circle, " + describe_cycle(cycle, name) + "; name the master");
    next[first] = -1;
  }
  for (size_t i = 0; i < list.size(); ++i) {
    if (next[i] >= 0) check_hub(list[i], list[static_cast<size_t>(next[i])], server_lines_[i]);
    size_t hubs = 0;
    for (int at = next[i]; at >= 0; at = next[static_cast<size_t>(at)]) ++hubs;
    if (hubs <= limits::kMaxHubsBetween) continue;
    mistakes_.add(server_lines_[i].upstream,
                  std::to_string(hubs) + " hubs stand between server " + quoted(list[i].name) +
                      " and the master, at most " + std::to_string(limits::kMaxHubsBetween) +
                      " may; name one that is nearer to the master");
  }
}

void TopologyParser::check_hub(const ServerSpec& server, const ServerSpec& hub,
                               const Lines& lines) {
  std::string what =
      "server " + quoted(server.name) + " has the branch " + quoted(hub.name) + " as its upstream";
  if (hub.link.port == 0) {
    mistakes_.add(lines.upstream, what + ", which has no `link` where others could connect; give " +
                                      quoted(hub.name) + " one, or name the master");
  }
  // What passes through a server is in its memory: it is to be of no other territory than it holds.
  for (const auto& t : server.territories) {
    if (std::find(hub.territories.begin(), hub.territories.end(), t) != hub.territories.end())
      continue;
    mistakes_.add(lines.upstream, what + ", which does not hold its territory " + quoted(t) +
                                      "; add it to the `territories` of " + quoted(hub.name) +
                                      ", or name another upstream");
  }
}

void TopologyParser::check_addresses() {
  struct Use {
    int line;
    size_t order;  // in the file, within a line
    const Endpoint* at;
    std::string what;
  };
  std::vector<Use> uses;
  for (size_t i = 0; i < topology_.servers.size(); ++i) {
    const ServerSpec& s = topology_.servers[i];
    const Lines& lines = server_lines_[i];
    auto use = [&](const char* key, const Endpoint& at, int line) {
      if (at.port != 0)
        uses.push_back(
            {line, uses.size(), &at, "`" + std::string(key) + "` of server " + quoted(s.name)});
    };
    use("link", s.link, lines.link);
    use("http", s.http, lines.http);
    use("admin", s.admin, lines.admin);
  }
  std::sort(uses.begin(), uses.end(), [](const Use& a, const Use& b) {
    return std::tie(a.line, a.order) < std::tie(b.line, b.order);
  });
  std::map<std::string, const Use*> taken;
  for (const Use& use : uses) {
    auto [first, fresh] = taken.emplace(use.at->to_string(), &use);
    if (fresh) continue;
    mistakes_.add(use.line, use.what + " is " + first->first + ", which is taken by " +
                                first->second->what + " (line " +
                                std::to_string(first->second->line) +
                                "); give it a port of its own");
  }
  for (size_t i = 0; i < topology_.servers.size(); ++i) {
    const ServerSpec& s = topology_.servers[i];
    if (!s.dial) continue;
    auto used = taken.find(s.dial->to_string());
    bool leads_up = used == taken.end() || used->second->what.starts_with("`link`");
    if (leads_up) continue;
    mistakes_.add(server_lines_[i].dial,
                  "`dial` of server " + quoted(s.name) + " is " + used->first + ", the " +
                      used->second->what + " (line " + std::to_string(used->second->line) +
                      "); dial the tunnel or emulator that leads to the upstream's `link`");
  }
}

}  // namespace branchline
