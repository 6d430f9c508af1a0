#include "common/tls/certificate.h"

#include <cstdio>
#include <ctime>

#include "common/tls/files.h"
#include "common/tls/openssl.h"
#include "common/tls/pem.h"

namespace branchline {
namespace {

constexpr std::string_view kDomain = ".branchline.internal";

int64_t seconds_of(const ASN1_TIME* time) {
  std::tm parts{};
  if (ASN1_TIME_to_tm(time, &parts) != 1) return 0;
  return timegm(&parts);
}

std::string name_text(const X509_NAME* name) {
  BioPtr out(BIO_new(BIO_s_mem()));
  X509_NAME_print_ex(out.get(), name, 0, XN_FLAG_RFC2253);
  char* data = nullptr;
  long size = BIO_get_mem_data(out.get(), &data);
  return std::string(data, size > 0 ? static_cast<size_t>(size) : 0);
}

}  // namespace

bool is_server_name(std::string_view name) {
  if (name.empty() || name.size() > 63 || name[0] < 'a' || name[0] > 'z') return false;
  for (char c : name) {
    if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-')) return false;
  }
  return true;
}

Result<void> check_server_name(std::string_view name) {
  if (is_server_name(name)) return {};
  return fail(ErrorKind::invalid, "tls.bad_name",
              "'" + std::string(name.substr(0, 80)) +
                  "' is no server name: 1 to 63 of a-z, 0-9 and '-', a letter first");
}

Result<std::string> server_name(const X509* certificate) {
  auto bad = [](const std::string& why) {
    return fail(ErrorKind::denied, "tls.bad_name",
                "the certificate names no Branchline server: " + why +
                    "; it must have one alternative name, DNS:<server>" + std::string(kDomain));
  };
  GeneralNamesPtr names(static_cast<GENERAL_NAMES*>(
      X509_get_ext_d2i(certificate, NID_subject_alt_name, nullptr, nullptr)));
  if (names == nullptr) return bad("it has no alternative names");
  if (sk_GENERAL_NAME_num(names.get()) != 1) return bad("it has several alternative names");
  const GENERAL_NAME* entry = sk_GENERAL_NAME_value(names.get(), 0);
  if (entry->type != GEN_DNS) return bad("its alternative name is no DNS name");
  // By length, not up to the first NUL: "hamburg.branchline.internal\0.evil" must not pass for
  // hamburg.
  std::string_view dns(reinterpret_cast<const char*>(ASN1_STRING_get0_data(entry->d.dNSName)),
                       static_cast<size_t>(ASN1_STRING_length(entry->d.dNSName)));
  if (!dns.ends_with(kDomain)) return bad("its DNS name is of another domain");
  std::string_view name = dns.substr(0, dns.size() - kDomain.size());
  if (!is_server_name(name)) return bad("its DNS name is malformed");
  return std::string(name);
}

CertificateInfo describe(const X509* certificate) {
  CertificateInfo out;
  out.subject = name_text(X509_get_subject_name(certificate));
  if (auto name = server_name(certificate)) out.server = *name;
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned int size = 0;
  X509_digest(certificate, EVP_sha256(), digest, &size);
  for (unsigned int i = 0; i < size; ++i) {
    char two[4];
    std::snprintf(two, sizeof two, "%02X", digest[i]);
    if (i > 0) out.fingerprint += ':';
    out.fingerprint += two;
  }
  out.not_before_s = seconds_of(X509_get0_notBefore(certificate));
  out.not_after_s = seconds_of(X509_get0_notAfter(certificate));
  return out;
}

Result<CertificateInfo> describe_certificate(const std::filesystem::path& file) {
  BL_ASSIGN(std::vector<X509Ptr> certificates, read_certificates(file));
  return describe(certificates[0].get());
}

std::string utc_time(int64_t seconds) {
  std::time_t time = static_cast<std::time_t>(seconds);
  std::tm parts{};
  gmtime_r(&time, &parts);
  char out[32];
  std::strftime(out, sizeof out, "%Y-%m-%dT%H:%M:%SZ", &parts);
  return out;
}

}  // namespace branchline
