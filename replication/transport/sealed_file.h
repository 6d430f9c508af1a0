// A part of a file out of its envelope: what both ends check before they look at what it says.
#pragma once

#include <string>
#include <string_view>

#include "common/tls/link_context.h"
#include "replication/courier/file_part.h"

namespace branchline {

struct OpenedFile {
  FilePart part;
  std::string signer;       // the server that the signature names, which `part` names too
  std::string certificate;  // its, DER
};
// Any thread. Errors: denied "file.not_for_us", "file.signer", "file.envelope", and as unseal();
// invalid "file.kind" where it is not of the kind that this server takes in, and as
// decode_file_part() and read_sealed_part().
Result<OpenedFile> open_file(const LinkContext& tls, const std::string& server, FileKind wanted,
                             std::string_view framed, int64_t now_s);

}  // namespace branchline
