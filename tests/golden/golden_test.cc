#include <catch2/catch.hpp>

#include <filesystem>
#include <set>

#include "common/base/bytes.h"
#include "tests/golden/formats.h"

namespace branchline::golden {
namespace {

std::string path_of(const std::string& name) {
  return std::string(BRANCHLINE_GOLDEN_DIR) + "/" + name;
}

File load(const std::string& name) {
  auto file = read(path_of(name));
  if (!file) FAIL(file.error().message);
  return *file;
}

const Case& case_of(const Format& format, const std::string& name) {
  for (const auto& c : format.cases) {
    if (c.name == name) return c;
  }
  FAIL(format.name << " has no case " << name);
  throw 0;
}

void check_entry(const Case& c, const Entry& e) {
  if (!c.recode) return;
  auto again = c.recode(e.bytes);
  INFO("read: " << hex(e.bytes));
  if (!again) FAIL(again.error().message);
  CHECK(hex(*again) == hex(e.bytes));
}

TEST_CASE("golden: what the encoders write is what the files hold") {
  for (const auto& format : formats()) {
    INFO(format.name);
    File file = load(format.name + ".hex");
    CHECK(file.header["format"] == format.name);
    CHECK(file.header["version"] == std::to_string(format.version));
    CHECK(file.header["document"] == format.document);
    REQUIRE(file.entries.size() == format.cases.size());
    for (const auto& c : format.cases) {
      INFO(c.name);
      const Entry* e = file.find(c.name);
      REQUIRE(e);
      CHECK(hex(e->bytes) == hex(c.bytes));
      check_entry(c, *e);
    }
  }
}

TEST_CASE("golden: one file per format is written by hand from its document") {
  for (const auto& format : formats()) {
    INFO(format.name);
    File file = load(format.name + ".hand.hex");
    CHECK(file.header["format"] == format.name);
    CHECK(file.header["version"] == std::to_string(format.version));
    CHECK(file.header["document"] == format.document);
    CHECK(file.header["origin"] == "by hand");
    REQUIRE(!file.entries.empty());
    for (const auto& e : file.entries) {
      INFO(e.name);
      // "live, smallest" is another sample of the case "live"; the same name means the same bytes.
      std::string name = e.name.substr(0, e.name.find(','));
      const Case& c = case_of(format, name);
      check_entry(c, e);
      if (name == e.name) CHECK(hex(e.bytes) == hex(c.bytes));
    }
  }
}

TEST_CASE("golden: no file is left over") {
  std::set<std::string> known;
  for (const auto& format : formats()) {
    known.insert(format.name + ".hex");
    known.insert(format.name + ".hand.hex");
  }
  for (const auto& at : std::filesystem::directory_iterator(BRANCHLINE_GOLDEN_DIR)) {
    if (at.path().extension() != ".hex") continue;
    INFO(at.path().filename());
    CHECK(known.count(at.path().filename().string()) == 1);
  }
}

TEST_CASE("golden files: what their reader refuses") {
  auto file = parse("# format: x\n\n= a\n00 ff \"AB\" # text\n= b\n", "f");
  REQUIRE(file);
  REQUIRE(file->entries.size() == 2);
  CHECK(file->entries[0].bytes == std::string("\x00\xff"
                                              "AB",
                                              4));
  CHECK(print(*file).find("= b") != std::string::npos);
  for (const char* wrong : {"00\n", "= a\n0\n", "= a\n0x\n", "= a\n\"AB\n"}) {
    INFO(wrong);
    CHECK(!parse(wrong, "f"));
  }
}

}  // namespace
}  // namespace branchline::golden
