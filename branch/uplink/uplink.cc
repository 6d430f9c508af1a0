#include "branch/uplink/uplink.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <boost/asio/async_result.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <chrono>
#include <utility>

#include "common/base/random.h"
#include "replication/courier/peer_row.h"
#include "replication/relay/channel.h"
#include "replication/session/backoff.h"
#include "replication/transport/tls_transport.h"

namespace branchline {
namespace {

namespace asio = boost::asio;
using std::chrono::milliseconds;
constexpr auto kTuple = asio::as_tuple(asio::use_awaitable);
// While something waits for its moment, and where only heartbeats are due.
constexpr milliseconds kTick{10};
constexpr milliseconds kRestingTick{100};

}  // namespace

Uplink::Uplink(Runtime& runtime, Config config, std::shared_ptr<const LinkContext> tls,
               const Store& store, Committer& committer, Clock& clock, const Events& events)
    : runtime_(runtime),
      config_(std::move(config)),
      tls_(std::move(tls)),
      store_(store),
      committer_(committer),
      clock_(clock),
      budget_(config_.line),
      intake_(committer, clock, intake_events(events)),
      verification_({runtime, store, committer, clock, intake_, config_.schema},
                    verify_events(events)),
      tick_timer_(runtime.io()),
      backoff_(runtime.io()) {
  auto day = store_.get(Table::meta, keys::meta_line_use(config_.upstream));
  if (day && *day) budget_.restore_day(**day);
  auto peer = store_.get(Table::meta, keys::meta_peer(config_.upstream));
  if (peer && *peer) {
    if (auto row = decode_peer_row(**peer)) certificate_ = row->certificate;
  }
}

Intake::Events Uplink::intake_events(const Events& events) {
  Intake::Events out;
  out.unusable = [this](const Error& why) { give_up(why); };
  out.applied = [this](Csn csn) {
    if (session_) perform(session_->on_applied(csn, clock_.steady_us()));
  };
  out.chunk_installed = [this](uint64_t chunks) {
    if (session_) perform(session_->on_chunk_installed(chunks));
  };
  out.joined = [this](Csn csn) {
    if (!session_) return;
    *outbox_ = ReplicaOutbox(store_, committer_.side());
    perform(session_->on_joined(csn));
  };
  out.changed = events.changed;
  out.installed = events.installed;
  out.moved = events.moved;
  return out;
}

VerifyLoop::Events Uplink::verify_events(const Events& events) {
  VerifyLoop::Events out;
  out.may_ask = [this] { return session_ && session_->may_verify(); };
  out.ask = [this](VerifyRequest question) { perform(session_->verify(question)); };
  out.unusable = [this](const Error& why) { give_up(why); };
  out.changed = events.changed;
  out.moved = events.moved;
  return out;
}

void Uplink::stop() {
  stopping_ = true;
  stop_.request_stop();
  backoff_.cancel();
  tick_timer_.cancel();
  verification_.stop();
  if (link_) link_->close();
}

asio::awaitable<void> Uplink::run() {
  runtime_.tasks().spawn("verification",
                         [this]() -> asio::awaitable<void> { co_await verification_.run(); });
  SystemRandom random;
  Backoff backoff;
  status_.down_since_ms = clock_.wall_ms();
  while (!stopping_) {
    int64_t begin = clock_.steady_us();
    Error why = co_await connect_once();
    if (stopping_) co_return;
    if (why.code == kLineReplaced) co_await leave_line();
    if (stopping_) co_return;
    if (status_.down_since_ms == 0) status_.down_since_ms = clock_.wall_ms();
    bool refused = why.kind == ErrorKind::conflict || why.kind == ErrorKind::denied;
    if (why.message != status_.problem) {
      if (refused) {
        spdlog::error("link to {} refused: {}", config_.upstream, why.message);
      } else {
        spdlog::warn("link to {} is down: {}", config_.upstream, why.message);
      }
    }
    status_.state = refused ? "refused" : "connecting";
    status_.problem = why.message;
    status_.problem_code = why.code;
    backoff_.expires_after(
        milliseconds(backoff.pause_ms(clock_.steady_us() - begin, refused, random)));
    co_await backoff_.async_wait(kTuple);
  }
}

asio::awaitable<void> Uplink::leave_line() {
  using Done = Result<uint64_t>;
  intake_.forget_ranges();
  Done done =
      co_await committer_.run<Done>([](Replica& replica, const Committer::Write& write) -> Done {
        uint64_t before = replica.state().ledger.pending;
        BL_TRY(replica.leave_line(write));
        return replica.state().ledger.pending - before;
      });
  if (!done) {
    spdlog::critical("what is kept for a restored master cannot be read: {}", done.error().message);
    co_return;
  }
  if (*done > 0) {
    spdlog::warn("the master was restored: {} changes that had been decided are offered again",
                 *done);
  }
}

asio::awaitable<Error> Uplink::connect_once() {
  if (status_.state != "refused") status_.state = "connecting";
  auto link = co_await tls_dial(runtime_.io(), config_.address.host, config_.address.port, tls_,
                                config_.upstream, {}, stop_.get_token());
  if (!link) co_return link.error();
  if (stopping_) co_return Error{ErrorKind::shutdown, "link.closed", "stopping"};
  keep_certificate((*link)->peer_certificate());
  // Before the cursor is asked for: what an earlier connection brought and is not applied will come
  // again.
  intake_.forget_ranges();
  // What is committed after this moment is announced by on_outbox().
  using Intro = Result<Introduction>;
  auto introduction = co_await committer_.run<Intro>([this](Replica& replica,
                                                            const Committer::Write&) -> Intro {
    BL_ASSIGN(Introduction intro, replica.introduction(config_.server, config_.topology_digest));
    intro.reseed = intro.reseed || intake_.fetches_anew();
    intake_.greet_anew();
    return intro;
  });
  if (!introduction) co_return introduction.error();
  uint64_t connection = ++connection_;
  intake_.new_connection();
  close_reason_.reset();
  link_ = std::move(*link);
  outbox_ = std::make_unique<ReplicaOutbox>(store_, committer_.side());
  session_ = std::make_unique<BranchSession>(*outbox_, clock_.steady_us(), &budget_);
  session_->set_hurried(committer_.status().hurried);
  session_->set_offered_again(committer_.status().offered_again);
  ++status_.connects;
  perform(session_->start(*introduction, clock_.wall_ms()));
  runtime_.tasks().spawn("uplink ticks", [this, connection]() -> asio::awaitable<void> {
    co_await send_ticks(connection);
  });

  Error why{ErrorKind::unavailable, "link.ended", "the connection ended"};
  while (!close_reason_) {
    auto frames = co_await link_->read();
    if (!frames) {
      why = frames.error();
      // No frames, on a line that holds: the master learns why.
      if (!close_reason_ && why.kind == ErrorKind::invalid) give_up(why);
      break;
    }
    for (const auto& frame : *frames) {
      if (close_reason_) break;
      on_frame(frame);
    }
  }
  if (close_reason_) why = *close_reason_;
  ++connection_;  // what is still under way for it is ignored
  intake_.new_connection();
  if (sharer_) sharer_->uplink_down(why);
  status_.bytes_in += link_->counters().bytes_in;
  status_.bytes_out += link_->counters().bytes_out;
  link_->close();
  auto closing = std::move(link_);
  for (size_t l = 0; l < kLaneCount; ++l) {
    const auto& lane = session_->lane(static_cast<Lane>(l));
    shipped_[l].mutations += lane.mutations;
    shipped_[l].bytes += lane.bytes;
  }
  session_.reset();
  verification_.link_lost();
  lookups_.fail_all({ErrorKind::unavailable, "upstream.lost",
                     "the WAN to head office broke before it answered: try again; what this office "
                     "holds itself is served meanwhile"});
  co_await closing->closed();
  co_return why;
}

void Uplink::on_frame(const Frame& frame) {
  if (!sharer_ || !is_channel_frame(frame.type)) {
    perform(session_->on_frame(frame, clock_.steady_us(), clock_.wall_ms()));
    return;
  }
  auto own = sharer_->uplink_frame(frame);
  if (!own) return give_up(own.error());
  for (const auto& f : *own) {
    if (close_reason_) return;
    perform(session_->on_frame(f, clock_.steady_us(), clock_.wall_ms()));
  }
}

void Uplink::send_shared(std::string frame) {
  if (!link_ || close_reason_) return;
  if (auto ok = link_->send(std::move(frame)); !ok) {
    close_reason_ = ok.error();
    link_->close();
  }
}

asio::awaitable<void> Uplink::send_ticks(uint64_t connection) {
  int64_t refreshed = 0;
  while (connection == connection_ && session_) {
    resting_ = !sharer_ && lookups_.waiting() == 0 && !session_->held_back();
    tick_timer_.expires_after(resting_ ? kRestingTick : kTick);
    co_await tick_timer_.async_wait(kTuple);
    if (connection != connection_ || !session_ || stopping_) co_return;
    int64_t now = clock_.steady_us();
    if (now - refreshed >
        1'000'000) {  // once a second what was applied becomes durable, and is told
      refreshed = now;
      measure_lanes();
      // Not awaited: it may queue behind much work, and a heartbeat that comes late is taken for a
      // dead line.
      if (!refreshing_)
        runtime_.tasks().spawn("uplink refresh",
                               [this]() -> asio::awaitable<void> { co_await refresh_oldest(); });
    }
    lookups_.expire(now);
    ReplicaStatus replica = committer_.status();
    BranchSession::Facts facts;
    facts.applied = replica.cursor.csn;
    facts.durable = durable_;
    facts.passed = passed_;
    facts.pending_bytes = replica.outbox_bytes;
    facts.pending = replica.ledger.pending;
    facts.oldest_pending_ms =
        oldest_pending_ms_ == 0 ? 0 : std::max<int64_t>(clock_.wall_ms() - oldest_pending_ms_, 0);
    perform(session_->tick(now, clock_.wall_ms(), facts));
    if (sharer_) sharer_->uplink_tick();
  }
}

asio::awaitable<void> Uplink::refresh_oldest() {
  struct Facts {
    int64_t oldest = 0;
    Csn durable, passed;
  };
  refreshing_ = true;
  Facts facts = co_await committer_.run<Facts>(
      [known = durable_, key = keys::meta_line_use(config_.upstream), day = budget_.encode_day(),
       limited = budget_.policy().bytes_per_day != 0](Replica& replica,
                                                      const Committer::Write& write) {
        if (limited) {
          Batch use;
          use.put(Table::meta, key, day);
          (void)write(use, Sync::no);
        }
        Facts f;
        f.oldest = replica.oldest_pending_ms().value_or(0);
        f.durable = replica.state().cursor.csn;
        f.passed = replica.passed().value_or(Csn(0));
        if (f.durable != known) {
          Batch sync;  // the state row again, synced: everything before it is durable with it
          sync.put(Table::meta, keys::meta_state(), encode_replica_state(replica.state()));
          (void)write(sync, Sync::yes);
        }
        return f;
      });
  oldest_pending_ms_ = facts.oldest;
  durable_ = facts.durable;
  passed_ = facts.passed;
  refreshing_ = false;
}

void Uplink::on_outbox() {
  if (!session_) return;
  session_->set_hurried(committer_.status().hurried);
  session_->set_offered_again(committer_.status().offered_again);
  perform(session_->on_outbox());
}

void Uplink::measure_lanes() {
  uint64_t bytes = 0;
  for (size_t l = 0; l < kLaneCount; ++l) {
    bytes += shipped_[l].bytes + session_->lane(static_cast<Lane>(l)).bytes;
  }
  uint64_t second = bytes - std::min(bytes, std::exchange(measured_bytes_, bytes));
  // What a busy second carried counts, quiet ones say nothing about the line.
  bytes_per_s_ = std::max(second, bytes_per_s_ - bytes_per_s_ / 16);
}

std::optional<int64_t> Uplink::drain_of(Lane lane, uint64_t pending) const {
  if (pending == 0) return 0;
  Shipped so_far = shipped_[size_t(lane)];
  if (session_) {
    so_far.mutations += session_->lane(lane).mutations;
    so_far.bytes += session_->lane(lane).bytes;
  }
  constexpr uint64_t kUnmeasured = 100;  // bytes of a mutation, until some were shipped
  uint64_t each = so_far.mutations == 0 ? kUnmeasured : so_far.bytes / so_far.mutations + 1;
  return budget_.drain_s(lane, pending * each, bytes_per_s_, clock_.wall_ms());
}

void Uplink::perform(BranchEffects effects) {
  uint64_t connection = connection_;
  if (effects.welcome) {
    committer_.post(
        [this, connection, r = *effects.welcome](
            Replica& replica, const Committer::Write& write) -> std::move_only_function<void()> {
          auto rows = replica.welcome(r);
          if (rows) {
            (void)write(*rows, Sync::no);
            return {};
          }
          return [this, connection, e = rows.error()] {
            if (connection == connection_) give_up(e);
          };
        });
    spdlog::info("connected to {} (head csn {}{})", config_.upstream,
                 effects.welcome->head.csn.value,
                 effects.welcome->join      ? ", joining"
                 : effects.welcome->partial ? ", the subscription has changed"
                                            : "");
    status_.problem.clear();
    status_.problem_code.clear();
    if (sharer_) sharer_->uplink_up(effects.welcome->channels);
  }
  intake_.take_snapshot_parts(effects);
  for (auto& range : effects.ranges) intake_.take_range(std::move(range));
  if (effects.verify_point) verification_.take_point(*effects.verify_point);
  if (effects.verify_sums) verification_.take_sums(std::move(*effects.verify_sums));
  for (auto& frame : effects.frames) {
    if (!link_) break;
    if (auto ok = link_->send(std::move(frame)); !ok) {
      if (!close_reason_) close_reason_ = ok.error();
      link_->close();
      break;
    }
  }
  for (auto& answer : effects.answers) lookups_.answered(std::move(answer));
  if (!effects.answers.empty()) ask_waiting();
  if (session_) {
    if (resting_ && session_->held_back()) tick_timer_.cancel();
    status_.state = std::string(to_string(session_->state()));
    if (session_->state() == LinkState::joining || session_->state() == LinkState::following)
      status_.down_since_ms = 0;
    status_.round_trip_us = session_->round_trip_us();
    status_.clock_offset_ms = session_->clock_offset_ms();
    status_.master_head = session_->master_head();
    status_.caught_up = session_->caught_up();
  }
  if (effects.close) {
    close_reason_ = *effects.close;
    if (link_) link_->close();
  }
}

void Uplink::ask_waiting() {
  if (!session_) return;
  for (auto& effects : lookups_.ask(*session_)) perform(std::move(effects));
}

asio::awaitable<Result<LookupAnswer>> Uplink::look_up(LookupRequest question, int64_t patience_ms) {
  auto room = session_ ? session_->lookup_room() : BranchSession::LookupRoom::closed;
  if (room == BranchSession::LookupRoom::closed) {
    std::string why = status_.problem.empty() ? "" : " (" + status_.problem + ")";
    co_return fail(ErrorKind::unavailable, "upstream.down",
                   "this office does not hold what was asked for, and the WAN to head office is "
                   "down" +
                       why + ": try again when the link is up, or ask at an office that holds it");
  }
  if (room == BranchSession::LookupRoom::unknown) {
    co_return fail(ErrorKind::unavailable, "upstream.older",
                   "this office does not hold what was asked for, and its upstream is of a version "
                   "that answers no look-ups: upgrade the upstream, or ask at an office that holds "
                   "it");
  }
  int64_t deadline = clock_.steady_us() + patience_ms * 1000;
  auto start = [this, deadline, q = std::move(question)](auto handler) mutable {
    auto shared = std::make_shared<decltype(handler)>(std::move(handler));
    auto done = [this, shared](Result<LookupAnswer> answer) {
      asio::post(runtime_.io(), [shared, answer = std::move(answer)]() mutable {
        (std::move(*shared))(std::move(answer));
      });
    };
    if (!lookups_.add(std::move(q), deadline, done)) {
      done(fail(ErrorKind::unavailable, "upstream.busy",
                "too many questions to head office wait at this office already: try again in a "
                "moment"));
      return;
    }
    ask_waiting();
  };
  co_return co_await asio::async_initiate<const asio::use_awaitable_t<>,
                                          void(Result<LookupAnswer>)>(std::move(start),
                                                                      asio::use_awaitable);
}

// What the master sent is of no use here: it is told why, for its log and its operators.
void Uplink::give_up(const Error& why) {
  if (session_) perform(session_->on_broken(why));
}

void Uplink::on_export() {
  if (!session_ || !BranchSession::outdated_by_export(session_->state())) return;
  give_up({ErrorKind::unavailable, "session.exported",
           "a file takes work along that the greeting did not name; greeting anew"});
}

void Uplink::keep_certificate(std::string certificate) {
  if (certificate == certificate_) return;
  certificate_ = std::move(certificate);
  committer_.post(
      [key = keys::meta_peer(config_.upstream), row = encode_peer_row({Csn(0), certificate_})](
          Replica&, const Committer::Write& write) -> std::move_only_function<void()> {
        Batch rows;
        rows.put(Table::meta, key, row);
        (void)write(rows, Sync::no);
        return {};
      });
}

UplinkStatus Uplink::status() const {
  UplinkStatus s = status_;
  if (link_) {
    s.bytes_in += link_->counters().bytes_in;
    s.bytes_out += link_->counters().bytes_out;
  }
  if (session_) s.unacknowledged_bytes = session_->in_flight_bytes();
  auto pending = committer_.status().pending;
  for (size_t l = 0; l < kLaneCount; ++l) {
    s.lanes[l].pending = pending[l];
    if (session_) s.lanes[l].hold = session_->lane(static_cast<Lane>(l)).hold;
    s.lanes[l].drain_s = drain_of(static_cast<Lane>(l), pending[l]);
  }
  return s;
}

}  // namespace branchline
