// Strong integer ids: a branch's sequence number cannot be passed where a csn is expected.
#pragma once

#include <compare>
#include <cstdint>
#include <functional>

namespace branchline {

template <typename Tag, typename Rep>
struct Strong {
  Rep value{};

  constexpr Strong() = default;
  constexpr explicit Strong(Rep v) : value(v) {}
  constexpr auto operator<=>(const Strong&) const = default;

  constexpr Strong next() const { return Strong(static_cast<Rep>(value + 1)); }
  constexpr Strong& operator++() {
    ++value;
    return *this;
  }
};

}  // namespace branchline

template <typename Tag, typename Rep>
struct std::hash<branchline::Strong<Tag, Rep>> {
  size_t operator()(const branchline::Strong<Tag, Rep>& id) const noexcept {
    return std::hash<Rep>()(id.value);
  }
};
