#include "master/ingest/topology_commit.h"

#include <algorithm>
#include <functional>

#include "common/base/hash.h"
#include "common/base/limits.h"

namespace branchline {
namespace {

// Ids of these records derive from their names: every master of this topology makes the same.
RecordId id_of(std::string_view kind, std::string_view name) {
  return keyed_record_id({}, std::string(kind) + ":" + std::string(name), 0);
}

// The numbers of names that a line's first topology had count up. One that is added later has a
// number that follows from the name: a master that was restored to before gives it the same again,
// in whatever order names come back; branches know servers and territories by their numbers
// (docs/decisions/0033). Only where two names meet on one number, which `taken` tells, the order
// decides.
struct NumberRange {
  uint32_t first, count;
};
constexpr NumberRange kLaterTerritories{0x4000'0000, 0x4000'0000};
constexpr NumberRange kLaterServers{0x4000, 0x8000};

uint32_t number_of(const RecordId& id, NumberRange range,
                   const std::function<bool(uint32_t)>& taken) {
  Reader digest(sha256(id.view()).view());
  uint32_t at = digest.fixed32() % range.count;
  while (taken(range.first + at)) at = (at + 1) % range.count;
  return range.first + at;
}

class Builder {
 public:
  Builder(const Schema& schema, TopologyPlan& plan) : schema_(schema), plan_(plan) {}

  RecordOp& op(RecordOpKind kind, EntityId entity, std::string_view kind_name,
               std::string_view name) {
    RecordOp& op = plan_.ops.emplace_back();
    op.kind = kind;
    op.record = {entity, id_of(kind_name, name)};
    return op;
  }
  void text(RecordOp& op, std::string_view field, std::string_view value) {
    set(op, field, ValueType::text, plan_.arena.copy(value));
  }
  void number(RecordOp& op, std::string_view field, int64_t value) {
    set(op, field, schema_.entity(op.record.entity)->field(field)->type,
        plan_.arena.copy(encode_integer(value)));
  }
  void lookup(RecordOp& op, std::string_view field, EntityId entity, const RecordId& id) {
    set(op, field, ValueType::lookup, plan_.arena.copy(encode_lookup({entity, id})));
  }

  void null(RecordOp& op, std::string_view field) { set(op, field, ValueType::null, {}); }

 private:
  void set(RecordOp& op, std::string_view field, ValueType type, std::string_view payload) {
    op.cells.push_back(
        {schema_.entity(op.record.entity)->field(field)->id, CellOpKind::set, {type, payload}, {}});
  }
  const Schema& schema_;
  TopologyPlan& plan_;
};

std::unexpected<Error> refuse(const std::string& what) {
  return fail(ErrorKind::conflict, "topology.change", what);
}

std::string joined(const std::vector<std::string>& names) {
  std::string out;
  for (const auto& n : names) out += (out.empty() ? "" : " ") + n;
  return out;
}

// What comes below a territory with this topology and was not below it before.
std::set<TerritoryId> newly_below(TerritoryId t, const Directory& directory,
                                  const Topology& topology,
                                  const std::map<std::string, TerritoryId>& numbers) {
  std::set<TerritoryId> out;
  for (const auto& [name, number] : numbers) {
    if (number != t) continue;
    for (const auto& below : with_below(topology.territories, {name}))
      out.insert(numbers.at(below));
  }
  for (TerritoryId known : directory.with_below(t)) out.erase(known);
  return out;
}

Result<void> extend_tokens(TopologyPlan& plan, const std::vector<TokenPlace>& tokens,
                           const Directory& directory, const Topology& topology,
                           const std::map<std::string, TerritoryId>& numbers) {
  std::map<TerritoryId, std::set<TerritoryId>> gains;
  for (const auto& [name, number] : numbers) {
    auto below = newly_below(number, directory, topology, numbers);
    if (!below.empty()) gains[number] = std::move(below);
  }
  if (gains.empty()) return {};
  for (const auto& token : tokens) {
    std::set<TerritoryId> good(token.also_in.begin(), token.also_in.end());
    good.insert(token.home);
    std::set<TerritoryId> wanted = good;
    for (TerritoryId t : good) {
      if (auto at = gains.find(t); at != gains.end())
        wanted.insert(at->second.begin(), at->second.end());
    }
    if (wanted == good) continue;
    RecordOp& op = plan.ops.emplace_back();
    op.kind = RecordOpKind::move;
    op.record = {entity_id::kApiToken, token.token};
    op.territory = token.home;
    wanted.erase(token.home);
    op.also_in.assign(wanted.begin(), wanted.end());
  }
  if (plan.ops.size() < limits::kMaxOperationsPerMutation) return {};
  return fail(ErrorKind::conflict, "topology.tokens",
              std::to_string(plan.ops.size()) +
                  " tokens and servers are concerned by what changes in the tree of territories, "
                  "more than one commit may change; add the territories without `parent` and give "
                  "those who work there tokens of their own");
}

}  // namespace

Result<std::vector<TokenPlace>> token_places(const StoreView& store) {
  std::vector<TokenPlace> out;
  RecordKey first{entity_id::kApiToken, RecordId{}};
  std::string prefix = keys::record(0, first);
  prefix.resize(prefix.size() - first.id.view().size());
  auto cursor = scan_prefix(store, Table::records, prefix);
  for (; cursor->valid(); cursor->next()) {
    auto key = keys::parse_record(cursor->key());
    if (!key) return fail(ErrorKind::corrupt, "record.key", "a record's key is damaged");
    BL_ASSIGN(auto record, Record::decode(*key, std::string(cursor->value())));
    if (record.live()) out.push_back({key->id, record.territory(), record.also_in()});
  }
  if (auto e = cursor->error()) return std::unexpected(*e);
  return out;
}

Result<TopologyPlan> plan_topology(const Schema& schema, const Directory& directory,
                                   const Topology& topology,
                                   const std::vector<TokenPlace>& tokens) {
  TopologyPlan plan;
  if (directory.topology_digest() == topology.digest()) return plan;
  Builder b(schema, plan);
  std::map<std::string, TerritoryId> numbers(directory.territories().begin(),
                                             directory.territories().end());
  for (const auto& [name, number] : directory.territories()) {
    bool kept = std::any_of(topology.territories.begin(), topology.territories.end(),
                            [&](const auto& t) { return t.name == name; });
    if (!kept) {
      return refuse("territory " + name +
                    " is gone from the topology file, but there may be records in it; put it back "
                    "(no branch need subscribe to it)");
    }
  }
  const bool first = directory.topology_digest().empty();
  auto next_territory = [&](const std::string& name) {
    if (first)
      return TerritoryId(kReferenceTerritory.value + 1 + static_cast<uint32_t>(numbers.size()));
    return TerritoryId(number_of(id_of("territory", name), kLaterTerritories, [&](uint32_t n) {
      return std::any_of(numbers.begin(), numbers.end(),
                         [n](const auto& known) { return known.second.value == n; });
    }));
  };
  for (const auto& t : topology.territories) {
    RecordId parent = t.parent.empty() ? RecordId{} : id_of("territory", t.parent);
    if (numbers.count(t.name)) {
      if (directory.parent_of(t.name) == parent) continue;
      RecordOp& op = b.op(RecordOpKind::update, entity_id::kTerritory, "territory", t.name);
      if (t.parent.empty()) {
        b.null(op, "parentterritoryid");
      } else {
        b.lookup(op, "parentterritoryid", entity_id::kTerritory, parent);
      }
      continue;
    }
    TerritoryId number = next_territory(t.name);
    numbers[t.name] = number;
    RecordOp& op = b.op(RecordOpKind::create, entity_id::kTerritory, "territory", t.name);
    b.text(op, "name", t.name);
    b.number(op, "territorynumber", number.value);
    if (!t.parent.empty()) b.lookup(op, "parentterritoryid", entity_id::kTerritory, parent);
    plan.territories_added.push_back(t.name);
  }
  for (const auto& [origin, known] : directory.servers()) {
    const ServerSpec* spec = topology.server(known.name);
    if (!spec) {
      if (known.master)
        return refuse("the master " + known.name + " is gone from the topology file");
      if (known.removed) continue;
      RecordOp& op = b.op(RecordOpKind::update, entity_id::kServer, "server", known.name);
      b.number(op, "kind", kRemovedServer);
      b.text(op, "territorynames", "");
      plan.servers_removed.push_back(known.name);
      continue;
    }
    if ((spec->kind == ServerKind::master) != known.master) {
      return refuse(known.name +
                    " is a master in one of the two and a branch in the other; a server "
                    "keeps its kind, give the new one another name");
    }
    std::set<TerritoryId> held;
    for (const auto& name : spec->territories) held.insert(numbers[name]);
    bool moved = spec->upstream != known.upstream;
    if (held == known.territories && !moved && !known.removed) continue;
    RecordOp& op = b.op(RecordOpKind::update, entity_id::kServer, "server", known.name);
    if (held != known.territories || known.removed)
      b.text(op, "territorynames", joined(spec->territories));
    if (moved || known.removed) b.text(op, "upstreamname", spec->upstream);
    if (known.removed) {
      b.number(op, "kind", 2);
      plan.servers_added.push_back(known.name);
      continue;
    }
    if (held != known.territories) plan.subscriptions_changed.push_back(known.name);
    if (moved) plan.upstreams_changed.push_back(known.name);
  }
  std::set<OriginId> origins;
  for (const auto& [origin, known] : directory.servers()) origins.insert(origin);
  // The master is number 1: it writes before it has committed who anybody is.
  std::vector<const ServerSpec*> servers;
  for (const auto& s : topology.servers) {
    servers.insert(s.kind == ServerKind::master ? servers.begin() : servers.end(), &s);
  }
  for (const ServerSpec* s : servers) {
    if (directory.server(s->name)) continue;
    uint32_t number = first ? static_cast<uint32_t>(origins.size() + 1)
                            : number_of(id_of("server", s->name), kLaterServers, [&](uint32_t n) {
                                return origins.count(OriginId(static_cast<uint16_t>(n))) > 0;
                              });
    origins.insert(OriginId(static_cast<uint16_t>(number)));
    RecordOp& op = b.op(RecordOpKind::create, entity_id::kServer, "server", s->name);
    b.text(op, "name", s->name);
    b.number(op, "servernumber", number);
    b.number(op, "kind", s->kind == ServerKind::master ? 1 : 2);
    b.text(op, "sitename", s->site);
    b.text(op, "upstreamname", s->upstream);
    b.text(op, "territorynames", joined(s->territories));
    plan.servers_added.push_back(s->name);
  }
  bool later = !plan.subscriptions_changed.empty() || !plan.servers_removed.empty();
  if (!first && later && directory.feature_level() < kSubscriptionLevel) {
    const auto& names =
        plan.subscriptions_changed.empty() ? plan.servers_removed : plan.subscriptions_changed;
    return fail(ErrorKind::conflict, "topology.not_activated",
                "the subscription of " + joined(names) +
                    " changes, which branches can take from feature level " +
                    std::to_string(kSubscriptionLevel) + " on; the main line is at " +
                    std::to_string(directory.feature_level()) +
                    ". Upgrade all servers, then: branchline feature-level raise");
  }
  BL_TRY(extend_tokens(plan, tokens, directory, topology, numbers));
  RecordOp& op = b.op(first ? RecordOpKind::create : RecordOpKind::update, entity_id::kTopology,
                      "topology", "topology");
  b.text(op, "name", topology.name);
  b.text(op, "digest", topology.digest());
  b.text(op, "canonical", topology.canonical());
  // A line that begins has no servers of earlier versions to wait for.
  if (first) b.number(op, "featurelevel", kFeatureLevel);
  return plan;
}

}  // namespace branchline
