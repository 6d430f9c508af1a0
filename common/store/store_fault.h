// What a server does when its store fails, and what it tells the operator.
#pragma once

#include <string>

#include "common/base/error.h"

namespace branchline {

// Ends the process: what a failed write left behind is only known after the next start, and nobody
// was told that it is there. Any thread.
[[noreturn]] void end_for_store_fault(const Error& error);

// For log and status: what is damaged, and where the way out is told.
std::string damage_text(const std::string& damage);

}  // namespace branchline
