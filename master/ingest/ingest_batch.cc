// Deciding blocks, and the rows that a decided batch consists of.
#include <algorithm>

#include "common/base/probe.h"
#include "master/ingest/ingest_impl.h"
#include "replication/merge/arrival.h"

namespace branchline {
namespace {

std::string_view keep_bytes(Arena& arena, std::string_view v) { return arena.copy(v); }

Error gap(const Stream& stream, Seq expected, Seq got) {
  return {ErrorKind::invalid, "stream.gap",
          "a gap in stream " + to_hex(stream.incarnation.value) + "." +
              std::string(to_string(stream.lane)) + ": expected seq " +
              std::to_string(expected.value) + ", got " + std::to_string(got.value)};
}

}  // namespace

Result<IngestResult> Ingest::ingest(std::vector<IncomingBlock> blocks) {
  Impl& s = *impl_;
  IngestBatch work;
  IngestResult result;
  bool of_held = work.of_held = blocks.empty();
  work.blocks = of_held ? s.take_held() : std::move(blocks);
  size_t taken = 0;
  BL_TRY(s.take_blocks(work, taken, result));
  s.close_if_done();
  BL_TRY(s.finish(work, result));
  // A block that was cut short comes again as a whole: what is decided of it is skipped then.
  for (size_t i = 0; i < work.blocks.size(); ++i) {
    IncomingBlock& b = work.blocks[i];
    bool again = i >= taken || (work.cut && i == work.at);
    if (!again && !work.hold.count(i)) continue;
    auto& queue = s.held[lane_of(b)];
    if (of_held) {
      queue.push_front(std::move(b));  // one of each lane
    } else if (!again) {
      queue.push_back(std::move(b));
    } else {
      result.rest.push_back(std::move(b));
    }
  }
  std::erase_if(s.held, [](const auto& h) { return h.second.empty(); });
  return result;
}

Result<void> Ingest::Impl::take_blocks(IngestBatch& work, size_t& taken, IngestResult& result) {
  while (taken < work.blocks.size() && !work.full()) {
    work.at = taken++;
    OriginLane lane = lane_of(work.blocks[work.at]);
    bool first = work.of_held || (!held.count(lane) && !work.holds(lane));
    BL_TRY(take_block(work, work.blocks[work.at], result));
    bool offers = reconciling.open() || offered.count(lane.first) > 0 || heads.count(lane) > 0;
    if (offers && first) note_head(work.blocks[work.at]);
  }
  // Of what was held back, the next may be any one's.
  for (bool moved = work.of_held; moved && !work.full();) {
    moved = false;
    for (size_t i = 0; i < work.blocks.size() && !work.full(); ++i) {
      const Mutation* head = work.hold.count(i) ? head_of(work.blocks[i]) : nullptr;
      if (!head || !may_decide(*head)) continue;
      moved = true;
      work.hold.erase(i);
      work.at = i;
      BL_TRY(take_block(work, work.blocks[i], result));
      note_head(work.blocks[i]);
      if (work.cut) return {};
    }
  }
  return {};
}

Result<size_t> Ingest::Impl::check_continuity(const MutationBlock& block,
                                              const StreamState& at) const {
  Seq first = block.mutations.front().id.seq, last = block.mutations.back().id.seq;
  if (first > at.seq.next()) return std::unexpected(gap(block.stream, at.seq.next(), first));
  if (last < at.seq)
    return block.mutations.size();  // all known; an older part cannot be compared any more
  return static_cast<size_t>(at.seq.value + 1 - first.value);
}

Result<void> Ingest::Impl::take_block(IngestBatch& work, IncomingBlock& incoming,
                                      IngestResult& result) {
  MutationBlock& block = incoming.block;
  bool local = incoming.origin == state.self;
  bool by_file = incoming.by_file;
  if (!local && !by_file && sessions[incoming.origin] != incoming.session) {
    // Usually its connection is gone. It may be the live one, though, where an old greeting came
    // late.
    BL_PROBE("ingest.block_of_old_session");
    result.broken.push_back(
        {incoming.origin,
         incoming.session,
         {ErrorKind::unavailable, "session.superseded", "a newer connection took over"}});
    return {};
  }
  auto broken = [&](Error e) {
    result.broken.push_back({incoming.origin, incoming.session, std::move(e)});
    if (by_file) return Result<void>{};
    sessions[incoming.origin] = 0;  // what it still sends is dropped
    drop_held(incoming.origin);
    return Result<void>{};
  };
  bool behind_held = held.count(lane_of(incoming)) > 0 && !work.of_held;
  if (by_file && behind_held) return broken(waits_for_links());
  if (behind_held || work.holds(lane_of(incoming))) {
    work.hold.insert(work.at);
    return {};
  }
  if (block.stream.origin != incoming.origin) {
    return broken({ErrorKind::denied, "stream.foreign", "a block of another server's mutations"});
  }
  if (!incarnations.count({block.stream.origin, block.stream.incarnation})) {
    return broken(
        {ErrorKind::invalid, "stream.unknown_incarnation",
         "incarnation " + to_hex(block.stream.incarnation.value) + " was never introduced"});
  }
  auto at = streams.find(block.stream);
  if (at == streams.end())
    at = streams.emplace(block.stream, StreamState{{}, {}, chain_start(block.stream), {}}).first;
  StreamState& stream = at->second;
  auto fresh = check_continuity(block, stream);
  if (!fresh) return broken(fresh.error());
  if (*fresh > 0) BL_PROBE("ingest.resend_skipped");

  // The chain over what is new must end where the origin says it does; otherwise its past is not
  // the one this line knows, and answering as a resend would lose work (SEMANTICS 3).
  Digest chain = stream.chain;
  std::vector<Digest> chains;  // behind each fresh mutation
  MutationHasher& hash = hasher(block.stream);
  Order last_order = stream.order;
  for (size_t i = *fresh; i < block.mutations.size(); ++i) {
    const Mutation& m = block.mutations[i];
    if (m.order <= last_order) {
      return broken({ErrorKind::invalid, "stream.order",
                     "order " + std::to_string(m.order.value) + " follows " +
                         std::to_string(last_order.value)});
    }
    last_order = m.order;
    chain = chain_next(chain, hash.digest(m));
    chains.push_back(chain);
  }
  bool comparable = *fresh < block.mutations.size() || block.mutations.back().id.seq == stream.seq;
  bool agrees = !comparable || Reader(chain.view()).fixed32() == block.chain_check;
  if (!agrees && by_file) {
    // The file is refused, no more: the link says for itself what history it has.
    return broken({ErrorKind::conflict, "file.other_history",
                   "its mutations up to seq " +
                       std::to_string(block.mutations.back().id.seq.value) + " of incarnation " +
                       to_hex(block.stream.incarnation.value) +
                       " are not those that this master has of that server (a damaged or copied "
                       "data directory?)"});
  }
  if (!agrees) {
    OriginState& origin = origins[incoming.origin];
    origin.quarantined = true;
    origin.why = "its mutations up to seq " + std::to_string(block.mutations.back().id.seq.value) +
                 " of incarnation " + to_hex(block.stream.incarnation.value) +
                 " are not those whose hashes it had announced (damaged or copied data directory?)";
    work.origins.insert(incoming.origin);
    return broken({ErrorKind::conflict, "session.quarantined", origin.why});
  }

  size_t decided = *fresh;
  while (decided < block.mutations.size() && !work.full()) {
    size_t begin = decided / kForecastRun * kForecastRun;
    size_t end = std::min(begin + kForecastRun, block.mutations.size());
    size_t stop = decided;
    while (stop < end && may_decide(block.mutations[stop])) ++stop;
    if (stop == decided && by_file) return broken(waits_for_links());
    if (stop == decided) {
      BL_PROBE("ingest.held_back");
      work.hold.insert(work.at);
      break;
    }
    BL_ASSIGN(decided, decide_run(work, block, begin, end, stop, decided,
                                  by_file ? std::nullopt
                                          : std::optional(block.forecasts[begin / kForecastRun])));
  }
  work.cut = decided < block.mutations.size() && !work.hold.count(work.at);
  if (*fresh < decided) {
    const Mutation& last = block.mutations[decided - 1];
    stream.seq = last.id.seq;
    stream.order = last.order;
    stream.chain = chains[decided - 1 - *fresh];
    stream.last_csn = state.head;
    work.streams.insert(block.stream);
    work.origins.insert(block.stream.origin);
    note_progress(incoming.origin);
  }
  bool nothing_new = work.hold.count(work.at) && decided == *fresh;
  if (!local && !by_file && !nothing_new)
    result.acks.push_back({incoming.origin, incoming.session, block.stream, stream.seq});
  return {};
}

Result<size_t> Ingest::Impl::decide_run(IngestBatch& work, MutationBlock& block, size_t begin,
                                        size_t end, size_t stop, size_t fresh_from,
                                        std::optional<uint64_t> expected_forecast) {
  std::vector<uint64_t> forecasts;
  std::string bytes;
  size_t first = work.decided.size();
  int64_t now = clock.wall_ms();
  size_t at = std::max(begin, fresh_from);
  bool back = false;
  for (; at < stop && !work.full(); ++at) {
    Mutation& m = block.mutations[at];
    Csn csn = state.head.next();
    Hlc clamped;
    if (m.hlc.ms() > now + limits::kMaxClockAheadMs) {
      BL_PROBE("ingest.clock_clamped");
      clamped = hlc.stamp(now);
      m.hlc = clamped;
    }
    hlc.observe(m.hlc);
    BL_ASSIGN(auto decision, decide(work, m, csn));
    bytes.clear();
    put_forecast(bytes, m.hlc, decision.effects);
    forecasts.push_back(forecast_digest(bytes));
    state.head = csn;
    BL_TRY(keep(work, std::move(decision), m, csn, clamped));
    back = back || work.decided.back().needs_echo;
  }
  // A run of which only a part is decided here cannot be compared: its effects go back.
  // Nor can one that came by file: the office may have got a snapshot since it wrote the file, and
  // then its forecast is another one than the file's.
  bool whole = fresh_from <= begin && at == end;
  if (!whole) BL_PROBE("ingest.run_cut");
  if (!expected_forecast) BL_PROBE("ingest.by_file");
  if (back) BL_PROBE("ingest.arrival_echoed");
  bool as_forecast = whole && !back && expected_forecast &&
                     run_digest(forecasts.data(), forecasts.size()) == *expected_forecast;
  for (size_t i = first; i < work.decided.size(); ++i) {
    work.decided[i].echo = !as_forecast;
    work.decided[i].fate.as_forecast = as_forecast;
  }
  return at;
}

Result<Decision> Ingest::Impl::decide(IngestBatch& work, Mutation& m, Csn csn) {
  if (attempts && attempts->crashes(m.id) >= 2) return Merger::reject(Reason::crashed);
  BL_ASSIGN(auto used_by, key_used_by(work, m));
  if (used_by && *used_by != m.id) {
    BL_PROBE("ingest.duplicate_operation");
    Decision d;
    d.fate = Fate::merged;
    d.outcomes.push_back({0, FieldId(0), Fate::merged, Reason::duplicate_operation, *used_by});
    return d;
  }
  bool base_lost = base_is_lost(m);
  // A base on another line says of this one only what both have in common (SEMANTICS 2).
  OnPresentLine here(m, reconciling.past, state.line);
  Permit permit;
  if (m.id.origin != state.self) {
    auto allowed = permit_of(m, base_lost);
    if (!allowed) return std::unexpected(allowed.error());
    if (!*allowed) return Merger::reject(Reason::denied);
    permit = std::move(*allowed);
  }
  if (attempts) attempts->begin(m.id);
  auto decision = merger->run(m, csn, permit);
  if (attempts) attempts->done();
  if (fault) return std::unexpected(*fault);
  if (decision && decision->fate != Fate::rejected && !m.operation_key.empty()) {
    std::string key = keys::operation_key(m.author, m.operation_key);
    work.keys_used.emplace(key, m.id);
    work.key_rows.emplace_back(std::move(key), encode_key_row(m.id, m.hlc));
  }
  return decision;
}

Result<std::optional<MutationId>> Ingest::Impl::key_used_by(IngestBatch& work, const Mutation& m) {
  if (m.operation_key.empty()) return std::optional<MutationId>();
  std::string key = keys::operation_key(m.author, m.operation_key);
  if (auto at = work.keys_used.find(key); at != work.keys_used.end())
    return std::optional(at->second);
  BL_ASSIGN(auto row, store.get(Table::keys, key));
  if (!row) return std::optional<MutationId>();
  auto id = decode_key_row(*row);
  if (!id)
    return fail(ErrorKind::corrupt, "master.state", "the row of an operation key is damaged");
  return id;
}

Result<Permit> Ingest::Impl::permit_of(const Mutation& m, bool base_lost) {
  const ServerEntry* server = directory.server(m.id.origin);
  BL_ASSIGN(auto token, workspace->find({entity_id::kApiToken, m.credential}));
  BL_ASSIGN(auto user, workspace->find({entity_id::kUser, m.author}));
  // A token made after the backup that this master was restored from is not here any more. Its
  // office judged it, and is trusted with that for what it had accepted before (SEMANTICS 29).
  bool forgotten = !token.record || !user.record;
  bool offers = reconciling.awaited.count(m.id.origin) || reconciling.late.count(m.id.origin);
  if (server && forgotten && base_lost && offers) {
    BL_PROBE("ingest.forgotten_token");
    return Permit([server](const Entity&, const Record& record) {
      if (server->holds(record.territory())) return true;
      return std::any_of(record.also_in().begin(), record.also_in().end(),
                         [&](TerritoryId t) { return server->holds(t); });
    });
  }
  if (!server || forgotten) return Permit{};
  Value holder =
      token.record->value(schema->entity(entity_id::kApiToken)->field("systemuserid")->id);
  if (holder.is_null() || decode_lookup(holder.payload).id != m.author) return Permit{};
  // Judged at the mutation's own time and base: work done before a token ran out, or before its
  // office could hear that it was revoked, still counts (SEMANTICS 28).
  auto principal = principal_of(*schema, *token.record, *user.record, m.hlc.ms(), m.base);
  if (!principal) return Permit{};
  // Beyond its territories a branch speaks for nobody but those who read the record through it,
  // with a token that they showed.
  std::set<RecordKey> read_here;
  // That it was shown there may have been forgotten, like the token above.
  if (shown.count({m.id.origin, m.credential}) > 0 || (base_lost && offers)) {
    for (const auto& op : m.ops) {
      if (op.seen.value == 0) continue;
      read_here.insert(op.record);
      // It may have been merged into another since.
      BL_ASSIGN(auto found, workspace->resolve(op.record));
      if (found.record) read_here.insert(found.record->key());
    }
  }
  // An office that could not know yet that a record had left works on it as before (SEMANTICS 28),
  // and so does one that had not heard yet that it holds a territory no longer.
  Csn base = m.base;
  auto progress = branches.find(m.id.origin);
  const BranchProgress* was = progress == branches.end() ? nullptr : &progress->second;
  Permit permit([this, server, was, p = *principal, base, read_here = std::move(read_here)](
                    const Entity& entity, const Record& place) {
    if (!may_write_entity(p, entity)) return false;
    auto where = territories_at(place, base);
    if (entity.territory != TerritoryRule::reference && !p.works_in_any(where)) return false;
    if (read_here.count(place.key()) > 0) return true;
    return std::any_of(where.begin(), where.end(), [&](TerritoryId t) {
      return server->holds(t) || (was && was->speaks_for(t, base));
    });
  });
  permit.move = [this, p = std::move(*principal), base](const Record& record, TerritoryId home,
                                                        const std::vector<TerritoryId>& also_in) {
    auto homes = without(territories_at(record, base), record.also_in());
    return directory.knows(territories_of(home, also_in)) &&
           may_move(p, homes, record, home, also_in);
  };
  return permit;
}

std::vector<TerritoryId> Ingest::Impl::territories_at(const Record& record, Csn base) {
  std::vector<TerritoryId> out = territories_of(record);
  const Record* at = &record;
  for (size_t depth = 0; depth < limits::kMaxHierarchyDepth; ++depth) {
    const Cell* moved = at->find(system_field::kMovedFrom);
    if (moved && at->version(*moved).csn > base) {
      auto before = decode_move_history(at->value(*moved).payload);
      out.insert(out.end(), before.begin(), before.end());
    }
    add_merged_away(*at, base, out);
    auto parent = parent_of(*at, *schema->entity(at->key().entity));
    if (!parent) break;
    auto found = workspace->find(*parent);
    if (!found) fault = found.error();
    if (!found || !found->record) break;
    at = found->record;
  }
  return out;
}

void Ingest::Impl::add_merged_away(const Record& survivor, Csn base,
                                   std::vector<TerritoryId>& out) {
  if (!survivor.find(system_field::kMergedFrom)) return;
  auto merges = workspace->elements(survivor.key(), system_field::kMergedFrom);
  if (!merges) fault = merges.error();
  if (!merges) return;
  for (const auto& [at, element] : *merges) {
    if (element.version.csn <= base) continue;
    Lookup l = decode_lookup(element.value().payload);
    auto merged = workspace->find({l.entity, l.id});
    if (!merged) fault = merged.error();
    if (!merged || !merged->record) continue;
    const Cell* moved = merged->record->find(system_field::kMovedFrom);
    if (!moved || merged->record->version(*moved).csn <= base) continue;
    auto before = decode_move_history(merged->record->value(*moved).payload);
    out.insert(out.end(), before.begin(), before.end());
  }
}

Result<void> Ingest::Impl::keep(IngestBatch& work, Decision&& decision, const Mutation& m, Csn csn,
                                Hlc clamped) {
  auto& d = work.decided.emplace_back();
  d.fate.id = m.id;
  d.fate.csn = csn;
  d.fate.fate = decision.fate;
  d.fate.clamped = clamped;
  d.fate.outcomes = std::move(decision.outcomes);
  Commit& c = d.commit;
  c.csn = csn;
  c.id = m.id;
  c.order = m.order;
  c.hlc = m.hlc;
  c.author = m.author;
  for (auto& op : decision.effects) {
    auto found = workspace->find(op.record);
    BL_CHECK(found && found->record);
    // What a record leaves hears that it left, and of its values none that is written then or
    // later; what it enters gets it whole.
    auto now = territories_of(*found->record);
    auto before = territories_before(decision.journal, *found->record);
    if (before.empty()) before = now;  // it came into being
    auto& where = d.where.emplace_back(
        op.kind == RecordOpKind::relocate ? before : without(now, without(now, before)));
    if (where.empty()) where.push_back(kNoTerritory);  // part of the line, fed to nobody
    for (auto& cell : op.cells) cell.value.payload = keep_bytes(work.arena, cell.value.payload);
  }
  c.effects = std::move(decision.effects);
  BL_TRY(find_arrivals(work, d, decision.journal));
  if (d.fate.fate == Fate::rejected) {
    std::string bytes;
    Writer w(bytes);
    put_mutation(w, m);
    Writer(work.rejected).blob(bytes);
    work.rejected_digest.add(hasher(stream_of(m.id)).digest(m).view());
    work.any_rejected = true;
  } else {
    for (const auto& o : d.fate.outcomes) {
      bool lost = o.reason == Reason::older || o.reason == Reason::first_stands ||
                  o.reason == Reason::survivor_stays || o.reason == Reason::share_exceeded;
      if (!lost) continue;
      const RecordOp& op = m.ops[o.op];
      const Entity& entity = *schema->entity(op.record.entity);
      bool merges = op.kind == RecordOpKind::merge;
      auto found = workspace->resolve({op.record.entity, merges ? op.target : op.record.id});
      if (!found || !found->record) continue;
      const Field* field = entity.field(o.field);
      if (!field) continue;  // territories: what they would have been is no value
      uint16_t group = field->group;
      for (const auto& cell : op.cells) {
        bool same_group = group != 0 && entity.field(cell.field)->group == group;
        if (cell.field != o.field && !same_group) continue;
        c.lost.push_back({found->record->key(),
                          cell.field,
                          {cell.value.type, keep_bytes(work.arena, cell.value.payload)}});
        d.lost_where.push_back(found->record->territory());
      }
    }
  }
  work.effect_bytes += effect_bytes(c.effects);
  for (const auto& lost : c.lost) work.effect_bytes += lost.value.payload.size();
  OriginState& origin = origins[m.id.origin];
  origin.ledger.accepted += 1;
  origin.ledger.count(d.fate.fate, 1);
  if (origin.announced > 0) --origin.announced;
  apply_totals(decision.journal.deltas);
  note_escrow(c.effects);
  return {};
}

Result<void> Ingest::Impl::find_arrivals(IngestBatch& work, IngestBatch::Decided& d,
                                         const Journal& journal) {
  const ServerEntry* author = directory.server(d.commit.id.origin);
  auto holds = [&](const std::vector<TerritoryId>& where) {
    return author &&
           std::any_of(where.begin(), where.end(), [&](TerritoryId t) { return author->holds(t); });
  };
  BL_ASSIGN(auto arrivals, arrivals_of(*workspace, journal, d.commit.effects));
  for (auto& arrival : arrivals) {
    BL_ASSIGN(auto found, workspace->find(arrival.record));
    auto now = territories_of(*found.record);
    auto before = territories_before(journal, *found.record);
    BL_ASSIGN(auto images,
              images_of(*workspace, arrival.record, limits::kArrivalPartBytes, work.arena));
    for (const auto& image : images) work.effect_bytes += image.image.size();
    d.arrivals.push_back({std::move(images), std::move(arrival.where)});
    d.needs_echo = d.needs_echo || (!holds(before) && holds(now));
  }
  return {};
}

void Ingest::Impl::apply_totals(const Deltas& deltas) {
  for (const auto& [t, sum] : deltas.sums) state.totals.sums[t] += sum;
  for (const auto& c : deltas.counts)
    state.totals.counts[{c.entity, c.territory}] += static_cast<uint64_t>(c.delta);
}

Result<void> Ingest::Impl::finish(IngestBatch& work, IngestResult& result) {
  if (reconciling_changed) {
    result.batch.put(Table::meta, keys::meta_reconciling(), encode_reconciling(reconciling));
    reconciling_changed = false;
  }
  if (work.decided.empty()) {
    if (!work.origins.empty()) write_state(result.batch, {}, work.origins);
    return {};
  }
  workspace->flush(result.batch);
  state.key_rows += work.key_rows.size();
  for (auto& [key, row] : work.key_rows) result.batch.put(Table::keys, key, row);
  auto line = std::make_shared<LineBatch>();
  BatchHeader& header = line->header;
  header.from = Csn(work.decided.front().commit.csn.value - 1);
  header.to = state.head;
  header.term = state.term;
  header.wall_ms = clock.wall_ms();
  write_effects(work, result.batch, *line, header);
  write_arrivals(work, result.batch, *line, header);
  write_fates(work, result.batch, *line, header);
  if (work.any_rejected) {
    result.batch.put(Table::line, keys::line_rejected(header.to), compress(work.rejected));
    header.rows.push_back({uint8_t(keys::LineRow::rejected), {}, work.rejected_digest.finish(), 0});
  }
  header.chain = batch_chain(state.chain, header);
  state.chain = header.chain;
  std::string bytes = encode_batch_header(header);
  line->bytes += bytes.size();
  result.batch.put(Table::line, keys::line_batch(header.to), bytes);
  state.hlc = hlc.last();
  write_state(result.batch, work.streams, work.origins);
  take_into_directory(work, result.batch);
  workspace->evict();
  result.line = std::move(line);
  return {};
}

void Ingest::Impl::write_effects(IngestBatch& work, Batch& batch, LineBatch& line,
                                 BatchHeader& header) {
  // One block per tag, its commits in order; a commit appears in every territory that it concerns.
  std::map<BlockTag, std::vector<Commit>> parts;
  for (auto& d : work.decided) {
    std::map<TerritoryId, Commit> by_territory;
    auto part = [&](TerritoryId t) -> Commit& {
      auto [at, fresh] = by_territory.try_emplace(t);
      if (fresh) {
        const Commit& c = d.commit;
        at->second = Commit{c.csn, c.id, c.order, c.hlc, c.author, {}, {}};
      }
      return at->second;
    };
    for (size_t i = 0; i < d.commit.effects.size(); ++i) {
      for (TerritoryId t : d.where[i]) part(t).effects.push_back(d.commit.effects[i]);
    }
    for (size_t i = 0; i < d.commit.lost.size(); ++i)
      part(d.lost_where[i]).lost.push_back(d.commit.lost[i]);
    for (auto& [t, c] : by_territory) {
      parts[{t, c.id.origin, d.echo}].push_back(std::move(c));
    }
  }
  Sha256 sha, total;
  for (auto& [tag, commits] : parts) {
    CommitBlockWriter writer;
    SaltKey key = salt_epoch_key(state.salt_key, Lane::interactive, header.to.value);
    for (const auto& c : commits) {
      writer.add(c);
      total.add(commit_digest(sha, key, c).view());
    }
    std::string block = compress(writer.finish());
    batch.put(Table::line, keys::line_effects(header.to, tag.territory, tag.origin, tag.echo),
              block);
    header.rows.push_back({uint8_t(keys::LineRow::effects), tag, total.finish(), 0});
    line.bytes += block.size();
    line.effects.emplace_back(tag, std::move(block));
  }
}

// Large moves take several blocks: none may be larger than a frame.
void Ingest::Impl::write_arrivals(IngestBatch& work, Batch& batch, LineBatch& line,
                                  BatchHeader& header) {
  SaltKey key = salt_epoch_key(state.salt_key, Lane::interactive, header.to.value);
  Sha256 sha, total;
  std::map<BlockTag, uint32_t> parts;
  for (const auto& d : work.decided) {
    std::map<TerritoryId, std::vector<const RecordOp*>> by_territory;
    for (const auto& arrival : d.arrivals) {
      for (TerritoryId t : arrival.where) {
        for (const auto& image : arrival.images) by_territory[t].push_back(&image);
      }
    }
    for (const auto& [territory, images] : by_territory) {
      BlockTag tag{territory, d.commit.id.origin, d.echo};
      for (size_t next = 0; next < images.size();) {
        const Commit& whole = d.commit;
        Commit c{whole.csn, whole.id, whole.order, whole.hlc, whole.author, {}, {}};
        for (size_t bytes = 0;
             next < images.size() &&
             (bytes == 0 || bytes + images[next]->image.size() <= limits::kArrivalPartBytes);) {
          bytes += images[next]->image.size();
          c.effects.push_back(*images[next++]);
        }
        CommitBlockWriter writer;
        writer.add(c);
        total.add(commit_digest(sha, key, c).view());
        std::string block = compress(writer.finish());
        uint32_t part = parts[tag]++;
        batch.put(Table::line,
                  keys::line_arrivals(header.to, tag.territory, tag.origin, tag.echo, part), block);
        header.rows.push_back({uint8_t(keys::LineRow::arrivals), tag, total.finish(), part});
        line.bytes += block.size();
        line.arrivals.push_back({tag, part, std::move(block)});
      }
    }
  }
}

void Ingest::Impl::write_fates(IngestBatch& work, Batch& batch, LineBatch& line,
                               BatchHeader& header) {
  std::map<OriginId, std::vector<FateEntry>> by_origin;
  for (auto& d : work.decided) {
    auto& entries = by_origin[d.fate.id.origin];
    bool plain = d.fate.outcomes.empty() && d.fate.clamped.value == 0;
    if (plain && !entries.empty()) {
      FateEntry& e = entries.back();
      bool follows = stream_of(e.id) == stream_of(d.fate.id) &&
                     e.id.seq.value + e.count == d.fate.id.seq.value &&
                     e.csn.value + e.count == d.fate.csn.value;
      if (follows && e.outcomes.empty() && e.clamped.value == 0 && e.fate == d.fate.fate &&
          e.as_forecast == d.fate.as_forecast) {
        ++e.count;
        continue;
      }
    }
    entries.push_back(std::move(d.fate));
  }
  for (auto& [origin, entries] : by_origin) {
    std::string raw = encode_fate_block(entries);
    std::string block = compress(raw);
    batch.put(Table::line, keys::line_fates(header.to, origin), block);
    header.rows.push_back({uint8_t(keys::LineRow::fates), {{}, origin, false}, sha256(raw), 0});
    line.bytes += block.size();
    line.fates.emplace_back(origin, std::move(block));
    for (const auto& e : entries) {
      Stream stream = stream_of(e.id);
      bool plain = e.outcomes.empty() && e.clamped.value == 0;
      auto open = open_fates.find(stream);
      if (plain && open != open_fates.end() && open->second.fate == e.fate &&
          open->second.as_forecast == e.as_forecast &&
          open->second.id.seq.value + open->second.count == e.id.seq.value &&
          open->second.csn.value + open->second.count == e.csn.value) {
        open->second.count += e.count;
        batch.put(Table::fates, keys::fate(open->second.id), encode_fate_row(open->second, {}));
        continue;
      }
      batch.put(Table::fates, keys::fate(e.id), encode_fate_row(e, {}));
      if (plain) {
        open_fates.insert_or_assign(stream, e);
      } else {
        open_fates.erase(stream);
      }
    }
  }
}

void Ingest::Impl::write_state(Batch& batch, const std::set<Stream>& changed,
                               const std::set<OriginId>& changed_origins) {
  batch.put(Table::meta, keys::meta_state(), encode_master_state(state));
  for (const auto& stream : changed) {
    batch.put(Table::meta, keys::meta_stream(stream), encode_stream_state(streams.at(stream)));
  }
  for (OriginId origin : changed_origins) {
    batch.put(Table::meta, keys::meta_origin(origin), encode_origin_state(origins.at(origin)));
  }
}

void Ingest::Impl::take_into_directory(const IngestBatch& work, Batch& rows) {
  std::vector<RecordKey> changed;
  for (const auto& d : work.decided) {
    for (const auto& op : d.commit.effects) {
      EntityId e = op.record.entity;
      if (e == entity_id::kServer || e == entity_id::kTerritory || e == entity_id::kTopology)
        changed.push_back(op.record);
    }
  }
  if (changed.empty()) return;  // as nearly always: nothing here may cost per server
  std::set<OriginId> before;
  for (const auto& [origin, server] : directory.servers()) {
    if (!server.removed) before.insert(origin);
  }
  for (const auto& record : changed) {
    auto found = workspace->find(record);
    if (found && found->record) directory.take(*schema, *found->record);
  }
  directory.resolve();
  merger->set_level(directory.feature_level());
  if (!reconciling.open()) return;
  // A topology that the backup lacks is committed again: who comes with it may bring back what
  // others have built on.
  for (const auto& [origin, server] : directory.servers()) {
    if (server.master || server.removed || before.count(origin)) continue;
    BL_PROBE("identity.awaits_who_is_added");
    reconciling.awaited.insert(origin);
    rows.put(Table::meta, keys::meta_reconciling(), encode_reconciling(reconciling));
  }
}

}  // namespace branchline
