#include "replication/session/link_budget.h"

#include <algorithm>

#include "common/base/bytes.h"
#include "common/base/limits.h"

namespace branchline {
namespace {

constexpr uint8_t kFormat = 1;
constexpr int64_t kDayMs = 86'400'000;
constexpr int64_t kMinuteMs = 60'000;
constexpr int64_t kForecastMinutes = 60 * 24 * 60;
constexpr size_t kLeastPiece = 4 * 1024;

// Of two rates of which 0 is not known.
uint64_t thinner(uint64_t a, uint64_t b) { return a == 0 || (b != 0 && b < a) ? b : a; }

// The rate, through the hubs above it.
uint64_t rate_to_master(const Topology& topology, const ServerSpec& branch) {
  uint64_t out = 0;
  const ServerSpec* at = &branch;
  for (size_t i = 0; at && i <= limits::kMaxHubsBetween; ++i) {
    if (const LinkSpec* line = topology.line_of(*at)) out = thinner(out, line->rate_bits / 8);
    at = topology.server(at->upstream);
  }
  return out;
}

// Bytes of the packets that carry a frame: TLS 1.3's record, and TCP's header with timestamps on
// IPv4's for each segment. A frame of a person's edit takes twice its own bytes.
uint64_t on_the_wire(size_t frame) {
  constexpr uint64_t record = 22, header = 52, segment = 1448;
  uint64_t bytes = frame + record;
  return bytes + (bytes + segment - 1) / segment * header;
}

bool share_territory(const ServerSpec& a, const ServerSpec& b) {
  return std::any_of(a.territories.begin(), a.territories.end(), [&](const std::string& name) {
    return std::find(b.territories.begin(), b.territories.end(), name) != b.territories.end();
  });
}

}  // namespace

LinePolicy line_policy(const Topology& topology, const ServerSpec& branch) {
  LinePolicy out;
  if (const LinkSpec* line = topology.line_of(branch)) {
    out.bytes_per_day = line->bytes_per_day;
    out.bulk_hours = line->bulk_hours;
  }
  out.bytes_per_s = rate_to_master(topology, branch);
  for (const auto& other : topology.servers) {
    if (other.kind != ServerKind::branch || !share_territory(branch, other)) continue;
    out.thinnest_bytes_per_s = thinner(out.thinnest_bytes_per_s, rate_to_master(topology, other));
  }
  // Bytes per day are each line's own: a hub counts what it carries.
  const ServerSpec* hub = topology.server(branch.upstream);
  for (size_t i = 0; hub && i < limits::kMaxHubsBetween; ++i) {
    if (const LinkSpec* line = topology.line_of(*hub)) {
      if (!out.bulk_hours) out.bulk_hours = line->bulk_hours;
    }
    hub = topology.server(hub->upstream);
  }
  return out;
}

std::map<std::string, LinePolicy> line_policies(const Topology& topology) {
  std::map<std::string, LinePolicy> out;
  for (const auto& server : topology.servers) {
    if (server.kind == ServerKind::branch) out[server.name] = line_policy(topology, server);
  }
  return out;
}

std::string_view to_string(SendHold hold) {
  switch (hold) {
    case SendHold::no:
      return "no";
    case SendHold::rate:
      return "rate";
    case SendHold::budget:
      return "budget";
    case SendHold::hours:
      return "hours";
  }
  return "unknown";
}

uint64_t LinkBudget::day_limit(Lane lane) const {
  uint64_t share = lane == Lane::bulk ? 100 - kInteractiveShare : 100;
  return policy_.bytes_per_day / 100 * share + policy_.bytes_per_day % 100 * share / 100;
}

void LinkBudget::turn_day(int64_t wall_ms) {
  // A clock that is set back does not give a day's bytes twice.
  if (int64_t number = wall_ms / kDayMs; number > day_.number) day_ = {number, 0};
}

int64_t LinkBudget::busy_us(int64_t now_us) const {
  return std::max<int64_t>(free_at_us_ - now_us, 0);
}

SendHold LinkBudget::hold(Lane lane, int64_t now_us, int64_t wall_ms, bool hurried) {
  if (policy_.bytes_per_day != 0) {
    turn_day(wall_ms);
    if (day_.bytes >= day_limit(hurried ? Lane::interactive : lane)) return SendHold::budget;
  }
  if (lane == Lane::bulk && !hurried && policy_.bulk_hours && !policy_.bulk_hours->open(wall_ms)) {
    return SendHold::hours;
  }
  int64_t ahead = lane == Lane::bulk ? 0 : kInteractiveAheadUs;
  return busy_us(now_us) > ahead ? SendHold::rate : SendHold::no;
}

void LinkBudget::sent(size_t bytes, int64_t now_us, int64_t wall_ms) {
  if (policy_.bytes_per_day != 0) {
    turn_day(wall_ms);
    day_.bytes += bytes;
  }
  if (policy_.bytes_per_s == 0) return;
  auto takes = static_cast<int64_t>(on_the_wire(bytes) * 1'000'000 /
                                    (policy_.bytes_per_s * kWirePerCent / 100 + 1));
  free_at_us_ = std::max(free_at_us_, now_us) + takes;
}

size_t LinkBudget::bulk_piece(size_t at_most) const {
  uint64_t rate = thinner(policy_.bytes_per_s, policy_.thinnest_bytes_per_s);
  if (rate == 0) return at_most;
  auto piece = static_cast<size_t>(rate * kPayloadPerCent / 100 * uint64_t(kPieceUs) / 1'000'000);
  return std::min(std::max(piece, kLeastPiece), at_most);
}

std::string LinkBudget::encode_day() const {
  std::string out;
  Writer w(out);
  w.u8(kFormat);
  w.svarint(day_.number);
  w.varint(day_.bytes);
  return out;
}

void LinkBudget::restore_day(std::string_view row) {
  Reader r(row);
  uint8_t format = r.u8();
  Day day;
  day.number = r.svarint();
  day.bytes = r.varint();
  if (r.done() && format == kFormat) day_ = day;
}

std::optional<int64_t> LinkBudget::drain_s(Lane lane, uint64_t bytes, uint64_t bytes_per_s,
                                           int64_t wall_ms) const {
  if (bytes == 0) return 0;
  if (policy_.bytes_per_s != 0) {
    bytes_per_s = bytes_per_s == 0 ? payload_per_s() : std::min(bytes_per_s, payload_per_s());
  }
  if (bytes_per_s == 0) return std::nullopt;
  Day day = day_;
  // Minute by minute: hours, budgets and midnight each have their own rhythm.
  for (int64_t minute = 0; minute < kForecastMinutes; ++minute) {
    int64_t at = wall_ms + minute * kMinuteMs;
    if (int64_t number = at / kDayMs; number > day.number) day = {number, 0};
    if (lane == Lane::bulk && policy_.bulk_hours && !policy_.bulk_hours->open(at)) continue;
    uint64_t now = bytes_per_s * 60;
    if (policy_.bytes_per_day != 0) {
      uint64_t limit = day_limit(lane);
      now = std::min(now, limit > day.bytes ? limit - day.bytes : 0);
    }
    if (bytes <= now) return minute * 60 + static_cast<int64_t>(bytes / bytes_per_s);
    bytes -= now;
    day.bytes += now;
  }
  return std::nullopt;
}

}  // namespace branchline
