// network_tests [--strict] [Catch2's options]
#define CATCH_CONFIG_RUNNER
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <string_view>

#include <catch2/catch.hpp>

#include "tests/crash/process.h"
#include "tools/wan/ends.h"

CATCH_TRANSLATE_EXCEPTION(branchline::crash::Failure& f) { return f.what; }

int main(int argc, char** argv) {
  std::signal(SIGPIPE, SIG_IGN);
  bool strict = std::getenv("BRANCHLINE_STRICT") != nullptr;
  int kept = 1;
  for (int i = 1; i < argc; ++i) {
    if (std::string_view(argv[i]) == "--strict") {
      strict = true;
    } else {
      argv[kept++] = argv[i];
    }
  }
  const auto ends = branchline::wan::Ends::make("probe-" + std::to_string(::getpid()), "");
  if (!ends && ends.error().kind == branchline::ErrorKind::denied) {
    std::printf("%s: networks cannot be made here: %s\n", strict ? "FAILED" : "SKIPPED",
                ends.error().message.c_str());
    return strict ? 1 : 77;
  }
  return Catch::Session().run(kept, argv);
}
