#define CATCH_CONFIG_RUNNER
#include <catch2/catch.hpp>

#include <csignal>

#include "tests/crash/process.h"

CATCH_TRANSLATE_EXCEPTION(branchline::crash::Failure& f) { return f.what; }

int main(int argc, char** argv) {
  std::signal(SIGPIPE, SIG_IGN);
  return Catch::Session().run(argc, argv);
}
