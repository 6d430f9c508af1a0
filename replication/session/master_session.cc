#include "replication/session/master_session.h"

#include <algorithm>
#include <utility>

#include "common/base/limits.h"
#include "replication/session/link_timing.h"

namespace branchline {
namespace {

constexpr size_t kFateWeight = 64;
// A person's edit may find so much of bulk work's effects before it on a line (SEMANTICS 32: 50 ms
// in all; a block more comes while this is looked at).
constexpr int64_t kBulkAheadUs = 20'000;
// A branch that has not been at the head of the line for so long is catching up: nothing is fast
// for it until it has. So that it ever does, bulk work takes half of its line: a piece keeps that
// busy for LinkBudget::kPieceUs.
constexpr int64_t kCatchingUpUs = 2'000'000;
constexpr int64_t kBetweenPiecesUs = 2 * LinkBudget::kPieceUs;
constexpr int64_t kFeedPieceUs = 20'000;  // of the line's time, in one frame
constexpr size_t kLeastFeedPiece = 16 * 1024;

}  // namespace

std::string_view to_string(MasterSession::State state) {
  switch (state) {
    case MasterSession::State::greeting:
      return "greeting";
    case MasterSession::State::registering:
      return "registering";
    case MasterSession::State::snapshotting:
      return "snapshotting";
    case MasterSession::State::feeding:
      return "feeding";
    case MasterSession::State::closed:
      return "closed";
  }
  return "unknown";
}

MasterSession::MasterSession(const FeedSource& feed, std::string peer, int64_t now_us,
                             LinkBudget* budget)
    : feed_(feed),
      peer_(std::move(peer)),
      quiet_at_(now_us - link_timing::kQuietPause),
      budget_(budget ? *budget : no_limits_),
      now_us_(now_us),
      started_at_(now_us),
      heard_at_(now_us) {}

void MasterSession::send(FrameType type, std::string_view payload, MasterEffects& out) {
  out.frames.push_back(encode_frame(type, payload));
  budget_.sent(out.frames.back().size(), now_us_, wall_ms_);
}

bool MasterSession::may_feed(int64_t now_us) {
  no_room_ = room_ && !room_();
  return !no_room_ && budget_.hold(Lane::interactive, now_us, wall_ms_) == SendHold::no;
}

bool MasterSession::has_room_for_bulk(int64_t now_us, int64_t allowed_at_us) const {
  if (state_ != State::feeding || budget_.policy().bytes_per_s == 0) return true;
  if (at_head_us_ < 0 || now_us - at_head_us_ > kCatchingUpUs)
    return now_us - allowed_at_us >= kBetweenPiecesUs;
  return scanned_.csn >= head_.csn && budget_.busy_us(now_us) <= kBulkAheadUs;
}

void MasterSession::close(MasterEffects& out, const Error& error, bool tell) {
  if (state_ == State::closed) return;
  state_ = State::closed;
  if (tell) out.frames.push_back(encode_frame(FrameType::refused, encode_refused(error)));
  out.close = error;
}

MasterEffects MasterSession::on_frame(const Frame& frame, int64_t now_us, int64_t wall_ms) {
  MasterEffects out;
  if (state_ == State::closed) return out;
  heard_at_ = now_us_ = now_us;
  wall_ms_ = wall_ms;
  if (auto ok = handle(frame, now_us, out); !ok) {
    out.closed_by_peer = frame.type == FrameType::refused;
    close(out, ok.error(), !out.closed_by_peer);
  }
  return out;
}

Result<void> MasterSession::handle(const Frame& frame, int64_t now_us, MasterEffects& out) {
  bool open = state_ == State::snapshotting || state_ == State::feeding;
  switch (frame.type) {
    case FrameType::refused:
      return std::unexpected(decode_refused(frame.payload));
    case FrameType::hello: {
      if (state_ != State::greeting) break;
      BL_ASSIGN(Introduction intro, decode_hello(frame.payload));
      if (intro.server != peer_) {
        return fail(ErrorKind::denied, "session.name",
                    "the certificate is " + peer_ + "'s, the greeting says " + intro.server);
      }
      state_ = State::registering;
      sent_ = intro.cursor;
      out.introduce = std::move(intro);
      return {};
    }
    case FrameType::mutations: {
      if (!open) break;
      BL_ASSIGN(std::string block, decompressor_.decompress(frame.payload, limits::kMaxBlockBytes));
      unacked_bytes_ += frame.payload.size();
      out.blocks.push_back(std::move(block));
      return {};
    }
    case FrameType::heartbeat: {
      if (!open) break;
      BL_ASSIGN(peer_beat_, decode_heartbeat(frame.payload));
      peer_heard_at_ = now_us;
      if (peer_beat_.echo_us > 0) round_trip_us_ = now_us - peer_beat_.echo_us;
      // The answer in the same turn: a wake-up of the master for each branch and second less.
      if (now_us - beat_at_ >= link_timing::kHeartbeat / 2) beat(now_us, out);
      return {};
    }
    case FrameType::progress: {
      if (!open) break;
      BL_ASSIGN(Progress p, decode_progress(frame.payload));
      if (p.csn > sent_.csn || p.snapshot_chunks > chunks_sent_) {
        return fail(ErrorKind::invalid, "session.progress", "progress beyond what was sent");
      }
      while (!in_flight_.empty() && in_flight_.front().to <= p.csn) {
        in_flight_bytes_ -= in_flight_.front().bytes;
        in_flight_.pop_front();
      }
      chunks_installed_ = std::max(chunks_installed_, p.snapshot_chunks);
      return pump(now_us, out);
    }
    case FrameType::lookup: {
      if (!open) break;
      BL_ASSIGN(LookupRequest question, decode_lookup_request(frame.payload));
      if (lookups_.size() >= limits::kMaxLookupsUnderWay) {
        return fail(ErrorKind::invalid, "lookup.too_many",
                    "more than " + std::to_string(limits::kMaxLookupsUnderWay) +
                        " look-ups under way on one link");
      }
      if (!lookups_.insert(question.number).second) {
        return fail(ErrorKind::invalid, "lookup.number",
                    "look-up " + std::to_string(question.number) + " is under way already");
      }
      out.lookups.push_back(std::move(question));
      return {};
    }
    case FrameType::verify: {
      bool between = state_ == State::feeding && scope_.until.value == 0 && !verifying_;
      if (!between) break;
      BL_ASSIGN(VerifyRequest question, decode_verify_request(frame.payload));
      verifying_.emplace();
      verifying_->number = question.number;
      verifying_->sums_due = !question.sums.empty();
      out.verify = std::move(question);
      return {};
    }
    default:
      break;
  }
  return fail(
      ErrorKind::invalid, "session.unexpected",
      "a " + std::string(to_string(frame.type)) + " frame while " + std::string(to_string(state_)));
}

MasterEffects MasterSession::on_registered(const Result<Registration>& registration, int64_t now_us,
                                           int64_t wall_ms) {
  MasterEffects out;
  if (state_ != State::registering) return out;
  now_us_ = now_us;
  wall_ms_ = wall_ms;
  if (!registration) {
    close(out, registration.error(), true);
    return out;
  }
  registration_ = *registration;
  scope_.origin = registration_.origin;
  set_territories(registration_.partial ? registration_.installed : registration_.territories);
  scope_.echo_until = registration_.echo_until;
  registration_.lookups = limits::kMaxLookupsUnderWay;
  registration_.channels = limits::kMaxChannels;
  registration_.verifies = true;
  head_ = registration_.head;
  out.frames.push_back(encode_frame(FrameType::welcome, encode_welcome(registration_, wall_ms)));
  if (registration_.join) {
    state_ = State::snapshotting;
    chunk_wanted_ = true;  // a tick must not ask for one before the snapshot is open
    out.open_snapshot = true;
    return out;
  }
  state_ = State::feeding;
  sent_.line = head_.line;
  if (sent_.csn.value == 0) sent_.chain = line_start(head_.line);
  scanned_ = sent_;
  if (registration_.partial) {
    // Nothing is fed before it is open: one that goes on is of an earlier csn than the head.
    out.open_snapshot = true;
    scope_.until = sent_.csn;
  }
  if (auto ok = pump(now_us, out); !ok) close(out, ok.error(), true);
  return out;
}

void MasterSession::set_territories(const std::vector<TerritoryId>& territories) {
  scope_.territories = {territories.begin(), territories.end()};
  scope_.territories.insert(kReferenceTerritory);
}

MasterEffects MasterSession::on_snapshot(const SnapshotHead& head, int64_t now_us) {
  MasterEffects out;
  if (head.partial) {
    if (state_ != State::feeding || !registration_.partial) return out;
    switch_ = head;
    scope_.until = head.at.csn;
    if (auto ok = pump(now_us, out); !ok) close(out, ok.error(), true);
    return out;
  }
  if (state_ != State::snapshotting) return out;
  sent_ = scanned_ = head.at;
  begin_chunks(head, out);
  (void)pump(now_us, out);
  return out;
}

void MasterSession::begin_chunks(const SnapshotHead& head, MasterEffects& out) {
  state_ = State::snapshotting;
  chunk_wanted_ = false;
  chunks_sent_ = chunks_installed_ = head.first_chunk;
  out.frames.push_back(encode_frame(FrameType::snapshot_head, encode_snapshot_head(head)));
}

MasterEffects MasterSession::on_chunk(std::optional<std::string> payload, const SnapshotEnd& end,
                                      int64_t now_us) {
  MasterEffects out;
  if (state_ != State::snapshotting) return out;
  chunk_wanted_ = false;
  if (payload) {
    ++chunks_sent_;
    send(FrameType::snapshot_chunk, *payload, out);
  } else {
    out.frames.push_back(encode_frame(FrameType::snapshot_end, encode_snapshot_end(end)));
    state_ = State::feeding;
    scope_.until = Csn(0);
    set_territories(registration_.territories);
  }
  if (auto ok = pump(now_us, out); !ok) close(out, ok.error(), true);
  return out;
}

MasterEffects MasterSession::on_committed(const Stream& stream, Seq seq, int64_t now_us) {
  MasterEffects out;
  if (state_ != State::feeding && state_ != State::snapshotting) return out;
  if (unacked_.empty()) unacked_since_ = now_us;
  unacked_[stream] = seq;
  if (unacked_bytes_ >= limits::kUplinkWindowBytes / 4) send_acks(out);
  return out;
}

void MasterSession::send_acks(MasterEffects& out) {
  for (const auto& [stream, seq] : unacked_) {
    out.frames.push_back(encode_frame(FrameType::ack, encode_ack({stream, seq})));
  }
  unacked_.clear();
  unacked_bytes_ = 0;
}

MasterEffects MasterSession::on_looked_up(const LookupAnswer& answer) {
  MasterEffects out;
  if (state_ == State::closed || lookups_.erase(answer.number) == 0) return out;
  out.frames.push_back(encode_frame(FrameType::lookup_answer, encode_lookup_answer(answer)));
  return out;
}

void MasterSession::on_verify_view(Csn csn) {
  if (state_ == State::feeding && verifying_) scope_.until = csn;
}

MasterEffects MasterSession::on_verify_point(VerifyPoint point, int64_t now_us) {
  MasterEffects out;
  if (state_ != State::feeding || !verifying_ || verifying_->number != point.number) return out;
  verifying_->point = std::move(point);
  if (auto ok = pump(now_us, out); !ok) close(out, ok.error(), true);
  return out;
}

MasterEffects MasterSession::on_verify_sums(const VerifySums& sums) {
  MasterEffects out;
  if (state_ == State::closed || !verifying_ || verifying_->number != sums.number) return out;
  send(FrameType::verify_sums, encode_verify_sums(sums), out);
  verifying_->sums_due = false;
  if (!verifying_->point_due) verifying_.reset();
  return out;
}

MasterEffects MasterSession::on_line(const LineCursor& head, int64_t now_us) {
  MasterEffects out;
  if (state_ == State::closed) return out;
  head_ = head;
  if (state_ == State::feeding) {
    if (auto ok = pump(now_us, out); !ok) close(out, ok.error(), true);
  }
  return out;
}

MasterEffects MasterSession::on_broken(const Error& error) {
  MasterEffects out;
  close(out, error, true);
  return out;
}

Result<void> MasterSession::pump(int64_t now_us, MasterEffects& out) {
  if (state_ == State::snapshotting) {
    // Chunks are about equally large, so a count bounds the bytes.
    constexpr uint64_t window = limits::kSnapshotWindowBytes / limits::kSnapshotChunkBytes;
    if (!chunk_wanted_ && may_feed(now_us) && chunks_sent_ - chunks_installed_ < window) {
      chunk_wanted_ = true;
      out.want_chunk = true;
    }
    return {};
  }
  now_us_ = now_us;
  size_t target = limits::kTargetFeedFrameBytes;
  if (uint64_t rate = budget_.policy().bytes_per_s) {
    size_t piece = rate * uint64_t(kFeedPieceUs) / 1'000'000;
    target = std::min(target, std::max(piece, kLeastFeedPiece));
  }
  while (state_ == State::feeding && in_flight_bytes_ < limits::kFeedWindowBytes &&
         may_feed(now_us)) {
    if (switch_ && sent_.csn == switch_->at.csn) {
      begin_chunks(*std::exchange(switch_, std::nullopt), out);
      return pump(now_us, out);
    }
    bool at_point = verifying_ && verifying_->point && sent_.csn == verifying_->point->at.csn;
    if (at_point) {
      send(FrameType::verify_point, encode_verify_point(*verifying_->point), out);
      verifying_->point.reset();
      verifying_->point_due = false;
      if (!verifying_->sums_due) verifying_.reset();
      scope_.until = Csn(0);
    }
    if (scanned_.csn < head_.csn && open_bytes_ < target) {
      BL_ASSIGN(FeedRange more, feed_.read(scanned_, scope_, target - open_bytes_));
      if (more.to.csn > scanned_.csn) {
        if (scanned_.csn == sent_.csn) {
          open_since_ = now_us;
          open_ = {};
          open_.from = sent_.csn;
        }
        scanned_ = open_.to = more.to;
        for (auto& b : more.blocks) {
          open_bytes_ += b.size();
          open_.blocks.push_back(std::move(b));
        }
        for (auto& f : more.fates) {
          // A fate is short to send but work to apply: ranges stay small for the branch's writers'
          // sake.
          open_bytes_ += 8 + f.count * kFateWeight;
          open_.fates.push_back(std::move(f));
        }
      }
    }
    if (scanned_.csn >= head_.csn) at_head_us_ = now_us;
    if (scanned_.csn == sent_.csn) return {};
    // What a snapshot waits for does not wait for company.
    bool switch_waits = switch_ && scanned_.csn == switch_->at.csn;
    bool point_waits = verifying_ && verifying_->point_due && scanned_.csn == scope_.until;
    bool now = open_bytes_ >= target || switch_waits || point_waits;
    if (!now && now_us < open_due_us()) return {};
    send_open_range(out);
  }
  return {};
}

int64_t MasterSession::open_due_us() const {
  if (!open_.blocks.empty()) return open_since_;
  if (!open_.fates.empty()) return open_since_ + link_timing::kFatesWait;
  return std::max(open_since_ + link_timing::kQuietWait, quiet_at_ + link_timing::kQuietPause);
}

void MasterSession::send_open_range(MasterEffects& out) {
  for (const auto& f : open_.fates) {
    // A fate says more than an acknowledgement.
    auto at = unacked_.find(stream_of(f.id));
    if (at != unacked_.end() && at->second.value < f.id.seq.value + f.count) unacked_.erase(at);
  }
  if (unacked_.empty()) unacked_bytes_ = 0;
  if (open_.blocks.empty() && open_.fates.empty()) quiet_at_ = now_us_;
  size_t bytes = 0;
  for (const auto& payload : encode_feed(open_)) {
    send(FrameType::feed, payload, out);
    bytes += out.frames.back().size();
  }
  sent_ = scanned_;
  in_flight_.push_back({sent_.csn, bytes});
  in_flight_bytes_ += bytes;
  open_ = {};
  open_bytes_ = 0;
}

MasterEffects MasterSession::tick(int64_t now_us, int64_t wall_ms) {
  MasterEffects out;
  if (state_ == State::closed) return out;
  bool greeted = state_ == State::feeding || state_ == State::snapshotting;
  if (!greeted && now_us - started_at_ > link_timing::kGreeting) {
    close(out, {ErrorKind::unavailable, "session.no_hello", "no greeting within the time allowed"},
          true);
    return out;
  }
  if (greeted && now_us - heard_at_ > link_timing::kSilence) {
    close(out, {ErrorKind::unavailable, "session.silent", "nothing heard from " + peer_}, false);
    return out;
  }
  if (!greeted) return out;
  now_us_ = now_us;
  wall_ms_ = wall_ms;
  if (auto ok = pump(now_us, out); !ok) {
    close(out, ok.error(), true);
    return out;
  }
  if (!unacked_.empty() && now_us - unacked_since_ >= link_timing::kAckWait) send_acks(out);
  if (now_us - beat_at_ >= link_timing::kUnansweredHeartbeat) beat(now_us, out);
  return out;
}

void MasterSession::beat(int64_t now_us, MasterEffects& out) {
  // A record with both costs less than two.
  bool quiet = state_ == State::feeding && sent_.csn < scanned_.csn && open_.blocks.empty() &&
               open_.fates.empty();
  if (quiet && may_feed(now_us)) send_open_range(out);
  beat_at_ = now_us;
  Heartbeat h;
  h.sent_us = now_us;
  if (peer_beat_.sent_us != 0) h.echo_us = peer_beat_.sent_us + (now_us - peer_heard_at_);
  h.wall_ms = wall_ms_;
  h.csn = head_.csn;
  send(FrameType::heartbeat, encode_heartbeat(h), out);
}

bool MasterSession::alive(int64_t now_us) const {
  bool served = state_ == State::feeding || state_ == State::snapshotting;
  return served && now_us - heard_at_ < link_timing::kAlive;
}

int64_t MasterSession::next_tick_us() const {
  int64_t next = beat_at_ + link_timing::kUnansweredHeartbeat;
  if (!unacked_.empty()) next = std::min(next, unacked_since_ + link_timing::kAckWait);
  if (state_ == State::feeding && scanned_.csn > sent_.csn) {
    next = std::min(next, open_due_us());
  }
  bool more = scanned_.csn < head_.csn || scanned_.csn > sent_.csn || state_ == State::snapshotting;
  if (int64_t busy = budget_.busy_us(now_us_); more && busy > 0) {
    // Held back by the line's rate: look again when it has carried the most of it.
    next = std::min(next, now_us_ + busy / 2);
  }
  if (more && no_room_) next = std::min(next, now_us_ + link_timing::kSharedLineWait);
  return next;
}

}  // namespace branchline
