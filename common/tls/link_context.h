// The identity of a server on the replication link, loaded and checked: TLS 1.3 only, certificates
// of our own authority required at both ends, no tickets, no resumption, no renegotiation, no
// compression.
#pragma once

#include <openssl/types.h>

#include <filesystem>
#include <memory>
#include <string>
#include <string_view>

#include "common/base/error.h"
#include "common/time/clock.h"
#include "common/tls/certificate.h"

namespace branchline {

// Immutable; shared by all links of a server, at either end. Thread-safe, as SSL_CTX is.
class LinkContext {
 public:
  LinkContext(SSL_CTX* owned, CertificateInfo certificate);
  ~LinkContext();
  LinkContext(const LinkContext&) = delete;
  LinkContext& operator=(const LinkContext&) = delete;

  // Our own name, and until when others believe it (certificate().not_after_s: watch it).
  const std::string& server() const { return certificate_.server; }
  const CertificateInfo& certificate() const { return certificate_; }
  // For TlsEngine; also fits boost::asio::ssl::context(SSL_CTX*) after SSL_CTX_up_ref().
  SSL_CTX* native() const { return context_; }

 private:
  SSL_CTX* context_;
  CertificateInfo certificate_;
};

// Loads FOLDER/{ca.pem, server.pem, server.key}. `clock` decides whether the certificate is valid;
// during a handshake OpenSSL asks the system's clock. ca.pem may hold several authorities while
// servers move over.
// Errors, each with the file and how to mend it: not_found "tls.missing"; denied
// "tls.key_readable", "tls.expired", "tls.not_yet_valid", "tls.other_authority", "tls.bad_name";
// corrupt "tls.key_mismatch", "tls.bad_key", "tls.bad_certificate"; those of read_file().
Result<std::shared_ptr<const LinkContext>> load_link_context(const std::filesystem::path& folder,
                                                             Clock& clock);

// The name of the server at the other end, from its verified certificate, after the handshake.
// Errors: denied "tls.no_certificate", "tls.not_verified", "tls.bad_name".
Result<std::string> peer_name(const SSL* ssl);
// Errors: as peer_name(), and denied "tls.wrong_name".
Result<void> verify_peer_is(const SSL* ssl, std::string_view server);

}  // namespace branchline
