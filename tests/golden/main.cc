// golden_tests [--update [--same-version]] [Catch2's options]. README.md tells when to use which.
#define CATCH_CONFIG_RUNNER
#include <google/protobuf/stubs/logging.h>
#include <catch2/catch.hpp>

#include <cstring>
#include <fstream>
#include <iostream>

#include "tests/golden/formats.h"

namespace {

using namespace branchline;

// Writes what the encoders give. Bytes that changed without their version are refused: files
// written by the last release would be misread, and only a raised version lets a reader notice.
int update(bool same_version) {
  int refused = 0;
  for (const auto& format : golden::formats()) {
    std::string path = std::string(BRANCHLINE_GOLDEN_DIR) + "/" + format.name + ".hex";
    golden::File fresh;
    fresh.header = {{"format", format.name},
                    {"version", std::to_string(format.version)},
                    {"document", format.document},
                    {"origin", "golden_tests --update"}};
    for (const auto& c : format.cases) fresh.entries.push_back({c.name, c.bytes});
    std::string text = golden::print(fresh);
    auto old = golden::read(path);
    if (old && golden::print(*old) == text) continue;
    bool only_added = old.has_value();
    if (old) {
      for (const auto& e : old->entries) {
        const auto* now = fresh.find(e.name);
        only_added &= now && now->bytes == e.bytes;
      }
    }
    if (old && !only_added && old->header["version"] == fresh.header["version"] && !same_version) {
      std::cerr << format.name << ": the bytes changed, the version (" << format.version
                << ") did not. Raise it and read the old one too (docs/formats.md, Rules of "
                   "evolution), or pass "
                   "--same-version while no release has written this format.\n";
      ++refused;
      continue;
    }
    std::ofstream(path, std::ios::binary) << text;
    std::cout << "wrote " << format.name << ".hex\n";
  }
  return refused == 0 ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  bool write = false, same_version = false;
  std::vector<char*> rest;
  for (int i = 0; i < argc; ++i) {
    if (std::strcmp(argv[i], "--update") == 0) {
      write = true;
    } else if (std::strcmp(argv[i], "--same-version") == 0) {
      same_version = true;
    } else {
      rest.push_back(argv[i]);
    }
  }
  if (write) return update(same_version);
  google::protobuf::SetLogHandler(nullptr);  // it would tell of each damaged message
  return Catch::Session().run(static_cast<int>(rest.size()), rest.data());
}
