// What branch and master tell each other at first contact, and how it stands on the wire.
#pragma once

#include <string>
#include <vector>

#include "replication/line/commit.h"
#include "replication/line/incarnation.h"
#include "replication/line/line_history.h"
#include "replication/merge/feature_level.h"

namespace branchline {

inline constexpr uint32_t kProtocolVersion = 1;

// The code of a refusal after which a branch leaves the line it follows.
inline constexpr const char* kLineReplaced = "session.line_replaced";

struct PendingRange {
  Stream stream;
  Seq first, last;  // first is behind last where nothing is pending
  // Of the stream, before `first`. Told where the line replaced another one: a restored master may
  // lack what comes before.
  std::optional<Digest> chain_before = std::nullopt;
};

struct HighWater {
  Stream stream;
  Seq seq;
  Digest chain;
};

// What a branch has of a snapshot that broke off.
struct JoinProgress {
  uint64_t snapshot = 0;  // its id; 0: nothing
  uint64_t chunks = 0;
  Digest chain;  // over these chunks

  bool operator==(const JoinProgress&) const = default;
};

// What a branch says of itself.
struct Introduction {
  std::string server;
  OriginId origin;                         // as it knows it; 0 before the first welcome
  uint32_t feature_level = kFeatureLevel;  // of its program
  uint32_t schema_version = 0;
  Digest schema_digest;
  Digest schema_extends;  // zero: nothing
  // It greets by the version that its schema extends, for a master that may know no other.
  bool by_older_schema = false;
  std::string topology_digest;  // hex
  LineCursor cursor;            // csn 0: it holds nothing
  bool reseed = false;
  std::vector<IncarnationInfo> incarnations;  // oldest first, the current one last
  std::vector<PendingRange> pending;          // per stream what it still holds
  JoinProgress join;
  std::vector<TerritoryId> installed;  // what it holds, without the reference territory
  bool says_installed = false;         // an older branch does not
  std::vector<LineId> past_lines;      // that it has followed before
};

// What the master answers, having noted it.
struct Registration {
  uint64_t session = 0;  // blocks of earlier sessions of this origin are dropped from now on
  OriginId origin;
  uint32_t feature_level = kFeatureLevel;  // of the master's program
  LineCursor head;
  Term term;
  std::vector<TerritoryId> territories;  // what it is to hold
  bool holds_everything = false;
  std::vector<HighWater> high_waters;  // of the streams it has pending work in
  // Up to here its own commits are fed with their effects: its disk was rolled back and does not
  // know them (SEMANTICS 1).
  Csn echo_until;
  bool rolled_back = false;
  bool join = false;  // it gets a snapshot first
  // It follows with what it holds up to a csn, gets there a snapshot of what it lacks, and goes on
  // with `territories` (SEMANTICS 24).
  bool partial = false;
  std::vector<TerritoryId> installed;  // what it holds until then; not sent, it knows
  LineHistory past_lines;
  uint32_t lookups = 0;   // how many look-ups the master takes at a time
  uint32_t channels = 0;  // how many sessions beneath this server (replication/relay)
  bool verifies = false;  // it answers questions of verification
};

std::string encode_hello(const Introduction& intro, int64_t wall_ms);
Result<Introduction> decode_hello(std::string_view bytes);
std::string encode_welcome(const Registration& registration, int64_t wall_ms);
struct Welcome {
  Registration registration;
  int64_t wall_ms = 0;
};
Result<Welcome> decode_welcome(std::string_view bytes);

std::string encode_refused(const Error& error);
// The error that was refused with; its kind is `conflict` where an operator has to act, else
// `unavailable`.
Error decode_refused(std::string_view bytes);

struct SnapshotHead {
  LineCursor at;
  uint64_t records = 0;
  uint64_t id = 0;           // 0: it cannot be resumed
  uint64_t first_chunk = 0;  // where it goes on
  bool partial = false;      // see Registration
};
std::string encode_snapshot_head(const SnapshotHead& head);
Result<SnapshotHead> decode_snapshot_head(std::string_view bytes);

struct SnapshotEnd {
  uint64_t chunks = 0;
  Digest digest;
  Totals totals;
  std::vector<HighWater> high_waters;
  std::vector<FateEntry> fates;
  Hlc hlc;
  Digest chain;  // over the chunks; zeros: of an older master
};
std::string encode_snapshot_end(const SnapshotEnd& end);
Result<SnapshotEnd> decode_snapshot_end(std::string_view bytes);

struct Heartbeat {
  int64_t sent_us = 0;
  int64_t echo_us = 0;
  int64_t wall_ms = 0;
  Csn csn;
  Csn durable_csn;
  uint64_t pending = 0;
  int64_t oldest_pending_ms = 0;
  Csn passed_csn;  // SEMANTICS 26
  uint64_t pending_bytes = 0;
};
std::string encode_heartbeat(const Heartbeat& h);
Result<Heartbeat> decode_heartbeat(std::string_view bytes);

struct Progress {
  Csn csn;
  uint64_t snapshot_chunks = 0;
};
std::string encode_progress(const Progress& p);
Result<Progress> decode_progress(std::string_view bytes);

struct StreamAck {
  Stream stream;  // origin is the receiver's own
  Seq seq;
};
std::string encode_ack(const StreamAck& a);
Result<StreamAck> decode_ack(std::string_view bytes);

}  // namespace branchline
