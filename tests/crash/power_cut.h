// A real file system that loses everything that was not synced (tests/crash/README.md).
#pragma once

#include <string>
#include <vector>

#include "tests/crash/company.h"

namespace branchline::crash {

// Freezes the victims and everything else that has files open on `mount`, cuts the file system off
// its disk without flushing its journal, kills them, mounts the image again. All servers keep their
// data there, so all are victims of the cut; those that `victims` does not name are started again
// at once.
void cut_power(Company& company, const std::vector<std::string>& victims, const std::string& image,
               const std::string& mount);

}  // namespace branchline::crash
