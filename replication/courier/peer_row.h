// What a server keeps of another one, to be able to write files for it (`meta` `x`).
#pragma once

#include <string>
#include <string_view>

#include "common/base/error.h"
#include "common/base/ids.h"

namespace branchline {

struct PeerRow {
  Csn csn;                  // how far it said that it had come; at a branch 0
  std::string certificate;  // that it showed last, DER
  bool operator==(const PeerRow&) const = default;
};
std::string encode_peer_row(const PeerRow& row);
Result<PeerRow> decode_peer_row(std::string_view bytes);

}  // namespace branchline
