// Files of keys and certificates: written whole or not at all, read with limits.
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <string>
#include <string_view>

#include "common/base/error.h"

namespace branchline {

enum class Overwrite { refuse, replace };

// Writes a temporary file beside `file`, syncs it, moves it to its name and syncs the folder: after
// a crash the old file is there, or the new one. With `refuse` the move itself fails where `file`
// exists, so of two writers one wins and the other is told. The mode does not depend on the umask.
// Errors: conflict "file.exists"; denied, exhausted or unavailable "file.write", with the path and
// why.
Result<void> write_file(const std::filesystem::path& file, std::string_view bytes, mode_t mode,
                        Overwrite overwrite);

// Errors: not_found "file.missing"; denied or unavailable "file.read"; invalid "file.too_large"
// beyond 1 MiB.
Result<std::string> read_file(const std::filesystem::path& file);
// As read_file, and denied "tls.key_readable" if group or others may read or write it. Checked on
// the open file, so that nobody can swap it in between.
Result<std::string> read_key_file(const std::filesystem::path& file);

// Creates the folder and its parents, for the owner alone where it is new.
// Errors: denied, exhausted or unavailable "file.write".
Result<void> make_folder(const std::filesystem::path& folder);

}  // namespace branchline
