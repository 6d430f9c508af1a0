#include "common/tls/authority.h"

#include <openssl/ec.h>

#include <algorithm>

#include "common/base/bytes.h"
#include "common/base/check.h"
#include "common/base/random.h"
#include "common/tls/openssl.h"
#include "common/tls/pem.h"

namespace branchline {
namespace {

constexpr int64_t kDay = 86'400;
constexpr int64_t kBackdate = 3'600;
constexpr int kMaxDays = 36'500;

Result<void> check_days(int days) {
  if (days >= 1 && days <= kMaxDays) return {};
  return fail(ErrorKind::invalid, "ca.bad_validity",
              "a certificate cannot be valid for " + std::to_string(days) + " days; 1 to " +
                  std::to_string(kMaxDays) + " are possible");
}

// Nothing where `file` is free or may be replaced.
Result<void> check_free(const std::filesystem::path& file, Overwrite overwrite,
                        const std::string& loss) {
  std::error_code error;
  if (overwrite == Overwrite::replace || !std::filesystem::exists(file, error)) return {};
  return fail(ErrorKind::conflict, "ca.exists",
              file.string() + ": exists and is kept; --replace replaces it, and " + loss);
}

void set_time(ASN1_TIME* field, int64_t seconds) {
  BL_CHECK(ASN1_TIME_set(field, static_cast<time_t>(seconds)) != nullptr);
}

void add_extension(X509* certificate, X509* issuer, int nid, const std::string& value) {
  X509V3_CTX context;
  X509V3_set_ctx(&context, issuer, certificate, nullptr, nullptr, 0);
  ExtensionPtr extension(X509V3_EXT_conf_nid(nullptr, &context, nid, value.c_str()));
  BL_CHECK(extension != nullptr && X509_add_ext(certificate, extension.get(), -1) == 1);
}

// 126 random bits: unique without a file of serials, positive, within the 20 bytes of RFC 5280.
void set_serial(X509* certificate) {
  std::string bytes = SystemRandom().bytes(16);
  bytes[0] = static_cast<char>((bytes[0] & 0x3f) | 0x40);
  BignumPtr number(BN_bin2bn(reinterpret_cast<const unsigned char*>(bytes.data()),
                             static_cast<int>(bytes.size()), nullptr));
  BL_CHECK(BN_to_ASN1_INTEGER(number.get(), X509_get_serialNumber(certificate)) != nullptr);
}

X509Ptr blank(EVP_PKEY* key, const std::string& common_name, int64_t from_s, int64_t to_s) {
  X509Ptr certificate(X509_new());
  BL_CHECK(certificate != nullptr && X509_set_version(certificate.get(), X509_VERSION_3) == 1);
  set_serial(certificate.get());
  set_time(X509_getm_notBefore(certificate.get()), from_s);
  set_time(X509_getm_notAfter(certificate.get()), to_s);
  X509_NAME* name = X509_get_subject_name(certificate.get());
  for (auto [field, value] : {std::pair("O", std::string("Branchline")), {"CN", common_name}}) {
    BL_CHECK(X509_NAME_add_entry_by_txt(name, field, MBSTRING_ASC,
                                        reinterpret_cast<const unsigned char*>(value.data()),
                                        static_cast<int>(value.size()), -1, 0) == 1);
  }
  BL_CHECK(X509_set_pubkey(certificate.get(), key) == 1);
  return certificate;
}

Result<void> write_key(const std::filesystem::path& file, EVP_PKEY* key, Overwrite overwrite) {
  std::string pem = to_pem(key);
  Result<void> written = write_file(file, pem, 0600, overwrite);
  wipe(pem);
  return written;
}

KeyPtr new_key() {
  KeyPtr key(EVP_EC_gen("P-256"));
  BL_CHECK(key != nullptr);
  return key;
}

struct Authority {
  KeyPtr key;
  X509Ptr certificate;
  CertificateInfo info;
};

Result<Authority> load_authority(const std::filesystem::path& folder, int64_t now_s) {
  auto explain = [&](Error error) {
    if (error.code == "file.missing") {
      error.code = "ca.missing";
      error.message += "; make an authority with `branchline ca create`, or name the right folder";
    }
    return std::unexpected(std::move(error));
  };
  auto certificates = read_certificates(folder / "ca.pem");
  if (!certificates) return explain(std::move(certificates).error());
  auto key = read_key(folder / "ca.key");
  if (!key) return explain(std::move(key).error());
  Authority out{std::move(*key), std::move((*certificates)[0]), {}};
  out.info = describe(out.certificate.get());
  if (X509_check_private_key(out.certificate.get(), out.key.get()) != 1) {
    take_openssl_errors();
    return fail(ErrorKind::corrupt, "tls.key_mismatch",
                (folder / "ca.key").string() + ": is not the key of " +
                    (folder / "ca.pem").string() + "; restore both from one backup");
  }
  if (now_s < out.info.not_before_s || now_s >= out.info.not_after_s) {
    return fail(ErrorKind::denied, "ca.expired",
                (folder / "ca.pem").string() + ": is valid from " +
                    utc_time(out.info.not_before_s) + " to " + utc_time(out.info.not_after_s) +
                    " only; make a new authority with `branchline ca create`, or mend the clock");
  }
  return out;
}

// A server's folder keeps the authority it trusts: another one's certificate must not slip in
// unnoticed.
Result<void> check_same_authority(const std::filesystem::path& file, const CertificateInfo& info,
                                  Overwrite overwrite) {
  std::error_code error;
  if (overwrite == Overwrite::replace || !std::filesystem::exists(file, error)) return {};
  BL_ASSIGN(CertificateInfo there, describe_certificate(file));
  if (there.fingerprint == info.fingerprint) return {};
  return fail(ErrorKind::conflict, "ca.exists",
              file.string() + ": is the certificate of another authority (" + there.subject +
                  ") and is kept; --replace moves the server to the new one");
}

}  // namespace

Result<CertificateInfo> create_authority(const std::filesystem::path& folder, Clock& clock,
                                         const AuthorityOptions& options) {
  BL_TRY(check_days(options.validity_days));
  for (const char* file : {"ca.key", "ca.pem"}) {
    BL_TRY(check_free(folder / file, options.overwrite,
                      "cuts off every server that this authority has issued"));
  }
  BL_TRY(make_folder(folder));

  KeyPtr key = new_key();
  int64_t now_s = clock.wall_ms() / 1000;
  // A name of its own for each authority, so that two of them can stand in one ca.pem while servers
  // move over.
  X509Ptr certificate = blank(key.get(), "Branchline CA " + hex(SystemRandom().bytes(4)),
                              now_s - kBackdate, now_s + options.validity_days * kDay);
  X509* it = certificate.get();
  BL_CHECK(X509_set_issuer_name(it, X509_get_subject_name(it)) == 1);
  add_extension(it, it, NID_basic_constraints, "critical,CA:TRUE,pathlen:0");
  add_extension(it, it, NID_key_usage, "critical,keyCertSign,cRLSign");
  // Should ca.key leak, it still cannot speak for anybody's web site.
  add_extension(it, it, NID_name_constraints, "critical,permitted;DNS:branchline.internal");
  add_extension(it, it, NID_subject_key_identifier, "hash");
  BL_CHECK(X509_sign(it, key.get(), EVP_sha256()) > 0);

  // The certificate comes last: where it is, the authority is complete.
  BL_TRY(write_key(folder / "ca.key", key.get(), options.overwrite));
  BL_TRY(write_file(folder / "ca.pem", to_pem(it), 0644, options.overwrite));
  return describe(it);
}

Result<CertificateInfo> issue_server(const std::filesystem::path& authority,
                                     std::string_view server, const std::filesystem::path& folder,
                                     Clock& clock, const ServerOptions& options) {
  BL_TRY(check_server_name(server));
  BL_TRY(check_days(options.validity_days));
  int64_t now_s = clock.wall_ms() / 1000;
  BL_ASSIGN(Authority ca, load_authority(authority, now_s));
  for (const char* file : {"server.key", "server.pem"}) {
    BL_TRY(check_free(folder / file, options.overwrite, "the server must be started again"));
  }
  BL_TRY(check_same_authority(folder / "ca.pem", ca.info, options.overwrite));
  BL_TRY(make_folder(folder));

  KeyPtr key = new_key();
  int64_t end_s = std::min(now_s + options.validity_days * kDay, ca.info.not_after_s);
  std::string name(server);
  X509Ptr certificate =
      blank(key.get(), name, std::max(now_s - kBackdate, ca.info.not_before_s), end_s);
  X509* it = certificate.get();
  X509* issuer = ca.certificate.get();
  BL_CHECK(X509_set_issuer_name(it, X509_get_subject_name(issuer)) == 1);
  add_extension(it, issuer, NID_basic_constraints, "critical,CA:FALSE");
  add_extension(it, issuer, NID_key_usage, "critical,digitalSignature");
  add_extension(it, issuer, NID_ext_key_usage, "serverAuth,clientAuth");
  add_extension(it, issuer, NID_subject_alt_name, "DNS:" + name + ".branchline.internal");
  add_extension(it, issuer, NID_subject_key_identifier, "hash");
  add_extension(it, issuer, NID_authority_key_identifier, "keyid:always");
  BL_CHECK(X509_sign(it, ca.key.get(), EVP_sha256()) > 0);

  BL_TRY(write_key(folder / "server.key", key.get(), options.overwrite));
  BL_TRY(write_file(folder / "ca.pem", to_pem(issuer), 0644, Overwrite::replace));
  BL_TRY(write_file(folder / "server.pem", to_pem(it), 0644, options.overwrite));
  return describe(it);
}

}  // namespace branchline
