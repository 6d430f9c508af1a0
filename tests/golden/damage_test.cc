// What a decoder makes of damaged bytes: an error or another value, never the same value and never
// a crash. Run under AddressSanitizer this also proves that nothing reads beyond its end.
#include <catch2/catch.hpp>

#include <chrono>
#include <cstdlib>

#include "common/base/bytes.h"
#include "common/base/random.h"
#include "tests/golden/formats.h"

namespace branchline::golden {
namespace {

struct Target {
  std::string name;
  std::string bytes;
  const Case* decoder;
};

// Every golden entry that something decodes, by the encoder and by hand.
std::vector<Target> targets() {
  std::vector<Target> out;
  for (const auto& format : formats()) {
    for (const char* kind : {".hex", ".hand.hex"}) {
      auto file = read(std::string(BRANCHLINE_GOLDEN_DIR) + "/" + format.name + kind);
      if (!file) FAIL(file.error().message);
      for (const auto& e : file->entries) {
        for (const auto& c : format.cases) {
          if (c.recode && e.name.substr(0, e.name.find(',')) == c.name) {
            out.push_back({format.name + kind + " " + e.name, e.bytes, &c});
          }
        }
      }
    }
  }
  return out;
}

TEST_CASE("damage: no beginning of a format passes for the whole") {
  for (const auto& t : targets()) {
    for (size_t n = 0; n < t.bytes.size(); ++n) {
      auto got = t.decoder->recode(t.bytes.substr(0, n));
      if (got && (!t.decoder->open_ended || *got == t.bytes)) {
        FAIL_CHECK(t.name << ": " << n << " of " << t.bytes.size() << " bytes were accepted");
      }
    }
  }
}

TEST_CASE("damage: a format with bytes behind it is not accepted") {
  for (const auto& t : targets()) {
    if (t.decoder->open_ended) continue;
    auto got = t.decoder->recode(t.bytes + std::string(1, '\0'));
    if (got) FAIL_CHECK(t.name << ": a byte left over was accepted");
  }
}

TEST_CASE("damage: a flipped bit is an error or another value") {
  for (const auto& t : targets()) {
    std::string bytes = t.bytes;
    for (size_t at = 0; at < bytes.size(); ++at) {
      for (int bit = 0; bit < 8; ++bit) {
        bytes[at] = static_cast<char>(bytes[at] ^ (1 << bit));
        auto got = t.decoder->recode(bytes);
        if (got && *got == t.bytes && !t.decoder->foreign)
          FAIL_CHECK(t.name << ": byte " << at << ", bit " << bit << " means nothing");
        bytes[at] = t.bytes[at];
      }
    }
  }
}

// Some bytes changed, put in, left out, doubled or taken from another format.
std::string mutate(const std::string& bytes, const std::vector<Target>& all, Random& random) {
  std::string out = bytes;
  for (uint64_t n = 1 + random.below(6); n > 0; --n) {
    size_t at = out.empty() ? 0 : random.below(out.size());
    size_t length = std::min<size_t>(out.size() - at, 1 + random.below(16));
    static constexpr uint8_t kTelling[] = {0x00, 0x01, 0x7f, 0x80, 0xff, 0xfe};
    switch (random.below(7)) {
      case 0:
        out.insert(at, 1, static_cast<char>(random.next()));
        break;
      case 1:
        out.erase(at, length);
        break;
      case 2:
        out.insert(at, out.substr(at, length));
        break;
      case 3: {
        const std::string& other = all[random.below(all.size())].bytes;
        size_t from = other.empty() ? 0 : random.below(other.size());
        out.insert(at, other.substr(from, 1 + random.below(32)));
        break;
      }
      case 4:
        out.insert(at, "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 10);
        break;
      case 5:
        if (!out.empty()) out[at] = static_cast<char>(kTelling[random.below(std::size(kTelling))]);
        break;
      default:
        if (!out.empty()) out[at] = static_cast<char>(out[at] ^ (1 << random.below(8)));
    }
  }
  return out;
}

// Two seconds of random damage; BRANCHLINE_FUZZ_SEED repeats a run, BRANCHLINE_FUZZ_SECONDS makes
// it longer. What is accepted must mean one thing: encoding it and decoding that again gives the
// same bytes.
TEST_CASE("damage: random changes crash nothing, and what passes has one meaning") {
  const char* fixed = std::getenv("BRANCHLINE_FUZZ_SEED");
  const char* longer = std::getenv("BRANCHLINE_FUZZ_SECONDS");
  uint64_t seed = fixed ? std::strtoull(fixed, nullptr, 10) : SystemRandom().next() >> 1;
  INFO("BRANCHLINE_FUZZ_SEED=" << seed);
  SeededRandom random(seed);
  auto all = targets();
  auto end =
      std::chrono::steady_clock::now() + std::chrono::seconds(longer ? std::atoi(longer) : 2);
  uint64_t tried = 0, passed = 0;
  while (std::chrono::steady_clock::now() < end) {
    const Target& t = all[random.below(all.size())];
    std::string bytes = mutate(t.bytes, all, random);
    ++tried;
    auto once = t.decoder->recode(bytes);
    if (!once) continue;
    ++passed;
    auto twice = t.decoder->recode(*once);
    INFO(t.name << ": " << hex(bytes));
    REQUIRE(twice.has_value());
    REQUIRE(hex(*twice) == hex(*once));
  }
  CHECK(tried > 1000);
  CHECK(passed > 0);
}

}  // namespace
}  // namespace branchline::golden
