#include "master/ingest/directory.h"

#include <algorithm>
#include <sstream>

namespace branchline {
namespace {

std::string text(const Entity& entity, const Record& record, std::string_view field) {
  return std::string(record.value(entity.field(field)->id).payload);
}
int64_t number(const Entity& entity, const Record& record, std::string_view field) {
  Value v = record.value(entity.field(field)->id);
  return v.is_null() ? 0 : decode_integer(v.payload);
}

}  // namespace

void Directory::take(const Schema& schema, const Record& record) {
  if (!record.live()) return;
  const Entity& entity = *schema.entity(record.key().entity);
  if (entity.id == entity_id::kTerritory) {
    territories_[text(entity, record, "name")] =
        TerritoryId(static_cast<uint32_t>(number(entity, record, "territorynumber")));
    Value parent = record.value(entity.field("parentterritoryid")->id);
    tree_[record.key().id] = {territories_[text(entity, record, "name")],
                              parent.is_null() ? RecordId{} : decode_lookup(parent.payload).id};
  } else if (entity.id == entity_id::kServer) {
    ServerEntry s;
    s.origin = OriginId(static_cast<uint16_t>(number(entity, record, "servernumber")));
    s.name = text(entity, record, "name");
    s.master = number(entity, record, "kind") == 1;
    s.removed = number(entity, record, "kind") == kRemovedServer;
    s.upstream = text(entity, record, "upstreamname");
    territory_names_[s.origin] = text(entity, record, "territorynames");
    servers_[s.origin] = std::move(s);
  } else if (entity.id == entity_id::kTopology) {
    topology_digest_ = text(entity, record, "digest");
    feature_level_ = level_in(schema, record);
    policies_ = policies_of(text(entity, record, "canonical"));
  }
}

void Directory::resolve() {
  for (auto& [origin, server] : servers_) {
    server.territories.clear();
    std::istringstream names(territory_names_[origin]);
    for (std::string name; names >> name;) {
      if (auto t = territory(name)) server.territories.insert(*t);
    }
  }
}

const ServerEntry* Directory::server(std::string_view name) const {
  for (const auto& [origin, s] : servers_) {
    if (s.name == name) return &s;
  }
  return nullptr;
}

const ServerEntry* Directory::server(OriginId origin) const {
  auto at = servers_.find(origin);
  return at == servers_.end() ? nullptr : &at->second;
}

std::optional<TerritoryId> Directory::territory(std::string_view name) const {
  auto at = territories_.find(name);
  if (at == territories_.end()) return std::nullopt;
  return at->second;
}

std::set<TerritoryId> Directory::with_below(TerritoryId t) const {
  std::set<TerritoryId> out{t};
  for (const auto& [id, node] : tree_) {
    // Committed trees have no circles (`topology check`); a damaged one is walked no longer.
    auto at = tree_.find(id);
    for (size_t steps = 0; at != tree_.end() && steps <= tree_.size(); ++steps) {
      if (at->second.number == t) {
        out.insert(node.number);
        break;
      }
      at = tree_.find(at->second.parent);
    }
  }
  return out;
}

RecordId Directory::parent_of(std::string_view territory_name) const {
  auto number = territory(territory_name);
  for (const auto& [id, node] : tree_) {
    if (number && node.number == *number) return node.parent;
  }
  return {};
}

bool Directory::knows(const std::vector<TerritoryId>& territories) const {
  return std::all_of(territories.begin(), territories.end(), [&](TerritoryId t) {
    return t == kReferenceTerritory ||
           std::any_of(territories_.begin(), territories_.end(),
                       [&](const auto& known) { return known.second == t; });
  });
}

Result<void> check_path(const Directory& directory, const std::vector<std::string>& path) {
  for (size_t i = 0; i + 1 < path.size(); ++i) {
    const ServerEntry* server = directory.server(path[i]);
    if (!server) {
      return fail(ErrorKind::denied, "session.unknown",
                  "there is no branch named " + path[i] + " in the topology this master committed");
    }
    if (server->upstream == path[i + 1]) continue;
    return fail(ErrorKind::denied, "session.other_hub",
                "the upstream of " + path[i] + " is " + server->upstream +
                    " in the topology this master committed, and it comes by " + path[i + 1] +
                    ": start it with the committed file, or commit this one: branchline topology "
                    "apply FILE");
  }
  return {};
}

}  // namespace branchline
