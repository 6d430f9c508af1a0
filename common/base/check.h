// BL_CHECK: a condition that only a bug can break. It stays on in release builds: a server that
// goes on with a broken invariant can lose data, a server that stops is started again by its
// supervisor.
#pragma once

namespace branchline {

[[noreturn]] void check_failed(const char* condition, const char* file, int line);

}  // namespace branchline

#define BL_CHECK(condition)               \
  (static_cast<bool>(condition) ? void(0) \
                                : ::branchline::check_failed(#condition, __FILE__, __LINE__))
