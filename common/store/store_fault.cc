#include "common/store/store_fault.h"

#include <cstdio>
#include <cstdlib>

namespace branchline {

std::string damage_text(const std::string& damage) {
  return "bytes of the store have changed on the disk: " + damage +
         ". Look at the disk; \"A damaged store\" in docs/operations.md tells how to go on without "
         "losing what waits here";
}

void end_for_store_fault(const Error& error) {
  std::string why = error.kind == ErrorKind::corrupt ? damage_text(error.message) : error.message;
  std::fprintf(stderr, "the store failed, this process ends and must be started again: %s\n",
               why.c_str());
  std::_Exit(3);
}

}  // namespace branchline
