// Sanitizers take memory of their own: what a process may hold is only judged without them.
#pragma once

namespace branchline {

#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
inline constexpr bool kSanitized = true;
#else
inline constexpr bool kSanitized = false;
#endif

}  // namespace branchline
