#include "master/ingest/ingest.h"

#include "common/base/probe.h"
#include "common/store/identity.h"
#include "master/ingest/ingest_impl.h"

namespace branchline {
namespace {}  // namespace

Ingest::Ingest(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Ingest::~Ingest() = default;

const MasterState& Ingest::state() const { return impl_->state; }
const std::map<OriginId, OriginState>& Ingest::origins() const { return impl_->origins; }
const std::map<OriginId, ProgramSeen>& Ingest::programs() const { return impl_->programs; }
const Directory& Ingest::directory() const { return impl_->directory; }
const StoreView& Ingest::store() const { return impl_->store; }
const Schema& Ingest::schema() const { return *impl_->schema; }
Workspace& Ingest::workspace() { return *impl_->workspace; }

Result<std::unique_ptr<Ingest>> Ingest::open(Store& store, std::shared_ptr<const Schema> schema,
                                             Clock& clock, Random& random, AttemptLog* attempts,
                                             Batch& start, const IndexUpkeep& upkeep) {
  auto impl = std::make_unique<Impl>(store, std::move(schema), clock, random, attempts);
  Workspace::Config config;
  config.scope = IndexScope::authority;
  impl->workspace = std::make_unique<Workspace>(store, impl->schema, config);
  impl->merger = std::make_unique<Merger>(*impl->workspace, impl->lineage);
  BL_TRY(check_store_identity(store, StoreRole::master, "the store"));
  BL_ASSIGN(auto row, store.get(Table::meta, keys::meta_state()));
  if (row) {
    BL_ASSIGN(impl->state, decode_master_state(*row));
    BL_TRY(impl->load());
    BL_TRY(check_level(impl->directory.feature_level(), "the main line in this store"));
    impl->merger->set_level(impl->directory.feature_level());
  } else {
    impl->start_line(start);
  }
  BL_TRY(keep_index(store, *impl->schema, config.side, config.scope,
                    live_records(impl->state.totals), upkeep, start));
  impl->start_incarnation(start);
  for (const auto& entity : impl->schema->entities()) {
    for (const auto& field : entity->fields) {
      if (field.policy == Policy::escrow) impl->escrow_fields[entity->id].push_back(field.id);
    }
  }
  impl->grants_due_everywhere();  // what was due when the last process ended is not stored
  start.put(Table::meta, keys::meta_state(), encode_master_state(impl->state));
  if (impl->reconciling_changed) {
    start.put(Table::meta, keys::meta_reconciling(), encode_reconciling(impl->reconciling));
    start.erase(Table::meta, keys::meta_restored());
    impl->reconciling_changed = false;
  }
  return std::unique_ptr<Ingest>(new Ingest(std::move(impl)));
}

Result<void> Ingest::Impl::load() {
  hlc.start(state.hlc);
  auto rows = scan_prefix(store, Table::meta, keys::meta_known_incarnation_prefix());
  for (; rows->valid(); rows->next()) {
    OriginId origin(Reader(rows->key().substr(1)).fixed16());
    BL_ASSIGN(auto info, decode_incarnation(rows->value()));
    learn(origin, info);
  }
  if (auto e = rows->error()) return std::unexpected(*e);
  rows = scan_prefix(store, Table::meta, keys::meta_origin_prefix());
  for (; rows->valid(); rows->next()) {
    BL_ASSIGN(origins[OriginId(Reader(rows->key().substr(1)).fixed16())],
              decode_origin_state(rows->value()));
  }
  if (auto e = rows->error()) return std::unexpected(*e);
  rows = scan_prefix(store, Table::meta, keys::meta_program_prefix());
  for (; rows->valid(); rows->next()) {
    BL_ASSIGN(programs[OriginId(Reader(rows->key().substr(1)).fixed16())],
              decode_program_seen(rows->value()));
  }
  if (auto e = rows->error()) return std::unexpected(*e);
  rows = scan_prefix(store, Table::meta, keys::meta_shown_prefix());
  for (; rows->valid(); rows->next()) {
    Reader key(rows->key().substr(1));
    OriginId origin(key.fixed16());
    shown.emplace(origin, key.id());
    if (!key.done()) {
      return fail(ErrorKind::corrupt, "master.state",
                  "the row of a credential that was shown at a branch is damaged");
    }
  }
  if (auto e = rows->error()) return std::unexpected(*e);
  rows = scan_prefix(store, Table::meta, keys::meta_stream_prefix());
  for (; rows->valid(); rows->next()) {
    Reader key(rows->key().substr(1));
    Stream stream;
    stream.origin = OriginId(key.fixed16());
    stream.incarnation = Incarnation(key.fixed64());
    stream.lane = static_cast<Lane>(key.u8());
    BL_ASSIGN(streams[stream], decode_stream_state(rows->value()));
  }
  if (auto e = rows->error()) return std::unexpected(*e);
  BL_ASSIGN(trim, read_trim(store));
  rows = scan_prefix(store, Table::meta, keys::meta_branch_prefix());
  for (; rows->valid(); rows->next()) {
    BL_ASSIGN(branches[OriginId(Reader(rows->key().substr(2)).fixed16())],
              decode_branch_progress(rows->value()));
  }
  if (auto e = rows->error()) return std::unexpected(*e);
  BL_ASSIGN(auto reconciling_row, store.get(Table::meta, keys::meta_reconciling()));
  if (reconciling_row) {
    BL_ASSIGN(reconciling, decode_reconciling(*reconciling_row));
  }
  for (EntityId entity : {entity_id::kTerritory, entity_id::kServer, entity_id::kTopology}) {
    auto records = scan_prefix(store, Table::records, keys::record_prefix(0, entity));
    for (; records->valid(); records->next()) {
      auto key = keys::parse_record(records->key());
      if (!key) return fail(ErrorKind::corrupt, "record.key", "a record's key is damaged");
      BL_ASSIGN(auto record, Record::decode(*key, std::string(records->value())));
      directory.take(*schema, record);
    }
    if (auto e = records->error()) return std::unexpected(*e);
  }
  directory.resolve();
  BL_ASSIGN(auto restored, store.get(Table::meta, keys::meta_restored()));
  if (restored) {
    BL_TRY(decode_restored_mark(*restored));
    reconciling.restored_at = state.head;
    reconciling.why = "this master was restored from a backup";
    await_all();
  }
  return {};
}

void Ingest::Impl::start_line(Batch& rows) {
  state.line = LineId(random.next());
  state.chain = line_start(state.line);
  state.salt_key = SaltKey::from(random.bytes(16));
  state.self = kMasterOrigin;
  rows.put(Table::meta, keys::meta_identity(), store_identity(StoreRole::master));
}

void Ingest::Impl::start_incarnation(Batch& rows) {
  IncarnationInfo info;
  info.generation = ++state.generation;
  do info.incarnation = Incarnation(random.next());
  while (info.incarnation.value == 0);
  info.predecessor = origins[state.self].latest;
  Stream before{state.self, info.predecessor, Lane::interactive};
  if (auto at = streams.find(before); at != streams.end()) {
    info.predecessor_order = at->second.order;
    info.predecessor_ends[0] = {at->second.seq, at->second.chain};
  }
  info.salt_key = SaltKey::from(random.bytes(16));
  learn(state.self, info);
  own = info;
  own_chain = chain_start({state.self, info.incarnation, Lane::interactive});
  origins[state.self].latest = info.incarnation;
  rows.put(Table::meta, keys::meta_known_incarnation(state.self, info.incarnation),
           encode_incarnation(info));
  rows.put(Table::meta, keys::meta_origin(state.self), encode_origin_state(origins[state.self]));
}

void Ingest::Impl::learn(OriginId origin, const IncarnationInfo& info) {
  incarnations[{origin, info.incarnation}] = info;
  lineage.add(origin, info.incarnation, info.link());
}

MutationHasher& Ingest::Impl::hasher(const Stream& stream) {
  auto& h = hashers[stream];
  if (!h) {
    const auto& info = incarnations.at({stream.origin, stream.incarnation});
    h = std::make_unique<MutationHasher>(info.salt_key, stream.lane);
  }
  return *h;
}

Result<const ServerEntry*> Ingest::Impl::known_branch(const std::string& name) const {
  const ServerEntry* server = directory.server(name);
  if (server && server->removed) {
    return fail(ErrorKind::denied, "session.removed",
                name +
                    " was removed from the topology; what waits there is kept and is taken when it "
                    "is added again");
  }
  if (server && !server->master) return server;
  return fail(ErrorKind::denied, "session.unknown",
              "there is no branch named " + name + " in the topology this master committed");
}

Result<void> Ingest::Impl::learn_all(const Introduction& intro, const ServerEntry& server,
                                     Batch& rows) {
  OriginId id = server.origin;
  for (const auto& info : intro.incarnations) {
    auto known = incarnations.find({id, info.incarnation});
    if (known == incarnations.end()) {
      learn(id, info);
      rows.put(Table::meta, keys::meta_known_incarnation(id, info.incarnation),
               encode_incarnation(info));
    } else if (encode_incarnation(known->second) != encode_incarnation(info)) {
      return fail(
          ErrorKind::conflict, "session.incarnation",
          server.name +
              " describes its own past in another way than before; is a copy of it running?");
    }
  }
  return {};
}

Result<void> Ingest::Impl::check_introduction(const Introduction& intro,
                                              const ServerEntry& server) const {
  auto conflict = [&](const char* code, std::string message) {
    return fail(ErrorKind::conflict, code, std::move(message));
  };
  auto origin = origins.find(server.origin);
  if (origin != origins.end() && origin->second.quarantined) {
    return conflict("session.quarantined",
                    "the link of " + server.name + " is quarantined: " + origin->second.why +
                        "; an operator must look at it, then run: branchline release " +
                        server.name);
  }
  if (intro.feature_level < directory.feature_level()) {
    return conflict("session.feature_level",
                    server.name + " runs a version that knows feature level " +
                        std::to_string(intro.feature_level) + ", the main line is at " +
                        std::to_string(directory.feature_level()) + ": upgrade " + server.name +
                        "; its data and its pending work stay as they are");
  }
  // One version older or newer will do where one extends the other: what only the newer knows is
  // not used before the feature level says so, and policies count as the master has them.
  bool same = intro.schema_version == schema->version() && intro.schema_digest == schema->digest();
  bool older =
      intro.schema_version + 1 == schema->version() && intro.schema_digest == schema->extends();
  bool newer =
      intro.schema_version == schema->version() + 1 && intro.schema_extends == schema->digest();
  if (!same && !older && !newer) {
    return conflict("session.schema",
                    server.name + " has another schema (version " +
                        std::to_string(intro.schema_version) + ") than this master (version " +
                        std::to_string(schema->version()) +
                        "), and neither is the version before the other; upgrade the older one");
  }
  return {};
}

Result<Registration> Ingest::begin_session(const Introduction& intro, Batch& rows,
                                           bool other_alive) {
  Impl& s = *impl_;
  BL_ASSIGN(const ServerEntry* server, s.known_branch(intro.server));
  OriginId origin_id = server->origin;
  // Also of one that is refused: the operator who asks what holds up a raise gets to know.
  ProgramSeen& program = s.programs[origin_id];
  program = {intro.feature_level, intro.schema_version, s.clock.wall_ms()};
  rows.put(Table::meta, keys::meta_program(origin_id), encode_program_seen(program));
  BL_TRY(s.check_introduction(intro, *server));
  BL_TRY(s.check_line(intro, *server, rows));
  BL_TRY(s.check_copy(intro, *server, other_alive, rows));
  BL_TRY(s.learn_all(intro, *server, rows));
  BL_TRY(s.check_missing(intro, *server, rows));
  Registration out;
  out.session = ++s.last_session;
  out.origin = origin_id;
  out.head = {s.state.line, s.state.head, s.state.chain};
  out.term = s.state.term;
  out.territories.assign(server->territories.begin(), server->territories.end());
  out.holds_everything = server->territories.size() == s.directory.territories().size();
  auto progress = s.branches.find(origin_id);
  bool new_here = progress == s.branches.end();
  if (new_here) progress = s.branches.emplace(origin_id, BranchProgress{}).first;
  BranchProgress& p = progress->second;
  if (new_here) p.installed = out.territories;
  p.grant(out.territories);
  bool joined = intro.cursor.csn.value != 0;
  if (joined && intro.says_installed) p.install(intro.installed, intro.cursor.csn);
  if (p.lapsed_at.value != 0 && intro.cursor.csn >= p.lapsed_at) p.lapsed_at = Csn(0);
  bool gone = joined && (intro.cursor.csn < s.trim.csn || p.lapsed_at.value != 0);
  if (gone) BL_PROBE("session.seeded_anew_after_lapse");
  out.installed = p.installed;
  bool other = joined && p.installed != out.territories;
  // An older branch cannot take a part; it gets everything.
  out.join = !joined || intro.reseed || gone || (other && !intro.says_installed);
  out.partial = !out.join && other;
  // It, or another copy of it, made its forecasts anew on a snapshot, and shipped those. Restored
  // from before that, this disk has others: "as forecast" would tell it nothing.
  if (joined && intro.cursor.csn <= p.seeded_after) {
    BL_PROBE("session.behind_its_snapshot");
    out.echo_until = s.state.head;
  }
  if (out.join || out.partial) p.seeded_after = s.state.head;
  p.heard_ms = s.clock.wall_ms();
  rows.put(Table::meta, keys::meta_branch(origin_id), encode_branch_progress(p));
  out.past_lines = s.reconciling.past;
  for (const auto& [stream, at] : s.streams) {
    if (stream.origin != origin_id) continue;
    auto pending = std::find_if(intro.pending.begin(), intro.pending.end(), [&](const auto& p) {
      return p.stream.incarnation == stream.incarnation && p.stream.lane == stream.lane;
    });
    bool holds = pending != intro.pending.end();
    if (holds) out.high_waters.push_back({stream, at.seq, at.chain});
    // Commits of its own beyond its cursor that it does not hold as pending: forgotten by its disk.
    bool knows = holds && pending->last >= at.seq;
    if (at.last_csn > intro.cursor.csn && !knows) {
      out.rolled_back = true;
      out.echo_until = s.state.head;
    }
  }
  // What a rolled-back disk forgot comes back by the feed; it is not to be told apart from what the
  // subscription changes, so it gets everything.
  if (out.rolled_back && out.partial) {
    BL_PROBE("session.rolled_back_and_resubscribed");
    out.partial = false;
    out.join = true;
  }
  s.sessions[origin_id] = out.session;
  OriginState& origin = s.origins[origin_id];
  Incarnation chain = s.lineage.chain_of(origin_id, origin.latest);
  bool joins = origin.latest.value == 0;
  origin.latest = intro.incarnations.back().incarnation;
  // A new data directory has no share of anything; that of the one before is frozen.
  if (joins || chain != s.lineage.chain_of(origin_id, origin.latest)) s.grants_due_everywhere();
  origin.announced = 0;
  for (const auto& range : intro.pending) {
    Stream stream = range.stream;
    stream.origin = origin_id;
    auto known = s.streams.find(stream);
    Seq have = known == s.streams.end() ? Seq(0) : known->second.seq;
    // Level 1 has no room for it.
    if (range.last > have && s.directory.feature_level() >= 2)
      origin.announced += range.last.value - std::max(have.value, range.first.value - 1);
  }
  s.drop_held(origin_id);  // it comes again
  s.note_offer(intro, origin_id, out.join, rows);
  rows.put(Table::meta, keys::meta_origin(origin_id), encode_origin_state(origin));
  return out;
}

Error Ingest::Impl::waits_for_links() {
  return {ErrorKind::unavailable, "file.reconciling",
          "this master was restored and waits for what its branches offer anew over their links; "
          "import the file when that is over (branchline status). The file keeps"};
}

Result<void> Ingest::Impl::check_file(const Introduction& intro, const ServerEntry& server) const {
  const LineCursor& cursor = intro.cursor;
  if (cursor.csn.value == 0) {
    return fail(ErrorKind::unavailable, "file.never_joined",
                server.name + " had no data yet, or fetched them anew: its link is needed first");
  }
  if (reconciling.open()) return std::unexpected(waits_for_links());
  if (cursor.line != state.line) {
    return fail(
        ErrorKind::conflict, "file.other_line",
        "the file belongs to main line " + to_hex(cursor.line.value) + ", this master's is " +
            to_hex(state.line.value) +
            (is_past(reconciling.past, cursor.line) ? ", since it was restored; over its link " +
                                                          server.name + " offers its work again"
                                                    : ""));
  }
  if (cursor.csn > state.head) {
    return fail(ErrorKind::conflict, "file.ahead",
                server.name + " was at csn " + std::to_string(cursor.csn.value) +
                    ", this master is only at " + std::to_string(state.head.value) +
                    ": it was restored, or is not the one that this office follows");
  }
  if (cursor.csn >= trim.csn) {
    BL_ASSIGN(bool same, holds_cursor(cursor));
    if (!same) {
      return fail(ErrorKind::conflict, "file.off_line",
                  server.name + " has another history up to csn " +
                      std::to_string(cursor.csn.value) + " than this main line");
    }
  }
  auto origin = origins.find(server.origin);
  Incarnation current = intro.incarnations.back().incarnation;
  auto copy = [&](const std::string& why) {
    return fail(ErrorKind::conflict, "file.copy",
                "it is not certain that the file is from the one " + server.name + ": " + why +
                    ". Let it connect first; its link tells copies of a disk apart");
  };
  if (origin == origins.end() || origin->second.written_off || origin->second.refused == current)
    return copy("that one is not known here, was written off or refused as a copy");
  // An earlier file, or one of a start that was here over its link.
  if (incarnations.count({server.origin, current})) return {};
  // A start since then: it must go on where the latest one ended.
  Incarnation at = current;
  const IncarnationInfo* successor = nullptr;
  for (auto i = intro.incarnations.rbegin(); i != intro.incarnations.rend(); ++i) {
    if (at == origin->second.latest || i->incarnation != at) break;
    successor = &*i;
    at = i->predecessor;
  }
  if (!successor || at != origin->second.latest)
    return copy("its server was started anew from something older than what was here last");
  for (size_t lane = 0; lane < kLaneCount; ++lane) {
    auto stream = streams.find({server.origin, at, static_cast<Lane>(lane)});
    if (stream == streams.end()) continue;
    const auto& end = successor->predecessor_ends[lane];
    bool continues = end.seq > stream->second.seq ||
                     (end.seq == stream->second.seq && end.chain == stream->second.chain) ||
                     stream->second.seq.value == 0;
    if (!continues) return copy("its disk lacks work that has come from it");
  }
  return {};
}

Result<OriginId> Ingest::introduce_file(const Introduction& intro, Batch& rows) {
  Impl& s = *impl_;
  BL_ASSIGN(const ServerEntry* server, s.known_branch(intro.server));
  OriginId id = server->origin;
  BL_TRY(s.check_introduction(intro, *server));
  BL_TRY(s.check_file(intro, *server));
  Incarnation current = intro.incarnations.back().incarnation;
  bool known = s.incarnations.count({id, current}) > 0;
  BL_TRY(s.learn_all(intro, *server, rows));
  if (!known) {
    // Else its link would find it here already, behind another, and take it for a copy.
    s.origins[id].latest = current;
    rows.put(Table::meta, keys::meta_origin(id), encode_origin_state(s.origins[id]));
  }
  // Who lives by files is not away.
  if (auto progress = s.branches.find(id); progress != s.branches.end()) {
    progress->second.heard_ms = s.clock.wall_ms();
    // Of a subscription that was changed since its link was up, both ways, nobody else tells.
    progress->second.held(intro.installed, intro.cursor.csn);
    rows.put(Table::meta, keys::meta_branch(id), encode_branch_progress(progress->second));
  }
  return id;
}

Result<Ingest::Local> Ingest::raise_feature_level(uint32_t level) {
  Impl& s = *impl_;
  if (level <= s.directory.feature_level()) {
    return fail(ErrorKind::conflict, "feature_level.set",
                "the main line is at feature level " + std::to_string(s.directory.feature_level()) +
                    " already; it never goes down");
  }
  BL_TRY(check_level(level, "what is asked for"));
  std::string why;
  for (const auto& [origin, server] : s.directory.servers()) {
    if (server.master || server.removed) continue;
    auto seen = s.programs.find(origin);
    if (seen != s.programs.end() && seen->second.feature_level >= level) continue;
    why += why.empty() ? "" : "; ";
    if (seen == s.programs.end()) {
      why += server.name + " has not connected since this master knows of levels";
    } else {
      why += server.name + " runs a version that knows level " +
             std::to_string(seen->second.feature_level);
    }
  }
  if (!why.empty()) {
    return fail(ErrorKind::conflict, "feature_level.server",
                "level " + std::to_string(level) + " would cut off servers that do not know it: " +
                    why + ". Upgrade them, and let them connect, first");
  }
  const Entity& topology = *s.schema->entity(entity_id::kTopology);
  std::string payload = encode_integer(level);
  RecordOp op;
  op.kind = RecordOpKind::update;
  op.record = topology_key();
  op.cells.push_back(
      {topology.field("featurelevel")->id, CellOpKind::set, {ValueType::integer, payload}, {}});
  BL_ASSIGN(Local local, commit_local({op}, {}, ""));
  return local;
}

void Ingest::note_shown(OriginId origin, const RecordId& credential, Batch& rows) {
  if (!impl_->shown.emplace(origin, credential).second) return;
  rows.put(Table::meta, keys::meta_shown(origin, credential), {});
}

Result<Ingest::Local> Ingest::commit_local(std::vector<RecordOp> ops, const RecordId& author,
                                           std::string_view operation_key) {
  Impl& s = *impl_;
  IncomingBlock incoming;
  incoming.origin = s.state.self;
  MutationBlock& block = incoming.block;
  block.stream = {s.state.self, s.own.incarnation, Lane::interactive};
  Mutation& m = block.mutations.emplace_back();
  s.own_seq = s.own_seq.next();
  s.own_order = s.own_order.next();
  m.id = {s.state.self, s.own.incarnation, Lane::interactive, s.own_seq};
  m.order = s.own_order;
  m.line = s.state.line;
  m.base = s.state.head;
  m.hlc = s.hlc.stamp(s.clock.wall_ms());
  m.author = author;
  m.schema_version = s.schema->version();
  m.operation_key = block.arena.copy(operation_key);
  m.ops = std::move(ops);
  for (auto& op : m.ops) {
    for (auto& c : op.cells) c.value.payload = block.arena.copy(c.value.payload);
  }
  s.own_chain = chain_next(s.own_chain, s.hasher(block.stream).digest(m));
  block.chain_check = Reader(s.own_chain.view()).fixed32();
  block.forecasts.push_back(0);  // nobody forecast it: the effects go to all
  Local local;
  local.id = m.id;
  std::vector<IncomingBlock> blocks;
  blocks.push_back(std::move(incoming));
  BL_ASSIGN(local.result, ingest(std::move(blocks)));
  if (!local.result.broken.empty()) return std::unexpected(local.result.broken[0].error);
  local.csn = s.state.head;
  BL_ASSIGN(auto entries, decode_fate_block([&] {
              return decompress(local.result.line->fates.front().second, limits::kMaxBlockBytes)
                  .value_or("");
            }()));
  local.fate = entries.back().fate;
  local.outcomes = entries.back().outcomes;
  return local;
}

}  // namespace branchline
