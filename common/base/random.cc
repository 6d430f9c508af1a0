#include "common/base/random.h"

#include <openssl/rand.h>

#include <bit>

#include "common/base/check.h"

namespace branchline {

uint64_t Random::below(uint64_t bound) {
  BL_CHECK(bound > 0);
  // Lemire's multiply-shift; the bias of 2^-64 x bound does not matter for what this is used for.
  return static_cast<uint64_t>((static_cast<unsigned __int128>(next()) * bound) >> 64);
}

std::string Random::bytes(size_t count) {
  std::string out;
  out.reserve(count + 8);
  while (out.size() < count) {
    uint64_t v = next();
    out.append(reinterpret_cast<const char*>(&v), 8);
  }
  out.resize(count);
  return out;
}

uint64_t SystemRandom::next() {
  uint64_t v;
  BL_CHECK(RAND_bytes(reinterpret_cast<unsigned char*>(&v), sizeof v) == 1);
  return v;
}

SeededRandom::SeededRandom(uint64_t seed) {
  for (auto& s : state_) {  // splitmix64, as the generator's authors advise
    seed += 0x9E3779B97F4A7C15ull;
    uint64_t z = seed;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
    s = z ^ (z >> 31);
  }
}

uint64_t SeededRandom::next() {
  uint64_t result = std::rotl(state_[1] * 5, 7) * 9;
  uint64_t t = state_[1] << 17;
  state_[2] ^= state_[0];
  state_[3] ^= state_[1];
  state_[1] ^= state_[2];
  state_[0] ^= state_[3];
  state_[2] ^= t;
  state_[3] = std::rotl(state_[3], 45);
  return result;
}

RecordIdMaker::RecordIdMaker(Random& random) : node_(random.next()) {}

RecordId RecordIdMaker::make(int64_t now_ms) {
  uint64_t ms = static_cast<uint64_t>(now_ms) & 0xffffffffffffull;
  if (ms > last_ms_) {
    last_ms_ = ms;
    counter_ = 0;
  } else if (++counter_ > 0xfff) {  // more than 4096 in a millisecond: borrow from the next
    ++last_ms_;
    counter_ = 0;
  }
  RecordId id;
  for (int i = 0; i < 6; ++i) id.bytes[static_cast<size_t>(i)] = uint8_t(last_ms_ >> (40 - 8 * i));
  id.bytes[6] = static_cast<uint8_t>(0x80 | counter_ >> 8);  // version 8
  id.bytes[7] = static_cast<uint8_t>(counter_);
  for (int i = 0; i < 8; ++i) id.bytes[static_cast<size_t>(8 + i)] = uint8_t(node_ >> (56 - 8 * i));
  id.bytes[8] = static_cast<uint8_t>(0x80 | (id.bytes[8] & 0x3f));  // variant
  return id;
}

}  // namespace branchline
