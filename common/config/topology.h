// The topology file, read and checked.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/error.h"
#include "common/time/daily_hours.h"

namespace branchline {

struct Endpoint {
  std::string host;  // a name or an address, without brackets
  uint16_t port = 0;
  std::string to_string() const;
  bool operator==(const Endpoint&) const = default;
};
// "host:port", "[v6]:port"; nothing otherwise.
std::optional<Endpoint> parse_endpoint(std::string_view text);

// "80ms", "2s", "30d" -> microseconds; "20Mbit", "256kbit" -> bits per second; "256KiB", "2GB" ->
// bytes.
std::optional<int64_t> parse_duration_us(std::string_view text);
std::optional<uint64_t> parse_rate_bits(std::string_view text);
std::optional<uint64_t> parse_size_bytes(std::string_view text);

struct SiteSpec {
  std::string name;
  std::string place;  // for people
  uint32_t clients = 0;
};

struct TerritorySpec {
  std::string name;
  std::string parent;  // empty: a root of the tree
};
// `names` and all that lies below them in the tree, in the tree's order: who holds a territory, or
// works there, does so in those below it.
std::vector<std::string> with_below(const std::vector<TerritorySpec>& tree,
                                    const std::vector<std::string>& names);

// A line between two sites. Servers run without; what it says of rate, bytes and hours they keep
// to.
struct LinkSpec {
  std::string from, to;  // sites
  int64_t rtt_us = 0;
  uint64_t rate_bits = 0;
  double price_per_gb = 0;
  uint64_t bytes_per_day = 0;            // each way; 0: no limit
  std::optional<DailyHours> bulk_hours;  // when imports may use it; none: always
};

enum class ServerKind { master, branch };

struct ServerSpec {
  std::string name;  // [a-z][a-z0-9-]{0,62}: also the name in its certificate
  ServerKind kind = ServerKind::branch;
  std::string site;
  std::string upstream;  // a branch's; empty at the master
  std::vector<std::string>
      territories;  // a branch's subscription; `all`, and what lies below, is expanded here
  Endpoint link;    // where branches connect: the master's, and that of a branch which is a hub
  Endpoint http;    // branch: where the office's clients connect
  Endpoint admin;   // operators
  // Branch: where to dial instead of the upstream's `link` (a tunnel, a link emulator).
  std::optional<Endpoint> dial;
};

struct TopologyPolicies {
  int64_t max_offline_us = 30ll * 86400 * 1'000'000;
  int64_t restore_window_us = 35ll * 86400 * 1'000'000;
  // What a branch may hold of changes that the master has not taken; beyond it writes are refused.
  uint64_t outbox_quota_bytes = 4ull << 30;

  bool operator==(const TopologyPolicies&) const = default;
};

struct Topology {
  std::string name;
  std::vector<SiteSpec> sites;
  std::vector<TerritorySpec> territories;
  std::vector<LinkSpec> links;
  std::vector<ServerSpec> servers;
  TopologyPolicies policies;

  const ServerSpec* server(std::string_view server_name) const;
  const ServerSpec& master() const;
  // The line that a branch's link to its upstream takes; null where none is described or both stand
  // at one site.
  const LinkSpec* line_of(const ServerSpec& branch) const;
  // Everything that two servers must agree on, in a fixed form: equal texts, equal topologies.
  // Comments, order of keys and layout of the file do not count.
  std::string canonical() const;
  // SHA-256 of canonical(), hex.
  std::string digest() const;
};

// The policies in a canonical text; what it does not name is as by default.
TopologyPolicies policies_of(std::string_view canonical);

// All mistakes at once, one per line, each "origin:line: what; mend".
Result<Topology> parse_topology(const std::string& text, const std::string& origin);
Result<Topology> load_topology(const std::string& path);

}  // namespace branchline
