#include "common/tls/openssl.h"

#include <openssl/err.h>

namespace branchline {

std::string take_openssl_errors() {
  std::string out;
  while (unsigned long code = ERR_get_error()) {
    const char* reason = ERR_reason_error_string(code);
    if (!out.empty()) out += "; ";
    out += reason != nullptr ? std::string(reason) : "error " + std::to_string(code);
  }
  return out.empty() ? "no reason given" : out;
}

}  // namespace branchline
