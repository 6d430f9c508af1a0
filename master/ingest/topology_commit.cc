#include "master/ingest/topology_commit.h"

#include <algorithm>

namespace branchline {
namespace {

// Ids of these records derive from their names: every master of this topology makes the same.
RecordId id_of(std::string_view kind, std::string_view name) {
  return keyed_record_id({}, std::string(kind) + ":" + std::string(name), 0);
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

}  // namespace

Result<TopologyPlan> plan_topology(const Schema& schema, const Directory& directory,
                                   const Topology& topology) {
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
  TerritoryId next_territory = directory.next_territory();
  for (const auto& t : topology.territories) {
    if (numbers.count(t.name)) continue;
    numbers[t.name] = next_territory;
    RecordOp& op = b.op(RecordOpKind::create, entity_id::kTerritory, "territory", t.name);
    b.text(op, "name", t.name);
    b.number(op, "territorynumber", next_territory.value);
    if (!t.parent.empty())
      b.lookup(op, "parentterritoryid", entity_id::kTerritory, id_of("territory", t.parent));
    next_territory = next_territory.next();
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
    if (spec->upstream != known.upstream && !known.removed)
      return refuse("the upstream of " + known.name + " is " + known.upstream +
                    ", and another in the file; this version cannot change it");
    std::set<TerritoryId> held;
    for (const auto& name : spec->territories) held.insert(numbers[name]);
    if (held == known.territories && !known.removed) continue;
    RecordOp& op = b.op(RecordOpKind::update, entity_id::kServer, "server", known.name);
    b.text(op, "territorynames", joined(spec->territories));
    (known.removed ? plan.servers_added : plan.subscriptions_changed).push_back(known.name);
    if (!known.removed) continue;
    b.number(op, "kind", 2);
    b.text(op, "upstreamname", spec->upstream);
  }
  OriginId next_origin = directory.next_origin();
  // The master is number 1: it writes before it has committed who anybody is.
  std::vector<const ServerSpec*> servers;
  for (const auto& s : topology.servers) {
    servers.insert(s.kind == ServerKind::master ? servers.begin() : servers.end(), &s);
  }
  for (const ServerSpec* s : servers) {
    if (directory.server(s->name)) continue;
    RecordOp& op = b.op(RecordOpKind::create, entity_id::kServer, "server", s->name);
    b.text(op, "name", s->name);
    b.number(op, "servernumber", next_origin.value);
    b.number(op, "kind", s->kind == ServerKind::master ? 1 : 2);
    b.text(op, "sitename", s->site);
    b.text(op, "upstreamname", s->upstream);
    b.text(op, "territorynames", joined(s->territories));
    next_origin = next_origin.next();
    plan.servers_added.push_back(s->name);
  }
  bool first = directory.topology_digest().empty();
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
