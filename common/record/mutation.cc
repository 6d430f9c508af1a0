#include "common/record/mutation.h"

#include <cstring>

#include "common/base/check.h"
#include "common/base/limits.h"

namespace branchline {
namespace {

constexpr uint8_t kFormat = 1;
constexpr uint8_t kAtomic = 1;

Error corrupt(const char* what) {
  return {ErrorKind::corrupt, "mutation.corrupt", std::string("mutation: ") + what};
}

}  // namespace

Version version_of(const Mutation& m, Csn csn) { return {m.id, m.order, csn, m.hlc, m.author}; }

RecordId keyed_record_id(const RecordId& author, std::string_view operation_key, uint32_t index) {
  std::string bytes("bl-keyed-id");
  Writer w(bytes);
  w.id(author);
  w.fixed32(index);
  w.bytes(operation_key);
  RecordId id = RecordId::from_bytes(sha256(bytes).view().substr(0, 16));
  id.bytes[6] = static_cast<uint8_t>(0x50 | (id.bytes[6] & 0x0f));  // name-based
  id.bytes[8] = static_cast<uint8_t>(0x80 | (id.bytes[8] & 0x3f));
  return id;
}

void put_mutation_header(Writer& w, const Mutation& m) {
  w.u8(kFormat);
  w.u8(m.atomic ? kAtomic : 0);
  put_mutation_id(w, m.id);
  w.varint(m.order.value);
  w.fixed64(m.line.value);
  w.varint(m.base.value);
  w.fixed64(m.hlc.value);
  w.id(m.author);
  w.id(m.credential);
  w.varint(m.schema_version);
  w.blob(m.operation_key);
  w.varint(m.guards.size());
  for (const auto& g : m.guards) {
    w.varint(g.record.entity.value);
    w.id(g.record.id);
    w.varint(g.field.value);
    w.u8(static_cast<uint8_t>(g.expected.type));
    w.blob(g.expected.payload);
  }
  w.varint(m.ops.size());
}

void put_mutation(Writer& w, const Mutation& m) {
  put_mutation_header(w, m);
  for (const auto& op : m.ops) put_record_op(w, op);
}

Result<Mutation> get_mutation(Reader& r) {
  Mutation m;
  if (r.u8() != kFormat) return std::unexpected(corrupt("unknown format"));
  uint8_t flags = r.u8();
  if (flags & ~kAtomic) return std::unexpected(corrupt("unknown flags"));
  m.atomic = flags & kAtomic;
  m.id = get_mutation_id(r);
  m.order = Order(r.varint());
  m.line = LineId(r.fixed64());
  m.base = Csn(r.varint());
  m.hlc = Hlc{r.fixed64()};
  m.author = r.id();
  m.credential = r.id();
  m.schema_version = static_cast<uint32_t>(r.varint_max(0xffffffff));
  m.operation_key = r.blob();
  if (m.operation_key.size() > limits::kMaxOperationKeyBytes) {
    return std::unexpected(corrupt("operation key too long"));
  }
  m.guards.resize(r.varint_max(r.remaining() / kMinGuardBytes));
  for (auto& g : m.guards) {
    g.record.entity = EntityId(static_cast<uint16_t>(r.varint_max(0xffff)));
    g.record.id = r.id();
    g.field = FieldId(static_cast<uint16_t>(r.varint_max(0xffff)));
    g.expected.type = static_cast<ValueType>(r.u8());
    g.expected.payload = r.blob();
    if (!valid(g.expected)) r.fail();
  }
  uint64_t count = r.varint_max(limits::kMaxOperationsPerMutation);
  for (uint64_t i = 0; i < count && r.ok(); ++i) {
    m.ops.push_back(get_record_op(r));
    if (!is_operation(m.ops.back().kind)) r.fail();
  }
  if (!r.ok()) return std::unexpected(corrupt("malformed or truncated"));
  if (m.id.is_none() || m.ops.empty()) return std::unexpected(corrupt("no number or no operation"));
  return m;
}

SaltKey SaltKey::from(std::string_view sixteen) {
  BL_CHECK(sixteen.size() >= 16);
  SaltKey k;
  std::memcpy(k.bytes.data(), sixteen.data(), 16);
  return k;
}

SaltKey salt_epoch_key(const SaltKey& incarnation_key, Lane lane, uint64_t epoch) {
  std::string bytes("bl-salt-epoch");
  Writer w(bytes);
  w.bytes(incarnation_key.view());
  w.u8(static_cast<uint8_t>(lane));
  w.fixed64(epoch);
  return SaltKey::from(sha256(bytes).view());
}

Digest salted_digest(Sha256& sha, const SaltKey& key, uint64_t number, uint32_t index,
                     std::string_view canonical) {
  char place[12];
  for (int i = 0; i < 8; ++i) place[i] = static_cast<char>(number >> (56 - 8 * i));
  for (int i = 0; i < 4; ++i) place[8 + i] = static_cast<char>(index >> (24 - 8 * i));
  Digest salt = sha.add(key.view()).add({place, 12}).finish();
  return sha.add(salt.view().substr(0, 16)).add(canonical).finish();
}

Digest MutationHasher::digest(const Mutation& m) {
  uint64_t epoch = m.id.seq.value >> kSaltEpochBits;
  if (epoch != epoch_) {
    epoch_ = epoch;
    epoch_key_ = salt_epoch_key(key_, lane_, epoch);
  }
  std::string operation_digests;
  operation_digests.reserve(32 * m.ops.size());
  for (size_t i = 0; i < m.ops.size(); ++i) {
    scratch_.clear();
    Writer w(scratch_);
    put_record_op(w, m.ops[i]);
    operation_digests.append(
        salted_digest(sha_, epoch_key_, m.id.seq.value, static_cast<uint32_t>(i), scratch_).view());
  }
  scratch_.clear();
  Writer w(scratch_);
  put_mutation_header(w, m);
  return sha_.add(scratch_).add(operation_digests).finish();
}

Digest chain_start(const Stream& stream) {
  std::string bytes("bl-chain");
  Writer w(bytes);
  w.fixed16(stream.origin.value);
  w.fixed64(stream.incarnation.value);
  w.u8(static_cast<uint8_t>(stream.lane));
  return sha256(bytes);
}

Digest chain_next(const Digest& previous, const Digest& mutation_digest) {
  char bytes[64];
  std::memcpy(bytes, previous.bytes.data(), 32);
  std::memcpy(bytes + 32, mutation_digest.bytes.data(), 32);
  return sha256({bytes, 64});
}

}  // namespace branchline
