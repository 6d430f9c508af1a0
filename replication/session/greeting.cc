#include "replication/session/greeting.h"

#include "common/base/limits.h"
#include "replication/proto/link.pb.h"

namespace branchline {
namespace {

Error malformed(const char* what) {
  return {ErrorKind::invalid, "message.malformed", std::string("malformed message: ") + what};
}

template <typename Message>
Result<Message> parse(std::string_view bytes, const char* what) {
  Message m;
  if (!m.ParseFromArray(bytes.data(), static_cast<int>(bytes.size())))
    return std::unexpected(malformed(what));
  return m;
}

void put(proto::Cursor* out, const LineCursor& c) {
  out->set_line(c.line.value);
  out->set_csn(c.csn.value);
  out->set_chain(std::string(c.chain.view()));
}

// Never taken for zeros: a hash that was cut off would look like another history.
Result<Digest> get_digest(std::string_view bytes) {
  auto digest = Digest::from(bytes);
  if (!digest) return std::unexpected(malformed("a hash that is not of 32 bytes"));
  return *digest;
}

Result<LineCursor> get(const proto::Cursor& c) {
  LineCursor out;
  out.line = LineId(c.line());
  out.csn = Csn(c.csn());
  BL_ASSIGN(out.chain, get_digest(c.chain()));
  return out;
}

void put(proto::Stream* out, const Stream& s) {
  out->set_incarnation(s.incarnation.value);
  out->set_lane(static_cast<uint32_t>(s.lane));
}

Result<Stream> get(const proto::Stream& s) {
  if (s.lane() >= uint32_t(kLaneCount)) return std::unexpected(malformed("unknown lane"));
  Stream out;
  out.incarnation = Incarnation(s.incarnation());
  out.lane = static_cast<Lane>(s.lane());
  return out;
}

template <typename List>
void put_high_waters(List* list, const std::vector<HighWater>& high_waters) {
  for (const auto& h : high_waters) {
    auto* out = list->Add();
    put(out->mutable_stream(), h.stream);
    out->set_seq(h.seq.value);
    out->set_chain(std::string(h.chain.view()));
  }
}

template <typename List>
Result<std::vector<HighWater>> get_high_waters(const List& list, OriginId origin) {
  std::vector<HighWater> out;
  for (const auto& h : list) {
    BL_ASSIGN(Stream stream, get(h.stream()));
    stream.origin = origin;
    BL_ASSIGN(Digest chain, get_digest(h.chain()));
    out.push_back({stream, Seq(h.seq()), chain});
  }
  return out;
}

}  // namespace

std::string encode_hello(const Introduction& intro, int64_t wall_ms) {
  proto::Hello m;
  m.set_protocol(kProtocolVersion);
  m.set_feature_level(intro.feature_level);
  m.set_server(intro.server);
  m.set_topology_digest(intro.topology_digest);
  bool extends = !intro.schema_extends.is_zero();
  bool older = extends && intro.by_older_schema;
  m.set_schema_version(older ? intro.schema_version - 1 : intro.schema_version);
  m.set_schema_digest(std::string((older ? intro.schema_extends : intro.schema_digest).view()));
  if (extends) {
    auto* program = m.mutable_program();
    program->set_schema_version(intro.schema_version);
    program->set_schema_digest(std::string(intro.schema_digest.view()));
    program->set_extends(std::string(intro.schema_extends.view()));
  }
  put(m.mutable_cursor(), intro.cursor);
  m.set_reseed(intro.reseed);
  for (const auto& i : intro.incarnations) m.add_incarnations(encode_incarnation(i));
  for (const auto& p : intro.pending) {
    auto* out = m.add_pending();
    put(out->mutable_stream(), p.stream);
    out->set_first(p.first.value);
    out->set_last(p.last.value);
    if (p.chain_before) out->set_chain_before(std::string(p.chain_before->view()));
  }
  m.set_wall_ms(wall_ms);
  if (intro.join.snapshot != 0) {
    m.set_join_snapshot(intro.join.snapshot);
    m.set_join_chunks(intro.join.chunks);
    m.set_join_chain(std::string(intro.join.chain.view()));
  }
  for (auto t : intro.installed) m.add_installed(t.value);
  m.set_says_installed(intro.says_installed);
  for (auto line : intro.past_lines) m.add_past_lines(line.value);
  return m.SerializeAsString();
}

Result<Introduction> decode_hello(std::string_view bytes) {
  BL_ASSIGN(auto m, parse<proto::Hello>(bytes, "hello"));
  if (m.protocol() != kProtocolVersion) {
    return fail(ErrorKind::conflict, "session.protocol",
                "the branch speaks protocol " + std::to_string(m.protocol()) + ", this master " +
                    std::to_string(kProtocolVersion) + "; upgrade the older one");
  }
  Introduction intro;
  intro.server = m.server();
  intro.feature_level = m.feature_level();
  intro.topology_digest = m.topology_digest();
  intro.schema_version = m.schema_version();
  BL_ASSIGN(intro.schema_digest, get_digest(m.schema_digest()));
  if (m.has_program()) {
    intro.by_older_schema = m.schema_version() != m.program().schema_version();
    intro.schema_version = m.program().schema_version();
    BL_ASSIGN(intro.schema_digest, get_digest(m.program().schema_digest()));
    BL_ASSIGN(intro.schema_extends, get_digest(m.program().extends()));
  }
  BL_ASSIGN(intro.cursor, get(m.cursor()));
  intro.reseed = m.reseed();
  for (const auto& i : m.incarnations()) {
    BL_ASSIGN(auto info, decode_incarnation(i));
    intro.incarnations.push_back(info);
  }
  if (intro.incarnations.empty()) return std::unexpected(malformed("hello names no incarnation"));
  for (const auto& p : m.pending()) {
    BL_ASSIGN(Stream stream, get(p.stream()));
    auto& range = intro.pending.emplace_back(stream, Seq(p.first()), Seq(p.last()));
    if (!p.chain_before().empty()) {
      BL_ASSIGN(range.chain_before, get_digest(p.chain_before()));
    }
  }
  if (m.join_snapshot() != 0) {
    BL_ASSIGN(Digest chain, get_digest(m.join_chain()));
    intro.join = {m.join_snapshot(), m.join_chunks(), chain};
  }
  for (auto t : m.installed()) intro.installed.push_back(TerritoryId(t));
  intro.says_installed = m.says_installed();
  for (auto line : m.past_lines()) intro.past_lines.push_back(LineId(line));
  return intro;
}

std::string encode_welcome(const Registration& r, int64_t wall_ms) {
  proto::Welcome m;
  m.set_protocol(kProtocolVersion);
  m.set_feature_level(r.feature_level);
  put(m.mutable_head(), r.head);
  m.set_term(r.term.value);
  m.set_origin(r.origin.value);
  for (auto t : r.territories) m.add_territories(t.value);
  m.set_holds_everything(r.holds_everything);
  put_high_waters(m.mutable_high_waters(), r.high_waters);
  m.set_wall_ms(wall_ms);
  m.set_join(r.join);
  m.set_echo_until(r.echo_until.value);
  m.set_partial(r.partial);
  for (const auto& p : r.past_lines) {
    auto* out = m.add_past_lines();
    out->set_line(p.line.value);
    out->set_fork(p.fork.value);
  }
  m.set_lookups(r.lookups);
  m.set_verifies(r.verifies);
  m.set_channels(r.channels);
  return m.SerializeAsString();
}

Result<Welcome> decode_welcome(std::string_view bytes) {
  BL_ASSIGN(auto m, parse<proto::Welcome>(bytes, "welcome"));
  if (m.protocol() != kProtocolVersion || m.origin() == 0 || m.origin() > 0xffff) {
    return std::unexpected(malformed("welcome"));
  }
  Welcome w;
  Registration& r = w.registration;
  r.origin = OriginId(static_cast<uint16_t>(m.origin()));
  r.feature_level = m.feature_level();
  BL_ASSIGN(r.head, get(m.head()));
  r.term = Term(m.term());
  for (auto t : m.territories()) r.territories.push_back(TerritoryId(t));
  r.holds_everything = m.holds_everything();
  BL_ASSIGN(r.high_waters, get_high_waters(m.high_waters(), r.origin));
  r.join = m.join();
  r.echo_until = Csn(m.echo_until());
  r.partial = m.partial();
  for (const auto& p : m.past_lines()) r.past_lines.push_back({LineId(p.line()), Csn(p.fork())});
  r.lookups = m.lookups();
  r.verifies = m.verifies();
  r.channels = m.channels();
  w.wall_ms = m.wall_ms();
  return w;
}

std::string encode_refused(const Error& error) {
  proto::Refused m;
  m.set_code(error.code);
  m.set_message(error.message);
  m.set_permanent(error.kind == ErrorKind::conflict || error.kind == ErrorKind::denied);
  return m.SerializeAsString();
}

Error decode_refused(std::string_view bytes) {
  auto m = parse<proto::Refused>(bytes, "refusal");
  if (!m) return m.error();
  return {m->permanent() ? ErrorKind::conflict : ErrorKind::unavailable, m->code(), m->message()};
}

std::string encode_snapshot_head(const SnapshotHead& head) {
  proto::SnapshotHead m;
  put(m.mutable_at(), head.at);
  m.set_records(head.records);
  m.set_id(head.id);
  m.set_first_chunk(head.first_chunk);
  m.set_partial(head.partial);
  return m.SerializeAsString();
}

Result<SnapshotHead> decode_snapshot_head(std::string_view bytes) {
  BL_ASSIGN(auto m, parse<proto::SnapshotHead>(bytes, "snapshot head"));
  BL_ASSIGN(LineCursor at, get(m.at()));
  return SnapshotHead{at, m.records(), m.id(), m.first_chunk(), m.partial()};
}

std::string encode_snapshot_end(const SnapshotEnd& end) {
  proto::SnapshotEnd m;
  m.set_chunks(end.chunks);
  m.set_digest(std::string(end.digest.view()));
  std::string totals;
  Writer w(totals);
  put_totals(w, end.totals);
  m.set_totals(totals);
  put_high_waters(m.mutable_high_waters(), end.high_waters);
  if (!end.fates.empty()) m.add_fates(encode_fate_block(end.fates));
  m.set_hlc(end.hlc.value);
  if (!end.chain.is_zero()) m.set_chain(std::string(end.chain.view()));
  return m.SerializeAsString();
}

Result<SnapshotEnd> decode_snapshot_end(std::string_view bytes) {
  BL_ASSIGN(auto m, parse<proto::SnapshotEnd>(bytes, "snapshot end"));
  SnapshotEnd end;
  end.chunks = m.chunks();
  BL_ASSIGN(end.digest, get_digest(m.digest()));
  Reader r(m.totals());
  end.totals = get_totals(r);
  if (!r.done()) return std::unexpected(malformed("totals of a snapshot"));
  for (const auto& block : m.fates()) {
    BL_ASSIGN(auto fates, decode_fate_block(block));
    for (auto& f : fates) end.fates.push_back(std::move(f));
  }
  OriginId origin = end.fates.empty() ? OriginId(0) : end.fates.front().id.origin;
  BL_ASSIGN(end.high_waters, get_high_waters(m.high_waters(), origin));
  end.hlc = Hlc{m.hlc()};
  if (!m.chain().empty()) {
    BL_ASSIGN(end.chain, get_digest(m.chain()));
  }
  return end;
}

std::string encode_heartbeat(const Heartbeat& h) {
  proto::Heartbeat m;
  m.set_sent_us(h.sent_us);
  m.set_echo_us(h.echo_us);
  m.set_wall_ms(h.wall_ms);
  m.set_csn(h.csn.value);
  m.set_durable_csn(h.durable_csn.value);
  m.set_pending(h.pending);
  m.set_oldest_pending_ms(h.oldest_pending_ms);
  m.set_passed_csn(h.passed_csn.value);
  m.set_pending_bytes(h.pending_bytes);
  return m.SerializeAsString();
}

Result<Heartbeat> decode_heartbeat(std::string_view bytes) {
  BL_ASSIGN(auto m, parse<proto::Heartbeat>(bytes, "heartbeat"));
  return Heartbeat{m.sent_us(),           m.echo_us(),          m.wall_ms(),
                   Csn(m.csn()),          Csn(m.durable_csn()), m.pending(),
                   m.oldest_pending_ms(), Csn(m.passed_csn()),  m.pending_bytes()};
}

std::string encode_progress(const Progress& p) {
  proto::Progress m;
  m.set_csn(p.csn.value);
  m.set_snapshot_chunks(p.snapshot_chunks);
  return m.SerializeAsString();
}

Result<Progress> decode_progress(std::string_view bytes) {
  BL_ASSIGN(auto m, parse<proto::Progress>(bytes, "progress"));
  return Progress{Csn(m.csn()), m.snapshot_chunks()};
}

std::string encode_ack(const StreamAck& a) {
  proto::Ack m;
  put(m.mutable_stream(), a.stream);
  m.set_seq(a.seq.value);
  return m.SerializeAsString();
}

Result<StreamAck> decode_ack(std::string_view bytes) {
  BL_ASSIGN(auto m, parse<proto::Ack>(bytes, "ack"));
  BL_ASSIGN(Stream stream, get(m.stream()));
  return StreamAck{stream, Seq(m.seq())};
}

}  // namespace branchline
