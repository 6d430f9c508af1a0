// Errors as values. Retry and HTTP status are decided on `kind` alone; `code` is a stable short
// name for programs and tests ("frame.too_large"), `message` tells people what, where and how to
// mend it.
#pragma once

#include <expected>
#include <string>
#include <string_view>
#include <utility>

namespace branchline {

enum class ErrorKind {
  invalid,      // the request can never succeed as it is
  not_found,    // the thing named does not exist
  conflict,     // the state differs from what the caller required
  denied,       // the caller may not
  unavailable,  // try again later: link down, joining, busy
  exhausted,    // a limit or the disk is full
  corrupt,      // stored or received bytes are wrong
  shutdown,     // this server is stopping
};

std::string_view to_string(ErrorKind kind);

struct Error {
  ErrorKind kind = ErrorKind::invalid;
  std::string code;
  std::string message;
};

template <typename T>
using Result = std::expected<T, Error>;

inline std::unexpected<Error> fail(ErrorKind kind, std::string code, std::string message) {
  return std::unexpected(Error{kind, std::move(code), std::move(message)});
}

}  // namespace branchline

#define BL_CONCAT2(a, b) a##b
#define BL_CONCAT(a, b) BL_CONCAT2(a, b)

// BL_TRY(expr): returns the error of a Result from the enclosing function.
#define BL_TRY(expr) \
  if (auto&& bl_result = (expr); !bl_result) return std::unexpected(std::move(bl_result).error())

// BL_ASSIGN(auto x, expr): x is the value of a Result, or its error is returned.
#define BL_ASSIGN(decl, expr) BL_ASSIGN_(BL_CONCAT(bl_result_, __LINE__), decl, expr)
#define BL_ASSIGN_(tmp, decl, expr)                 \
  auto tmp = (expr);                                \
  if (!tmp) [[unlikely]]                            \
    return std::unexpected(std::move(tmp).error()); \
  decl = std::move(*tmp)
