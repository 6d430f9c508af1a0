#include "common/config/topology.h"

#include <algorithm>
#include <charconv>
#include <map>
#include <set>

#include "common/base/bytes.h"
#include "common/base/check.h"
#include "common/base/hash.h"

namespace branchline {

std::string Endpoint::to_string() const {
  bool v6 = host.find(':') != std::string::npos;
  return (v6 ? "[" + host + "]" : host) + ":" + std::to_string(port);
}

const ServerSpec* Topology::server(std::string_view server_name) const {
  for (const auto& s : servers) {
    if (s.name == server_name) return &s;
  }
  return nullptr;
}

const ServerSpec& Topology::master() const {
  for (const auto& s : servers) {
    if (s.kind == ServerKind::master) return s;
  }
  check_failed("a topology has a master", __FILE__, __LINE__);
}

const LinkSpec* Topology::line_of(const ServerSpec& branch) const {
  const ServerSpec* upstream = server(branch.upstream);
  if (!upstream) return nullptr;
  for (const auto& l : links) {
    bool there = l.from == branch.site && l.to == upstream->site;
    bool back = l.to == branch.site && l.from == upstream->site;
    if (there || back) return &l;
  }
  return nullptr;
}

std::vector<std::string> with_below(const std::vector<TerritorySpec>& tree,
                                    const std::vector<std::string>& names) {
  std::map<std::string_view, const TerritorySpec*> by_name;
  for (const auto& t : tree) by_name.emplace(t.name, &t);
  std::set<std::string_view> wanted(names.begin(), names.end());
  std::vector<std::string> out;
  for (const auto& t : tree) {
    const TerritorySpec* at = &t;
    // A file with a circle is refused, but not before this is asked.
    for (size_t steps = 0; at && steps <= tree.size(); ++steps) {
      if (wanted.count(at->name)) {
        out.push_back(t.name);
        break;
      }
      auto up = by_name.find(at->parent);
      at = up == by_name.end() ? nullptr : up->second;
    }
  }
  return out;
}

std::string Topology::canonical() const {
  // Sorted lists: the order in which an operator wrote them down means nothing.
  auto lines = [](std::vector<std::string> list) {
    std::sort(list.begin(), list.end());
    std::string out;
    for (const auto& l : list) out += l + "\n";
    return out;
  };
  std::vector<std::string> t, s;
  for (const auto& x : territories) t.push_back("territory " + x.name + " in " + x.parent);
  for (const auto& x : servers) {
    std::vector<std::string> held = x.territories;
    std::sort(held.begin(), held.end());
    std::string line = "server " + x.name + (x.kind == ServerKind::master ? " master" : " branch") +
                       " site " + x.site + " upstream " + x.upstream + " link " +
                       x.link.to_string() + " http " + x.http.to_string() + " admin " +
                       x.admin.to_string() + " dial " + (x.dial ? x.dial->to_string() : "") +
                       " holds";
    for (const auto& h : held) line += " " + h;
    s.push_back(line);
  }
  return "topology " + name + "\n" + lines(t) + lines(s) + "max_offline " +
         std::to_string(policies.max_offline_us) + "\nrestore_window " +
         std::to_string(policies.restore_window_us) + "\n" +
         // Left out where it is as by default: texts of before this policy keep their digest.
         (policies.outbox_quota_bytes == TopologyPolicies{}.outbox_quota_bytes
              ? ""
              : "outbox_quota " + std::to_string(policies.outbox_quota_bytes) + "\n");
}

TopologyPolicies policies_of(std::string_view canonical) {
  TopologyPolicies out;
  while (!canonical.empty()) {
    size_t end = std::min(canonical.find('\n'), canonical.size());
    std::string_view line = canonical.substr(0, end);
    canonical.remove_prefix(std::min(end + 1, canonical.size()));
    size_t space = line.find(' ');
    if (space == std::string_view::npos) continue;
    std::string_view name = line.substr(0, space), text = line.substr(space + 1);
    uint64_t value = 0;
    auto [stop, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc() || stop != text.data() + text.size()) continue;
    if (name == "max_offline") out.max_offline_us = static_cast<int64_t>(value);
    if (name == "restore_window") out.restore_window_us = static_cast<int64_t>(value);
    if (name == "outbox_quota") out.outbox_quota_bytes = value;
  }
  return out;
}

std::string Topology::digest() const { return hex(sha256(canonical()).view()); }

}  // namespace branchline
