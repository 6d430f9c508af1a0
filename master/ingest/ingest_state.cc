// Codecs of the master's rows in Table::meta and Table::keys.
#include "master/ingest/ingest.h"

namespace branchline {
namespace {

constexpr uint8_t kFormat = 1;
constexpr uint8_t kOriginFormat = 2;  // 1: without copies and write-offs

Error corrupt(const char* what) {
  return {ErrorKind::corrupt, "master.state", std::string("the row of ") + what + " is damaged"};
}

void put_digest(Writer& w, const Digest& d) { w.bytes(d.view()); }
Digest get_digest(Reader& r) { return Digest::from(r.bytes(32)).value_or(Digest{}); }

}  // namespace

std::string encode_master_state(const MasterState& s) {
  std::string out;
  Writer w(out);
  w.u8(kFormat);
  w.fixed64(s.line.value);
  w.fixed32(s.term.value);
  w.fixed64(s.head.value);
  put_digest(w, s.chain);
  w.bytes(s.salt_key.view());
  w.fixed64(s.hlc.value);
  w.fixed16(s.self.value);
  w.fixed32(s.generation);
  w.varint(s.key_rows);
  put_totals(w, s.totals);
  return out;
}

Result<MasterState> decode_master_state(std::string_view bytes) {
  Reader r(bytes);
  MasterState s;
  uint8_t format = r.u8();
  s.line = LineId(r.fixed64());
  s.term = Term(r.fixed32());
  s.head = Csn(r.fixed64());
  s.chain = get_digest(r);
  std::string_view key = r.bytes(16);
  s.hlc = Hlc{r.fixed64()};
  s.self = OriginId(r.fixed16());
  s.generation = r.fixed32();
  s.key_rows = r.varint();
  s.totals = get_totals(r);
  if (!r.done() || format != kFormat) return std::unexpected(corrupt("the main line's state"));
  s.salt_key = SaltKey::from(key);
  return s;
}

std::string encode_stream_state(const StreamState& s) {
  std::string out;
  Writer w(out);
  w.u8(kFormat);
  w.fixed64(s.seq.value);
  w.fixed64(s.order.value);
  put_digest(w, s.chain);
  w.fixed64(s.last_csn.value);
  return out;
}

Result<StreamState> decode_stream_state(std::string_view bytes) {
  Reader r(bytes);
  StreamState s;
  uint8_t format = r.u8();
  s.seq = Seq(r.fixed64());
  s.order = Order(r.fixed64());
  s.chain = get_digest(r);
  s.last_csn = Csn(r.fixed64());
  if (!r.done() || format != kFormat) return std::unexpected(corrupt("a stream's high-water"));
  return s;
}

namespace {

void put_gaps(Writer& w, const std::vector<WorkGap>& gaps) {
  w.varint(gaps.size());
  for (const auto& g : gaps) {
    w.fixed64(g.incarnation.value);
    w.u8(static_cast<uint8_t>(g.lane));
    w.varint(g.first.value);
    w.varint(g.last.value - g.first.value);
    w.bytes(g.chain.view());
  }
}

std::vector<WorkGap> get_gaps(Reader& r) {
  std::vector<WorkGap> out;
  uint64_t count = r.varint_max(r.remaining() / 43);
  for (uint64_t i = 0; i < count && r.ok(); ++i) {
    WorkGap& g = out.emplace_back();
    g.incarnation = Incarnation(r.fixed64());
    g.lane = r.flag() ? Lane::bulk : Lane::interactive;
    g.first = Seq(r.varint());
    g.last = Seq(g.first.value + r.varint());
    if (auto chain = Digest::from(r.bytes(32))) g.chain = *chain;
  }
  return out;
}

}  // namespace

std::string encode_origin_state(const OriginState& s) {
  std::string out;
  Writer w(out);
  // What the version before cannot read is written where there is something to say
  // (docs/formats.md, Rules of evolution).
  OriginState plain{s.ledger, s.latest, s.quarantined, s.why};
  bool fits = s == plain;
  w.u8(fits ? kFormat : kOriginFormat);
  put_ledger(w, s.ledger);
  w.fixed64(s.latest.value);
  w.u8(s.quarantined ? 1 : 0);
  w.blob(s.why);
  if (fits) return out;
  w.fixed64(s.refused.value);
  w.fixed64(static_cast<uint64_t>(s.refused_ms));
  w.fixed64(s.admitted.value);
  w.varint(s.announced);
  w.u8(s.written_off ? 1 : 0);
  put_gaps(w, s.missing);
  put_gaps(w, s.lost);
  return out;
}

Result<OriginState> decode_origin_state(std::string_view bytes) {
  Reader r(bytes);
  OriginState s;
  uint8_t format = r.u8();
  s.ledger = get_ledger(r);
  s.latest = Incarnation(r.fixed64());
  s.quarantined = r.flag();
  s.why = std::string(r.blob());
  if (format == kOriginFormat) {
    s.refused = Incarnation(r.fixed64());
    s.refused_ms = static_cast<int64_t>(r.fixed64());
    s.admitted = Incarnation(r.fixed64());
    s.announced = r.varint();
    s.written_off = r.flag();
    s.missing = get_gaps(r);
    s.lost = get_gaps(r);
  }
  if (!r.done() || (format != kFormat && format != kOriginFormat))
    return std::unexpected(corrupt("an origin's ledger"));
  return s;
}

std::string encode_program_seen(const ProgramSeen& s) {
  std::string out;
  Writer w(out);
  w.u8(kFormat);
  w.varint(s.feature_level);
  w.varint(s.schema_version);
  w.svarint(s.wall_ms);
  return out;
}

Result<ProgramSeen> decode_program_seen(std::string_view bytes) {
  Reader r(bytes);
  ProgramSeen s;
  uint8_t format = r.u8();
  s.feature_level = static_cast<uint32_t>(r.varint_max(0xffffffff));
  s.schema_version = static_cast<uint32_t>(r.varint_max(0xffffffff));
  s.wall_ms = r.svarint();
  if (!r.done() || format != kFormat) return std::unexpected(corrupt("a branch's program"));
  return s;
}

std::string encode_reconciling(const Reconciling& s) {
  std::string out;
  Writer w(out);
  w.u8(kFormat);
  put_line_history(w, s.past);
  w.fixed64(s.restored_at.value);
  w.fixed64(static_cast<uint64_t>(s.since_ms));
  w.blob(s.why);
  for (const auto* origins : {&s.awaited, &s.late}) {
    w.varint(origins->size());
    for (OriginId o : *origins) w.fixed16(o.value);
  }
  return out;
}

Result<Reconciling> decode_reconciling(std::string_view bytes) {
  Reader r(bytes);
  Reconciling s;
  uint8_t format = r.u8();
  s.past = get_line_history(r);
  s.restored_at = Csn(r.fixed64());
  s.since_ms = static_cast<int64_t>(r.fixed64());
  s.why = std::string(r.blob());
  for (auto* origins : {&s.awaited, &s.late}) {
    uint64_t count = r.varint_max(r.remaining() / 2);
    for (uint64_t i = 0; i < count && r.ok(); ++i) origins->insert(OriginId(r.fixed16()));
  }
  if (!r.done() || format != kFormat) return std::unexpected(corrupt("reconciling"));
  return s;
}

std::string encode_restored_mark(const RestoredMark& mark) {
  std::string out;
  Writer w(out);
  w.u8(kFormat);
  w.fixed64(static_cast<uint64_t>(mark.wall_ms));
  return out;
}

Result<RestoredMark> decode_restored_mark(std::string_view bytes) {
  Reader r(bytes);
  uint8_t format = r.u8();
  RestoredMark mark{static_cast<int64_t>(r.fixed64())};
  if (!r.done() || format != kFormat) return std::unexpected(corrupt("the restore"));
  return mark;
}

std::string encode_key_row(const MutationId& first, Hlc hlc) {
  std::string out;
  Writer w(out);
  w.u8(kFormat);
  put_mutation_id(w, first);
  w.fixed64(hlc.value);
  return out;
}

std::optional<MutationId> decode_key_row(std::string_view bytes) {
  Reader r(bytes);
  if (r.u8() != kFormat) return std::nullopt;
  MutationId id = get_mutation_id(r);
  r.fixed64();
  if (!r.done()) return std::nullopt;
  return id;
}

}  // namespace branchline
