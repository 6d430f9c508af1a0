// Who may speak for a branch, and what becomes of the line when the master itself is an older copy
// (SEMANTICS 1, 3, 29, 30).
//
// A branch names its process starts and where each one's predecessor ended. Of these facts:
//
//   the start that was here last is among its predecessors, and ended no earlier than known here
//       -> it was restarted
//   the same, but it ended earlier than known here; or its starts part from those known here before
//   the last one, and all behind that point are new
//       -> its disk was rolled back, or a copy was started where the first one is not connected.
//          Nobody can tell these two apart; it is taken, and what it forgot comes back to it
//   its starts part from those known here, and one behind that point was here before, or the last
//   one that both have went on here after the others had taken over from it
//       -> another took over from it meanwhile, so both live: the one that was taken over from is
//          refused until an operator says which is to stay
//
// While another connection of the same server is alive, only the same process start is let in.
#include <algorithm>
#include <utility>

#include "common/base/probe.h"
#include "master/ingest/ingest_impl.h"

namespace branchline {
namespace {

constexpr size_t kMaxStarts = 1'000'000;

// What its author had seen of the line, with what he had read upstream.
Csn seen_by(const Mutation& m) {
  Csn seen = m.base;
  for (const auto& op : m.ops) seen = std::max(seen, op.seen);
  return seen;
}

}  // namespace

const Reconciling& Ingest::reconciling() const { return impl_->reconciling; }

// --- Copies ---

Result<void> Ingest::Impl::check_copy(const Introduction& intro, const ServerEntry& server,
                                      bool other_alive, Batch& rows) {
  OriginId id = server.origin;
  auto origin = origins.find(id);
  Incarnation current = intro.incarnations.back().incarnation;
  if (origin == origins.end() || origin->second.latest.value == 0) return {};
  OriginState& o = origin->second;
  if (o.latest == current && !o.written_off) return {};

  auto told = [&](Incarnation x) -> const IncarnationInfo* {
    for (const auto& i : intro.incarnations) {
      if (i.incarnation == x) return &i;
    }
    auto at = incarnations.find({id, x});
    return at == incarnations.end() ? nullptr : &at->second;
  };
  // Each with the order at which its successor says that it ended.
  std::map<Incarnation, Order> line_of_latest;
  Order ended(UINT64_MAX);
  for (Incarnation x = o.latest; x.value != 0 && line_of_latest.emplace(x, ended).second;) {
    auto info = incarnations.find({id, x});
    if (info == incarnations.end()) break;
    ended = info->second.predecessor_order;
    x = info->second.predecessor;
  }
  const IncarnationInfo* successor = nullptr;  // the one before `at` on the walk
  bool was_here = false;                       // one that is not a predecessor of the latest
  bool admitted = false;
  Incarnation at = current;
  for (size_t n = 0; at.value != 0 && !line_of_latest.count(at) && n < kMaxStarts; ++n) {
    was_here = was_here || incarnations.count({id, at}) > 0;
    admitted = admitted || (o.admitted.value != 0 && at == o.admitted);
    const IncarnationInfo* info = told(at);
    if (info) successor = info;
    at = info ? info->predecessor : Incarnation();
  }
  admitted = admitted || (o.admitted.value != 0 && at == o.admitted);
  if (o.written_off) {
    if (at.value == 0 && !was_here) {
      BL_PROBE("identity.joins_after_write_off");
      o.written_off = false;
      return {};
    }
    return fail(ErrorKind::conflict, "session.written_off",
                "an operator wrote off " + server.name +
                    " with its disk, and this is that disk; to join anew, start it with an empty "
                    "data directory. What was not shipped from here can still be read here");
  }
  if (admitted) {
    BL_PROBE("identity.admitted");
    o.admitted = o.refused = {};
    o.refused_ms = 0;
    return {};
  }
  auto refuse = [&](const std::string& why) {
    BL_PROBE("identity.copy_refused");
    o.refused = current;
    o.refused_ms = clock.wall_ms();
    rows.put(Table::meta, keys::meta_origin(id), encode_origin_state(o));
    return fail(ErrorKind::conflict, "session.copy",
                "two copies of " + server.name + " are running: " + why +
                    ". This one goes on serving its office and keeps its changes, but ships "
                    "nothing. Stop one of them. If this one is to stay, then run: branchline "
                    "release " +
                    server.name + ". A second server of this office needs a name of its own");
  };
  // An old start that comes again although its successor was here, or one that was taken over from.
  if (was_here || !successor)
    return refuse("another one has taken over from process start " + to_hex(current.value));
  bool continues = at == o.latest;
  bool lived_on =
      at.value != 0 && !continues && successor->predecessor_order > line_of_latest.at(at);
  if (lived_on)
    return refuse("process start " + to_hex(at.value) +
                  " went on after another one had taken over from it");
  if (continues) {
    for (int lane = 0; lane < kLaneCount; ++lane) {
      auto stream = streams.find({id, o.latest, static_cast<Lane>(lane)});
      if (stream == streams.end() || stream->second.seq.value == 0) continue;
      const auto& end = successor->predecessor_ends[static_cast<size_t>(lane)];
      if (end.seq < stream->second.seq) continues = false;
      if (end.seq == stream->second.seq && end.chain != stream->second.chain)
        return refuse("its past up to seq " + std::to_string(end.seq.value) +
                      " is not the one that is known here (hashes differ)");
    }
  }
  if (other_alive && continues) {
    BL_PROBE("identity.other_alive");
    return fail(ErrorKind::unavailable, "session.other_alive",
                "the connection of an earlier process start of " + server.name +
                    " is still alive; trying again until it has gone");
  }
  if (other_alive) return refuse("the other is connected and has work that this one lacks");
  if (!continues) BL_PROBE("identity.rolled_back");
  return {};
}

// --- The line ---

Error Ingest::Impl::replace_line(const ServerEntry& server, const std::string& why, Batch& rows) {
  BL_PROBE("identity.line_replaced");
  LineId old = state.line;
  reconciling.past.push_back({old, reconciling.restored_at});
  reconciling.restored_at = Csn(0);
  do state.line = LineId(random.next());
  while (state.line.value == 0 || is_past(reconciling.past, state.line));
  reconciling.why = server.name + " " + why;
  sessions.clear();  // what they still send is dropped: they greet anew
  held.clear();
  heads.clear();
  offered.clear();
  await_all();
  rows.put(Table::meta, keys::meta_state(), encode_master_state(state));
  rows.put(Table::meta, keys::meta_reconciling(), encode_reconciling(reconciling));
  reconciling_changed = false;
  return {ErrorKind::unavailable, "session.line_replaced",
          reconciling.why +
              ": the main line goes on under a new id; this branch fetches its data "
              "anew and offers its work again"};
}

// Cursors stand where batches end: a line without one there is another.
Result<bool> Ingest::Impl::holds_cursor(const LineCursor& cursor) const {
  if (cursor.csn == trim.csn) return trim.chain == cursor.chain;
  BL_ASSIGN(auto row, store.get(Table::line, keys::line_batch(cursor.csn)));
  if (!row) return false;
  BL_ASSIGN(auto header, decode_batch_header(*row));
  return header.chain == cursor.chain;
}

Result<void> Ingest::Impl::check_line(const Introduction& intro, const ServerEntry& server,
                                      Batch& rows) {
  const LineCursor& cursor = intro.cursor;
  bool was_on_this = false, of_family = false;
  for (LineId line : intro.past_lines) {
    was_on_this = was_on_this || line == state.line;
    of_family = of_family || is_past(reconciling.past, line);
  }
  if (was_on_this)
    return std::unexpected(replace_line(
        server, "has followed a line that came after this one (an older copy was restored)", rows));
  if (cursor.csn.value == 0) return {};
  if (cursor.line != state.line) {
    if (of_family || is_past(reconciling.past, cursor.line)) {
      return fail(ErrorKind::unavailable, "session.line_replaced",
                  "the main line goes on under a new id since the master was restored; this branch "
                  "fetches its data anew and offers its work again");
    }
    return fail(ErrorKind::conflict, "session.other_line",
                server.name + " follows main line " + to_hex(cursor.line.value) +
                    ", this master's is " + to_hex(state.line.value) +
                    "; was the wrong data directory started?");
  }
  if (cursor.csn > state.head) {
    return std::unexpected(replace_line(server,
                                        "is at csn " + std::to_string(cursor.csn.value) +
                                            ", this master only at " +
                                            std::to_string(state.head.value),
                                        rows));
  }
  // Behind what is kept nothing can be compared: it is seeded anew, on this line.
  if (cursor.csn < trim.csn) return {};
  BL_ASSIGN(bool same, holds_cursor(cursor));
  if (!same) {
    return std::unexpected(replace_line(server,
                                        "has another history up to csn " +
                                            std::to_string(cursor.csn.value) +
                                            " than this master (hashes differ)",
                                        rows));
  }
  // What it had told of its starts is not known here any more: this master is the older one.
  const auto& oldest = intro.incarnations.front();
  bool forgotten = oldest.predecessor.value != 0 &&
                   !incarnations.count({server.origin, oldest.predecessor}) &&
                   !incarnations.count({server.origin, oldest.incarnation});
  if (forgotten)
    return std::unexpected(
        replace_line(server, "names process starts that this master has forgotten", rows));
  return {};
}

// What was decided before the restore window began, or over its quota, is not kept: a master that
// was restored to before it can get it from nobody. Taken without it, what comes behind would be
// refused as a gap for ever, and what leans on it be rejected without anybody's knowing why; an
// operator enters it as lost, or puts a newer backup in place.
Result<void> Ingest::Impl::check_missing(const Introduction& intro, const ServerEntry& server,
                                         Batch& rows) {
  std::vector<WorkGap> missing;
  std::set<std::pair<Incarnation, Lane>> told;
  auto begins = [&](Incarnation incarnation, Lane lane, Seq first, const Digest& chain) {
    auto at = streams.find({server.origin, incarnation, lane});
    Seq due = at == streams.end() ? Seq(1) : at->second.seq.next();
    if (first > due) missing.push_back({incarnation, lane, due, Seq(first.value - 1), chain});
  };
  for (const auto& p : intro.pending) {
    told.emplace(p.stream.incarnation, p.stream.lane);
    if (p.chain_before) begins(p.stream.incarnation, p.stream.lane, p.first, *p.chain_before);
  }
  // Of process starts that have nothing pending their successors say where they ended.
  for (const auto& info : intro.incarnations) {
    if (intro.past_lines.empty() || info.predecessor.value == 0) continue;
    for (size_t l = 0; l < kLaneCount; ++l) {
      const auto& end = info.predecessor_ends[l];
      Lane lane = static_cast<Lane>(l);
      bool known = end.seq.value == 0 || told.count({info.predecessor, lane});
      if (!known) begins(info.predecessor, lane, end.seq.next(), end.chain);
    }
  }
  auto at = origins.find(server.origin);
  if (missing.empty()) {
    if (at != origins.end()) at->second.missing.clear();
    return {};
  }
  BL_PROBE("identity.work_missing");
  OriginState& o = origins[server.origin];
  // It was here: when it comes again it is not a copy of itself.
  o.latest = intro.incarnations.back().incarnation;
  grants_due_everywhere();
  o.missing = std::move(missing);
  rows.put(Table::meta, keys::meta_origin(server.origin), encode_origin_state(o));
  uint64_t count = 0;
  for (const auto& g : o.missing) count += g.count();
  return fail(ErrorKind::conflict, "session.work_missing",
              "this master was restored to before " + std::to_string(count) + " changes of " +
                  server.name +
                  " that it does not keep any more (they were decided before the restore window, "
                  "or over its quota). Restore a newer backup; or, where there is none, run: "
                  "branchline reconcile --close. It enters them as lost, and " +
                  server.name + " goes on with what it has");
}

// --- Waiting for what is offered again ---

void Ingest::Impl::await_all() {
  reconciling.since_ms = std::max<int64_t>(clock.wall_ms(), 1);
  reconciling.awaited.clear();
  reconciling.late.clear();
  for (const auto& [origin, server] : directory.servers()) {
    auto known = origins.find(origin);
    bool written_off = known != origins.end() && known->second.written_off;
    if (!server.master && !server.removed && !written_off) reconciling.awaited.insert(origin);
  }
  reconciling_changed = true;
  close_if_done();
}

void Ingest::Impl::close_if_done() {
  if (!reconciling.open() || !reconciling.awaited.empty()) return;
  BL_PROBE("identity.reconciled");
  reconciling.since_ms = 0;
  reconciling.why.clear();
  reconciling_changed = true;
}

void Ingest::Impl::note_offer(const Introduction& intro, OriginId origin, bool joins, Batch& rows) {
  offered.erase(origin);
  if (!reconciling.awaited.count(origin) && !reconciling.late.count(origin)) return;
  // Until it has installed the snapshot it still takes work on what it had, shares that are
  // forgotten here among it. It greets again then, and that counts.
  if (joins && !reconciling.past.empty()) {
    BL_PROBE("identity.joins_before_it_offers");
    return;
  }
  auto& targets = offered[origin];
  for (const auto& p : intro.pending) {
    if (p.last >= p.first) targets[{origin, p.stream.incarnation, p.stream.lane}] = p.last;
  }
  note_progress(origin);
  close_if_done();
  if (!reconciling_changed) return;
  rows.put(Table::meta, keys::meta_reconciling(), encode_reconciling(reconciling));
  reconciling_changed = false;
}

void Ingest::Impl::note_progress(OriginId origin) {
  auto targets = offered.find(origin);
  if (targets == offered.end()) return;
  for (const auto& [stream, last] : targets->second) {
    auto at = streams.find(stream);
    if (at == streams.end() || at->second.seq < last) return;
  }
  offered.erase(targets);
  reconciling.awaited.erase(origin);
  reconciling.late.erase(origin);
  reconciling_changed = true;
}

bool Ingest::Impl::base_is_lost(const Mutation& m) const {
  Csn seen = seen_by(m);
  return m.line != state.line && present_base(reconciling.past, state.line, m.line, seen) != seen;
}

bool Ingest::Impl::still_offers(OriginId origin, Lane lane) const {
  auto targets = offered.find(origin);
  if (targets == offered.end()) return false;
  return std::any_of(targets->second.begin(), targets->second.end(), [&](const auto& target) {
    const auto& [stream, last] = target;
    auto at = streams.find(stream);
    return stream.lane == lane && (at == streams.end() || at->second.seq < last);
  });
}

OfferedPlace Ingest::Impl::place_of(const Mutation& m) const {
  const LineHistory& past = reconciling.past;
  auto known =
      std::find_if(past.begin(), past.end(), [&](const auto& p) { return p.line == m.line; });
  // A line that this master has forgotten came after those that it knows.
  size_t line = static_cast<size_t>(known - past.begin()) + (m.line == state.line ? 1 : 0);
  auto info = incarnations.find({m.id.origin, m.id.incarnation});
  return {line, seen_by(m), m.id.origin, info == incarnations.end() ? 0 : info->second.generation,
          m.order};
}

bool Ingest::Impl::comes_behind(const OriginLane& lane, const OfferedPlace& place) const {
  auto at = heads.find(lane);
  if (at == heads.end()) return !still_offers(lane.first, lane.second);
  OfferedPlace head = at->second;
  if (head.origin == place.origin) return head.accepted_after(place);
  // It has to wait for what its own office accepted before it in the other lane.
  Lane other_lane = lane.second == Lane::bulk ? Lane::interactive : Lane::bulk;
  if (auto other = heads.find({lane.first, other_lane});
      other != heads.end() && head.accepted_after(other->second)) {
    auto [line, seen] = std::max(std::pair(head.line, head.seen),
                                 std::pair(other->second.line, other->second.seen));
    head.line = line;
    head.seen = seen;
  }
  return head > place;
}

// What builds on commits that are gone waits until every awaited branch shows what it has next in
// each lane, and then goes by its place: causes come before effects. Of one branch's own lanes that
// holds as long as one of them is held back: what was decided in one before the other was accepted
// comes again in both.
bool Ingest::Impl::may_decide(const Mutation& m) const {
  OriginId origin = m.id.origin;
  bool lost = base_is_lost(m);
  if (!lost && m.id.lane != Lane::bulk) return true;
  if (!reconciling.open() && heads.empty() && offered.empty()) return true;
  OfferedPlace place = place_of(m);
  Lane other_lane = m.id.lane == Lane::bulk ? Lane::interactive : Lane::bulk;
  if (!comes_behind({origin, other_lane}, place)) return false;
  // Also what a branch brings that has come before: a copy of it that an operator let in knows what
  // those who are awaited have not shown yet.
  if (!reconciling.open() || !lost) return true;
  for (OriginId other : reconciling.awaited) {
    if (other == origin) continue;
    if (!offered.count(other)) return false;  // has not come yet
    for (size_t l = 0; l < kLaneCount; ++l) {
      if (!comes_behind({other, static_cast<Lane>(l)}, place)) return false;
    }
  }
  return true;
}

void Ingest::Impl::drop_held(OriginId origin) {
  for (size_t l = 0; l < kLaneCount; ++l) {
    held.erase({origin, static_cast<Lane>(l)});
    heads.erase({origin, static_cast<Lane>(l)});
  }
}

const Mutation* Ingest::Impl::head_of(const IncomingBlock& incoming) const {
  auto at = streams.find(incoming.block.stream);
  uint64_t known = at == streams.end() ? 0 : at->second.seq.value;
  for (const auto& m : incoming.block.mutations) {
    if (m.id.seq.value > known) return &m;
  }
  return nullptr;
}

void Ingest::Impl::note_head(const IncomingBlock& incoming) {
  const Mutation* head = head_of(incoming);
  if (!head) {
    auto queue = held.find(lane_of(incoming));
    if (queue != held.end() && !queue->second.empty()) head = head_of(queue->second.front());
  }
  if (head) {
    heads[lane_of(incoming)] = place_of(*head);
  } else {
    heads.erase(lane_of(incoming));
  }
}

std::vector<IncomingBlock> Ingest::Impl::take_held() {
  std::vector<IncomingBlock> out;
  for (auto& [lane, queue] : held) {
    out.push_back(std::move(queue.front()));
    queue.pop_front();
  }
  return out;
}

bool Ingest::held_ready() const {
  for (const auto& [lane, queue] : impl_->held) {
    const Mutation* head = impl_->head_of(queue.front());
    if (!head || impl_->may_decide(*head)) return true;
  }
  return false;
}

// --- What operators decide ---

Result<void> Ingest::release(OriginId origin, Batch& rows) {
  auto at = impl_->origins.find(origin);
  bool quarantined = at != impl_->origins.end() && at->second.quarantined;
  if (!quarantined && (at == impl_->origins.end() || at->second.refused.value == 0)) {
    return fail(ErrorKind::not_found, "release.not_quarantined",
                "this server's link is not quarantined, and no copy of it was refused");
  }
  OriginState& o = at->second;
  if (quarantined) {
    o.quarantined = false;
    o.why.clear();
  } else {
    o.admitted = o.refused;
    o.refused = {};
    o.refused_ms = 0;
  }
  rows.put(Table::meta, keys::meta_origin(origin), encode_origin_state(o));
  return {};
}

Result<uint64_t> Ingest::write_off_disk(OriginId origin, Batch& rows) {
  Impl& s = *impl_;
  auto at = s.origins.find(origin);
  if (at == s.origins.end() || at->second.latest.value == 0 || origin == s.state.self) {
    return fail(ErrorKind::not_found, "write_off.unknown",
                "no data directory of this server has ever been here");
  }
  OriginState& o = at->second;
  if (o.written_off)
    return fail(ErrorKind::not_found, "write_off.done", "this server is written off already");
  uint64_t lost = std::exchange(o.announced, 0);
  o.ledger.accepted += lost;
  o.ledger.lost += lost;
  o.written_off = true;
  o.refused = o.admitted = {};
  s.sessions.erase(origin);
  s.drop_held(origin);
  s.offered.erase(origin);
  s.reconciling.late.erase(origin);
  if (s.reconciling.awaited.erase(origin) > 0) s.reconciling_changed = true;
  s.close_if_done();
  rows.put(Table::meta, keys::meta_origin(origin), encode_origin_state(o));
  rows.put(Table::meta, keys::meta_reconciling(), encode_reconciling(s.reconciling));
  s.reconciling_changed = false;
  return lost;
}

Result<Ingest::Closed> Ingest::close_reconciling(const std::set<OriginId>& connected, Batch& rows) {
  Impl& s = *impl_;
  Closed out;
  for (auto& [origin, o] : s.origins) {
    if (o.missing.empty()) continue;
    BL_PROBE("identity.lost_closed");
    for (auto& gap : std::exchange(o.missing, {})) {
      Stream stream{origin, gap.incarnation, gap.lane};
      auto at = s.streams.try_emplace(stream, StreamState{{}, {}, chain_start(stream), {}}).first;
      if (at->second.seq.next() != gap.first)
        continue;  // another disk of it brought some meanwhile
      at->second.seq = gap.last;
      at->second.chain = gap.chain;
      rows.put(Table::meta, keys::meta_stream(stream), encode_stream_state(at->second));
      out.lost[origin] += gap.count();
      o.ledger.accepted += gap.count();
      o.ledger.lost += gap.count();
      o.lost.push_back(std::move(gap));
    }
    rows.put(Table::meta, keys::meta_origin(origin), encode_origin_state(o));
  }
  if (!s.reconciling.open() && out.lost.empty()) {
    return fail(ErrorKind::not_found, "reconcile.not_open",
                "this master is not reconciling, and no branch was refused for missing work");
  }
  // Who was refused for what is entered now comes back by itself.
  for (OriginId origin : s.reconciling.awaited) {
    bool comes = out.lost.count(origin) || (connected.count(origin) && s.offered.count(origin));
    if (!comes) out.left.push_back(origin);
  }
  for (OriginId origin : out.left) {
    s.reconciling.awaited.erase(origin);
    s.reconciling.late.insert(origin);
  }
  s.close_if_done();
  rows.put(Table::meta, keys::meta_reconciling(), encode_reconciling(s.reconciling));
  s.reconciling_changed = false;
  return out;
}

}  // namespace branchline
