// The value of what a test relies on; where there is an error instead, its code and text are what
// the test fails with.
#pragma once

#include <stdexcept>
#include <type_traits>
#include <utility>

#include "common/base/error.h"

namespace branchline {

template <typename T>
T must(Result<T> result) {
  if (!result) throw std::runtime_error(result.error().code + ": " + result.error().message);
  if constexpr (!std::is_void_v<T>) return std::move(*result);
}

}  // namespace branchline
