#include "common/config/topology_parser.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "common/base/limits.h"
#include "common/config/cycles.h"

namespace branchline {
namespace {

constexpr size_t kMaxName = 63;
constexpr size_t kMaxPlace = 200;
constexpr uint32_t kMaxClients = 1'000'000;
constexpr double kMaxPrice = 1e6;

bool is_name(std::string_view name) {
  if (name.empty() || name.size() > kMaxName || name[0] < 'a' || name[0] > 'z') return false;
  return std::all_of(name.begin(), name.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-';
  });
}

template <typename T>
std::optional<T> parse_all(std::string_view text) {
  T value{};
  auto [after, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || after != text.data() + text.size()) return std::nullopt;
  return value;
}

std::optional<uint32_t> parse_version(std::string_view text) {
  auto version = parse_all<uint32_t>(text);
  return version == 1u ? version : std::nullopt;
}

std::optional<uint32_t> parse_clients(std::string_view text) {
  auto clients = parse_all<uint32_t>(text);
  return clients && *clients <= kMaxClients ? clients : std::nullopt;
}

std::optional<double> parse_price(std::string_view text) {
  auto price = parse_all<double>(text);
  return price && std::isfinite(*price) && *price >= 0 && *price <= kMaxPrice ? price
                                                                              : std::nullopt;
}

std::optional<std::string> parse_place(std::string_view text) {
  bool plain = std::none_of(text.begin(), text.end(), [](char c) {
    return static_cast<unsigned char>(c) < 0x20 || c == 0x7f;
  });
  if (!plain || text.size() > kMaxPlace) return std::nullopt;
  return std::string(text);
}

std::optional<int64_t> parse_rtt(std::string_view text) {
  constexpr int64_t kMinute = 60'000'000;
  auto rtt = parse_duration_us(text);
  return rtt && *rtt <= kMinute ? rtt : std::nullopt;
}

std::optional<uint64_t> parse_quota(std::string_view text) {
  auto bytes = parse_size_bytes(text);
  if (!bytes || *bytes < (1ull << 20) || *bytes > (1ull << 40)) return std::nullopt;
  return bytes;
}

std::optional<int64_t> parse_period(std::string_view text) {
  constexpr int64_t kTenYears = 3650ll * 86'400'000'000;
  auto us = parse_duration_us(text);
  return us && *us > 0 && *us <= kTenYears ? us : std::nullopt;
}

std::optional<uint64_t> parse_rate(std::string_view text) {
  auto rate = parse_rate_bits(text);
  return rate && *rate > 0 ? rate : std::nullopt;
}

std::optional<uint64_t> parse_day_bytes(std::string_view text) {
  auto bytes = parse_size_bytes(text);
  return bytes && *bytes > 0 ? bytes : std::nullopt;
}

}  // namespace

Result<Topology> TopologyParser::parse(std::string_view text) {
  auto root = read_yaml(text, mistakes_);
  if (root) read(*root);
  if (mistakes_.none()) return std::move(topology_);
  return fail(ErrorKind::invalid, "topology.invalid", mistakes_.text());
}

void TopologyParser::read(const YamlNode& node) {
  Fields root(node, "the topology",
              {"version", "name", "sites", "territories", "links", "servers", "policies"},
              mistakes_);
  if (!root.is_map()) return;
  root.parsed("version", "1", "a version that this program reads (1)", parse_version);
  if (auto name = root.text("name", "demo")) {
    Names alone;
    check_name(root.line("name"), *name, "topology", alone);
    topology_.name = *name;
  }
  each(root, "sites", "[{name: chicago}]", Need::required,
       [&](const YamlNode& n) { read_site(n); });
  std::vector<int> parent_lines;
  each(root, "territories", "[central]", Need::required,
       [&](const YamlNode& n) { read_territory(n, parent_lines); });
  check_territory_tree(parent_lines);
  Names pairs;
  each(root, "links", "[{from: a, to: b, rtt: 80ms, rate: 20Mbit}]", Need::optional,
       [&](const YamlNode& n) { read_link(n, pairs); });
  each(root, "servers", "[{name: master, kind: master, ...}]", Need::required,
       [&](const YamlNode& n) { read_server(n); });
  if (root.has("servers")) check_masters(root.line("servers"));
  check_upstreams();
  check_addresses();
  if (const YamlNode* policies = root.map("policies", "{max_offline: 30d}", Need::optional)) {
    read_policies(*policies);
  }
  if (!mistakes_.none()) return;
  if (size_t size = topology_.canonical().size(); size > limits::kMaxTopologyText) {
    mistakes_.add(root.line("servers"), "servers and territories come to " + std::to_string(size) +
                                            " characters in their committed form, at most " +
                                            std::to_string(limits::kMaxTopologyText) +
                                            " fit; use fewer or shorter names of territories");
  }
}

void TopologyParser::each(Fields& root, const std::string& key, std::string_view example, Need need,
                          const std::function<void(const YamlNode&)>& read_entry) {
  const YamlNode* list = root.list(key, example, need);
  if (!list) return;
  if (list->items.empty() && need == Need::required) {
    mistakes_.add(list->line, "`" + key + "` is an empty list; write e.g. `" + key + ": " +
                                  std::string(example) + "`");
  }
  for (size_t i = 0; i < list->items.size(); ++i) {
    const YamlNode& entry = list->items[i];
    if (i == limits::kMaxTopologyEntries) {
      mistakes_.add(entry.line, "`" + key + "` has " + std::to_string(list->items.size()) +
                                    " entries, at most " + std::to_string(i) +
                                    " are read; split the company into topologies of its regions");
      return;
    }
    read_entry(entry);
  }
}

std::string TopologyParser::title(const std::string& kind, const YamlNode& node) {
  for (size_t i = 0; i < node.keys.size(); ++i) {
    if (node.keys[i].text != "name" || node.items[i].kind != YamlNode::Kind::scalar) continue;
    return kind + " " + quoted(node.items[i].text);
  }
  return "a " + kind;
}

void TopologyParser::check_name(int line, const std::string& name, const std::string& kind,
                                Names& names) {
  if (!is_name(name)) {
    mistakes_.add(line, quoted(name) + " is no name for a " + kind +
                            "; begin with a small letter a-z and go on with up to " +
                            std::to_string(kMaxName - 1) + " of a-z, 0-9 and `-`");
  }
  auto [first, fresh] = names.emplace(name, line);
  if (!fresh) {
    mistakes_.add(line, kind + " " + quoted(name) + " stands twice (first in line " +
                            std::to_string(first->second) +
                            "); remove one or give it another name");
  }
}

std::string TopologyParser::read_name(Fields& fields, const std::string& kind, Names& names) {
  auto name = fields.text("name", "my-" + kind);
  if (!name) return "";
  check_name(fields.line("name"), *name, kind, names);
  return *name;
}

void TopologyParser::unknown(int line, const std::string& what, const std::string& name,
                             const Names& names, const std::string& list) {
  // That there are none to choose from was told already.
  if (names.empty()) return;
  std::string near;
  if (!mistakes_.full()) {
    std::vector<std::string_view> candidates;
    for (const auto& [known, at] : names) candidates.push_back(known);
    near = nearest(name, candidates);
  }
  mistakes_.add(line,
                what + " is not known; " +
                    (near.empty() ? "add it to `" + list + "` or name one that stands there"
                                  : "did you mean `" + near + "`? Else add it to `" + list + "`"));
}

std::string TopologyParser::read_reference(Fields& fields, const std::string& key,
                                           const std::string& kind, const Names& names,
                                           const std::string& list) {
  auto name = fields.text(key, names.empty() ? "my-" + kind : names.begin()->first);
  if (!name) return "";
  if (!names.count(*name)) {
    unknown(fields.line(key),
            kind + " " + quoted(*name) + " (`" + key + "` of " + fields.what() + ")", *name, names,
            list);
  }
  return *name;
}

void TopologyParser::read_site(const YamlNode& node) {
  Fields fields(node, title("site", node), {"name", "place", "clients"}, mistakes_);
  SiteSpec site;
  site.name = read_name(fields, "site", sites_);
  site.place = fields
                   .parsed("place", "\"Chicago\"",
                           "one line of at most " + std::to_string(kMaxPlace) + " bytes",
                           parse_place, Need::optional)
                   .value_or("");
  site.clients =
      fields
          .parsed("clients", "40", "a whole number from 0 to " + std::to_string(kMaxClients),
                  parse_clients, Need::optional)
          .value_or(0);
  topology_.sites.push_back(std::move(site));
}

void TopologyParser::read_territory(const YamlNode& node, std::vector<int>& parent_lines) {
  TerritorySpec territory;
  int parent_line = 0;
  if (node.kind == YamlNode::Kind::scalar) {
    territory.name = node.text;
    check_name(node.line, node.text, "territory", territories_);
  } else if (node.kind == YamlNode::Kind::map) {
    Fields fields(node, title("territory", node), {"name", "parent"}, mistakes_);
    territory.name = read_name(fields, "territory", territories_);
    territory.parent = fields.text("parent", "east", Need::optional).value_or("");
    parent_line = fields.line("parent");
  } else if (node.kind != YamlNode::Kind::refused) {
    mistakes_.add(
        node.line,
        "a territory is a name or a map; write `- central` or `- {name: northeast, parent: east}`");
  }
  if (territory.name == kAll) {
    mistakes_.add(node.line,
                  "`all` means every territory and cannot name one; choose another name");
  }
  topology_.territories.push_back(std::move(territory));
  parent_lines.push_back(parent_line);
}

void TopologyParser::check_territory_tree(const std::vector<int>& parent_lines) {
  const auto& list = topology_.territories;
  std::map<std::string_view, int> place;
  for (size_t i = 0; i < list.size(); ++i) place.emplace(list[i].name, static_cast<int>(i));
  std::vector<int> next(list.size(), -1);
  for (size_t i = 0; i < list.size(); ++i) {
    if (list[i].parent.empty()) continue;
    auto parent = place.find(list[i].parent);
    if (parent != place.end()) {
      next[i] = parent->second;
    } else {
      unknown(parent_lines[i],
              "parent " + quoted(list[i].parent) + " of territory " + quoted(list[i].name),
              list[i].parent, territories_, "territories");
    }
  }
  for (const auto& cycle : find_cycles(next)) {
    auto name = [&](int i) { return list[static_cast<size_t>(i)].name; };
    mistakes_.add(parent_lines[static_cast<size_t>(cycle[0])],
                  "the parents of territories go in a circle, " + describe_cycle(cycle, name) +
                      "; remove one `parent`");
  }
}

void TopologyParser::read_link(const YamlNode& node, Names& pairs) {
  Fields fields(node, "a link", {"from", "to", "rtt", "rate", "price", "daily", "bulk_hours"},
                mistakes_);
  LinkSpec link;
  link.from = read_reference(fields, "from", "site", sites_, "sites");
  link.to = read_reference(fields, "to", "site", sites_, "sites");
  link.rtt_us =
      fields.parsed("rtt", "80ms", "a duration of at most 1min (units us, ms, s, min)", parse_rtt)
          .value_or(0);
  link.rate_bits =
      fields.parsed("rate", "20Mbit", "a rate (units bit, kbit, Mbit, Gbit)", parse_rate)
          .value_or(0);
  link.price_per_gb =
      fields
          .parsed("price", "0.09", "a price per GB, from 0 to 1000000", parse_price, Need::optional)
          .value_or(0);
  link.bytes_per_day =
      fields
          .parsed("daily", "2GB", "a size of more than 0 (units B, KB, MB, GB, KiB, MiB, GiB)",
                  parse_day_bytes, Need::optional)
          .value_or(0);
  link.bulk_hours =
      fields.parsed("bulk_hours", "\"19:00-07:00 Europe/Berlin\"",
                    "two different times of day and, unless they are UTC, an IANA time zone",
                    DailyHours::parse, Need::optional);
  if (!link.from.empty() && link.from == link.to) {
    mistakes_.add(fields.line("to"),
                  "a link leads from site " + quoted(link.from) +
                      " to itself; name two sites, the LAN of one needs no link");
  } else if (!link.from.empty() && !link.to.empty()) {
    auto [first, fresh] = pairs.emplace(
        std::min(link.from, link.to) + "\n" + std::max(link.from, link.to), fields.line("from"));
    if (!fresh) {
      mistakes_.add(fields.line("from"), "the link between " + quoted(link.from) + " and " +
                                             quoted(link.to) + " stands twice (first in line " +
                                             std::to_string(first->second) +
                                             "); one serves both directions, remove the other");
    }
  }
  topology_.links.push_back(std::move(link));
}

void TopologyParser::read_policies(const YamlNode& node) {
  Fields fields(node, "the policies", {"max_offline", "restore_window", "outbox_quota"}, mistakes_);
  TopologyPolicies& p = topology_.policies;
  std::string type = "a duration of more than 0 and at most 3650d (units us, ms, s, min, h, d)";
  p.max_offline_us = fields.parsed("max_offline", "30d", type, parse_period, Need::optional)
                         .value_or(p.max_offline_us);
  p.restore_window_us = fields.parsed("restore_window", "35d", type, parse_period, Need::optional)
                            .value_or(p.restore_window_us);
  p.outbox_quota_bytes =
      fields
          .parsed("outbox_quota", "4GiB", "a size from 1MiB to 1TiB (units B, KiB, MiB, GiB, TiB)",
                  parse_quota, Need::optional)
          .value_or(p.outbox_quota_bytes);
  // Operation keys are kept for the restore window (SEMANTICS 21): a branch that comes back within
  // `max_offline` may still bring the second use of one.
  if (p.restore_window_us < p.max_offline_us) {
    mistakes_.add(fields.line(fields.has("restore_window") ? "restore_window" : "max_offline"),
                  "`restore_window` (35d unless given) is shorter than `max_offline` (30d unless "
                  "given); make it at "
                  "least as long, or a branch that was away could have a request done twice");
  }
}

Result<Topology> parse_topology(const std::string& text, const std::string& origin) {
  return TopologyParser(origin).parse(text);
}

}  // namespace branchline
