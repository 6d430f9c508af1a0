#include "branch/crm/lookup_counts.h"

#include "common/base/bytes.h"

namespace branchline {
namespace {

constexpr uint8_t kFormat = 1;

}  // namespace

std::string encode_lookup_counts(const LookupCounts& counts) {
  std::string out;
  Writer w(out);
  w.u8(kFormat);
  w.varint(counts.size());
  for (const auto& [territory, count] : counts) {
    w.varint(territory.value);
    w.varint(count.times);
    w.svarint(count.since_ms);
  }
  return out;
}

Result<LookupCounts> decode_lookup_counts(std::string_view bytes) {
  Reader r(bytes);
  LookupCounts out;
  uint8_t format = r.u8();
  uint64_t count = r.varint_max(r.remaining());
  for (uint64_t i = 0; i < count && r.ok(); ++i) {
    TerritoryId t(static_cast<uint32_t>(r.varint_max(0xffffffff)));
    LookupCount& c = out[t];
    c.times = r.varint();
    c.since_ms = r.svarint();
  }
  if (!r.done() || format != kFormat)
    return fail(ErrorKind::corrupt, "replica.lookups", "the row of look-up counts is damaged");
  return out;
}

}  // namespace branchline
