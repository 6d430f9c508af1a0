#include "tools/wan/link.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "common/base/check.h"

namespace branchline::wan {

namespace {

// Dynamic thresholds (Choudhury and Hahne, 1998): a flow may hold this many times what is free. One
// flow alone settles at 8/9 of the queue, n flows at 8/(8n+1) each.
constexpr size_t kShare = 8;

constexpr uint64_t kMillion = 1'000'000;

}  // namespace

LineDirection::LineDirection(const LineSettings& settings, uint64_t seed)
    : settings_(settings), chance_(seed) {
  BL_CHECK(settings.queue_bytes >= kPacketBytes && settings.delay >= Nanos(0));
}

void LineDirection::open(FlowId flow) { BL_CHECK(flows_.try_emplace(flow).second); }

void LineDirection::drop(FlowId flow) {
  auto it = flows_.find(flow);
  BL_CHECK(it != flows_.end());
  waiting_bytes_ -= it->second.waiting;
  flows_.erase(it);
}

size_t LineDirection::room(FlowId flow) const {
  const size_t own = flows_.at(flow).waiting;
  if (stalled() || waiting_bytes_ >= settings_.queue_bytes) return 0;
  const size_t free = settings_.queue_bytes - waiting_bytes_;
  // Whole packets, or in a crowd the greedy get whole ones and the patient get crumbs.
  if (free < kPacketBytes) return 0;
  if (own == 0) return std::max(kShare * free / (kShare + 1), kPacketBytes);
  if (kShare * free <= own) return 0;
  // x such that own + x = kShare * (free - x).
  const size_t x = (kShare * free - own) / (kShare + 1);
  // A flow with work queued waits until a quarter of its share is free, so that it is read in few,
  // larger pieces; the rest keeps the serializer busy meanwhile.
  return x < kPacketBytes || 3 * x < own ? 0 : x;
}

void LineDirection::enqueue(FlowId flow, size_t bytes, Nanos now) {
  BL_CHECK(bytes > 0 && bytes <= room(flow));
  const Nanos t = line_time(now);
  advance(t);
  Flow& f = flows_.at(flow);
  f.waiting += bytes;
  waiting_bytes_ += bytes;
  take_turn(flow, f, t);
}

void LineDirection::end(FlowId flow, Ending ending, Nanos now) {
  const Nanos t = line_time(now);
  advance(t);
  Flow& f = flows_.at(flow);
  f.ending = ending;
  take_turn(flow, f, t);
}

Fate LineDirection::offer(FlowId packet, size_t bytes, Nanos now) {
  BL_CHECK(bytes > 0);
  // One throw for each offer, whatever comes of it: the n-th packet's luck is the seed's alone.
  const bool lost = chance_.below(kMillion) < settings_.loss_ppm;
  const Nanos t = line_time(now);
  advance(t);
  if (waiting_bytes_ + bytes > settings_.queue_bytes) return Fate::dropped;
  const auto [at, fresh] =
      flows_.try_emplace(packet, Flow{.waiting = bytes, .packet = true, .lost = lost});
  BL_CHECK(fresh);
  waiting_bytes_ += bytes;
  take_turn(packet, at->second, t);
  return lost ? Fate::lost : Fate::carried;
}

void LineDirection::clear(Nanos now) {
  advance(line_time(now));
  flows_.clear();
  turns_.clear();
  flight_.clear();
  serving_.reset();
  waiting_bytes_ = in_flight_bytes_ = 0;
}

void LineDirection::take_turn(FlowId id, Flow& flow, Nanos t) {
  if (!flow.in_turn) {
    flow.in_turn = true;
    turns_.push_back(id);
  }
  idle_until(t);
  advance(t);
}

void LineDirection::idle_until(Nanos t) {
  if (!serving_) free_at_ = std::max(free_at_, t);
}

std::optional<Arrival> LineDirection::ready(Nanos now) {
  if (stalled()) return std::nullopt;
  const Nanos t = line_time(now);
  advance(t);
  while (!flight_.empty() && flight_.front().departs + settings_.delay <= t) {
    const Packet packet = flight_.front();
    flight_.pop_front();
    const bool was_full = in_flight_bytes_ >= kMaxFlightBytes;
    in_flight_bytes_ -= packet.bytes;
    if (was_full) {
      // The serializer could not go on before this arrival made space, so it starts now, not in the
      // past.
      idle_until(t);
      advance(t);
    }
    const auto it = flows_.find(packet.flow);
    if (it == flows_.end()) continue;
    if (it->second.packet) flows_.erase(it);
    return Arrival{packet.flow, packet.bytes, packet.ending};
  }
  return std::nullopt;
}

std::optional<Nanos> LineDirection::next_due() const {
  if (stalled()) return std::nullopt;
  std::optional<Nanos> due;
  if (!flight_.empty()) {
    due = flight_.front().departs + settings_.delay;
  } else if (serving_) {
    due = serving_->departs + settings_.delay;
  }
  // Departures make room. They are worth a wake-up of their own only if no arrival comes before
  // half of what waits is gone: the queue must not run dry meanwhile.
  if (serving_ && waiting_bytes_ > 0) {
    due = std::min(*due, serving_->departs + serializing(waiting_bytes_ / 2));
  }
  if (due) *due += stalled_for_;
  return due;
}

void LineDirection::change(const LineSettings& settings, Nanos now) {
  BL_CHECK(settings.queue_bytes >= kPacketBytes && settings.delay >= Nanos(0));
  const Nanos t = line_time(now);
  advance(t);
  const uint64_t old_rate = settings_.rate_bits;
  settings_ = settings;
  if (serving_ && settings_.rate_bits != old_rate) {
    const double left = static_cast<double>((serving_->departs - t).count());
    const double ratio = settings_.rate_bits == 0 ? 0
                                                  : static_cast<double>(old_rate) /
                                                        static_cast<double>(settings_.rate_bits);
    serving_->departs = t + Nanos(std::llround(left * ratio));
  }
  advance(t);
}

void LineDirection::stall(Nanos now) {
  if (stalled()) return;
  advance(line_time(now));
  stalled_at_ = now;
}

void LineDirection::resume(Nanos now) {
  if (!stalled()) return;
  stalled_for_ += now - *stalled_at_;
  stalled_at_.reset();
}

Nanos LineDirection::line_time(Nanos now) const { return stalled_at_.value_or(now) - stalled_for_; }

// Rounded up: never faster than the rate.
Nanos LineDirection::serializing(size_t bytes) const {
  if (settings_.rate_bits == 0) return Nanos(0);
  const uint64_t bit_nanos = uint64_t{bytes} * 8 * 1'000'000'000;  // 64 MiB: 5.4e17
  return Nanos((bit_nanos + settings_.rate_bits - 1) / settings_.rate_bits);
}

void LineDirection::advance(Nanos t) {
  while (serving_ || serve_next()) {
    if (serving_->departs > t) return;
    free_at_ = serving_->departs;
    in_flight_bytes_ += serving_->bytes;
    flight_.push_back(*serving_);
    serving_.reset();
  }
}

bool LineDirection::serve_next() {
  if (in_flight_bytes_ >= kMaxFlightBytes) return false;
  while (!turns_.empty()) {
    const FlowId id = turns_.front();
    turns_.pop_front();
    auto it = flows_.find(id);
    if (it == flows_.end()) continue;
    Flow& flow = it->second;
    Packet packet{id, flow.packet ? flow.waiting : std::min(flow.waiting, kPacketBytes)};
    flow.waiting -= packet.bytes;
    waiting_bytes_ -= packet.bytes;
    flow.in_turn = flow.waiting > 0;
    if (flow.in_turn) {
      turns_.push_back(id);
    } else {
      packet.ending = std::exchange(flow.ending, Ending::none);
    }
    packet.departs = free_at_ + serializing(packet.bytes);
    serving_ = packet;
    if (flow.lost) flows_.erase(it);
    return true;
  }
  return false;
}

}  // namespace branchline::wan
