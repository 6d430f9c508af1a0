// Keys and certificates to and from PEM. For .cc files of this folder.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "common/base/error.h"
#include "common/tls/openssl.h"

namespace branchline {

// All certificates of a file, at least one.
// Errors: those of read_file(), corrupt "tls.bad_certificate".
Result<std::vector<X509Ptr>> read_certificates(const std::filesystem::path& file);
// Errors: those of read_key_file(), corrupt "tls.bad_key".
Result<KeyPtr> read_key(const std::filesystem::path& file);

std::string to_pem(X509* certificate);
// Not encrypted: a server must start without somebody typing a phrase. Wipe the string after use.
std::string to_pem(EVP_PKEY* key);
void wipe(std::string& secret);

}  // namespace branchline
