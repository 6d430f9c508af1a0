#include "replication/line/incarnation.h"

namespace branchline {

std::string encode_incarnation(const IncarnationInfo& info) {
  std::string out;
  Writer w(out);
  w.u8(1);  // format
  w.fixed32(info.generation);
  w.fixed64(info.incarnation.value);
  w.fixed64(info.predecessor.value);
  w.fixed64(info.predecessor_order.value);
  for (const auto& end : info.predecessor_ends) {
    w.fixed64(end.seq.value);
    w.bytes(end.chain.view());
  }
  w.bytes(info.salt_key.view());
  return out;
}

Result<IncarnationInfo> decode_incarnation(std::string_view bytes) {
  Reader r(bytes);
  IncarnationInfo info;
  uint8_t format = r.u8();
  info.generation = r.fixed32();
  info.incarnation = Incarnation(r.fixed64());
  info.predecessor = Incarnation(r.fixed64());
  info.predecessor_order = Order(r.fixed64());
  for (auto& end : info.predecessor_ends) {
    end.seq = Seq(r.fixed64());
    if (auto d = Digest::from(r.bytes(32))) end.chain = *d;
  }
  std::string_view key = r.bytes(16);
  if (!r.done() || format != 1 || info.incarnation.value == 0) {
    return fail(ErrorKind::corrupt, "incarnation.corrupt", "the row of a process start is damaged");
  }
  info.salt_key = SaltKey::from(key);
  return info;
}

}  // namespace branchline
