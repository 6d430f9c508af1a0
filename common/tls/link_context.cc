#include "common/tls/link_context.h"

#include "common/base/check.h"
#include "common/tls/openssl.h"
#include "common/tls/pem.h"

namespace branchline {
namespace {

struct Files {
  std::filesystem::path authority, certificate, key;
};

std::string issue_again(const std::string& server) {
  return "`branchline ca issue " + (server.empty() ? "SERVER" : server) +
         " --dir CA --out DIR --replace`";
}

StorePtr trust(const std::vector<X509Ptr>& authorities) {
  StorePtr store(X509_STORE_new());
  BL_CHECK(store != nullptr);
  for (const X509Ptr& authority : authorities) {
    BL_CHECK(X509_STORE_add_cert(store.get(), authority.get()) == 1);
  }
  X509_VERIFY_PARAM* rules = X509_STORE_get0_param(store.get());
  X509_VERIFY_PARAM_set_flags(rules, X509_V_FLAG_X509_STRICT);
  X509_VERIFY_PARAM_set_depth(rules, 0);  // no authority in between
  return store;
}

// What a peer would find, found before anybody connects.
Result<void> check_chain(X509_STORE* store, X509* certificate, int purpose, const Files& files,
                         const CertificateInfo& info, int64_t now_s) {
  StoreCtxPtr check(X509_STORE_CTX_new());
  BL_CHECK(X509_STORE_CTX_init(check.get(), store, certificate, nullptr) == 1);
  X509_VERIFY_PARAM* rules = X509_STORE_CTX_get0_param(check.get());
  X509_VERIFY_PARAM_set_time(rules, static_cast<time_t>(now_s));
  X509_VERIFY_PARAM_set_purpose(rules, purpose);
  if (X509_verify_cert(check.get()) == 1) return {};
  int error = X509_STORE_CTX_get_error(check.get());
  take_openssl_errors();
  bool own = X509_STORE_CTX_get_error_depth(check.get()) == 0;
  std::string file = (own ? files.certificate : files.authority).string();
  X509* culprit = X509_STORE_CTX_get_current_cert(check.get());
  CertificateInfo its = culprit != nullptr ? describe(culprit) : info;
  switch (error) {
    case X509_V_ERR_CERT_HAS_EXPIRED:
      return fail(ErrorKind::denied, "tls.expired",
                  file + ": expired at " + utc_time(its.not_after_s) + "; " +
                      (own ? "renew it with " + issue_again(info.server)
                           : "make a new authority with `branchline ca create` and issue all "
                             "servers again"));
    case X509_V_ERR_CERT_NOT_YET_VALID:
      return fail(ErrorKind::denied, "tls.not_yet_valid",
                  file + ": is valid from " + utc_time(its.not_before_s) + ", and it is " +
                      utc_time(now_s) + " here; mend this machine's clock (chronyc tracking), or " +
                      "issue again with " + issue_again(info.server));
    default:
      return fail(ErrorKind::denied, "tls.other_authority",
                  files.certificate.string() + ": was not issued by the authority in " +
                      files.authority.string() + " (" + X509_verify_cert_error_string(error) +
                      "); take both from one authority: " + issue_again(info.server));
  }
}

SslCtxPtr new_context(X509* certificate, EVP_PKEY* key, StorePtr store) {
  SslCtxPtr context(SSL_CTX_new(TLS_method()));
  SSL_CTX* it = context.get();
  BL_CHECK(it != nullptr);
  BL_CHECK(SSL_CTX_set_min_proto_version(it, TLS1_3_VERSION) == 1);
  BL_CHECK(SSL_CTX_set_max_proto_version(it, TLS1_3_VERSION) == 1);
  BL_CHECK(SSL_CTX_set_ciphersuites(it,
                                    "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:"
                                    "TLS_CHACHA20_POLY1305_SHA256") == 1);
  BL_CHECK(SSL_CTX_set1_groups_list(it, "X25519:P-256") == 1);
  // A resumed session would skip the check of a certificate that has expired since.
  SSL_CTX_set_options(it, SSL_OP_NO_TICKET | SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION);
  BL_CHECK(SSL_CTX_set_num_tickets(it, 0) == 1);
  SSL_CTX_set_session_cache_mode(it, SSL_SESS_CACHE_OFF);
  // Peers have the authority's certificate; sending it along costs bytes at each handshake.
  SSL_CTX_set_mode(it, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_NO_AUTO_CHAIN);
  SSL_CTX_set_verify(it, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, nullptr);
  SSL_CTX_set_max_cert_list(it, 16 * 1024);
  SSL_CTX_set_cert_store(it, store.release());
  BL_CHECK(SSL_CTX_use_certificate(it, certificate) == 1);
  BL_CHECK(SSL_CTX_use_PrivateKey(it, key) == 1);
  return context;
}

Error explain_missing(Error error, const std::filesystem::path& folder) {
  if (error.code == "file.missing") {
    error.code = "tls.missing";
    error.message += "; give this server an identity: `branchline ca issue SERVER --dir CA --out " +
                     folder.string() + "`";
  }
  return error;
}

}  // namespace

LinkContext::LinkContext(SSL_CTX* owned, CertificateInfo certificate)
    : context_(owned), certificate_(std::move(certificate)) {}

LinkContext::~LinkContext() { SSL_CTX_free(context_); }

Result<std::shared_ptr<const LinkContext>> load_link_context(const std::filesystem::path& folder,
                                                             Clock& clock) {
  Files files{folder / "ca.pem", folder / "server.pem", folder / "server.key"};
  auto authorities = read_certificates(files.authority);
  if (!authorities) return std::unexpected(explain_missing(std::move(authorities).error(), folder));
  auto certificates = read_certificates(files.certificate);
  if (!certificates)
    return std::unexpected(explain_missing(std::move(certificates).error(), folder));
  auto key = read_key(files.key);
  if (!key) return std::unexpected(explain_missing(std::move(key).error(), folder));

  X509* certificate = (*certificates)[0].get();
  auto name = server_name(certificate);
  if (!name) {
    return fail(
        name.error().kind, name.error().code,
        files.certificate.string() + ": " + name.error().message + ", see " + issue_again(""));
  }
  CertificateInfo info = describe(certificate);
  if (X509_check_private_key(certificate, key->get()) != 1) {
    take_openssl_errors();
    return fail(ErrorKind::corrupt, "tls.key_mismatch",
                files.key.string() + ": is not the key of " + files.certificate.string() +
                    "; restore both from one backup, or make a new pair with " +
                    issue_again(*name));
  }
  StorePtr store = trust(*authorities);
  for (int purpose : {X509_PURPOSE_SSL_SERVER, X509_PURPOSE_SSL_CLIENT}) {
    BL_TRY(check_chain(store.get(), certificate, purpose, files, info, clock.wall_ms() / 1000));
  }
  SslCtxPtr context = new_context(certificate, key->get(), std::move(store));
  return std::make_shared<const LinkContext>(context.release(), std::move(info));
}

Result<std::string> peer_name(const SSL* ssl) {
  const X509* certificate = SSL_get0_peer_certificate(ssl);
  if (certificate == nullptr) {
    return fail(ErrorKind::denied, "tls.no_certificate", "the peer showed no certificate");
  }
  // Without verification the name in a certificate is anybody's claim.
  if (long error = SSL_get_verify_result(ssl); error != X509_V_OK) {
    return fail(ErrorKind::denied, "tls.not_verified",
                std::string("the peer's certificate is not to be trusted: ") +
                    X509_verify_cert_error_string(error));
  }
  return server_name(certificate);
}

Result<void> verify_peer_is(const SSL* ssl, std::string_view server) {
  BL_ASSIGN(std::string name, peer_name(ssl));
  if (name == server) return {};
  return fail(ErrorKind::denied, "tls.wrong_name",
              "the peer is '" + name + "', and '" + std::string(server) +
                  "' was expected; correct the address or the name in the topology");
}

}  // namespace branchline
