// The certificate authority for Branchline's own servers: a key and a certificate in a folder, kept
// on one machine (ideally none of the servers), from which an operator issues each server its
// identity.
//
//   AUTHORITY/{ca.key, ca.pem}                    made once
//   SERVER/{server.key, server.pem, ca.pem}       one per server, what LinkContext loads
//
// Keys are ECDSA P-256: TLS stacks, proxies, browsers, TPMs and FIPS providers all take it, OpenSSL
// has it in assembly; Ed25519 would be as good for ourselves alone, and many of those refuse it.
#pragma once

#include <filesystem>
#include <string_view>

#include "common/base/error.h"
#include "common/time/clock.h"
#include "common/tls/certificate.h"
#include "common/tls/files.h"

namespace branchline {

inline constexpr int kAuthorityDays = 3650;
inline constexpr int kServerDays = 825;

struct AuthorityOptions {
  int validity_days = kAuthorityDays;  // 1 to 36500
  Overwrite overwrite = Overwrite::refuse;
};

// Makes a key (mode 0600) and a self-signed certificate that may issue for *.branchline.internal
// only. Replacing an authority cuts off every server that it has issued.
// Errors: conflict "ca.exists"; invalid "ca.bad_validity"; those of write_file() and make_folder().
Result<CertificateInfo> create_authority(const std::filesystem::path& folder, Clock& clock,
                                         const AuthorityOptions& options = {});

struct ServerOptions {
  int validity_days = kServerDays;  // 1 to 36500, cut off at the authority's own end
  Overwrite overwrite = Overwrite::refuse;
};

// Makes a fresh key for `server` and certifies it for both ends of a link (CN=<server>, SAN
// DNS:<server>.branchline.internal). Valid from an hour ago, for servers whose clocks are behind.
// With `replace` a crash between the files leaves a key without its certificate, which LinkContext
// reports; issuing again mends it.
// Errors: invalid "tls.bad_name", "ca.bad_validity"; conflict "ca.exists" where a key is, or where
// the folder belongs to another authority; not_found "ca.missing"; denied "ca.expired" or
// "tls.key_readable"; corrupt "tls.key_mismatch", "tls.bad_key", "tls.bad_certificate"; those of
// write_file() and make_folder().
Result<CertificateInfo> issue_server(const std::filesystem::path& authority,
                                     std::string_view server, const std::filesystem::path& folder,
                                     Clock& clock, const ServerOptions& options = {});

}  // namespace branchline
