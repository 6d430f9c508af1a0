#include "common/base/bytes.h"

namespace branchline {

std::string hex(std::string_view bytes) {
  static constexpr char digits[] = "0123456789abcdef";
  std::string out;
  out.reserve(bytes.size() * 2);
  for (char c : bytes) {
    out.push_back(digits[static_cast<uint8_t>(c) >> 4]);
    out.push_back(digits[static_cast<uint8_t>(c) & 15]);
  }
  return out;
}

void put_mutation_id(Writer& w, const MutationId& id) {
  w.fixed16(id.origin.value);
  w.fixed64(id.incarnation.value);
  w.u8(static_cast<uint8_t>(id.lane));
  w.fixed64(id.seq.value);
}

MutationId get_mutation_id(Reader& r) {
  MutationId id;
  id.origin = OriginId(r.fixed16());
  id.incarnation = Incarnation(r.fixed64());
  uint8_t lane = r.u8();
  if (lane >= kLaneCount) r.fail();
  id.lane = static_cast<Lane>(lane);
  id.seq = Seq(r.fixed64());
  return id;
}

}  // namespace branchline
