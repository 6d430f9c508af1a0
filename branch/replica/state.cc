#include "branch/replica/state.h"

#include <algorithm>

namespace branchline {
namespace {

constexpr uint8_t kFormat = 1;
constexpr uint8_t kWithLanes = 2;
constexpr uint32_t kLastGeneration = 0x7fffffff;  // the outbox's keys have the lane beside it

// What format 1 can say: one lane, whose seqs and orders count alike.
bool fits_one_lane(const ReplicaState& s) {
  bool own_bulk = s.retired.count({s.generation, Lane::bulk}) > 0;
  bool all = std::all_of(s.retired.begin(), s.retired.end(), [&](const auto& r) {
    const auto& [lane, decided] = r;
    bool unused = lane == PendingLane{s.generation, Lane::bulk} && decided.order.value == 0;
    return unused || (lane.lane == Lane::interactive && decided.seq.value == decided.order.value);
  });
  bool used = s.ends[size_t(Lane::bulk)].seq.value != 0;
  return all && !used && (own_bulk || s.retired.empty());
}

}  // namespace

Digest chain_of(const LaneEnds& ends) {
  const auto& bulk = ends[size_t(Lane::bulk)];
  if (bulk.seq.value == 0) return ends[0].chain;
  return sha256(std::string(ends[0].chain.view()) + std::string(bulk.chain.view()));
}

std::string encode_replica_state(const ReplicaState& s) {
  std::string out;
  Writer w(out);
  bool one_lane = fits_one_lane(s);
  w.u8(one_lane ? kFormat : kWithLanes);
  w.fixed16(s.self.value);
  w.fixed64(s.cursor.line.value);
  w.fixed64(s.cursor.csn.value);
  w.bytes(s.cursor.chain.view());
  w.fixed32(s.term.value);
  w.u8(s.side);
  w.u8(s.holds_everything ? 1 : 0);
  w.varint(s.territories.size());
  for (auto t : s.territories) w.varint(t.value);
  w.fixed32(s.generation);
  w.fixed64(s.incarnation.value);
  w.fixed64(s.order.value);
  for (const auto& end : s.ends) {
    w.fixed64(end.seq.value);
    w.bytes(end.chain.view());
  }
  w.fixed32(s.announced);
  if (one_lane) {
    w.varint(s.retired.size() - s.retired.count({s.generation, Lane::bulk}));
    for (const auto& [lane, decided] : s.retired) {
      if (lane.lane == Lane::bulk) continue;
      w.varint(lane.generation);
      w.varint(decided.order.value);
    }
  } else {
    w.varint(s.retired.size());
    for (const auto& [lane, decided] : s.retired) {
      w.varint(lane.generation);
      w.u8(static_cast<uint8_t>(lane.lane));
      w.varint(decided.seq.value);
      w.varint(decided.order.value);
    }
    w.varint(s.hurried.generation);
    w.varint(s.hurried.order.value);
  }
  w.fixed64(s.hlc.value);
  put_ledger(w, s.ledger);
  w.varint(s.key_rows);
  put_totals(w, s.totals);
  return out;
}

Result<ReplicaState> decode_replica_state(std::string_view bytes) {
  Reader r(bytes);
  ReplicaState s;
  uint8_t format = r.u8();
  s.self = OriginId(r.fixed16());
  s.cursor.line = LineId(r.fixed64());
  s.cursor.csn = Csn(r.fixed64());
  s.cursor.chain = Digest::from(r.bytes(32)).value_or(Digest{});
  s.term = Term(r.fixed32());
  s.side = r.u8();
  s.holds_everything = r.flag();
  s.territories.resize(r.varint_max(r.remaining()));
  for (auto& t : s.territories) t = TerritoryId(static_cast<uint32_t>(r.varint_max(0xffffffff)));
  s.generation = r.fixed32();
  bool known_generation = s.generation <= kLastGeneration;
  s.incarnation = Incarnation(r.fixed64());
  s.order = Order(r.fixed64());
  for (auto& end : s.ends) {
    end.seq = Seq(r.fixed64());
    end.chain = Digest::from(r.bytes(32)).value_or(Digest{});
  }
  s.announced = r.fixed32();
  uint64_t retired = r.varint_max(r.remaining());
  for (uint64_t i = 0; i < retired && r.ok(); ++i) {
    PendingLane lane{static_cast<uint32_t>(r.varint_max(kLastGeneration)), Lane::interactive};
    Decided decided;
    if (format == kWithLanes) {
      lane.lane = static_cast<Lane>(r.flag());
      decided.seq = Seq(r.varint());
    }
    decided.order = Order(r.varint());
    if (format == kFormat) decided.seq = Seq(decided.order.value);
    s.retired[lane] = decided;
  }
  if (format == kWithLanes) {
    s.hurried.generation = static_cast<uint32_t>(r.varint_max(kLastGeneration));
    s.hurried.order = Order(r.varint());
    s.hurried.lane = s.hurried.is_none() ? Lane::interactive : Lane::bulk;
  } else if (s.generation != 0) {
    s.retired.try_emplace({s.generation, Lane::bulk});
  }
  s.hlc = Hlc{r.fixed64()};
  s.ledger = get_ledger(r);
  s.key_rows = r.varint();
  s.totals = get_totals(r);
  if (!r.done() || (format != kFormat && format != kWithLanes) || s.side > 1 || !known_generation) {
    return fail(ErrorKind::corrupt, "replica.state", "the replica's state row is damaged");
  }
  return s;
}

std::string compaction_row(Csn csn) {
  std::string out;
  Writer(out).fixed64(csn.value);
  return out;
}

std::string encode_seed_row(const SeedRow& s) {
  std::string out;
  Writer w(out);
  w.u8(kFormat);
  w.fixed64(s.id);
  w.fixed64(s.at.line.value);
  w.fixed64(s.at.csn.value);
  w.bytes(s.at.chain.view());
  w.u8(s.partial ? 1 : 0);
  w.u8(s.side);
  w.varint(s.chunks);
  w.bytes(s.chain.view());
  w.varint(s.records);
  w.varint(s.expected);
  put_totals(w, s.totals);
  return out;
}

Result<SeedRow> decode_seed_row(std::string_view bytes) {
  Reader r(bytes);
  SeedRow s;
  uint8_t format = r.u8();
  s.id = r.fixed64();
  s.at.line = LineId(r.fixed64());
  s.at.csn = Csn(r.fixed64());
  s.at.chain = Digest::from(r.bytes(32)).value_or(Digest{});
  s.partial = r.flag();
  s.side = r.u8();
  s.chunks = r.varint();
  s.chain = Digest::from(r.bytes(32)).value_or(Digest{});
  s.records = r.varint();
  s.expected = r.varint();
  s.totals = get_totals(r);
  if (!r.done() || format != kFormat || s.side > 1) {
    return fail(ErrorKind::corrupt, "replica.state",
                "the row of a snapshot that is under way is damaged");
  }
  return s;
}

std::string encode_replica_history(const ReplicaHistory& h) {
  std::string out;
  Writer w(out);
  w.u8(kFormat);
  put_line_history(w, h.past);
  w.u8(h.leaving ? 1 : 0);
  w.varint(h.kept_blocks);
  w.varint(h.kept_bytes);
  w.varint(h.offered_again.generation);
  w.varint(h.offered_again.order.value);
  return out;
}

Result<ReplicaHistory> decode_replica_history(std::string_view bytes) {
  Reader r(bytes);
  uint8_t format = r.u8();
  ReplicaHistory h;
  h.past = get_line_history(r);
  h.leaving = r.flag();
  h.kept_blocks = r.varint();
  h.kept_bytes = r.varint();
  h.offered_again.generation = static_cast<uint32_t>(r.varint_max(0x7fffffff));
  h.offered_again.order = Order(r.varint());
  if (!r.done() || format != kFormat) {
    return fail(ErrorKind::corrupt, "replica.history", "the replica's history row is damaged");
  }
  return h;
}

std::string encode_kept_block(int64_t decided_ms, OutboxBlock block) {
  for (auto& e : block.entries) forget_effects(e);
  std::string out;
  Writer w(out);
  w.u8(kFormat);
  w.fixed64(static_cast<uint64_t>(decided_ms));
  w.bytes(encode_outbox_block(block));
  return out;
}

Result<KeptBlock> decode_kept_block(PendingRef last, std::string_view bytes) {
  Reader r(bytes);
  uint8_t format = r.u8();
  KeptBlock out;
  out.decided_ms = static_cast<int64_t>(r.fixed64());
  if (!r.ok() || format != kFormat)
    return fail(ErrorKind::corrupt, "replica.kept", "a kept block of decided changes is damaged");
  BL_ASSIGN(out.block, decode_outbox_block(last, std::string(r.rest())));
  return out;
}

std::string encode_key_row(const KeyRow& row) {
  std::string out;
  Writer w(out);
  w.u8(kFormat);
  put_mutation_id(w, row.mutation);
  w.bytes(row.request);
  return out;
}

Result<KeyRow> decode_branch_key_row(std::string_view bytes) {
  Reader r(bytes);
  uint8_t format = r.u8();
  KeyRow row;
  row.mutation = get_mutation_id(r);
  row.request = std::string(r.bytes(16));
  if (!r.done() || format != kFormat) {
    return fail(ErrorKind::corrupt, "replica.key", "the row of an operation key is damaged");
  }
  return row;
}

}  // namespace branchline
