#include "replication/line/mutation_block.h"

#include <cstring>

#include "common/base/check.h"
#include "common/base/limits.h"
#include "replication/line/columns.h"

namespace branchline {
namespace {

constexpr uint8_t kFormat = 1;
constexpr uint8_t kAtomic = 1;

Error corrupt(const char* what) {
  return {ErrorKind::corrupt, "block.corrupt", std::string("mutation block: ") + what};
}

uint32_t first_four(const Digest& d) { return Reader(d.view()).fixed32(); }

}  // namespace

uint64_t forecast_digest(std::string_view forecast_bytes) { return hash64(forecast_bytes); }

uint64_t run_digest(const uint64_t* digests, size_t count) {
  std::string bytes;
  Writer w(bytes);
  for (size_t i = 0; i < count; ++i) w.fixed64(digests[i]);
  return hash64(bytes);
}

struct MutationBlockWriter::Impl {
  ColumnSet set;
  std::string& head = set.add();
  std::string& contexts = set.add();
  std::string& context_of = set.add();
  std::string& bases = set.add();
  std::string& orders = set.add();
  std::string& key_lengths = set.add();
  std::string& keys = set.add();
  std::string& guards = set.add();
  std::string& op_counts = set.add();
  std::string& forecasts = set.add();
  HlcColumnWriter hlcs{set};
  OpColumnWriter ops{set};

  size_t count = 0;
  Mutation first;
  Csn last_base;
  Order last_order;
  std::unordered_map<std::string, size_t> context_places;
  std::vector<uint64_t> run;

  void close_run() {
    if (run.empty()) return;
    Writer(forecasts).fixed64(run_digest(run.data(), run.size()));
    run.clear();
  }
};

MutationBlockWriter::MutationBlockWriter() : impl_(std::make_unique<Impl>()) {}
MutationBlockWriter::~MutationBlockWriter() = default;
size_t MutationBlockWriter::count() const { return impl_->count; }

void MutationBlockWriter::add(const Mutation& m, uint64_t forecast) {
  Impl& b = *impl_;
  if (b.count == 0) {
    b.first = m;
    b.first.ops.clear();
    b.last_base = m.base;
    b.last_order = Order(m.order.value - 1);
  }
  BL_CHECK(stream_of(m.id) == stream_of(b.first.id) &&
           m.id.seq.value == b.first.id.seq.value + b.count);
  ++b.count;
  std::string context;
  Writer c(context);
  c.u8(m.atomic ? kAtomic : 0);
  c.fixed64(m.line.value);
  c.id(m.author);
  c.id(m.credential);
  c.varint(m.schema_version);
  auto [at, fresh] = b.context_places.try_emplace(context, b.context_places.size());
  if (fresh) b.contexts += context;
  Writer(b.context_of).varint(at->second);
  Writer(b.bases).svarint(static_cast<int64_t>(m.base.value - b.last_base.value));
  b.last_base = m.base;
  Writer(b.orders).varint(m.order.value - b.last_order.value - 1);
  b.last_order = m.order;
  Writer(b.key_lengths).varint(m.operation_key.size());
  b.keys.append(m.operation_key);
  Writer g(b.guards);
  g.varint(m.guards.size());
  for (const auto& guard : m.guards) {
    g.varint(guard.record.entity.value);
    g.id(guard.record.id);
    g.varint(guard.field.value);
    g.u8(static_cast<uint8_t>(guard.expected.type));
    g.blob(guard.expected.payload);
  }
  Writer(b.op_counts).varint(m.ops.size());
  b.hlcs.put(m.hlc);
  for (size_t i = 0; i < m.ops.size(); ++i) {
    RecordId derived;
    if (m.ops[i].kind == RecordOpKind::create && !m.operation_key.empty()) {
      derived = keyed_record_id(m.author, m.operation_key, static_cast<uint32_t>(i));
    }
    b.ops.put(m.ops[i], m.id, derived);
  }
  b.run.push_back(forecast);
  if (b.run.size() == kForecastRun) b.close_run();
}

std::string MutationBlockWriter::finish(const Digest& chain_after) {
  Impl& b = *impl_;
  BL_CHECK(b.count > 0);
  b.close_run();
  b.ops.finish();
  Writer h(b.head);
  h.u8(kFormat);
  h.fixed16(b.first.id.origin.value);
  h.fixed64(b.first.id.incarnation.value);
  h.u8(static_cast<uint8_t>(b.first.id.lane));
  h.varint(b.first.id.seq.value);
  h.varint(b.first.order.value);
  h.varint(b.first.base.value);
  h.varint(b.count);
  h.fixed32(first_four(chain_after));
  std::string out;
  b.set.join(out);
  return out;
}

Lane peek_lane(std::string_view block) {
  Reader head = ColumnSplitter(block).next();
  head.u8();
  head.fixed16();
  head.fixed64();
  return head.u8() == static_cast<uint8_t>(Lane::bulk) && head.ok() ? Lane::bulk
                                                                    : Lane::interactive;
}

Result<MutationBlock> decode_mutation_block(std::string bytes) {
  MutationBlock block;
  block.bytes = std::move(bytes);
  ColumnSplitter split(block.bytes);
  Reader head = split.next(), contexts = split.next(), context_of = split.next(),
         bases = split.next(), orders = split.next(), key_lengths = split.next(),
         keys = split.next(), guards = split.next(), op_counts = split.next(),
         forecasts = split.next();
  HlcColumnReader hlcs(split);
  OpColumnReader ops(split, block.arena);

  if (head.u8() != kFormat) return std::unexpected(corrupt("unknown format"));
  block.stream.origin = OriginId(head.fixed16());
  block.stream.incarnation = Incarnation(head.fixed64());
  uint8_t lane = head.u8();
  if (lane >= kLaneCount) return std::unexpected(corrupt("unknown lane"));
  block.stream.lane = static_cast<Lane>(lane);
  uint64_t seq = head.varint();
  uint64_t first_order = head.varint();
  uint64_t order = first_order - 1;
  uint64_t base = head.varint();
  uint64_t count = head.varint_max(limits::kMaxBlockMutations);
  block.chain_check = head.fixed32();
  bool wraps = seq + count < seq;
  if (!head.done() || count == 0 || seq == 0 || first_order == 0 || wraps) {
    return std::unexpected(corrupt("malformed head"));
  }

  struct Context {
    bool atomic;
    LineId line;
    RecordId author, credential;
    uint32_t schema_version;
  };
  std::vector<Context> table;
  while (contexts.ok() && contexts.remaining() > 0) {
    Context c;
    uint8_t flags = contexts.u8();
    if (flags & ~kAtomic) contexts.fail();
    c.atomic = flags & kAtomic;
    c.line = LineId(contexts.fixed64());
    c.author = contexts.id();
    c.credential = contexts.id();
    c.schema_version = static_cast<uint32_t>(contexts.varint_max(0xffffffff));
    table.push_back(c);
  }
  if (!contexts.ok()) return std::unexpected(corrupt("malformed contexts"));

  block.mutations.reserve(count);
  size_t operations = 0;
  for (uint64_t i = 0; i < count; ++i) {
    Mutation& m = block.mutations.emplace_back();
    m.id = {block.stream.origin, block.stream.incarnation, block.stream.lane, Seq(seq + i)};
    uint64_t context = context_of.varint();
    if (!context_of.ok() || context >= table.size())
      return std::unexpected(corrupt("unknown context"));
    const Context& c = table[context];
    m.atomic = c.atomic;
    m.line = c.line;
    m.author = c.author;
    m.credential = c.credential;
    m.schema_version = c.schema_version;
    base += static_cast<uint64_t>(bases.svarint());
    m.base = Csn(base);
    uint64_t skipped = orders.varint();
    order += skipped + 1;
    if (order <= skipped) return std::unexpected(corrupt("orders that do not rise"));
    m.order = Order(order);
    m.operation_key = keys.bytes(key_lengths.varint_max(limits::kMaxOperationKeyBytes));
    m.guards.resize(guards.varint_max(guards.remaining() / kMinGuardBytes));
    for (auto& g : m.guards) {
      g.record.entity = EntityId(static_cast<uint16_t>(guards.varint_max(0xffff)));
      g.record.id = guards.id();
      g.field = FieldId(static_cast<uint16_t>(guards.varint_max(0xffff)));
      g.expected.type = static_cast<ValueType>(guards.u8());
      g.expected.payload = guards.blob();
      if (!valid(g.expected)) guards.fail();
    }
    uint64_t n = op_counts.varint_max(limits::kMaxOperationsPerMutation);
    operations += n;
    if (n == 0 || operations > limits::kMaxBlockBytes / 4)
      return std::unexpected(corrupt("operations"));
    m.hlc = hlcs.get();
    for (uint64_t k = 0; k < n && ops.ok(); ++k) {
      m.ops.push_back(ops.get(m.id, {m.author, m.operation_key, static_cast<uint32_t>(k)}));
      if (!is_operation(m.ops.back().kind))
        return std::unexpected(corrupt("an effect among operations"));
    }
    if (!ops.ok() || !hlcs.ok() || !bases.ok() || !orders.ok() || !keys.ok() || !key_lengths.ok() ||
        !guards.ok() || !op_counts.ok()) {
      return std::unexpected(corrupt("malformed or truncated"));
    }
  }
  size_t runs = (count + kForecastRun - 1) / kForecastRun;
  for (size_t i = 0; i < runs; ++i) block.forecasts.push_back(forecasts.fixed64());
  if (!forecasts.done()) return std::unexpected(corrupt("forecasts"));
  if (!split.done() || !context_of.done() || !bases.done() || !orders.done() ||
      !key_lengths.done() || !keys.done() || !guards.done() || !op_counts.done() || !hlcs.done() ||
      !ops.done()) {
    return std::unexpected(corrupt("bytes left over"));
  }
  return block;
}

}  // namespace branchline
