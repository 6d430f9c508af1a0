#include "common/base/hash.h"

#include <openssl/evp.h>
#include <xxhash.h>

#include <cstring>

#include "common/base/check.h"
#include "common/base/ids.h"

namespace branchline {
namespace {

// Fetched once: a fetch by name at each digest costs more than the digest of a short message.
const EVP_MD* algorithm() {
  static const EVP_MD* const md = EVP_MD_fetch(nullptr, "SHA256", nullptr);
  return md;
}

}  // namespace

std::optional<Digest> Digest::from(std::string_view thirty_two) {
  if (thirty_two.size() != 32) return std::nullopt;
  Digest d;
  std::memcpy(d.bytes.data(), thirty_two.data(), 32);
  return d;
}

Sha256::Sha256() : context_(EVP_MD_CTX_new()) {
  BL_CHECK(context_ != nullptr);
  BL_CHECK(EVP_DigestInit_ex2(static_cast<EVP_MD_CTX*>(context_), algorithm(), nullptr) == 1);
}

Sha256::~Sha256() { EVP_MD_CTX_free(static_cast<EVP_MD_CTX*>(context_)); }

Sha256& Sha256::add(std::string_view bytes) {
  EVP_DigestUpdate(static_cast<EVP_MD_CTX*>(context_), bytes.data(), bytes.size());
  return *this;
}

Digest Sha256::finish() {
  Digest d;
  unsigned size = 0;
  auto* context = static_cast<EVP_MD_CTX*>(context_);
  BL_CHECK(EVP_DigestFinal_ex(context, d.bytes.data(), &size) == 1 && size == 32);
  BL_CHECK(EVP_DigestInit_ex2(context, nullptr, nullptr) == 1);
  return d;
}

Digest sha256(std::string_view bytes) {
  thread_local Sha256 hasher;
  return hasher.add(bytes).finish();
}

Sum128 hash128(std::string_view bytes) {
  XXH128_hash_t h = XXH3_128bits(bytes.data(), bytes.size());
  return {h.low64, h.high64};
}

uint64_t hash64(std::string_view bytes) { return XXH3_64bits(bytes.data(), bytes.size()); }

std::string to_hex(const Sum128& sum) { return to_hex(sum.high) + to_hex(sum.low); }

}  // namespace branchline
