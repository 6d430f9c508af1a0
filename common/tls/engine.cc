#include "common/tls/engine.h"

#include <openssl/err.h>

#include <algorithm>

#include "common/base/check.h"
#include "common/tls/openssl.h"

namespace branchline {
namespace {

constexpr size_t kMaxWriteBytes = 64 * 1024;
// A handshake of ours takes 2 KiB. What comes before the certificate is checked comes from anybody.
constexpr uint64_t kMaxHandshakeBytes = 64 * 1024;

}  // namespace

struct TlsEngine::Impl {
  std::shared_ptr<const LinkContext> context;
  Options options;
  SslPtr ssl;
  BIO* in = nullptr;   // owned by ssl
  BIO* out = nullptr;  // owned by ssl
  bool established = false;
  std::string peer;
  Error name_error;  // why verify() refused the name
  uint64_t bytes_in = 0;
  uint64_t bytes_out = 0;
  uint64_t writes = 0;

  static int verify(int verified, X509_STORE_CTX* chain);
  Error explain() const;
};

// Within the handshake, so that a wrong peer gets an alert and never our certificate.
int TlsEngine::Impl::verify(int verified, X509_STORE_CTX* chain) {
  if (verified != 1 || X509_STORE_CTX_get_error_depth(chain) != 0) return verified;
  auto* ssl =
      static_cast<SSL*>(X509_STORE_CTX_get_ex_data(chain, SSL_get_ex_data_X509_STORE_CTX_idx()));
  auto* impl = static_cast<Impl*>(SSL_get_app_data(ssl));
  Result<std::string> name = server_name(X509_STORE_CTX_get_current_cert(chain));
  const std::string& expected = impl->options.expected_peer;
  if (name && (expected.empty() || *name == expected)) return 1;
  impl->name_error =
      name ? Error{ErrorKind::denied, "tls.wrong_name",
                   "the peer is '" + *name + "', and '" + expected +
                       "' was expected; correct the address or the name in the topology"}
           : name.error();
  X509_STORE_CTX_set_error(chain, X509_V_ERR_HOSTNAME_MISMATCH);
  return 0;
}

// Why OpenSSL has just failed, from its error queue.
Error TlsEngine::Impl::explain() const {
  if (!name_error.code.empty()) {
    ERR_clear_error();
    return name_error;
  }
  int reason = ERR_GET_REASON(ERR_peek_error());
  std::string why = take_openssl_errors();
  auto denied = [](std::string code, std::string message) {
    return Error{ErrorKind::denied, std::move(code), std::move(message)};
  };
  if (reason > SSL_AD_REASON_OFFSET) {
    return denied("tls.refused", "the peer refuses this server: " + why +
                                     "; compare ca.pem at both ends, and see the peer's log");
  }
  if (reason == SSL_R_CERTIFICATE_VERIFY_FAILED) {
    long error = SSL_get_verify_result(ssl.get());
    std::string text = X509_verify_cert_error_string(error);
    if (error == X509_V_ERR_CERT_HAS_EXPIRED) {
      return denied("tls.expired",
                    "the peer's certificate has expired; renew it with `branchline ca issue`");
    }
    if (error == X509_V_ERR_CERT_NOT_YET_VALID) {
      return denied("tls.not_yet_valid",
                    "the peer's certificate is not valid yet; compare the clocks of both servers");
    }
    return denied("tls.other_authority",
                  "the peer's certificate was not issued by our authority (" + text + ")");
  }
  if (established) return {ErrorKind::corrupt, "tls.broken", "the TLS stream is damaged: " + why};
  switch (reason) {
    case SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE:
      return denied("tls.no_certificate", "the peer showed no certificate");
    case SSL_R_UNSUPPORTED_PROTOCOL:
    case SSL_R_VERSION_TOO_LOW:
      return {ErrorKind::invalid, "tls.old_version", "the peer does not speak TLS 1.3"};
    case SSL_R_WRONG_VERSION_NUMBER:
    case SSL_R_HTTP_REQUEST:
    case SSL_R_HTTPS_PROXY_REQUEST:
    case SSL_R_PACKET_LENGTH_TOO_LONG:
    case SSL_R_BAD_RECORD_TYPE:
      return {ErrorKind::invalid, "tls.not_tls", "the peer does not speak TLS"};
    default:
      break;
  }
  return {ErrorKind::invalid, "tls.failed", "the TLS handshake failed: " + why};
}

TlsEngine::TlsEngine(std::shared_ptr<const LinkContext> context, TlsRole role, Options options)
    : impl_(std::make_unique<Impl>()) {
  impl_->context = std::move(context);
  impl_->options = std::move(options);
  impl_->ssl.reset(SSL_new(impl_->context->native()));
  impl_->in = BIO_new(BIO_s_mem());
  impl_->out = BIO_new(BIO_s_mem());
  BL_CHECK(impl_->ssl != nullptr && impl_->in != nullptr && impl_->out != nullptr);
  SSL* ssl = impl_->ssl.get();
  SSL_set_bio(ssl, impl_->in, impl_->out);
  SSL_set_app_data(ssl, impl_.get());
  SSL_set_verify(ssl, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, Impl::verify);
  if (role == TlsRole::client) {
    SSL_set_connect_state(ssl);
  } else {
    SSL_set_accept_state(ssl);
  }
}

TlsEngine::~TlsEngine() = default;
TlsEngine::TlsEngine(TlsEngine&&) noexcept = default;
TlsEngine& TlsEngine::operator=(TlsEngine&&) noexcept = default;

void TlsEngine::received(std::string_view bytes) {
  impl_->bytes_in += bytes.size();
  if (bytes.empty()) return;
  size_t written = 0;
  BL_CHECK(BIO_write_ex(impl_->in, bytes.data(), bytes.size(), &written) == 1 &&
           written == bytes.size());
}

std::string TlsEngine::take_output() {
  char* data = nullptr;
  long size = BIO_get_mem_data(impl_->out, &data);
  if (size <= 0) return {};
  std::string out(data, static_cast<size_t>(size));
  BIO_reset(impl_->out);
  impl_->bytes_out += out.size();
  return out;
}

Result<bool> TlsEngine::handshake() {
  if (impl_->established) return true;
  ERR_clear_error();
  SSL* ssl = impl_->ssl.get();
  int result = SSL_do_handshake(ssl);
  if (result == 1) {
    BL_ASSIGN(impl_->peer, peer_name(ssl));
    if (!impl_->options.expected_peer.empty()) {
      BL_TRY(verify_peer_is(ssl, impl_->options.expected_peer));
    }
    impl_->established = true;
    return true;
  }
  if (SSL_get_error(ssl, result) != SSL_ERROR_WANT_READ) return std::unexpected(impl_->explain());
  if (impl_->bytes_in > kMaxHandshakeBytes) {
    return fail(ErrorKind::invalid, "tls.failed", "the TLS handshake failed: it is too large");
  }
  return false;
}

const std::string& TlsEngine::peer() const { return impl_->peer; }

std::string TlsEngine::peer_certificate() const {
  X509* certificate = SSL_get0_peer_certificate(impl_->ssl.get());
  unsigned char* bytes = nullptr;
  int size = certificate ? i2d_X509(certificate, &bytes) : 0;
  std::string out(reinterpret_cast<char*>(bytes), static_cast<size_t>(std::max(size, 0)));
  OPENSSL_free(bytes);
  return out;
}

Result<TlsEngine::Reading> TlsEngine::read(std::string& out) {
  ERR_clear_error();
  SSL* ssl = impl_->ssl.get();
  for (;;) {
    char buffer[16 * 1024];
    size_t size = 0;
    if (SSL_read_ex(ssl, buffer, sizeof buffer, &size) == 1) {
      out.append(buffer, size);
      continue;
    }
    switch (SSL_get_error(ssl, 0)) {
      case SSL_ERROR_WANT_READ:
        return Reading::open;
      case SSL_ERROR_ZERO_RETURN:
        return Reading::ended;
      default:
        return std::unexpected(impl_->explain());
    }
  }
}

Result<void> TlsEngine::write(std::string_view bytes) {
  BL_CHECK(bytes.size() <= kMaxWriteBytes && impl_->established);
  if (bytes.empty()) return {};
  ERR_clear_error();
  SSL* ssl = impl_->ssl.get();
  if (++impl_->writes % impl_->options.writes_per_key == 0) {
    BL_CHECK(SSL_key_update(ssl, SSL_KEY_UPDATE_NOT_REQUESTED) == 1);
  }
  size_t written = 0;
  if (SSL_write_ex(ssl, bytes.data(), bytes.size(), &written) != 1) {
    return std::unexpected(impl_->explain());
  }
  BL_CHECK(written == bytes.size());
  return {};
}

void TlsEngine::finish() {
  ERR_clear_error();
  if (impl_->established) SSL_shutdown(impl_->ssl.get());
  ERR_clear_error();
}

uint64_t TlsEngine::bytes_in() const { return impl_->bytes_in; }
uint64_t TlsEngine::bytes_out() const { return impl_->bytes_out; }

}  // namespace branchline
