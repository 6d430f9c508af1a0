// `branchline export`, and `branchline import FILE` of what it wrote.
#pragma once

#include <memory>
#include <string>

#include "tools/branchline/commands.h"

namespace branchline {

struct FileImport {
  std::string file, at;
};
int run_file_import(const CommandContext& context, const FileImport& options);

}  // namespace branchline
