// Bytes that travel outside of a link, on a stick or by mail: signed with a server's own key and
// encrypted to another server's certificate (CMS: SignedData within AuthEnvelopedData,
// AES-256-GCM). Any thread.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "common/base/error.h"
#include "common/tls/link_context.h"

namespace branchline {

// Our own certificate, DER: what others need to seal something for us.
std::string own_certificate(const LinkContext& own);

// PEM or DER as an operator has it in a file; DER. Errors: invalid "sealed.certificate".
Result<std::string> read_certificate(std::string_view pem_or_der);

// The server that a certificate (DER) is for, where our authority issued it for a server and it is
// valid at `now_s`. Errors: denied "sealed.expired", "sealed.not_yet_valid",
// "sealed.other_authority", "tls.bad_name"; invalid "sealed.certificate".
Result<std::string> certified_server(const LinkContext& own, std::string_view certificate,
                                     int64_t now_s);

// Errors: invalid "sealed.certificate"; corrupt "sealed.failed" where OpenSSL refuses.
Result<std::string> seal(const LinkContext& own, std::string_view recipient,
                         std::string_view content);

struct Unsealed {
  std::string content;
  std::string signer;       // the server that signed, by its certificate
  std::string certificate;  // its certificate, DER
};
// Errors: denied "sealed.not_for_us" (encrypted to another certificate than our present one),
// "sealed.altered" (the signature or the encryption does not hold), those of certified_server();
// corrupt "sealed.damaged" where it is no CMS.
Result<Unsealed> unseal(const LinkContext& own, std::string_view sealed, int64_t now_s);

}  // namespace branchline
