#include "replication/session/branch_session.h"

#include <algorithm>
#include <utility>

#include "common/base/check.h"
#include "common/base/limits.h"
#include "replication/line/mutation_block.h"
#include "replication/session/link_timing.h"

namespace branchline {

std::string_view to_string(LinkState state) {
  switch (state) {
    case LinkState::idle:
      return "idle";
    case LinkState::greeting:
      return "greeting";
    case LinkState::joining:
      return "joining";
    case LinkState::following:
      return "following";
    case LinkState::closed:
      return "closed";
  }
  return "unknown";
}

namespace {

Error unexpected(FrameType type, LinkState state) {
  return {ErrorKind::invalid, "session.unexpected",
          "a " + std::string(to_string(type)) + " frame while " + std::string(to_string(state))};
}

}  // namespace

BranchSession::BranchSession(const OutboxSource& outbox, int64_t now_us, LinkBudget* budget)
    : outbox_(outbox),
      budget_(budget ? *budget : no_limits_),
      now_us_(now_us),
      started_at_(now_us),
      heard_at_(now_us) {}

void BranchSession::send(FrameType type, std::string_view payload, BranchEffects& out) {
  out.frames.push_back(encode_frame(type, payload));
  budget_.sent(out.frames.back().size(), now_us_, wall_ms_);
}

BranchEffects BranchSession::start(const Introduction& intro, int64_t wall_ms) {
  BranchEffects out;
  intro_ = intro;
  origin_ = intro.origin;
  received_ = applied_ = intro.cursor.csn;
  state_ = LinkState::greeting;
  wall_ms_ = wall_ms;
  out.frames.push_back(encode_frame(FrameType::hello, encode_hello(intro, wall_ms)));
  return out;
}

void BranchSession::close(BranchEffects& out, const Error& error) {
  if (state_ == LinkState::closed) return;
  state_ = LinkState::closed;
  out.close = error;
}

BranchEffects BranchSession::on_frame(const Frame& frame, int64_t now_us, int64_t wall_ms) {
  BranchEffects out;
  if (state_ == LinkState::closed) return out;
  heard_at_ = now_us_ = now_us;
  wall_ms_ = wall_ms;
  if (auto ok = handle(frame, now_us, wall_ms, out); !ok) {
    if (frame.type != FrameType::refused) {
      out.frames.push_back(encode_frame(FrameType::refused, encode_refused(ok.error())));
    }
    close(out, ok.error());
  }
  return out;
}

Result<void> BranchSession::handle(const Frame& frame, int64_t now_us, int64_t wall_ms,
                                   BranchEffects& out) {
  bool open = state_ == LinkState::joining || state_ == LinkState::following;
  switch (frame.type) {
    case FrameType::refused:
      return std::unexpected(decode_refused(frame.payload));
    case FrameType::welcome:
      if (state_ != LinkState::greeting) break;
      return on_welcome(frame, wall_ms, out);
    case FrameType::heartbeat: {
      if (!open) break;
      BL_ASSIGN(Heartbeat h, decode_heartbeat(frame.payload));
      peer_sent_us_ = h.sent_us;
      peer_heard_at_ = now_us;
      if (h.echo_us > 0) {
        round_trip_us_ = now_us - h.echo_us;
        clock_offset_ms_ = h.wall_ms + round_trip_us_ / 2000 - wall_ms;
      }
      master_head_ = std::max(master_head_, h.csn);
      return {};
    }
    case FrameType::ack: {
      if (!open) break;
      BL_ASSIGN(StreamAck a, decode_ack(frame.payload));
      a.stream.origin = origin_;
      acknowledged(a.stream, a.seq);
      return ship(out);
    }
    case FrameType::lookup_answer: {
      if (!open) break;
      BL_ASSIGN(LookupAnswer answer, decode_lookup_answer(frame.payload));
      if (lookups_.erase(answer.number) == 0) {
        return fail(
            ErrorKind::invalid, "lookup.not_asked",
            "an answer to look-up " + std::to_string(answer.number) + ", which is not under way");
      }
      out.answers.push_back(std::move(answer));
      return {};
    }
    case FrameType::verify_point: {
      if (state_ != LinkState::following || !point_due_) break;
      BL_ASSIGN(VerifyPoint point, decode_verify_point(frame.payload));
      if (point.number != last_verify_ || point.at.csn != received_) {
        return fail(ErrorKind::invalid, "session.verify",
                    "a point of verification at csn " + std::to_string(point.at.csn.value) +
                        " where the feed has come to " + std::to_string(received_.value));
      }
      point_due_ = false;
      out.verify_point = std::move(point);
      return {};
    }
    case FrameType::verify_sums: {
      if (!open || sums_due_ == 0) break;
      BL_ASSIGN(VerifySums sums, decode_verify_sums(frame.payload));
      bool fits = sums.error ? sums.sums.empty() : sums.sums.size() == sums_due_;
      if (sums.number != last_verify_ || !fits)
        return fail(ErrorKind::invalid, "session.verify", "sums that were not asked for");
      sums_due_ = 0;
      out.verify_sums = std::move(sums);
      return {};
    }
    case FrameType::feed:
      if (state_ != LinkState::following) break;
      return on_feed(frame, out);
    case FrameType::snapshot_head: {
      if (head_seen_) break;
      if (state_ != LinkState::joining && !switching_) break;
      BL_ASSIGN(out.begin_join, decode_snapshot_head(frame.payload));
      if (out.begin_join->partial != switching_) {
        return fail(ErrorKind::invalid, "session.snapshot",
                    "another kind of snapshot than the welcome announced");
      }
      if (switching_ && out.begin_join->at.csn != received_) {
        return fail(ErrorKind::invalid, "session.snapshot",
                    "a snapshot of what is missing here at csn " +
                        std::to_string(out.begin_join->at.csn.value) + " where " +
                        std::to_string(received_.value) + " was due");
      }
      bool resumed = intro_.join.snapshot != 0 && intro_.join.snapshot == out.begin_join->id;
      if (out.begin_join->first_chunk != (resumed ? intro_.join.chunks : 0)) {
        return fail(ErrorKind::invalid, "session.snapshot",
                    "a snapshot that goes on at another chunk than this branch has come to");
      }
      head_seen_ = true;
      state_ = LinkState::joining;
      chunks_ = out.begin_join->first_chunk;
      received_ = out.begin_join->at.csn;
      return {};
    }
    case FrameType::snapshot_chunk:
      if (state_ != LinkState::joining || !head_seen_) break;
      ++chunks_;
      out.chunks.push_back(frame.payload);
      return {};
    case FrameType::snapshot_end: {
      if (state_ != LinkState::joining || !head_seen_) break;
      BL_ASSIGN(out.end_join, decode_snapshot_end(frame.payload));
      state_ = LinkState::following;
      // What is pending is shipped once it is replayed on what came: on_joined().
      return {};
    }
    default:
      break;
  }
  return std::unexpected(unexpected(frame.type, state_));
}

Result<void> BranchSession::on_welcome(const Frame& frame, int64_t wall_ms, BranchEffects& out) {
  BL_ASSIGN(Welcome w, decode_welcome(frame.payload));
  const Registration& r = w.registration;
  if (origin_.value != 0 && r.origin != origin_) {
    return fail(ErrorKind::conflict, "session.other_master",
                "the master numbers this server " + std::to_string(r.origin.value) + ", it was " +
                    std::to_string(origin_.value) +
                    " before; is this the right master and data directory?");
  }
  origin_ = r.origin;
  clock_offset_ms_ = w.wall_ms - wall_ms;
  master_head_ = r.head.csn;
  lookup_limit_ = r.lookups;
  master_verifies_ = r.verifies;
  for (const auto& h : r.high_waters) {
    high_waters_[h.stream] = h.seq;
    BL_ASSIGN(auto mine, outbox_.chain_at(h.stream, h.seq));
    if (mine && *mine != h.chain) {
      return fail(ErrorKind::conflict, "session.quarantined",
                  "the master's copy of this server's mutations up to seq " +
                      std::to_string(h.seq.value) +
                      " differs from what is kept here (SEMANTICS 3); an operator must look at it");
    }
  }
  assembler_.emplace(r.head.line);
  state_ = r.join ? LinkState::joining : LinkState::following;
  switching_ = r.partial;
  // What was accepted until the snapshot was installed may rest on what the line has lost, as on a
  // share of the line before: only now can all of it be named.
  greets_again_ = r.join && !r.past_lines.empty();
  out.welcome = r;
  // Nothing is shipped while joining: fates that come with the snapshot may retire it.
  return r.join ? Result<void>{} : ship(out);
}

Result<void> BranchSession::on_feed(const Frame& frame, BranchEffects& out) {
  range_bytes_ += frame.payload.size();
  BL_ASSIGN(auto range, assembler_->add(frame.payload));
  if (!range) return {};
  if (range->from != received_) {
    return fail(ErrorKind::invalid, "feed.gap",
                "a range from csn " + std::to_string(range->from.value) + " where " +
                    std::to_string(received_.value) + " was due");
  }
  received_ = range->to.csn;
  unapplied_.push_back({received_, std::exchange(range_bytes_, 0)});
  master_head_ = std::max(master_head_, received_);
  for (const auto& f : range->fates) {
    if (f.id.origin != origin_)
      return fail(ErrorKind::invalid, "feed.foreign_fate", "another server's fate");
    acknowledged(stream_of(f.id), Seq(f.id.seq.value + f.count - 1));
  }
  out.ranges.push_back(std::move(*range));
  return ship(out);
}

void BranchSession::acknowledged(const Stream& stream, Seq seq) {
  LaneShipping& lane = lanes_[size_t(stream.lane)];
  while (!lane.in_flight.empty() && lane.in_flight.front().stream == stream &&
         lane.in_flight.front().last <= seq) {
    lane.in_flight_bytes -= lane.in_flight.front().bytes;
    lane.in_flight.pop_front();
  }
}

Result<void> BranchSession::ship(BranchEffects& out) {
  held_back_ = false;
  // Nothing is shipped between the welcome that announces a snapshot and its being in place.
  while (state_ == LinkState::following && !switching_ && !head_seen_) {
    if (may_ship(Lane::interactive)) {
      BL_ASSIGN(bool interactive, ship_lane(Lane::interactive, out));
      if (interactive) continue;
    } else if (!bulk_is_offered_again()) {
      return {};
    }
    if (!may_ship(Lane::bulk)) return {};
    BL_ASSIGN(bool bulk, ship_lane(Lane::bulk, out));
    if (!bulk) return {};
  }
  return {};
}

bool BranchSession::bulk_is_offered_again() const {
  const PendingRef& at = lanes_[size_t(Lane::bulk)].shipped;
  return std::pair(at.generation, at.order) <
         std::pair(offered_again_.generation, offered_again_.order);
}

bool BranchSession::may_ship(Lane lane) {
  LaneShipping& shipping = lanes_[size_t(lane)];
  bool hurried = lane == Lane::bulk && shipping.shipped < hurried_;
  shipping.status.hold = budget_.hold(lane, now_us_, wall_ms_, hurried);
  held_back_ = held_back_ || shipping.status.hold != SendHold::no;
  return shipping.status.hold == SendHold::no &&
         shipping.in_flight_bytes < limits::kUplinkWindowBytes;
}

Result<bool> BranchSession::ship_lane(Lane lane, BranchEffects& out) {
  LaneShipping& shipping = lanes_[size_t(lane)];
  if (shipping.shipped.is_none()) shipping.shipped.lane = lane;
  size_t target = lane == Lane::bulk ? budget_.bulk_piece(limits::kTargetBlockBytes)
                                     : limits::kTargetBlockBytes;
  BL_ASSIGN(auto slice, outbox_.read(shipping.shipped, limits::kMaxBlockMutations, target));
  if (slice.mutations.empty()) return false;
  if (lane == Lane::bulk) {
    // What edits wait for may have gone over an earlier connection, which this one cannot know
    // before it has read what is left.
    PendingRef first{slice.last.generation, slice.mutations.front().order, Lane::bulk};
    if (first > hurried_) {
      shipping.status.hold = budget_.hold(Lane::bulk, now_us_, wall_ms_);
      held_back_ = held_back_ || shipping.status.hold != SendHold::no;
      if (shipping.status.hold != SendHold::no) return false;
    }
    // Bulk work that touches what an interactive mutation before it changed must not overtake it
    // (SEMANTICS 32). Whatever was accepted before anything in this slice is in the store by now:
    // look again, after reading it.
    while (!bulk_is_offered_again() || may_ship(Lane::interactive)) {
      BL_ASSIGN(bool interactive, ship_lane(Lane::interactive, out));
      if (!interactive) break;
    }
  }
  BL_TRY(ship_slice(shipping, slice, out));
  return true;
}

Result<void> BranchSession::ship_slice(LaneShipping& lane, const OutboxSlice& slice,
                                       BranchEffects& out) {
  Stream stream = stream_of(slice.mutations.front().id);
  Seq known = high_waters_[stream];
  MutationBlockWriter writer;
  for (size_t i = 0; i < slice.mutations.size(); ++i) {
    if (i > 0 && slice.mutations[i].id.seq != slice.mutations[i - 1].id.seq.next()) {
      return fail(ErrorKind::corrupt, "outbox.gap",
                  "the outbox has no mutation " +
                      std::to_string(slice.mutations[i - 1].id.seq.value + 1) +
                      " of process start " + to_hex(stream.incarnation.value) +
                      ": the store is damaged. Nothing behind it is shipped; `branchline audit` "
                      "tells more");
    }
    if (slice.mutations[i].id.seq > known) writer.add(slice.mutations[i], slice.forecasts[i]);
  }
  lane.shipped = slice.last;
  if (writer.count() == 0) return {};
  lane.status.mutations += writer.count();
  send(FrameType::mutations, compressor_.compress(writer.finish(slice.chain_after)), out);
  size_t bytes = out.frames.back().size();
  lane.status.bytes += bytes;
  lane.in_flight_bytes += bytes;
  lane.in_flight.push_back({stream, slice.mutations.back().id.seq, bytes});
  return {};
}

BranchEffects BranchSession::on_outbox() {
  BranchEffects out;
  if (auto ok = ship(out); !ok) close(out, ok.error());
  return out;
}

BranchEffects BranchSession::on_applied(Csn csn, int64_t now_us) {
  BranchEffects out;
  now_us_ = now_us;
  applied_ = std::max(applied_, csn);
  while (!unapplied_.empty() && unapplied_.front().to <= applied_) {
    unreported_bytes_ += unapplied_.front().bytes;
    unapplied_.pop_front();
  }
  if (unreported_bytes_ >= limits::kFeedWindowBytes / 4 && state_ == LinkState::following)
    report_progress(out);
  return out;
}

void BranchSession::report_progress(BranchEffects& out) {
  out.frames.push_back(encode_frame(FrameType::progress, encode_progress({applied_, chunks_})));
  unreported_bytes_ = 0;
}

BranchEffects BranchSession::on_chunk_installed(uint64_t chunks) {
  BranchEffects out;
  if (state_ == LinkState::closed) return out;
  out.frames.push_back(encode_frame(FrameType::progress, encode_progress({applied_, chunks})));
  return out;
}

BranchEffects BranchSession::on_joined(Csn csn) {
  BranchEffects out;
  applied_ = std::max(applied_, csn);
  switching_ = head_seen_ = false;
  if (greets_again_) {
    close(out, {ErrorKind::unavailable, "session.greets_again",
                "the snapshot of the line under its new id is installed; greeting anew with all "
                "that is pending"});
    return out;
  }
  if (auto ok = ship(out); !ok) close(out, ok.error());
  return out;
}

BranchSession::LookupRoom BranchSession::lookup_room() const {
  if (state_ != LinkState::joining && state_ != LinkState::following) return LookupRoom::closed;
  if (lookup_limit_ == 0) return LookupRoom::unknown;
  size_t limit = std::min<size_t>(lookup_limit_, limits::kMaxLookupsUnderWay);
  return lookups_.size() < limit ? LookupRoom::room : LookupRoom::full;
}

BranchEffects BranchSession::look_up(LookupRequest& question) {
  BL_CHECK(lookup_room() == LookupRoom::room);
  BranchEffects out;
  question.number = ++last_lookup_;
  lookups_.insert(question.number);
  out.frames.push_back(encode_frame(FrameType::lookup, encode_lookup_request(question)));
  return out;
}

bool BranchSession::may_verify() const {
  bool between = state_ == LinkState::following && !switching_ && !head_seen_;
  return between && master_verifies_ && !point_due_ && sums_due_ == 0;
}

BranchEffects BranchSession::verify(VerifyRequest& question) {
  BL_CHECK(may_verify());
  BranchEffects out;
  question.number = ++last_verify_;
  point_due_ = true;
  sums_due_ = question.sums.size();
  send(FrameType::verify, encode_verify_request(question), out);
  return out;
}

BranchEffects BranchSession::on_broken(const Error& error) {
  BranchEffects out;
  if (state_ == LinkState::closed) return out;
  out.frames.push_back(encode_frame(FrameType::refused, encode_refused(error)));
  close(out, error);
  return out;
}

BranchEffects BranchSession::tick(int64_t now_us, int64_t wall_ms, const Facts& facts) {
  BranchEffects out;
  if (state_ == LinkState::closed || state_ == LinkState::idle) return out;
  now_us_ = now_us;
  wall_ms_ = wall_ms;
  if (state_ == LinkState::greeting && now_us - started_at_ > link_timing::kGreeting) {
    close(out,
          {ErrorKind::unavailable, "session.no_welcome", "the master did not answer the greeting"});
    return out;
  }
  if (state_ != LinkState::greeting && now_us - heard_at_ > link_timing::kSilence) {
    close(out, {ErrorKind::unavailable, "session.silent",
                "nothing heard from the master; the line is taken as down"});
    return out;
  }
  if (state_ == LinkState::greeting) return out;
  if (held_back_) {  // the line may be free again, or the hour has come
    if (auto ok = ship(out); !ok) {
      close(out, ok.error());
      return out;
    }
  }
  if (now_us - beat_at_ >= link_timing::kHeartbeat) {
    beat_at_ = now_us;
    Heartbeat h;
    h.sent_us = now_us;
    if (peer_sent_us_ != 0) h.echo_us = peer_sent_us_ + (now_us - peer_heard_at_);
    h.wall_ms = wall_ms;
    h.csn = facts.applied;
    h.durable_csn = facts.durable;
    h.pending = facts.pending;
    h.oldest_pending_ms = facts.oldest_pending_ms;
    h.passed_csn = facts.passed;
    h.pending_bytes = facts.pending_bytes;
    send(FrameType::heartbeat, encode_heartbeat(h), out);
    // With less than makes on_applied() tell it the feed's window is far from full: a record with
    // both costs less than two.
    if (unreported_bytes_ > 0) report_progress(out);
  }
  return out;
}

}  // namespace branchline
