#include "branch/replica/replica.h"

#include <algorithm>
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
  collation_ = upkeep.collation;
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
  if (auto at = state_.retired.find(state_.generation);
      at != state_.retired.end() && at->second == state_.order) {
    state_.retired.erase(at);
  }
  state_.generation = info.generation;
  state_.incarnation = info.incarnation;
  state_.order = Order(0);
  state_.retired[info.generation] = Order(0);
  for (int lane = 0; lane < kLaneCount; ++lane) {
    state_.ends[size_t(lane)] = {
        Seq(0), chain_start({state_.self, info.incarnation, static_cast<Lane>(lane)})};
  }
  for (const auto& i : incarnations_) lineage_.add(state_.self, i.incarnation, i.link());
  hlc_.start(state_.hlc);
  hasher_ = std::make_unique<MutationHasher>(info.salt_key, Lane::interactive);
  Workspace::Config config;
  config.side = state_.side;
  config.holds_everything = state_.holds_everything;
  workspace_ = std::make_unique<Workspace>(store_, schema_, config);
  merger_ = std::make_unique<Merger>(*workspace_, lineage_);
  BL_TRY(take_level());
  write_state(start);
  return {};
}

Result<void> Replica::take_level() {
  BL_ASSIGN(uint32_t level, committed_level(*workspace_));
  BL_TRY(check_level(level, "the main line that this branch follows"));
  merger_->set_level(level);
  return {};
}

Result<void> Replica::check_outbox() const {
  OutboxReader reader(store_, state_.side);
  PendingRef at;
  std::unique_ptr<MutationHasher> hasher;
  uint32_t generation = 0;
  Digest chain;
  uint64_t pending = 0;
  for (;;) {
    BL_ASSIGN(auto block, reader.next(at, false));
    if (!block) break;
    at = block->last();
    if (block->generation != generation || !hasher) {
      generation = block->generation;
      auto info = std::find_if(incarnations_.begin(), incarnations_.end(),
                               [&](const auto& i) { return i.generation == generation; });
      if (info == incarnations_.end()) {
        return fail(ErrorKind::corrupt, "outbox.incarnation",
                    "pending work of an unknown process start");
      }
      hasher =
          std::make_unique<MutationHasher>(info->salt_key, block->entries.front().mutation.id.lane);
      chain = block->chain_before;
    }
    bool continues = block->chain_before == chain;
    for (const auto& e : block->entries) {
      chain = chain_next(chain, hasher->digest(e.mutation));
      pending += is_pending(state_.retired, {generation, e.mutation.order}) ? 1 : 0;
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

// --- Local writes ---

struct Replica::Group {
  OutboxBlock block;
  std::vector<std::string> canonical;
  std::vector<Draft> drafts;  // what the block's mutations point into
  std::unordered_map<std::string, KeyRow> keys;
  std::vector<std::string> operation_keys;
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
  group.block.generation = state_.generation;
  group.block.chain_before = state_.ends[0].chain;
  size_t bytes = 0;
  for (Command* command : commands) {
    if (bytes >= limits::kTargetGroupBytes) break;
    size_t had = group.canonical.size();
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
    if (group.canonical.size() > had) bytes += group.canonical.back().size();
  }
  if (group.block.entries.empty() && group.keys.empty()) return out;
  state_.key_rows += group.keys.size();
  for (const auto& [key, row] : group.keys) out.batch.put(Table::keys, key, encode_key_row(row));
  if (!group.block.entries.empty()) {
    group.block.chain_after = state_.ends[0].chain;
    out.batch.put(Table::outbox, keys::outbox(state_.side, group.block.last()),
                  encode_outbox_block(group.block, group.canonical));
  }
  for (const auto& e : group.block.entries) {
    for (const auto& op : e.mutation.ops) out.changes.records.push_back(op.record);
  }
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
  m.id = {state_.self, state_.incarnation, Lane::interactive, state_.ends[0].seq.next()};
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
  std::string canonical;
  Writer w(canonical);
  put_mutation(w, m);
  if (canonical.size() > limits::kMaxMutationBytes) {
    return fail(ErrorKind::invalid, "mutation.too_large",
                "one change of " + std::to_string(canonical.size()) + " bytes; at most " +
                    std::to_string(limits::kMaxMutationBytes) + " are allowed");
  }
  BL_ASSIGN(Decision decision, merger_->run(m, Csn(0)));
  if (decision.fate == Fate::rejected) {
    Reason reason = decision.outcomes.empty() ? Reason::malformed : decision.outcomes.back().reason;
    return fail(ErrorKind::conflict, "write." + std::string(to_string(reason)),
                std::string(explain(reason)));
  }
  std::string forecast;
  put_forecast(forecast, m.hlc, decision.effects);
  entry.forecast = entry.current = forecast_digest(forecast);
  entry.sums.sums = decision.journal.deltas.sums;
  Writer undo(entry.undo);
  put_undo(undo, *workspace_, decision.journal);
  for (const auto& r : decision.journal.records) {
    BL_ASSIGN(auto found, workspace_->find(r.key));
    if (found.record) workspace_->set_pending(*found.record, {state_.generation, m.order});
  }
  add_counts(decision.journal.deltas);
  state_.order = m.order;
  state_.ends[0].seq = m.id.seq;
  state_.ends[0].chain = chain_next(state_.ends[0].chain, hasher_->digest(m));
  state_.ledger.accepted += 1;
  state_.ledger.pending += 1;
  remember(command, m.id, group);
  Accepted accepted{m.id, false};
  group.canonical.push_back(std::move(canonical));
  group.block.entries.push_back(std::move(entry));
  return accepted;
}

// --- The link ---

Introduction Replica::introduction(const std::string& server,
                                   const std::string& topology_digest) const {
  Introduction intro;
  intro.server = server;
  intro.origin = state_.self;
  intro.schema_version = schema_->version();
  intro.schema_digest = schema_->digest();
  intro.topology_digest = topology_digest;
  intro.cursor = state_.cursor;
  uint32_t oldest = state_.retired.begin()->first;
  for (const auto& i : incarnations_) {
    if (i.generation > state_.announced || i.generation >= oldest) intro.incarnations.push_back(i);
    auto retired = state_.retired.find(i.generation);
    if (retired == state_.retired.end()) continue;
    // One lane so far: seq and order count alike.
    Order last = i.generation == state_.generation ? state_.order
                                                   : incarnations_[i.generation].predecessor_order;
    if (i.generation != state_.generation && retired->second == last) continue;
    intro.pending.push_back({{state_.self, i.incarnation, Lane::interactive},
                             Seq(retired->second.value + 1),
                             Seq(last.value)});
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
  if (state_.joined() && r.territories != state_.territories) {
    return fail(ErrorKind::conflict, "session.subscription",
                "the master says this branch subscribes to other territories than it holds; "
                "changing a subscription "
                "is not possible yet");
  }
  state_.territories = r.territories;
  state_.holds_everything = r.holds_everything;
  state_.term = r.term;
  state_.announced = state_.generation;
  echo_until_ = r.echo_until;
  if (!state_.joined()) state_.cursor.line = r.head.line;
  workspace_->reset(state_.side, state_.holds_everything);
  write_state(batch);
  return batch;
}

Result<int64_t> Replica::oldest_pending_ms() const {
  OutboxReader reader(store_, state_.side);
  for (const auto& [generation, order] : state_.retired) {
    BL_ASSIGN(auto block, reader.next({generation, order}, false));
    if (!block) return 0;
    for (const auto& e : block->entries) {
      if (is_pending(state_.retired, {block->generation, e.mutation.order}))
        return e.mutation.hlc.ms();
    }
  }
  return 0;
}

// --- What the uplink reads ---

Result<OutboxSlice> ReplicaOutbox::read(PendingRef after, size_t max_mutations,
                                        size_t max_bytes) const {
  OutboxReader reader(*view_, side_);
  OutboxSlice slice;
  slice.last = after;
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
  // One lane so far: seq and order count alike.
  BL_ASSIGN(auto block, reader.holding({info->generation, Order(seq.value)}));
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
