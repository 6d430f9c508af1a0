// Codecs of the master's rows in Table::meta and Table::keys.
#include "master/ingest/ingest.h"

namespace branchline {
namespace {

constexpr uint8_t kFormat = 1;

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

std::string encode_origin_state(const OriginState& s) {
  std::string out;
  Writer w(out);
  w.u8(kFormat);
  put_ledger(w, s.ledger);
  w.fixed64(s.latest.value);
  w.u8(s.quarantined ? 1 : 0);
  w.blob(s.why);
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
  if (!r.done() || format != kFormat) return std::unexpected(corrupt("an origin's ledger"));
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
