// What one client transaction asked for (SEMANTICS 2), its canonical bytes, and the digests that
// the hash chain of its origin is made of.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "common/base/hash.h"
#include "common/record/operation.h"

namespace branchline {

// A condition that the author asked to have checked at the master; the mutation is rejected if the
// field's value is another by then. (If-Match is not one: it is checked at the branch and not
// shipped.)
struct Guard {
  RecordKey record;
  FieldId field;
  Value expected;
};

inline constexpr size_t kMinGuardBytes = 1 + 16 + 1 + 1 + 1;

struct Mutation {
  MutationId id;
  Order order;
  LineId line;  // with `base`: the line and the csn applied here when it was accepted
  Csn base;
  Hlc hlc;
  RecordId author;      // a system user
  RecordId credential;  // the API token it was made with
  uint32_t schema_version = 0;
  bool atomic = false;             // any override rejects the whole
  std::string_view operation_key;  // of its author; empty: none
  std::vector<Guard> guards;
  std::vector<RecordOp> ops;
};

Version version_of(const Mutation& m, Csn csn);

// A keyed create's id (SEMANTICS 21): the same at every office, so a retry elsewhere is the same
// record. A name-based UUID over SHA-256 of author, key and the operation's index.
RecordId keyed_record_id(const RecordId& author, std::string_view operation_key, uint32_t index);

// Everything but the operations; then the operations, one by one.
void put_mutation_header(Writer& w, const Mutation& m);
void put_mutation(Writer& w, const Mutation& m);
// Payloads and the operation key point into the reader's bytes; `corrupt` tells what is wrong.
Result<Mutation> get_mutation(Reader& r);

// --- Chains (SEMANTICS 3, 41) ---
// --------------------------------------------------------------------------- chain(n) =
// SHA-256(chain(n-1) | digest(n)), per origin, incarnation and lane, independent of how mutations
// are put into blocks; chain(0) is the hash of the stream's name.
// digest = SHA-256(header bytes | one salted digest per operation). An operation's salt derives
// from a key drawn with the incarnation, so it costs nothing on the wire; erasing an operation
// replaces the key by the derived keys of what remains, and the chain still verifies.

struct SaltKey {
  std::array<uint8_t, 16> bytes{};
  auto operator<=>(const SaltKey&) const = default;
  std::string_view view() const { return {reinterpret_cast<const char*>(bytes.data()), 16}; }
  static SaltKey from(std::string_view sixteen);
};

// Keys cover 4096 mutations each, so that an erasure has to name few of them.
inline constexpr int kSaltEpochBits = 12;
SaltKey salt_epoch_key(const SaltKey& incarnation_key, Lane lane, uint64_t epoch);

// Computes digests of one stream's mutations; keeps the current epoch's key. Not thread-safe.
class MutationHasher {
 public:
  MutationHasher(const SaltKey& incarnation_key, Lane lane) : key_(incarnation_key), lane_(lane) {}
  Digest digest(const Mutation& m);

 private:
  SaltKey key_;
  Lane lane_;
  uint64_t epoch_ = ~0ull;
  SaltKey epoch_key_;
  std::string scratch_;
  Sha256 sha_;
};

Digest chain_start(const Stream& stream);
Digest chain_next(const Digest& previous, const Digest& mutation_digest);
// SHA-256(salt | canonical bytes), the salt being the first 16 bytes of SHA-256(key | number |
// index).
Digest salted_digest(Sha256& sha, const SaltKey& key, uint64_t number, uint32_t index,
                     std::string_view canonical);

}  // namespace branchline
