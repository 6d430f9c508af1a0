#include "replication/line/commit.h"

#include "common/base/check.h"
#include "common/base/limits.h"
#include "replication/line/columns.h"

namespace branchline {
namespace {

constexpr uint8_t kFormat = 1;
constexpr uint8_t kFirstRowKind = 1;  // keys::LineRow: effects
constexpr uint8_t kArrivals = 4;      //                 arrivals
constexpr uint8_t kLastRowKind = kArrivals;
constexpr size_t kMinHeaderRow = 4 + 32;  // bytes of a row in a batch header

Error corrupt(const char* what) {
  return {ErrorKind::corrupt, "line.corrupt", std::string("main line: ") + what};
}

}  // namespace

Digest line_start(LineId line) {
  std::string bytes("bl-line");
  Writer(bytes).fixed64(line.value);
  return sha256(bytes);
}

// --- Commit block ---

struct CommitBlockWriter::Impl {
  ColumnSet set;
  std::string& head = set.add();
  std::string& contexts = set.add();
  std::string& context_of = set.add();
  std::string& csns = set.add();
  std::string& seqs = set.add();
  std::string& orders = set.add();
  std::string& op_counts = set.add();
  std::string& lost = set.add();
  HlcColumnWriter hlcs{set};
  OpColumnWriter ops{set};

  size_t count = 0;
  OriginId origin;
  Csn first, last;
  uint64_t last_seq = 0;
  std::unordered_map<std::string, size_t> context_places;
};

CommitBlockWriter::CommitBlockWriter() : impl_(std::make_unique<Impl>()) {}
CommitBlockWriter::~CommitBlockWriter() = default;
size_t CommitBlockWriter::count() const { return impl_->count; }

void CommitBlockWriter::add(const Commit& c) {
  Impl& b = *impl_;
  if (b.count++ == 0) {
    b.origin = c.id.origin;
    b.first = c.csn;
    b.last = Csn(c.csn.value - 1);
  }
  BL_CHECK(c.id.origin == b.origin && c.csn > b.last);
  std::string context;
  Writer w(context);
  w.fixed64(c.id.incarnation.value);
  w.u8(static_cast<uint8_t>(c.id.lane));
  w.id(c.author);
  auto [at, fresh] = b.context_places.try_emplace(context, b.context_places.size());
  if (fresh) b.contexts += context;
  Writer(b.context_of).varint(at->second);
  Writer(b.csns).varint(c.csn.value - b.last.value - 1);
  b.last = c.csn;
  Writer(b.seqs).svarint(static_cast<int64_t>(c.id.seq.value - b.last_seq - 1));
  b.last_seq = c.id.seq.value;
  Writer(b.orders).svarint(static_cast<int64_t>(c.order.value - c.id.seq.value));
  Writer(b.op_counts).varint(c.effects.size());
  Writer lost(b.lost);
  lost.varint(c.lost.size());
  for (const auto& l : c.lost) {
    lost.varint(l.record.entity.value);
    lost.id(l.record.id);
    lost.varint(l.field.value);
    lost.u8(static_cast<uint8_t>(l.value.type));
    lost.blob(l.value.payload);
  }
  b.hlcs.put(c.hlc);
  for (const auto& op : c.effects) b.ops.put(op, c.id, {});
}

std::string CommitBlockWriter::finish() {
  Impl& b = *impl_;
  BL_CHECK(b.count > 0);
  b.ops.finish();
  Writer h(b.head);
  h.u8(kFormat);
  h.fixed16(b.origin.value);
  h.varint(b.first.value);
  h.varint(b.count);
  std::string out;
  b.set.join(out);
  return out;
}

Result<CommitBlock> decode_commit_block(std::string bytes) {
  CommitBlock block;
  block.bytes = std::move(bytes);
  ColumnSplitter split(block.bytes);
  Reader head = split.next(), contexts = split.next(), context_of = split.next(),
         csns = split.next(), seqs = split.next(), orders = split.next(), op_counts = split.next(),
         lost = split.next();
  HlcColumnReader hlcs(split);
  OpColumnReader ops(split, block.arena);
  if (head.u8() != kFormat) return std::unexpected(corrupt("unknown format of a commit block"));
  block.origin = OriginId(head.fixed16());
  uint64_t first_csn = head.varint();
  uint64_t csn = first_csn - 1;
  uint64_t count = head.varint_max(limits::kMaxBlockBytes);
  if (!head.done() || first_csn == 0 || count == 0) {
    return std::unexpected(corrupt("malformed head of a commit block"));
  }
  struct Context {
    Incarnation incarnation;
    Lane lane;
    RecordId author;
  };
  std::vector<Context> table;
  while (contexts.ok() && contexts.remaining() > 0) {
    Context c;
    c.incarnation = Incarnation(contexts.fixed64());
    uint8_t lane = contexts.u8();
    if (lane >= kLaneCount) contexts.fail();
    c.lane = static_cast<Lane>(lane);
    c.author = contexts.id();
    table.push_back(c);
  }
  if (!contexts.ok()) return std::unexpected(corrupt("contexts of a commit block"));
  uint64_t seq = 0;
  for (uint64_t i = 0; i < count; ++i) {
    Commit& c = block.commits.emplace_back();
    uint64_t context = context_of.varint();
    if (!context_of.ok() || context >= table.size())
      return std::unexpected(corrupt("unknown context"));
    uint64_t skipped = csns.varint();
    csn += skipped + 1;
    seq += static_cast<uint64_t>(seqs.svarint()) + 1;
    if (csn <= skipped || seq == 0) return std::unexpected(corrupt("numbers that do not rise"));
    c.csn = Csn(csn);
    c.id = {block.origin, table[context].incarnation, table[context].lane, Seq(seq)};
    c.author = table[context].author;
    c.order = Order(seq + static_cast<uint64_t>(orders.svarint()));
    uint64_t n = op_counts.varint_max(limits::kMaxBlockBytes);
    uint64_t losses = lost.varint_max(lost.remaining());
    for (uint64_t k = 0; k < losses; ++k) {
      Commit::Lost l;
      l.record.entity = EntityId(static_cast<uint16_t>(lost.varint_max(0xffff)));
      l.record.id = lost.id();
      l.field = FieldId(static_cast<uint16_t>(lost.varint_max(0xffff)));
      l.value.type = static_cast<ValueType>(lost.u8());
      l.value.payload = lost.blob();
      if (!valid(l.value)) lost.fail();
      if (!lost.ok()) break;
      c.lost.push_back(l);
    }
    c.hlc = hlcs.get();
    for (uint64_t k = 0; k < n && ops.ok(); ++k) {
      c.effects.push_back(ops.get(c.id, {}));
      if (!is_effect(c.effects.back().kind))
        return std::unexpected(corrupt("an operation among effects"));
    }
    if (!ops.ok() || !hlcs.ok() || !csns.ok() || !seqs.ok() || !orders.ok() || !op_counts.ok() ||
        !lost.ok()) {
      return std::unexpected(corrupt("malformed or truncated commit block"));
    }
  }
  if (!split.done() || !context_of.done() || !csns.done() || !seqs.done() || !orders.done() ||
      !op_counts.done() || !lost.done() || !hlcs.done() || !ops.done()) {
    return std::unexpected(corrupt("bytes left over in a commit block"));
  }
  return block;
}

Digest commit_digest(Sha256& sha, const SaltKey& key, const Commit& c) {
  std::string bytes, scratch;
  Writer w(bytes);
  w.fixed64(c.csn.value);
  put_mutation_id(w, c.id);
  w.varint(c.order.value);
  w.fixed64(c.hlc.value);
  w.id(c.author);
  uint32_t index = 0;
  for (const auto& op : c.effects) {
    scratch.clear();
    Writer s(scratch);
    put_record_op(s, op);
    w.bytes(salted_digest(sha, key, c.csn.value, index++, scratch).view());
  }
  for (const auto& l : c.lost) {
    scratch.clear();
    Writer s(scratch);
    s.varint(l.record.entity.value);
    s.id(l.record.id);
    s.varint(l.field.value);
    s.u8(static_cast<uint8_t>(l.value.type));
    s.blob(l.value.payload);
    w.bytes(salted_digest(sha, key, c.csn.value, index++, scratch).view());
  }
  return sha.add(bytes).finish();
}

// --- Fates ---

namespace {

constexpr uint8_t kAsForecast = 1;
constexpr uint8_t kClamped = 2;
constexpr uint8_t kOutcomes = 4;

void put_entry(Writer& w, const FateEntry& e) {
  uint8_t flags = 0;
  if (e.as_forecast) flags |= kAsForecast;
  if (e.clamped.value != 0) flags |= kClamped;
  if (!e.outcomes.empty()) flags |= kOutcomes;
  w.u8(static_cast<uint8_t>(static_cast<uint8_t>(e.fate) << 4 | flags));
  w.varint(e.count);
  w.varint(e.csn.value);
  if (flags & kClamped) w.fixed64(e.clamped.value);
  if (flags & kOutcomes) put_outcomes(w, e.outcomes);
}

FateEntry get_entry(Reader& r) {
  FateEntry e;
  uint8_t head = r.u8();
  uint8_t flags = head & 15;
  if (!valid_fate(head >> 4) || flags > 7) r.fail();
  e.fate = static_cast<Fate>(head >> 4);
  e.as_forecast = flags & kAsForecast;
  e.count = static_cast<uint32_t>(r.varint_max(0xffffffff));
  e.csn = Csn(r.varint());
  if (flags & kClamped) e.clamped = Hlc{r.fixed64()};
  if (flags & kOutcomes) e.outcomes = get_outcomes(r);
  if (e.count == 0) r.fail();
  return e;
}

}  // namespace

std::string encode_fate_block(const std::vector<FateEntry>& entries) {
  std::string out;
  Writer w(out);
  w.u8(kFormat);
  w.varint(entries.size());
  Stream last;
  bool first = true;
  for (const auto& e : entries) {
    // The stream is named where it changes.
    bool changed = first || stream_of(e.id) != last;
    w.u8(changed ? 1 : 0);
    if (changed) {
      w.fixed16(e.id.origin.value);
      w.fixed64(e.id.incarnation.value);
      w.u8(static_cast<uint8_t>(e.id.lane));
    }
    first = false;
    last = stream_of(e.id);
    w.varint(e.id.seq.value);
    put_entry(w, e);
  }
  return out;
}

Result<std::vector<FateEntry>> decode_fate_block(std::string_view bytes) {
  Reader r(bytes);
  if (r.u8() != kFormat) return std::unexpected(corrupt("unknown format of a fate block"));
  std::vector<FateEntry> out;
  uint64_t count = r.varint_max(bytes.size());
  Stream stream;
  for (uint64_t i = 0; i < count && r.ok(); ++i) {
    if (r.flag()) {
      stream.origin = OriginId(r.fixed16());
      stream.incarnation = Incarnation(r.fixed64());
      uint8_t lane = r.u8();
      if (lane >= kLaneCount) r.fail();
      stream.lane = static_cast<Lane>(lane);
    }
    Seq seq(r.varint());
    if (seq.value == 0) r.fail();
    FateEntry e = get_entry(r);
    e.id = {stream.origin, stream.incarnation, stream.lane, seq};
    out.push_back(std::move(e));
  }
  if (!r.done()) return std::unexpected(corrupt("malformed fate block"));
  return out;
}

std::string encode_fate_row(const FateEntry& entry, std::string_view content) {
  std::string out;
  Writer w(out);
  w.u8(kFormat);
  put_entry(w, entry);
  w.bytes(content);
  return out;
}

Result<FateRow> decode_fate_row(const MutationId& first, std::string_view bytes) {
  Reader r(bytes);
  if (r.u8() != kFormat) return std::unexpected(corrupt("unknown format of a fate"));
  FateRow row;
  row.entry = get_entry(r);
  row.entry.id = first;
  if (!r.ok()) return std::unexpected(corrupt("malformed fate"));
  row.content = std::string(r.rest());
  return row;
}

// --- Batch header ---

namespace {

void put_header_body(Writer& w, const BatchHeader& h) {
  w.u8(kFormat);
  w.varint(h.from.value);
  w.varint(h.to.value);
  w.varint(h.term.value);
  w.svarint(h.wall_ms);
  w.varint(h.rows.size());
  for (const auto& row : h.rows) {
    w.u8(row.kind);
    w.varint(row.tag.territory.value);
    w.varint(row.tag.origin.value);
    w.u8(row.tag.echo ? 1 : 0);
    if (row.kind == kArrivals) w.varint(row.part);
    w.bytes(row.digest.view());
  }
}

}  // namespace

std::string encode_batch_header(const BatchHeader& header) {
  std::string out;
  Writer w(out);
  put_header_body(w, header);
  w.bytes(header.chain.view());
  return out;
}

Result<BatchHeader> decode_batch_header(std::string_view bytes) {
  Reader r(bytes);
  if (r.u8() != kFormat) return std::unexpected(corrupt("unknown format of a batch"));
  BatchHeader h;
  h.from = Csn(r.varint());
  h.to = Csn(r.varint());
  h.term = Term(static_cast<uint32_t>(r.varint_max(0xffffffff)));
  h.wall_ms = r.svarint();
  h.rows.resize(r.varint_max(r.remaining() / kMinHeaderRow));
  for (auto& row : h.rows) {
    row.kind = r.u8();
    if (row.kind < kFirstRowKind || row.kind > kLastRowKind) r.fail();
    row.tag.territory = TerritoryId(static_cast<uint32_t>(r.varint_max(0xffffffff)));
    row.tag.origin = OriginId(static_cast<uint16_t>(r.varint_max(0xffff)));
    row.tag.echo = r.flag();
    if (row.kind == kArrivals) row.part = static_cast<uint32_t>(r.varint_max(0xffffffff));
    auto d = Digest::from(r.bytes(32));
    if (!d) return std::unexpected(corrupt("truncated batch header"));
    row.digest = *d;
  }
  auto chain = Digest::from(r.bytes(32));
  if (!chain || !r.done() || h.to <= h.from)
    return std::unexpected(corrupt("malformed batch header"));
  h.chain = *chain;
  return h;
}

Digest batch_chain(const Digest& previous, const BatchHeader& header) {
  std::string bytes(previous.view());
  Writer w(bytes);
  put_header_body(w, header);
  return sha256(bytes);
}

// --- Ledger ---

void Ledger::count(Fate fate, uint64_t n) {
  switch (fate) {
    case Fate::applied:
      applied += n;
      break;
    case Fate::merged:
      merged += n;
      break;
    case Fate::overridden:
      overridden += n;
      break;
    case Fate::rejected:
      rejected += n;
      break;
  }
}

Ledger& Ledger::operator+=(const Ledger& o) {
  accepted += o.accepted;
  pending += o.pending;
  applied += o.applied;
  merged += o.merged;
  overridden += o.overridden;
  rejected += o.rejected;
  lost += o.lost;
  return *this;
}

void put_ledger(Writer& w, const Ledger& l) {
  for (uint64_t v : {l.accepted, l.pending, l.applied, l.merged, l.overridden, l.rejected, l.lost})
    w.varint(v);
}

Ledger get_ledger(Reader& r) {
  Ledger l;
  for (uint64_t* v :
       {&l.accepted, &l.pending, &l.applied, &l.merged, &l.overridden, &l.rejected, &l.lost}) {
    *v = r.varint();
  }
  return l;
}

void put_totals(Writer& w, const Totals& t) {
  w.varint(t.sums.size());
  for (const auto& [territory, sum] : t.sums) {
    w.varint(territory.value);
    w.fixed64(sum.high);
    w.fixed64(sum.low);
  }
  w.varint(t.counts.size());
  for (const auto& [key, count] : t.counts) {
    w.varint(key.first.value);
    w.varint(key.second.value);
    w.varint(count);
  }
}

Totals get_totals(Reader& r) {
  Totals t;
  uint64_t sums = r.varint_max(r.remaining());
  for (uint64_t i = 0; i < sums && r.ok(); ++i) {
    TerritoryId territory(static_cast<uint32_t>(r.varint_max(0xffffffff)));
    Sum128 sum;
    sum.high = r.fixed64();
    sum.low = r.fixed64();
    t.sums[territory] = sum;
  }
  uint64_t counts = r.varint_max(r.remaining());
  for (uint64_t i = 0; i < counts && r.ok(); ++i) {
    EntityId entity(static_cast<uint16_t>(r.varint_max(0xffff)));
    TerritoryId territory(static_cast<uint32_t>(r.varint_max(0xffffffff)));
    t.counts[{entity, territory}] = r.varint();
  }
  return t;
}

uint64_t live_records(const Totals& totals) {
  uint64_t n = 0;
  for (const auto& [where, count] : totals.counts) n += count;
  return n;
}

}  // namespace branchline
