#include "common/tls/pem.h"

#include <openssl/crypto.h>
#include <openssl/pem.h>

#include "common/base/check.h"
#include "common/tls/files.h"

namespace branchline {
namespace {

BioPtr memory(const std::string& bytes) {
  return BioPtr(BIO_new_mem_buf(bytes.data(), static_cast<int>(bytes.size())));
}

std::string contents(BIO* bio) {
  char* data = nullptr;
  long size = BIO_get_mem_data(bio, &data);
  return std::string(data, size > 0 ? static_cast<size_t>(size) : 0);
}

// A server starts unattended: a key with a phrase must fail, not ask the terminal.
int no_phrase(char*, int, int, void*) { return -1; }

}  // namespace

Result<std::vector<X509Ptr>> read_certificates(const std::filesystem::path& file) {
  BL_ASSIGN(std::string pem, read_file(file));
  BioPtr in = memory(pem);
  std::vector<X509Ptr> out;
  while (X509* certificate = PEM_read_bio_X509(in.get(), nullptr, no_phrase, nullptr)) {
    out.emplace_back(certificate);
  }
  // "no start line" ends every file; a file that holds certificates and then damage must not pass.
  std::string why = take_openssl_errors();
  if (out.empty() || why != "no start line") {
    return fail(ErrorKind::corrupt, "tls.bad_certificate",
                file.string() + ": is no PEM certificate (" + why +
                    "); restore it or issue it again with `branchline ca issue`");
  }
  return out;
}

Result<KeyPtr> read_key(const std::filesystem::path& file) {
  BL_ASSIGN(std::string pem, read_key_file(file));
  KeyPtr key(PEM_read_bio_PrivateKey(memory(pem).get(), nullptr, no_phrase, nullptr));
  wipe(pem);
  if (key == nullptr) {
    return fail(ErrorKind::corrupt, "tls.bad_key",
                file.string() + ": is no PEM private key without a phrase (" +
                    take_openssl_errors() +
                    "); restore it or issue it again with `branchline ca issue`");
  }
  return key;
}

std::string to_pem(X509* certificate) {
  BioPtr out(BIO_new(BIO_s_mem()));
  BL_CHECK(PEM_write_bio_X509(out.get(), certificate) == 1);
  return contents(out.get());
}

std::string to_pem(EVP_PKEY* key) {
  BioPtr out(BIO_new(BIO_s_secmem()));
  BL_CHECK(PEM_write_bio_PKCS8PrivateKey(out.get(), key, nullptr, nullptr, 0, nullptr, nullptr) ==
           1);
  return contents(out.get());
}

void wipe(std::string& secret) {
  OPENSSL_cleanse(secret.data(), secret.size());
  secret.clear();
}

}  // namespace branchline
