#include "replication/transport/sealed_file.h"

#include "common/tls/sealed.h"

namespace branchline {

Result<OpenedFile> open_file(const LinkContext& tls, const std::string& server, FileKind wanted,
                             std::string_view framed, int64_t now_s) {
  BL_ASSIGN(SealedPart sealed, read_sealed_part(framed));
  if (sealed.to != server) {
    return fail(ErrorKind::denied, "file.not_for_us",
                "the file is from " + sealed.from + " for " + sealed.to + ", and this is " +
                    server + ": import it at " + sealed.to);
  }
  if (sealed.kind != wanted) {
    return fail(
        ErrorKind::invalid, "file.kind",
        wanted == FileKind::feed
            ? "the file is an office's pending work, and an office takes in feeds only"
            : "the file is a feed, and a master takes in pending work of its branches only");
  }
  BL_ASSIGN(Unsealed open, unseal(tls, sealed.cms, now_s));
  OpenedFile out;
  BL_ASSIGN(out.part, decode_file_part(open.content));
  BL_TRY(check_envelope(sealed, out.part, open.signer));
  out.signer = std::move(open.signer);
  out.certificate = std::move(open.certificate);
  return out;
}

}  // namespace branchline
