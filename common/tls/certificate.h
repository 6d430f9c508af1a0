// What Branchline's certificates say, and how a server is named in one.
#pragma once

#include <openssl/types.h>

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

#include "common/base/error.h"

namespace branchline {

struct CertificateInfo {
  std::string subject;  // as RFC 2253 writes it: "CN=hamburg,O=Branchline"
  std::string server;   // the name of a server's certificate; empty in an authority's
  std::string
      fingerprint;  // SHA-256 of the DER form, as `openssl x509 -fingerprint -sha256` prints it
  int64_t not_before_s = 0;  // seconds since 1970 UTC
  int64_t not_after_s = 0;
};

// Names of servers: [a-z][a-z0-9-]{0,62}.
bool is_server_name(std::string_view name);
// Errors: invalid "tls.bad_name".
Result<void> check_server_name(std::string_view name);

// The server that a certificate is for: its subject alternative names must be exactly one, a DNS
// name `<server>.branchline.internal`. The common name is never looked at. Errors: denied
// "tls.bad_name".
Result<std::string> server_name(const X509* certificate);

CertificateInfo describe(const X509* certificate);

// The first certificate of a PEM file.
// Errors: those of read_file(), corrupt "tls.bad_certificate".
Result<CertificateInfo> describe_certificate(const std::filesystem::path& file);

// "2027-03-01T09:30:00Z"
std::string utc_time(int64_t seconds);

}  // namespace branchline
