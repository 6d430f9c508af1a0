#include "common/tls/sealed.h"

#include <openssl/cms.h>
#include <openssl/err.h>
#include <openssl/pem.h>

#include "common/base/check.h"
#include "common/tls/openssl.h"

namespace branchline {
namespace {

using CmsPtr = std::unique_ptr<CMS_ContentInfo, OpensslFree<CMS_ContentInfo_free>>;

struct FreeStack {
  void operator()(STACK_OF(X509) * stack) const { sk_X509_free(stack); }
};
using X509StackPtr = std::unique_ptr<STACK_OF(X509), FreeStack>;

// One signature by one server: what came otherwise is not ours.
constexpr unsigned kFlags = CMS_BINARY | CMS_NOSMIMECAP;

BioPtr memory(std::string_view bytes) {
  return BioPtr(BIO_new_mem_buf(bytes.data(), static_cast<int>(bytes.size())));
}

std::string contents(BIO* bio) {
  char* data = nullptr;
  long size = BIO_get_mem_data(bio, &data);
  return std::string(data, size > 0 ? static_cast<size_t>(size) : 0);
}

X509Ptr from_der(std::string_view der) {
  const auto* at = reinterpret_cast<const unsigned char*>(der.data());
  const auto* end = at + der.size();
  X509Ptr out(d2i_X509(nullptr, &at, static_cast<long>(der.size())));
  if (at != end) out.reset();
  take_openssl_errors();
  return out;
}

std::string to_der(X509* certificate) {
  unsigned char* bytes = nullptr;
  int size = i2d_X509(certificate, &bytes);
  BL_CHECK(size > 0);
  std::string out(reinterpret_cast<char*>(bytes), static_cast<size_t>(size));
  OPENSSL_free(bytes);
  return out;
}

std::string to_der(CMS_ContentInfo* cms) {
  BioPtr out(BIO_new(BIO_s_mem()));
  BL_CHECK(i2d_CMS_bio(out.get(), cms) == 1);
  return contents(out.get());
}

CmsPtr parse(std::string_view der) {
  BioPtr in = memory(der);
  CmsPtr cms(d2i_CMS_bio(in.get(), nullptr));
  if (BIO_pending(in.get()) != 0) cms.reset();
  return cms;
}

Error no_certificate() {
  return {ErrorKind::invalid, "sealed.certificate",
          "this is no certificate; it is the file server.pem of the other server"};
}

Error altered(const char* what) {
  return {
      ErrorKind::denied, "sealed.altered",
      std::string("the file was altered on its way, or is not from a server of this company: ") +
          what + " (" + take_openssl_errors() + ")"};
}

}  // namespace

std::string own_certificate(const LinkContext& own) {
  return to_der(SSL_CTX_get0_certificate(own.native()));
}

Result<std::string> read_certificate(std::string_view pem_or_der) {
  X509Ptr certificate = from_der(pem_or_der);
  if (!certificate) {
    certificate.reset(PEM_read_bio_X509(memory(pem_or_der).get(), nullptr, nullptr, nullptr));
    take_openssl_errors();
  }
  if (!certificate) return std::unexpected(no_certificate());
  return to_der(certificate.get());
}

Result<std::string> certified_server(const LinkContext& own, std::string_view certificate,
                                     int64_t now_s) {
  X509Ptr it = from_der(certificate);
  if (!it) return std::unexpected(no_certificate());
  StoreCtxPtr check(X509_STORE_CTX_new());
  BL_CHECK(X509_STORE_CTX_init(check.get(), SSL_CTX_get_cert_store(own.native()), it.get(),
                               nullptr) == 1);
  X509_VERIFY_PARAM* rules = X509_STORE_CTX_get0_param(check.get());
  X509_VERIFY_PARAM_set_time(rules, static_cast<time_t>(now_s));
  X509_VERIFY_PARAM_set_purpose(rules, X509_PURPOSE_SSL_CLIENT);
  if (X509_verify_cert(check.get()) == 1) return server_name(it.get());
  int error = X509_STORE_CTX_get_error(check.get());
  take_openssl_errors();
  CertificateInfo info = describe(it.get());
  std::string whose = "the certificate of " + info.subject;
  if (error == X509_V_ERR_CERT_HAS_EXPIRED) {
    return fail(ErrorKind::denied, "sealed.expired",
                whose + " expired at " + utc_time(info.not_after_s) +
                    "; renew it there with `branchline ca issue`, and export again");
  }
  if (error == X509_V_ERR_CERT_NOT_YET_VALID) {
    return fail(ErrorKind::denied, "sealed.not_yet_valid",
                whose + " is valid from " + utc_time(info.not_before_s) +
                    " only; compare the clocks of both machines");
  }
  return fail(ErrorKind::denied, "sealed.other_authority",
              whose + " was not issued by this company's authority (" +
                  X509_verify_cert_error_string(error) + ")");
}

Result<std::string> seal(const LinkContext& own, std::string_view recipient,
                         std::string_view content) {
  X509Ptr to = from_der(recipient);
  if (!to) return std::unexpected(no_certificate());
  auto refused = [](const char* what) {
    return fail(ErrorKind::corrupt, "sealed.failed",
                std::string(what) + ": " + take_openssl_errors());
  };
  CmsPtr cms(CMS_sign(SSL_CTX_get0_certificate(own.native()), SSL_CTX_get0_privatekey(own.native()),
                      nullptr, memory(content).get(), kFlags));
  if (!cms) return refused("the file cannot be signed");
  std::string signature = to_der(cms.get());
  X509StackPtr recipients(sk_X509_new_null());
  BL_CHECK(recipients && sk_X509_push(recipients.get(), to.get()) > 0);
  cms.reset(CMS_encrypt(recipients.get(), memory(signature).get(), EVP_aes_256_gcm(), CMS_BINARY));
  if (!cms) return refused("the file cannot be encrypted");
  return to_der(cms.get());
}

Result<Unsealed> unseal(const LinkContext& own, std::string_view sealed, int64_t now_s) {
  ERR_clear_error();
  CmsPtr cms = parse(sealed);
  if (!cms || OBJ_obj2nid(CMS_get0_type(cms.get())) != NID_id_smime_ct_authEnvelopedData) {
    take_openssl_errors();
    return fail(ErrorKind::corrupt, "sealed.damaged",
                "this part of the file is not what a server sealed: it is damaged");
  }
  // A recipient is named by issuer and serial, or by its key: for whom else it may be, we cannot
  // open it.
  bool ours = false;
  STACK_OF(CMS_RecipientInfo)* infos = CMS_get0_RecipientInfos(cms.get());
  for (int i = 0; i < sk_CMS_RecipientInfo_num(infos); ++i) {
    CMS_RecipientInfo* info = sk_CMS_RecipientInfo_value(infos, i);
    if (CMS_RecipientInfo_type(info) != CMS_RECIPINFO_AGREE) continue;
    STACK_OF(CMS_RecipientEncryptedKey)* keys = CMS_RecipientInfo_kari_get0_reks(info);
    for (int k = 0; k < sk_CMS_RecipientEncryptedKey_num(keys); ++k) {
      ours =
          ours || CMS_RecipientEncryptedKey_cert_cmp(sk_CMS_RecipientEncryptedKey_value(keys, k),
                                                     SSL_CTX_get0_certificate(own.native())) == 0;
    }
  }
  if (!ours) {
    take_openssl_errors();
    return fail(
        ErrorKind::denied, "sealed.not_for_us",
        "the file is encrypted to another certificate than this server has now (fingerprint "
        "of ours: " +
            own.certificate().fingerprint +
            "). Was the certificate renewed? Then export again with `--certificate` and "
            "this server's present server.pem");
  }
  BioPtr plain(BIO_new(BIO_s_mem()));
  if (CMS_decrypt(cms.get(), SSL_CTX_get0_privatekey(own.native()),
                  SSL_CTX_get0_certificate(own.native()), nullptr, plain.get(), CMS_BINARY) != 1) {
    return std::unexpected(altered("it cannot be decrypted"));
  }
  cms = parse(contents(plain.get()));
  if (!cms || OBJ_obj2nid(CMS_get0_type(cms.get())) != NID_pkcs7_signed)
    return std::unexpected(altered("there is no signature"));
  // The chain is checked by ourselves, as on the link: our certificates are for servers, and
  // OpenSSL asks for those of mail here.
  BioPtr content(BIO_new(BIO_s_mem()));
  if (CMS_verify(cms.get(), nullptr, nullptr, nullptr, content.get(),
                 CMS_BINARY | CMS_NO_SIGNER_CERT_VERIFY) != 1) {
    return std::unexpected(altered("the signature does not hold"));
  }
  X509StackPtr signers(CMS_get0_signers(cms.get()));
  if (!signers || sk_X509_num(signers.get()) != 1)
    return std::unexpected(altered("it does not have exactly one signature"));
  Unsealed out;
  out.certificate = to_der(sk_X509_value(signers.get(), 0));
  BL_ASSIGN(out.signer, certified_server(own, out.certificate, now_s));
  out.content = contents(content.get());
  return out;
}

}  // namespace branchline
