#include "tests/support/small_world.h"

#include "branch/replica/audit.h"
#include "common/access/access.h"
#include "common/base/check.h"
#include "common/base/limits.h"
#include "master/ingest/audit.h"
#include "master/ingest/topology_commit.h"
#include "replication/line/compress.h"
#include "tests/support/must.h"

namespace branchline {
namespace {

class WrittenCommand : public Command {
 public:
  WrittenCommand(SmallWorld& world, std::string ops) : world_(world), ops_(std::move(ops)) {}
  Result<Draft> prepare(Workspace& view, RecordIdMaker&, int64_t) override {
    Draft draft;
    std::string text = ops_;
    if (text.starts_with("atomic ")) {
      draft.atomic = true;
      text = text.substr(7);
    }
    while (text.starts_with("guard ")) {
      size_t end = text.find(' ', 6);
      draft.guards.push_back(world_.names.guard(text.substr(6, end - 6), world_.arena));
      text = text.substr(end + 1);
    }
    draft.ops = world_.names.parse_all(text, view, world_.arena);
    made = draft.ops;
    return draft;
  }
  std::vector<RecordOp> made;

 private:
  SmallWorld& world_;
  std::string ops_;
};

}  // namespace

// --- Master ---

SmallMaster::SmallMaster(SmallWorld& world) : world_(world) {}

void SmallMaster::start() {
  Batch rows;
  ingest = must(
      Ingest::open(store, schema ? schema : world_.schema, clock, world_.random, attempts, rows));
  must(store.write(rows, Sync::yes));
  const MasterState& s = ingest->state();
  feed = std::make_unique<LineFeed>(store, LineCursor{s.line, s.head, s.chain});
  auto plan = must(plan_topology(ingest->schema(), ingest->directory(), world_.topology));
  if (!plan.ops.empty()) BL_CHECK(commit(plan.ops) == "applied");
}

void SmallMaster::apply_topology() {
  auto plan = must(plan_topology(*world_.schema, ingest->directory(), world_.topology,
                                 must(token_places(store))));
  if (!plan.ops.empty()) BL_CHECK(commit(plan.ops) == "applied");
  for (const auto& [t, id] : ingest->directory().territories()) world_.names.territory(t, id);
}

RetentionResult SmallMaster::retain(const std::vector<std::string>& told, int64_t max_offline_ms,
                                    Csn floor) {
  RetentionInput input;
  input.now_ms = clock.wall_ms();
  input.max_offline_ms = max_offline_ms;
  input.floor = floor;
  for (const auto& name : told) {
    SmallOffice& o = world_[name];
    const ReplicaState& s = o.replica->state();
    input.connected.push_back(
        {s.self, must(o.replica->passed()), s.ledger.pending, o.replica->outbox_bytes(), 0});
  }
  Batch rows;
  auto result = must(ingest->retain(input, rows));
  must(store.write(rows, Sync::yes));
  return result;
}

void SmallMaster::crash(size_t keep) {
  ingest.reset();
  feed.reset();
  store.crash(keep);
}

std::string SmallMaster::commit(std::vector<RecordOp> ops) {
  auto local = must(ingest->commit_local(ops, {}, ""));
  must(store.write(local.result.batch, Sync::yes));
  if (local.result.line) feed->add(local.result.line);
  return world_.names.verdict(local.fate, local.outcomes, ops);
}

Registration SmallMaster::register_branch(const Introduction& intro) {
  Batch rows;
  auto registration = ingest->begin_session(intro, rows);
  must(store.write(rows, Sync::yes));
  const MasterState& s = ingest->state();
  if (feed->head().line != s.line) feed->rename({s.line, s.head, s.chain});
  return must(std::move(registration));
}

IngestResult SmallMaster::decide(std::vector<IncomingBlock> blocks) {
  IngestResult all;
  do {
    auto result = must(ingest->ingest(std::move(blocks)));
    must(store.write(result.batch, Sync::yes));
    if (result.line) feed->add(result.line);
    blocks = std::move(result.rest);
    all.acks.insert(all.acks.end(), result.acks.begin(), result.acks.end());
    all.broken.insert(all.broken.end(), result.broken.begin(), result.broken.end());
    all.line = result.line;
    ++batches;
  } while (!blocks.empty() || ingest->held_ready());
  grant();
  return all;
}

void SmallMaster::grant() {
  while (ingest->grants_due()) {
    auto step = must(ingest->grant_step());
    if (!step) continue;
    if (step->fate != Fate::applied) throw std::runtime_error("small world: a grant was refused");
    must(store.write(step->result.batch, Sync::yes));
    if (step->result.line) feed->add(step->result.line);
  }
}

std::string SmallMaster::show(const std::string& name) {
  return world_.names.show(ingest->workspace(), name);
}

// --- Office ---

SmallOffice::SmallOffice(SmallWorld& world, std::string office)
    : name(std::move(office)), world_(world) {}

void SmallOffice::start() {
  Batch rows;
  replica =
      must(Replica::open(home(), schema ? schema : world_.schema, clock, world_.random, rows));
  must(home().write(rows, Sync::yes));
  outbox = std::make_unique<ReplicaOutbox>(home(), replica->state().side);
  shipped_ = {};
}

void SmallOffice::crash(size_t keep) {
  replica.reset();
  outbox.reset();
  store.crash(keep);
}

std::string SmallOffice::write(const std::string& ops, const std::string& operation_key) {
  WrittenCommand command(world_, ops);
  command.author = world_.user;
  command.credential = credential;
  command.lane = lane;
  command.operation_key = operation_key;
  if (!operation_key.empty()) command.request = std::string(sha256(ops).view().substr(0, 16));
  clock.ms += 1;
  auto group = must(replica->accept({&command}));
  if (!group.batch.empty()) must(home().write(group.batch, Sync::yes));
  auto& result = group.results.at(0);
  if (!result) return result.error().code;
  last = *result;
  if (!last.replayed) made[last.id] = command.made;
  return last.replayed ? "replayed" : "ok";
}

std::string SmallOffice::write(const std::vector<std::string>& ops) {
  std::vector<std::unique_ptr<WrittenCommand>> commands;
  std::vector<Command*> group;
  clock.ms += 1;
  for (const auto& o : ops) {
    commands.push_back(std::make_unique<WrittenCommand>(world_, o));
    commands.back()->author = world_.user;
    commands.back()->credential = credential;
    commands.back()->lane = lane;
    group.push_back(commands.back().get());
  }
  auto result = must(replica->accept(group));
  if (!result.batch.empty()) must(home().write(result.batch, Sync::yes));
  std::string out;
  for (size_t i = 0; i < ops.size(); ++i) {
    const auto& r = result.results[i];
    out += (i == 0 ? "" : " ") + (r ? "ok" : r.error().code);
    if (!r) continue;
    last = *r;
    made[last.id] = commands[i]->made;
  }
  return out;
}

Introduction SmallOffice::introduction() {
  return must(replica->introduction(name, world_.topology.digest()));
}

void SmallOffice::connect() {
  Introduction intro = introduction();
  registration = world_.master.register_branch(intro);
  must(home().write(must(replica->welcome(registration)), Sync::yes));
  shipped_ = {};
  if (registration.partial) {
    fetch();
    registration.partial = false;
    Registration wanted = registration;
    registration.partial = true;
    take_snapshot();
    registration = wanted;
  } else if (registration.join) {
    take_snapshot();
    if (!registration.past_lines.empty()) connect();  // as the session does
  }
}

FeedScope SmallOffice::scope() const {
  FeedScope scope;
  scope.origin = registration.origin;
  const auto& t = registration.territories;
  scope.territories.insert(t.begin(), t.end());
  scope.territories.insert(kReferenceTerritory);
  scope.echo_until = registration.echo_until;
  return scope;
}

std::unique_ptr<SnapshotSource> SmallOffice::open_snapshot(size_t chunk_bytes, uint64_t id) {
  std::set<TerritoryId> held;
  if (registration.partial) {
    held.insert(registration.installed.begin(), registration.installed.end());
    held.insert(kReferenceTerritory);
  }
  return must(SnapshotSource::open(world_.master.store.snapshot(), scope(), introduction().pending,
                                   held, id, chunk_bytes));
}

void SmallOffice::end_join(const SnapshotEnd& end) {
  auto put = [this](const Batch& b, Sync s) { return home().write(b, s); };
  for (bool copied = false; !copied;) copied = must(replica->copy_kept(put));
  must(home().write(must(replica->end_seed(end, put)).batch, Sync::yes));
  outbox = std::make_unique<ReplicaOutbox>(home(), replica->state().side);
  shipped_ = {};
}

void SmallOffice::take_snapshot() {
  auto source = open_snapshot();
  auto put = [this](const Batch& b, Sync s) { return home().write(b, s); };
  must(replica->begin_seed(source->head(), put));
  for (;;) {
    auto chunk = must(source->next());
    if (!chunk) break;
    must(replica->seed_chunk(*chunk, put));
  }
  end_join(source->end());
}

std::vector<std::string> SmallOffice::take_blocks(size_t blocks) {
  std::map<Stream, Seq> known;
  for (const auto& h : registration.high_waters) known[h.stream] = h.seq;
  std::vector<std::string> out;
  // People's work first, as a session does it.
  for (size_t l = 0; l < kLaneCount && out.size() < blocks;) {
    PendingRef& shipped = shipped_[l];
    shipped.lane = static_cast<Lane>(l);
    auto slice = must(outbox->read(shipped, limits::kMaxBlockMutations, limits::kTargetBlockBytes));
    if (slice.mutations.empty()) {
      ++l;
      continue;
    }
    shipped = slice.last;
    MutationBlockWriter writer;
    for (size_t i = 0; i < slice.mutations.size(); ++i) {
      const Mutation& m = slice.mutations[i];
      if (m.id.seq > known[stream_of(m.id)]) writer.add(m, slice.forecasts[i]);
    }
    if (writer.count() > 0) out.push_back(writer.finish(slice.chain_after));
  }
  return out;
}

void SmallOffice::ship(size_t blocks) {
  for (auto& bytes : take_blocks(blocks)) {
    std::vector<IncomingBlock> incoming;
    incoming.push_back(
        {registration.origin, registration.session, must(decode_mutation_block(std::move(bytes)))});
    IngestResult result = world_.master.decide(std::move(incoming));
    if (!result.broken.empty())
      throw std::runtime_error("small world: broken: " + result.broken[0].error.code);
  }
}

void SmallOffice::fetch(size_t range_bytes) {
  FeedScope of = scope();
  if (registration.partial) {
    of.territories = {registration.installed.begin(), registration.installed.end()};
    of.territories.insert(kReferenceTerritory);
  }
  while (replica->state().cursor.csn < world_.master.feed->head().csn) {
    auto range = must(world_.master.feed->read(replica->state().cursor, of, range_bytes));
    must(home().write(must(replica->apply(range)).batch, Sync::no));
  }
}

std::string SmallOffice::show(const std::string& record) {
  return world_.names.show(replica->workspace(), record);
}

std::string SmallOffice::fate_of(const MutationId& id) {
  auto rows = scan_prefix(home(), Table::fates, keys::fate_prefix(stream_of(id)));
  for (; rows->valid(); rows->next()) {
    auto first = keys::parse_fate(rows->key());
    auto row = must(decode_fate_row(*first, rows->value()));
    bool covers = first->seq <= id.seq && id.seq.value < first->seq.value + row.entry.count;
    if (!covers) continue;
    std::string clamped = row.entry.clamped.value != 0 ? " (clock clamped)" : "";
    return world_.names.verdict(row.entry.fate, row.entry.outcomes, made[id]) + clamped;
  }
  return "pending";
}

// --- World ---

SmallWorld::SmallWorld(bool connected, std::shared_ptr<const Schema> of)
    : schema(std::move(of)), master(*this) {
  topology.name = "small";
  ServerSpec spec;
  spec.name = "master";
  spec.kind = ServerKind::master;
  topology.servers.push_back(spec);
  for (const char* t : {"common", "east", "west"}) topology.territories.push_back({t, ""});
  const std::map<std::string, std::vector<std::string>> held{{"hq", {"common", "east", "west"}},
                                                             {"east", {"common", "east"}},
                                                             {"west", {"common", "west"}}};
  for (const auto& [name, territories] : held) {
    ServerSpec office;
    office.name = name;
    office.upstream = "master";
    office.territories = territories;
    topology.servers.push_back(office);
  }
  master.start();
  for (const auto& [t, id] : master.ingest->directory().territories()) names.territory(t, id);
  user = names.key("user", "systemuser").id;
  auto field = [&](EntityId e, const char* f) { return schema->entity(e)->field(f)->id; };
  Workspace& view = master.ingest->workspace();
  BL_CHECK(master.commit(names.parse_all("create systemuser user fullname=U isadministrator=true",
                                         view, arena)) == "applied");
  for (const auto& [name, territories] : held) {
    offices[name] = std::make_unique<SmallOffice>(*this, name);
    std::string where;
    for (const auto& t : territories) where += " @" + t;
    auto ops = names.parse_all(
        "create apitoken token_" + name + where + " systemuserid=user access=2", view, arena);
    ops[0].cells.push_back({field(entity_id::kApiToken, "tokenhash"),
                            CellOpKind::set,
                            {ValueType::text, arena.copy(token_hash(name))},
                            {}});
    offices[name]->credential = ops[0].record.id;
    BL_CHECK(master.commit(ops) == "applied");
    offices[name]->start();
    if (connected) offices[name]->connect();
  }
}

void SmallWorld::settle() {
  for (auto& [name, office] : offices) office->ship();
  for (auto& [name, office] : offices) office->fetch();
}

std::vector<std::string> SmallWorld::audit() {
  std::vector<std::string> out;
  auto line = must(audit_line(master.store, master.schema ? *master.schema : *schema));
  for (const auto& p : line.problems) out.push_back("master: " + p);
  for (const auto& [name, office] : offices) {
    auto report = must(audit_replica(office->home(), office->schema ? *office->schema : *schema));
    for (const auto& p : report.problems) out.push_back(name + ": " + p);
    if (report.at != line.at) continue;
    // Of a territory that it does not hold an office has only what lies in one of its own as well.
    std::vector<TerritoryId> held = office->registration.territories;
    held.push_back(kReferenceTerritory);
    for (TerritoryId t : held) {
      Sum128 sum = report.sums.count(t) ? report.sums[t] : Sum128{};
      if (sum != line.sums[t])
        out.push_back(name + ": another checksum of territory " + std::to_string(t.value));
    }
  }
  return out;
}

}  // namespace branchline
