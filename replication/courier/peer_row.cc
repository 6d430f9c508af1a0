#include "replication/courier/peer_row.h"

#include "common/base/bytes.h"

namespace branchline {

namespace {
constexpr uint8_t kFormat = 1;
}

std::string encode_peer_row(const PeerRow& row) {
  std::string out;
  Writer w(out);
  w.u8(kFormat);
  w.varint(row.csn.value);
  w.blob(row.certificate);
  return out;
}

Result<PeerRow> decode_peer_row(std::string_view bytes) {
  Reader r(bytes);
  PeerRow row;
  uint8_t format = r.u8();
  row.csn = Csn(r.varint());
  row.certificate = r.blob();
  if (format != kFormat || !r.done())
    return fail(ErrorKind::corrupt, "peer.row", "what is kept of another server is damaged");
  return row;
}

}  // namespace branchline
