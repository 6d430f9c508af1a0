// When the two ends of a link speak and when they give up, in microseconds of the steady clock.
#pragma once

#include <cstdint>

namespace branchline::link_timing {

inline constexpr int64_t kHeartbeat = 1'000'000;
// A master answers a branch's heartbeat with its own; where none comes it speaks after so long.
inline constexpr int64_t kUnansweredHeartbeat = kHeartbeat * 5 / 2;
inline constexpr int64_t kSilence = 6'000'000;  // nothing heard for so long: the connection is dead
// Heard so lately, a connection is taken for that of a process that lives.
inline constexpr int64_t kAlive = 3'000'000;
inline constexpr int64_t kGreeting = 15'000'000;  // from connect to welcome
// A feed range that holds only the receiver's own fates may wait so long for company; one that says
// only "complete up to here" longer, and where one went already, until the next heartbeat: each is
// a frame here and a write there, and with many branches most commits concern few of them. What
// others wrote never waits.
inline constexpr int64_t kFatesWait = 20'000;
inline constexpr int64_t kQuietWait = 100'000;
inline constexpr int64_t kQuietPause = kHeartbeat;
inline constexpr int64_t kAckWait = 50'000;
inline constexpr int64_t kSharedLineWait = 5'000;  // a line that others fill is looked at again

static_assert(kSilence > 2 * kUnansweredHeartbeat);

}  // namespace branchline::link_timing
