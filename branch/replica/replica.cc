#include "branch/replica/replica.h"

#include <algorithm>
#include <set>
#include <unordered_map>

#include "common/base/check.h"
#include "common/base/limits.h"
#include "common/base/probe.h"
#include "common/store/identity.h"
#include "replication/line/mutation_block.h"
#include "replication/merge/effects.h"
#include "replication/merge/undo.h"

namespace branchline {

Replica::Replica(Store& store, std::shared_ptr<const Schema> schema, Clock& clock, Random& random)
    : store_(store), schema_(std::move(schema)), clock_(clock), ids_(random), random_(random) {}

Result<std::unique_ptr<Replica>> Replica::open(Store& store, std::shared_ptr<const Schema> schema,
                                               Clock& clock, Random& random, Batch& start,
                                               const IndexUpkeep& upkeep) {
  std::unique_ptr<Replica> replica(new Replica(store, std::move(schema), clock, random));
  BL_TRY(replica->load(start, upkeep));
  return replica;
}

Result<void> Replica::load(Batch& start, const IndexUpkeep& upkeep) {
  BL_TRY(check_store_identity(store_, StoreRole::branch, "the store"));
  BL_ASSIGN(auto row, store_.get(Table::meta, keys::meta_state()));
  if (row) {
    BL_ASSIGN(state_, decode_replica_state(*row));
  } else {
    start.put(Table::meta, keys::meta_identity(), store_identity(StoreRole::branch));
  }
  BL_ASSIGN(auto history, store_.get(Table::meta, keys::meta_reconciling()));
  if (history) {
    BL_ASSIGN(history_, decode_replica_history(*history));
  }
  auto rows = scan_prefix(store_, Table::meta, keys::meta_incarnation_prefix());
  for (; rows->valid(); rows->next()) {
    BL_ASSIGN(auto info, decode_incarnation(rows->value()));
    incarnations_.push_back(info);
  }
  if (auto e = rows->error()) return std::unexpected(*e);
  if (state_.generation != 0 &&
      (incarnations_.empty() || incarnations_.back().generation != state_.generation)) {
    return fail(ErrorKind::corrupt, "replica.incarnation",
                "the row of the last process start is missing");
  }
  BL_TRY(check_outbox());
  collation_ = index_version(*schema_, IndexScope::all, upkeep.collation);
  BL_TRY(keep_index(store_, *schema_, state_.side, IndexScope::all, live_records(state_.totals),
                    upkeep, start));

  // A new incarnation names where its predecessor ended (SEMANTICS 1).
  IncarnationInfo info;
  info.generation = state_.generation + 1;
  do info.incarnation = Incarnation(random_.next());
  while (info.incarnation.value == 0);
  info.predecessor = state_.incarnation;
  info.predecessor_order = state_.order;
  for (size_t lane = 0; lane < kLaneCount; ++lane) {
    info.predecessor_ends[lane] = {state_.ends[lane].seq, state_.ends[lane].chain};
  }
  info.salt_key = SaltKey::from(random_.bytes(16));
  incarnations_.push_back(info);
  start.put(Table::meta, keys::meta_incarnation(info.generation), encode_incarnation(info));

  // Starts that left no pending work need no entry.
  for (int l = 0; l < kLaneCount; ++l) {
    auto at = state_.retired.find({state_.generation, static_cast<Lane>(l)});
    if (at != state_.retired.end() && at->second.seq == state_.ends[size_t(l)].seq) {
      state_.retired.erase(at);
    }
  }
  state_.generation = info.generation;
  state_.incarnation = info.incarnation;
  state_.order = Order(0);
  for (int l = 0; l < kLaneCount; ++l) {
    Lane lane = static_cast<Lane>(l);
    state_.retired[{info.generation, lane}] = {};
    state_.ends[size_t(l)] = {Seq(0), chain_start({state_.self, info.incarnation, lane})};
    hashers_[size_t(l)] = std::make_unique<MutationHasher>(info.salt_key, lane);
  }
  for (const auto& i : incarnations_) lineage_.add(state_.self, i.incarnation, i.link());
  hlc_.start(state_.hlc);
  Workspace::Config config;
  config.side = state_.side;
  config.holds_everything = state_.holds_everything;
  workspace_ = std::make_unique<Workspace>(store_, schema_, config);
  merger_ = std::make_unique<Merger>(*workspace_, lineage_);
  BL_TRY(take_level());
  BL_TRY(find_unplaced());
  welcomed_ = state_.territories;
  welcomed_everything_ = state_.holds_everything;
  BL_TRY(load_seed());
  write_state(start);
  return {};
}

Result<void> Replica::take_level() {
  BL_ASSIGN(uint32_t level, committed_level(*workspace_));
  BL_TRY(check_level(level, "the main line that this branch follows"));
  merger_->set_level(level);
  return {};
}

Result<void> Replica::check_outbox() {
  OutboxReader reader(store_, state_.side);
  PendingRef at;
  std::unique_ptr<MutationHasher> hasher;
  PendingLane lane;
  Digest chain;
  uint64_t pending = 0;
  for (;;) {
    BL_ASSIGN(auto block, reader.next(at, false));
    if (!block) break;
    at = block->last();
    outbox_bytes_ += block->bytes.size();
    if (lane_of(at) != lane || !hasher) {
      lane = lane_of(at);
      auto info = std::find_if(incarnations_.begin(), incarnations_.end(),
                               [&](const auto& i) { return i.generation == lane.generation; });
      if (info == incarnations_.end()) {
        return fail(ErrorKind::corrupt, "outbox.incarnation",
                    "pending work of an unknown process start");
      }
      hasher = std::make_unique<MutationHasher>(info->salt_key, lane.lane);
      chain = block->chain_before;
    }
    bool continues = block->chain_before == chain;
    for (const auto& e : block->entries) {
      chain = chain_next(chain, hasher->digest(e.mutation));
      pending += is_pending(state_.retired, block->ref(e)) ? 1 : 0;
    }
    if (!continues || chain != block->chain_after) {
      return fail(ErrorKind::corrupt, "outbox.chain",
                  "the hash chain of pending work breaks at generation " +
                      std::to_string(at.generation) + ", order " + std::to_string(at.order.value) +
                      ": the log was damaged or a part of it is missing");
    }
  }
  if (pending != state_.ledger.pending) {
    return fail(ErrorKind::corrupt, "outbox.count",
                "the ledger says " + std::to_string(state_.ledger.pending) +
                    " mutations are pending, the outbox has " + std::to_string(pending));
  }
  return {};
}

void Replica::write_state(Batch& batch) {
  state_.hlc = hlc_.last();
  batch.put(Table::meta, keys::meta_state(), encode_replica_state(state_));
}

void Replica::add_counts(const Deltas& deltas) {
  for (const auto& c : deltas.counts) {
    state_.totals.counts[{c.entity, c.territory}] += static_cast<uint64_t>(c.delta);
  }
}

bool Replica::holds(TerritoryId t) const {
  return t == kReferenceTerritory || std::find(state_.territories.begin(), state_.territories.end(),
                                               t) != state_.territories.end();
}

bool Replica::holds_any(const std::vector<TerritoryId>& of) const {
  return std::any_of(of.begin(), of.end(), [&](TerritoryId t) { return holds(t); });
}

Result<void> Replica::note_unplaced(const Mutation& m, PendingRef ref) {
  if (state_.holds_everything) return {};
  auto note = [&](const RecordKey& key) -> Result<void> {
    BL_ASSIGN(auto found, workspace_->find(key));
    if (!found.record) unplaced_[key].insert(ref);
    return {};
  };
  for (const auto& op : m.ops) {
    if (op.kind != RecordOpKind::create) BL_TRY(note(op.record));
    const Entity* entity = schema_->entity(op.record.entity);
    if (!entity) continue;
    for (const auto& cell : op.cells) {
      bool parent = std::find(entity->parents.begin(), entity->parents.end(), cell.field) !=
                    entity->parents.end();
      if (!parent || cell.value.type != ValueType::lookup) continue;
      Lookup l = decode_lookup(cell.value.payload);
      BL_TRY(note({l.entity, l.id}));
    }
  }
  return {};
}

Result<void> Replica::find_unplaced() {
  unplaced_due_ = false;
  unplaced_.clear();
  if (state_.holds_everything) return {};
  OutboxReader reader(store_, state_.side);
  for (PendingRef at;;) {
    BL_ASSIGN(auto block, reader.next(at, false));
    if (!block) return {};
    at = block->last();
    for (const auto& e : block->entries) {
      PendingRef ref = block->ref(e);
      if (is_pending(state_.retired, ref)) BL_TRY(note_unplaced(e.mutation, ref));
    }
    workspace_->evict();
  }
}

// --- Local writes ---

struct Replica::Group {
  struct Part {
    OutboxBlock block;
    std::vector<std::string> canonical;
  };
  std::array<Part, kLaneCount> parts;  // by lane
  size_t bytes = 0;
  std::vector<Draft> drafts;  // what the blocks' mutations point into
  std::unordered_map<std::string, KeyRow> keys;
  std::vector<std::string> operation_keys;
  std::set<RecordKey> changed;                            // what cascades and merges reached too
  std::map<RecordKey, std::vector<TerritoryId>> were_in;  // what moved
};

Result<GroupResult> Replica::accept(const std::vector<Command*>& commands) {
  BL_CHECK(commands.size() <= limits::kMaxGroupMutations);
  GroupResult out;
  if (!state_.joined()) {
    for (size_t i = 0; i < commands.size(); ++i) {
      out.results.push_back(
          fail(ErrorKind::unavailable, "branch.joining",
               "this branch has not received its data yet; try again in a moment"));
    }
    return out;
  }
  Group group;
  group.drafts.reserve(commands.size());
  for (size_t lane = 0; lane < kLaneCount; ++lane) {
    OutboxBlock& block = group.parts[lane].block;
    block.generation = state_.generation;
    block.lane = static_cast<Lane>(lane);
    block.chain_before = state_.ends[lane].chain;
  }
  for (Command* command : commands) {
    if (group.bytes >= limits::kTargetGroupBytes) break;
    auto before = replayed(*command, group);
    if (!before) {
      if (is_store_fault(before.error())) return std::unexpected(before.error());
      out.results.push_back(std::unexpected(before.error()));
      continue;
    }
    out.results.push_back(*before ? Result<Accepted>(**before) : accept_one(*command, group));
    if (!out.results.back() && is_store_fault(out.results.back().error())) {
      return std::unexpected(out.results.back().error());
    }
  }
  if (group.bytes == 0 && group.keys.empty()) return out;
  state_.key_rows += group.keys.size();
  for (const auto& [key, row] : group.keys) out.batch.put(Table::keys, key, encode_key_row(row));
  for (size_t lane = 0; lane < kLaneCount; ++lane) {
    auto& [block, canonical] = group.parts[lane];
    if (block.entries.empty()) continue;
    block.chain_after = state_.ends[lane].chain;
    std::string bytes = encode_outbox_block(block, canonical);
    outbox_bytes_ += bytes.size();
    out.batch.put(Table::outbox, keys::outbox(state_.side, block.last()), bytes);
  }
  out.changes.records.assign(group.changed.begin(), group.changed.end());
  out.changes.were_in = std::move(group.were_in);
  workspace_->flush(out.batch);
  write_state(out.batch);
  workspace_->evict();
  return out;
}

Result<std::optional<Accepted>> Replica::replayed(const Command& command,
                                                  const Group& group) const {
  if (command.operation_key.empty()) return std::optional<Accepted>();
  std::string key = keys::operation_key(command.author, command.operation_key);
  KeyRow row;
  if (auto at = group.keys.find(key); at != group.keys.end()) {
    row = at->second;
  } else {
    BL_ASSIGN(auto stored, store_.get(Table::keys, key));
    if (!stored) return std::optional<Accepted>();
    BL_ASSIGN(row, decode_branch_key_row(*stored));
  }
  if (row.request != command.request) {
    return fail(
        ErrorKind::invalid, "key.reused",
        "this Idempotency-Key was used for another request; draw a new key for each request");
  }
  return std::optional<Accepted>(Accepted{row.mutation, true});
}

void Replica::remember(const Command& command, const MutationId& id, Group& group) {
  if (command.operation_key.empty()) return;
  group.keys[keys::operation_key(command.author, command.operation_key)] = {id, command.request};
}

Result<Accepted> Replica::accept_one(Command& command, Group& group) {
  int64_t now = now_ms();
  BL_ASSIGN(Draft drafted, command.prepare(*workspace_, ids_, now));
  if (drafted.ops.empty()) {
    // Said again later, when others have written, it might have something to do.
    remember(command, MutationId{}, group);
    return Accepted{};
  }
  Draft& draft = group.drafts.emplace_back(std::move(drafted));
  PendingEntry entry;
  Mutation& m = entry.mutation;
  auto name = [&](Lane lane) {
    return MutationId{state_.self, state_.incarnation, lane, state_.ends[size_t(lane)].seq.next()};
  };
  // An earlier program could not go on with an outbox of two lanes.
  Lane asked = merger_->level() >= kLanesLevel ? command.lane : Lane::interactive;
  m.id = name(asked);
  m.order = state_.order.next();
  m.line = state_.cursor.line;
  m.base = state_.cursor.csn;
  m.hlc = hlc_.stamp(now);
  m.author = command.author;
  m.credential = command.credential;
  m.schema_version = schema_->version();
  m.atomic = draft.atomic;
  m.operation_key = command.operation_key;
  m.guards = draft.guards;
  m.ops = std::move(draft.ops);
  if (auto beyond = beyond_level(*schema_, m.ops, merger_->level())) {
    BL_PROBE("replica.not_activated");
    return fail(ErrorKind::conflict, "write.not_activated",
                beyond->what + " needs feature level " + std::to_string(beyond->level) +
                    ", the company is at " + std::to_string(merger_->level()) +
                    " while some servers run an earlier version; when all are upgraded, an "
                    "operator raises it: branchline feature-level raise");
  }
  if (m.id.lane == Lane::interactive) {
    BL_ASSIGN(bool bulk, touches_bulk(m, {}));
    if (bulk) m.id = name(Lane::bulk);
  }
  std::string canonical;
  {
    Writer w(canonical);
    put_mutation(w, m);
  }
  if (canonical.size() > limits::kMaxMutationBytes) {
    return fail(ErrorKind::invalid, "mutation.too_large",
                "one change of " + std::to_string(canonical.size()) + " bytes; at most " +
                    std::to_string(limits::kMaxMutationBytes) + " are allowed");
  }
  BL_ASSIGN(Decision decision, merger_->run(m, Csn(0)));
  if (decision.fate == Fate::rejected) {
    Reason reason = decision.outcomes.empty() ? Reason::malformed : decision.outcomes.back().reason;
    std::string text(explain(reason));
    if (decision.share_left) {
      text += " " + decision.share_left->to_string() +
              " are left here; the rest of the stock is held by other offices or by the master, "
              "which tops shares up while the link is up. Ask for less, or try again later.";
    }
    return fail(ErrorKind::conflict, "write." + std::string(to_string(reason)), std::move(text));
  }
  BL_ASSIGN(bool late,
            m.id.lane == Lane::bulk ? Result<bool>(false) : touches_bulk(m, decision.journal));
  if (late) {
    // Only its effects showed that it touches what waits in bulk (a cascade, a total): decided
    // again under its new name, which the versions bear.
    BL_PROBE("accept.joined_bulk_by_effects");
    std::string undo;
    Writer u(undo);
    put_undo(u, *workspace_, decision.journal);
    workspace_->begin();
    BL_TRY(apply_undo(*workspace_, undo));
    workspace_->end();
    m.id = name(Lane::bulk);
    canonical.clear();
    Writer w(canonical);
    put_mutation(w, m);
    BL_ASSIGN(decision, merger_->run(m, Csn(0)));
    BL_CHECK(decision.fate != Fate::rejected);
  }
  size_t lane = size_t(m.id.lane);
  if (m.id.lane != asked) {
    BL_PROBE("accept.joined_bulk");
    state_.hurried = {state_.generation, m.order, Lane::bulk};
  }
  std::string forecast;
  put_forecast(forecast, m.hlc, decision.effects);
  entry.forecast = entry.current = forecast_digest(forecast);
  entry.sums.sums = decision.journal.deltas.sums;
  Writer undo(entry.undo);
  put_undo(undo, *workspace_, decision.journal);
  for (const auto& op : m.ops) {
    if (op.seen.value == 0) group.changed.insert(op.record);
  }
  for (const auto& r : decision.journal.records) {
    group.changed.insert(r.key);
    BL_ASSIGN(auto found, workspace_->find(r.key));
    if (found.record) {
      workspace_->set_pending(*found.record, {state_.generation, m.order, m.id.lane});
    }
    if (r.relocated && !r.created)
      group.were_in.emplace(r.key, territories_before(decision.journal, *found.record));
  }
  add_counts(decision.journal.deltas);
  BL_TRY(note_unplaced(m, {state_.generation, m.order, m.id.lane}));
  state_.order = m.order;
  ReplicaState::LaneEnd& end = state_.ends[lane];
  end.seq = m.id.seq;
  end.chain = chain_next(end.chain, hashers_[lane]->digest(m));
  state_.ledger.accepted += 1;
  state_.ledger.pending += 1;
  remember(command, m.id, group);
  Accepted accepted{m.id, false};
  group.bytes += canonical.size();
  group.parts[lane].canonical.push_back(std::move(canonical));
  group.parts[lane].block.entries.push_back(std::move(entry));
  return accepted;
}

// Whether it touches, or leans on, a record that pending bulk work changed: then it must not reach
// the master before that (SEMANTICS 32).
Result<bool> Replica::touches_bulk(const Mutation& m, const Journal& journal) {
  bool any = std::any_of(state_.retired.begin(), state_.retired.end(), [&](const auto& r) {
    const auto& [lane, decided] = r;
    return lane.lane == Lane::bulk && (lane.generation != state_.generation ||
                                       decided.seq != state_.ends[size_t(Lane::bulk)].seq);
  });
  if (!any) return false;
  auto bulk = [&](PendingRef ref) {
    return ref.lane == Lane::bulk && is_pending(state_.retired, ref);
  };
  for (const auto& b : journal.records) {
    if (bulk(b.pending)) return true;
  }
  std::vector<RecordKey> named;
  for (const auto& op : m.ops) {
    named.push_back(op.record);
    if (!op.target.is_nil()) named.push_back({op.record.entity, op.target});
    for (const auto& cell : op.cells) {
      if (cell.value.type != ValueType::lookup) continue;
      Lookup l = decode_lookup(cell.value.payload);
      named.push_back({l.entity, l.id});
    }
  }
  for (const auto& g : m.guards) named.push_back(g.record);
  for (size_t i = 0; i < named.size(); ++i) {
    BL_ASSIGN(auto found, workspace_->find(named[i]));
    if (!found.record) continue;
    if (bulk(found.record->pending())) return true;
    // What is aimed at a merged record finds the survivor.
    if (found.record->state() == RecordState::redirect)
      named.push_back({named[i].entity, found.record->target()});
  }
  return false;
}

// --- The link ---

Result<Introduction> Replica::introduction(const std::string& server,
                                           const std::string& topology_digest) const {
  Introduction intro;
  intro.server = server;
  intro.origin = state_.self;
  intro.schema_version = schema_->version();
  intro.schema_digest = schema_->digest();
  intro.schema_extends = schema_->extends();
  intro.by_older_schema = !state_.joined() || merger_->level() < kFeatureLevel;
  intro.topology_digest = topology_digest;
  intro.installed = state_.joined() ? state_.territories : std::vector<TerritoryId>{};
  intro.says_installed = true;
  // What was begun for a reason is ended: the reason is not known any more after a restart.
  intro.reseed = distrust_ || (state_.joined() && seed_ && !seed_->head.partial);
  // What was applied is never taken back: a snapshot of an earlier csn is of no use any more.
  bool goes_on = seed_ && seed_->head.id != 0 && state_.cursor.csn <= seed_->head.at.csn;
  if (history_.leaving) {
    intro.reseed = true;  // nothing that is held is of the line to come
    goes_on = seed_ && seed_->head.id != 0 && !is_past(history_.past, seed_->head.at.line);
  } else {
    intro.cursor = state_.cursor;
  }
  if (goes_on) intro.join = {seed_->head.id, seed_->reader.chunks(), seed_->reader.chain()};
  for (const auto& p : history_.past) intro.past_lines.push_back(p.line);
  uint32_t oldest = state_.retired.begin()->first.generation;
  for (const auto& i : incarnations_) {
    if (i.generation > state_.announced || i.generation >= oldest) intro.incarnations.push_back(i);
    bool current = i.generation == state_.generation;
    for (size_t l = 0; l < kLaneCount; ++l) {
      auto retired = state_.retired.find({i.generation, static_cast<Lane>(l)});
      if (retired == state_.retired.end()) continue;
      Seq last = last_of(retired->first);
      // Where this line replaced another, its master may lack what is not kept here any more: it is
      // told where what is here begins.
      bool follows_another = !history_.past.empty() && last.value > 0;
      bool told = current && (l == size_t(Lane::interactive) || follows_another);
      if (!told && retired->second.seq == last) continue;
      PendingRange& range =
          intro.pending.emplace_back(Stream{state_.self, i.incarnation, static_cast<Lane>(l)},
                                     retired->second.seq.next(), last);
      if (follows_another) {
        BL_ASSIGN(range.chain_before, chain_before_pending(retired->first));
      }
    }
  }
  return intro;
}

Result<Batch> Replica::welcome(const Registration& r) {
  Batch batch;
  if (state_.self.value == 0) {
    state_.self = r.origin;
    for (const auto& i : incarnations_) lineage_.add(state_.self, i.incarnation, i.link());
    for (int lane = 0; lane < kLaneCount; ++lane) {
      BL_CHECK(state_.ends[size_t(lane)].seq.value == 0);
      state_.ends[size_t(lane)].chain =
          chain_start({state_.self, state_.incarnation, static_cast<Lane>(lane)});
    }
  } else if (state_.self != r.origin) {
    return fail(ErrorKind::conflict, "session.other_master",
                "the master gives this server another number than before");
  }
  bool comes = r.join || r.partial;  // a snapshot, which brings these territories
  if (!comes) BL_TRY(abandon_seed(batch));
  if (state_.joined() && !comes && r.territories != state_.territories) {
    return fail(ErrorKind::invalid, "session.subscription",
                "the master feeds other territories than this branch holds, without a snapshot of "
                "them");
  }
  welcomed_ = r.territories;
  welcomed_everything_ = r.holds_everything;
  bool held_everything = state_.holds_everything;
  if (!state_.joined() || !comes) {
    state_.territories = r.territories;
    state_.holds_everything = r.holds_everything;
  }
  state_.term = r.term;
  state_.announced = state_.generation;
  // What the master knows of earlier lines, and those that only we remember.
  LineHistory past = r.past_lines;
  for (const auto& p : history_.past) {
    if (!is_past(past, p.line) && p.line != r.head.line)
      past.insert(past.begin(), {p.line, Csn(0)});
  }
  if (past != history_.past) {
    history_.past = std::move(past);
    write_history(batch);
  }
  echo_until_ = r.echo_until;
  if (!state_.joined()) state_.cursor.line = r.head.line;
  workspace_->reset(state_.side, state_.holds_everything);
  if (held_everything && !state_.holds_everything) BL_TRY(find_unplaced());
  write_state(batch);
  return batch;
}

// The start after it wrote down where its lanes ended.
Seq Replica::last_of(const PendingLane& lane) const {
  size_t l = size_t(lane.lane);
  return lane.generation == state_.generation
             ? state_.ends[l].seq
             : incarnations_[lane.generation].predecessor_ends[l].seq;
}

Result<Digest> Replica::chain_before_pending(const PendingLane& lane) const {
  size_t l = size_t(lane.lane);
  auto info = std::find_if(incarnations_.begin(), incarnations_.end(),
                           [&](const auto& i) { return i.generation == lane.generation; });
  BL_CHECK(info != incarnations_.end());
  Order decided = state_.retired.at(lane).order;
  BL_ASSIGN(auto block,
            OutboxReader(store_, state_.side).next({lane.generation, decided, lane.lane}));
  if (!block || lane_of(block->last()) != lane) {
    return lane.generation == state_.generation
               ? state_.ends[l].chain
               : incarnations_[lane.generation].predecessor_ends[l].chain;
  }
  Digest chain = block->chain_before;
  MutationHasher hasher(info->salt_key, lane.lane);
  for (const auto& e : block->entries) {
    if (e.mutation.order > decided) break;
    chain = chain_next(chain, hasher.digest(e.mutation));
  }
  return chain;
}

std::array<uint64_t, kLaneCount> Replica::pending_by_lane() const {
  std::array<uint64_t, kLaneCount> out{};
  for (const auto& [lane, decided] : state_.retired) {
    out[size_t(lane.lane)] += last_of(lane).value - decided.seq.value;
  }
  return out;
}

std::vector<std::pair<Stream, Seq>> Replica::pending_streams() const {
  std::vector<std::pair<Stream, Seq>> out;
  for (const auto& [lane, decided] : state_.retired) {
    Seq last = last_of(lane);
    if (decided.seq == last) continue;
    for (const auto& i : incarnations_) {
      if (i.generation == lane.generation)
        out.push_back({{state_.self, i.incarnation, lane.lane}, last});
    }
  }
  return out;
}

Result<int64_t> Replica::oldest_pending_ms() const {
  BL_ASSIGN(Oldest oldest, oldest_pending());
  return oldest.ms;
}

Result<Csn> Replica::passed() const {
  BL_ASSIGN(Oldest oldest, oldest_pending());
  return oldest.base ? std::min(*oldest.base, state_.cursor.csn) : state_.cursor.csn;
}

Result<Replica::Oldest> Replica::oldest_pending() const {
  // Of each lane's first one: the oldest by time, and the lowest base of any. A lane's bases only
  // grow.
  Oldest oldest;
  for (const auto& [lane, decided] : state_.retired) {
    if (decided.seq == last_of(lane)) continue;
    BL_ASSIGN(auto block, OutboxReader(store_, state_.side, lane.lane)
                              .next({lane.generation, decided.order, lane.lane}, false));
    if (!block) continue;
    for (const auto& e : block->entries) {
      if (!is_pending(state_.retired, block->ref(e))) continue;
      int64_t ms = e.mutation.hlc.ms();
      if (oldest.ms == 0 || ms < oldest.ms) oldest.ms = ms;
      Csn base = present_base(history_.past, state_.cursor.line, e.mutation.line, e.mutation.base);
      oldest.base = oldest.base ? std::min(*oldest.base, base) : base;
      break;
    }
  }
  return oldest;
}

// --- What the uplink reads ---

Result<OutboxSlice> ReplicaOutbox::read(PendingRef after, size_t max_mutations,
                                        size_t max_bytes) const {
  OutboxSlice slice;
  slice.last = after;
  BL_ASSIGN(auto row, view_->get(Table::meta, keys::meta_state()));
  if (!row) return slice;
  BL_ASSIGN(ReplicaState state, decode_replica_state(*row));
  auto from = skip_decided(state.retired, after);
  if (!from) return slice;
  slice.last = *from;
  OutboxReader reader(*view_, side_, after.lane);
  size_t bytes = 0;
  Stream stream;
  while (slice.mutations.size() < max_mutations && bytes < max_bytes) {
    BL_ASSIGN(auto block, reader.next(slice.last, false));
    if (!block) break;
    Stream here = stream_of(block->entries.front().mutation.id);
    if (!slice.mutations.empty() &&
        (here != stream || slice.mutations.size() + block->entries.size() > max_mutations)) {
      break;
    }
    stream = here;
    bytes += block->bytes.size();
    slice.last = block->last();
    slice.chain_after = block->chain_after;
    for (auto& e : block->entries) {
      slice.mutations.push_back(std::move(e.mutation));
      slice.forecasts.push_back(e.forecast);
    }
    slice.bytes.push_back(std::move(block->bytes));
  }
  return slice;
}

Result<std::optional<Digest>> ReplicaOutbox::chain_at(const Stream& stream, Seq seq) const {
  std::optional<IncarnationInfo> info;
  auto rows = scan_prefix(*view_, Table::meta, keys::meta_incarnation_prefix());
  for (; rows->valid(); rows->next()) {
    BL_ASSIGN(auto i, decode_incarnation(rows->value()));
    if (i.incarnation == stream.incarnation) info = i;
  }
  if (auto e = rows->error()) return std::unexpected(*e);
  if (!info) return std::optional<Digest>();
  OutboxReader reader(*view_, side_);
  if (seq.value == 0) return std::optional<Digest>();
  BL_ASSIGN(auto block, reader.holding_seq({info->generation, stream.lane}, seq, false));
  if (!block) return std::optional<Digest>();
  MutationHasher hasher(info->salt_key, stream.lane);
  Digest chain = block->chain_before;
  for (const auto& e : block->entries) {
    if (e.mutation.id.seq > seq) break;
    chain = chain_next(chain, hasher.digest(e.mutation));
  }
  return std::optional<Digest>(chain);
}

}  // namespace branchline
