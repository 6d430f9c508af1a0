#include "common/tls/sealed.h"

#include <catch2/catch.hpp>

#include "common/tls/authority.h"
#include "replication/courier/file_part.h"
#include "tests/support/fixed_clock.h"
#include "tests/support/temp_folder.h"

namespace branchline {
namespace {

struct Servers {
  TempFolder folder;
  SystemClock clock;
  int64_t now_s = clock.wall_ms() / 1000;
  std::shared_ptr<const LinkContext> make(const std::string& name, const std::string& ca = "ca",
                                          int days = 30) {
    if (!std::filesystem::exists(folder / ca)) REQUIRE(create_authority(folder / ca, clock));
    auto to = folder / (ca + "-" + name + std::to_string(++made_));
    REQUIRE(issue_server(folder / ca, name, to, clock, {.validity_days = days}));
    auto context = load_link_context(to, clock);
    REQUIRE(context);
    return *context;
  }

 private:
  int made_ = 0;
};

std::string code_of(const Result<Unsealed>& r) { return r ? "opened" : r.error().code; }

TEST_CASE("what a server seals only its receiver can open, and knows who sealed it") {
  Servers s;
  auto east = s.make("east"), west = s.make("west"), master = s.make("master");
  std::string text = "the work of a week " + std::string(100'000, 'x');
  auto sealed = seal(*east, own_certificate(*master), text);
  REQUIRE(sealed);
  CHECK(sealed->find("the work of a week") == std::string::npos);
  auto opened = unseal(*master, *sealed, s.now_s);
  REQUIRE(opened);
  CHECK(opened->content == text);
  CHECK(opened->signer == "east");
  CHECK(opened->certificate == own_certificate(*east));
  CHECK(code_of(unseal(*west, *sealed, s.now_s)) == "sealed.not_for_us");
  // The same name, and a key that was renewed meanwhile.
  CHECK(code_of(unseal(*s.make("master"), *sealed, s.now_s)) == "sealed.not_for_us");
  CHECK(code_of(unseal(*master, *sealed, s.now_s + 40 * 86'400)) == "sealed.expired");
  CHECK(code_of(unseal(*master, *sealed, s.now_s - 86'400)) == "sealed.not_yet_valid");
  // Somebody who has our certificate, and another authority's.
  auto stranger = seal(*s.make("east", "other"), own_certificate(*master), text);
  REQUIRE(stranger);
  CHECK(code_of(unseal(*master, *stranger, s.now_s)) == "sealed.other_authority");
  CHECK(certified_server(*master, own_certificate(*west), s.now_s).value_or("") == "west");
  CHECK(!read_certificate("no certificate"));
  CHECK(code_of(unseal(*master, "", s.now_s)) == "sealed.damaged");
  CHECK(code_of(unseal(*master, text, s.now_s)) == "sealed.damaged");
}

TEST_CASE("no byte of a sealed part can be changed without being noticed") {
  Servers s;
  auto east = s.make("east"), master = s.make("master");
  std::string text = "one change, and what it was";
  auto sealed = seal(*east, own_certificate(*master), text);
  REQUIRE(sealed);
  SealedPart part{FileKind::pending, "east", "master", *sealed};
  std::string framed = frame_sealed_part(part);
  for (size_t i = 0; i < framed.size(); ++i) {
    std::string flipped = framed;
    flipped[i] = static_cast<char>(flipped[i] ^ (1 << (i % 8)));
    CHECK_FALSE(read_sealed_part(flipped));
    CHECK_FALSE(read_sealed_part(framed.substr(0, i)));
  }
  // Who changes it and its hash: what comes out is what was signed, or nothing.
  size_t refused = 0;
  for (size_t i = 0; i < sealed->size(); ++i) {
    std::string flipped = *sealed;
    flipped[i] = static_cast<char>(flipped[i] ^ (1 << (i % 8)));
    auto opened = unseal(*master, flipped, s.now_s);
    if (!opened) {
      ++refused;
      continue;
    }
    CHECK(opened->content == text);
    CHECK(opened->signer == "east");
  }
  CHECK(refused > sealed->size() * 9 / 10);
  for (size_t n = 0; n < sealed->size(); n += 7)
    CHECK_FALSE(unseal(*master, sealed->substr(0, n), s.now_s));
}

}  // namespace
}  // namespace branchline
