#include "branch/uplink/uplink.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <boost/asio/async_result.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <chrono>
#include <utility>

#include "common/base/random.h"
#include "replication/courier/feed_reader.h"
#include "replication/courier/peer_row.h"
#include "replication/relay/channel.h"
#include "replication/session/backoff.h"
#include "replication/transport/tls_transport.h"

namespace branchline {
namespace {

namespace asio = boost::asio;
using std::chrono::milliseconds;
constexpr auto kTuple = asio::as_tuple(asio::use_awaitable);
constexpr milliseconds kTick{10};
// Verification: sums are compared every minute in which anything came, everything is counted once a
// day. Between the parts of a count that nobody waits for, the disk is left alone for ten times as
// long.
constexpr milliseconds kVerifyTick{200};
constexpr int64_t kCompareUs = 60'000'000;
constexpr int64_t kFirstVerifyUs = 15 * 60'000'000ll;
constexpr int64_t kVerifyUs = 24 * 3'600'000'000ll;
// Until what could not be mended by parts is looked at again.
constexpr int64_t kTroubledUs = 3'600'000'000ll;
constexpr size_t kRowsAtOnce = 1000;
constexpr int kRestPerWork = 10;
// Taking back what is pending is work in one piece: with more of it the count waits for the link.
constexpr uint64_t kMaxPendingToCount = 20'000;
constexpr int64_t kJoinNewsUs = 2'000'000;  // how often the log tells how far a join is

}  // namespace

Uplink::Uplink(Runtime& runtime, Config config, std::shared_ptr<const LinkContext> tls,
               const Store& store, Committer& committer, Clock& clock,
               std::function<void(const Changes&)> on_changes, std::function<void()> on_installed,
               std::function<void()> on_moved)
    : runtime_(runtime),
      config_(std::move(config)),
      tls_(std::move(tls)),
      store_(store),
      committer_(committer),
      clock_(clock),
      on_changes_(std::move(on_changes)),
      on_installed_(std::move(on_installed)),
      on_moved_(std::move(on_moved)),
      budget_(config_.line),
      verify_timer_(runtime.io()),
      backoff_(runtime.io()) {
  auto day = store_.get(Table::meta, keys::meta_line_use(config_.upstream));
  if (day && *day) budget_.restore_day(**day);
  auto peer = store_.get(Table::meta, keys::meta_peer(config_.upstream));
  if (peer && *peer) {
    if (auto row = decode_peer_row(**peer)) certificate_ = row->certificate;
  }
}

void Uplink::stop() {
  stopping_ = true;
  stop_.request_stop();
  backoff_.cancel();
  verify_timer_.cancel();
  if (link_) link_->close();
}

asio::awaitable<void> Uplink::run() {
  runtime_.tasks().spawn("verification",
                         [this]() -> asio::awaitable<void> { co_await keep_verifying(); });
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
  ranges_.clear();
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
  ranges_.clear();
  // What is committed after this moment is announced by on_outbox().
  using Intro = Result<Introduction>;
  auto introduction = co_await committer_.run<Intro>([this](Replica& replica,
                                                            const Committer::Write&) -> Intro {
    BL_ASSIGN(Introduction intro, replica.introduction(config_.server, config_.topology_digest));
    intro.reseed = intro.reseed || reseed_;
    moved_by_file_ = false;
    return intro;
  });
  if (!introduction) co_return introduction.error();
  uint64_t connection = ++connection_;
  close_reason_.reset();
  finishing_ = false;
  held_.clear();
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
  link_lost();
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
  asio::steady_timer timer(runtime_.io());
  int64_t refreshed = 0;
  while (connection == connection_ && session_) {
    timer.expires_after(kTick);
    co_await timer.async_wait(kTuple);
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
  take_snapshot_parts(effects);
  for (auto& range : effects.ranges) take_range(std::move(range));
  if (effects.verify_point) {
    finishing_ = true;
    take_point(*effects.verify_point);
  }
  if (effects.verify_sums) {
    if (verifier_away_) {
      verify_sums_ = std::move(effects.verify_sums);
    } else {
      verifier_.sums_came(std::move(*effects.verify_sums));
      verify_timer_.cancel();
    }
  }
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

void Uplink::take_range(FeedRange range) {
  if (finishing_) {
    held_.push_back(std::move(range));
  } else if (ranges_.add(std::move(range))) {
    apply_waiting();
  }
}

// What the master sent is of no use here: it is told why, for its log and its operators.
void Uplink::give_up(const Error& why) {
  if (session_) perform(session_->on_broken(why));
}

// One task at a time, so that clients' groups come in between.
void Uplink::apply_waiting() {
  committer_.post([this](Replica& replica,
                         const Committer::Write& write) -> std::move_only_function<void()> {
    bool more = false;
    auto range = ranges_.take(more, redone_);
    if (more) apply_waiting();
    if (!range || moved_by_file_) return {};
    Csn csn = range->to.csn;
    auto result = range->from == replica.state().cursor.csn
                      ? replica.apply(*range)
                      : Result<ApplyResult>(fail(ErrorKind::unavailable, "feed.gap",
                                                 "a range before this one could not be applied"));
    if (result) {
      (void)write(result->batch, Sync::no);
      redone_ = result->redone;
    }
    return
        [this, csn, result = std::move(result)]() mutable { after_apply(std::move(result), csn); };
  });
}

void Uplink::take_snapshot_parts(const BranchEffects& effects) {
  uint64_t connection = connection_;
  auto failed = [this, connection](const Error& e) -> std::move_only_function<void()> {
    return [this, connection, e] {
      if (connection == connection_) give_up(e);
    };
  };
  if (effects.begin_join) {
    spdlog::info("receiving a snapshot at csn {} (about {} records{}{})",
                 effects.begin_join->at.csn.value, effects.begin_join->records,
                 effects.begin_join->partial ? ", of what this office is to hold besides" : "",
                 effects.begin_join->first_chunk > 0 ? ", going on where it broke off" : "");
    join_told_at_ = clock_.steady_us();
    committer_.post(
        [head = *effects.begin_join, failed](
            Replica& replica, const Committer::Write& write) -> std::move_only_function<void()> {
          auto ok = replica.begin_seed(head, write);
          return ok ? std::move_only_function<void()>() : failed(ok.error());
        });
  }
  for (const auto& chunk : effects.chunks) {
    committer_.post(
        [this, connection, chunk, failed](
            Replica& replica, const Committer::Write& write) -> std::move_only_function<void()> {
          auto ok = replica.seed_chunk(chunk, write);
          if (!ok) return failed(ok.error());
          return [this, connection, chunks = replica.seeded_chunks(),
                  records = replica.seeded_records(), expected = replica.seed_expected()] {
            if (connection != connection_ || !session_) return;
            if (clock_.steady_us() - join_told_at_ > kJoinNewsUs) {
              join_told_at_ = clock_.steady_us();
              spdlog::info("joining: {} of about {} records", records, expected);
            }
            perform(session_->on_chunk_installed(chunks));
          };
        });
  }
  if (effects.end_join) {
    finishing_ = true;
    finish_join(connection, *effects.end_join);
  }
}

// A part at a time, so that clients' groups and the ranges of before come in between. Ranges that
// come behind the end wait in held_.
void Uplink::finish_join(uint64_t connection, const SnapshotEnd& end) {
  committer_.post([this, connection, end](
                      Replica& replica,
                      const Committer::Write& write) -> std::move_only_function<void()> {
    auto failed = [this, connection](const Error& e) -> std::move_only_function<void()> {
      return [this, connection, e] {
        if (connection == connection_) give_up(e);
      };
    };
    auto copied = replica.copy_kept(write);
    if (!copied && copied.error().code != "snapshot.early") return failed(copied.error());
    if (!copied || !*copied) {
      return [this, connection, end] {
        if (connection == connection_ && session_) finish_join(connection, end);
      };
    }
    auto result = replica.end_seed(end, write);
    if (!result) return failed(result.error());
    (void)write(result->batch, Sync::yes);
    uint64_t records = 0;
    for (const auto& [key, count] : replica.state().totals.counts) records += count;
    return [this, connection, records, csn = replica.state().cursor.csn,
            retired = result->retired] {
      spdlog::info("snapshot installed: {} records, {} pending changes of ours had been decided",
                   records, retired);
      reseed_ = false;
      // Everything may be another: caches start anew, open browsers read anew.
      on_installed_();
      if (connection != connection_ || !session_) return;
      *outbox_ = ReplicaOutbox(store_, committer_.side());
      finishing_ = false;
      for (auto& range : std::exchange(held_, {})) take_range(std::move(range));
      perform(session_->on_joined(csn));
    };
  });
}

// --- Verification ---

uint64_t Uplink::verify_now() {
  hurry_ = true;
  if (verify_status_.running) {
    // What it has counted may have changed since: the operator means what is on the disk now.
    asked_ = true;
    verify_timer_.cancel();
    return verify_status_.run + 1;
  }
  verify_at_us_ = 0;
  verify_timer_.cancel();
  return verify_status_.run + 1;
}

void Uplink::link_lost() {
  if (verifier_away_) {
    verifier_lost_link_ = true;
  } else {
    verifier_.interrupted();
  }
}

asio::awaitable<void> Uplink::keep_verifying() {
  verify_at_us_ = clock_.steady_us() + kFirstVerifyUs;
  while (!stopping_) {
    verify_timer_.expires_after(kVerifyTick);
    co_await verify_timer_.async_wait(kTuple);
    if (stopping_) co_return;
    if (verifier_away_) continue;
    int64_t now = clock_.steady_us();
    switch (verifier_.step()) {
      case Verifier::Step::rest: {
        verify_status_ = verifier_.status();
        if (verify_status_.outcome == kMasterDiffers &&
            std::exchange(told_run_, verify_status_.done) != verify_status_.done) {
          spdlog::error("verification: {}", verify_status_.found.back());
          compare_at_us_ = now + kTroubledUs;
        }
        if (hurry_ && verify_at_us_ != 0 && !asked_) hurry_ = false;
        if (asked_) verify_at_us_ = 0;
        ReplicaStatus replica = committer_.status();
        if (!replica.joined || !session_ || !session_->may_verify()) break;
        bool much = !hurry_ && replica.ledger.pending > kMaxPendingToCount;
        if (now >= verify_at_us_ && !much) {
          asked_ = false;
          verify_at_us_ = now + kVerifyUs;
          compare_at_us_ = now + kCompareUs;
          verifier_.begin();
        } else if (now >= compare_at_us_) {
          compare_at_us_ = now + kCompareUs;
          // Where nothing has come since it was equal, there is nothing to be asked.
          bool known = verify_status_.compared_equal && compared_on_ == connection_ &&
                       verify_status_.compared_csn == replica.cursor.csn;
          if (!known) verifier_.compare();
        }
        break;
      }
      case Verifier::Step::count:
        co_await recount();
        break;
      case Verifier::Step::ask:
        if (session_ && session_->may_verify()) {
          compared_on_ = connection_;
          VerifyRequest question = verifier_.request();
          perform(session_->verify(question));
        }
        break;
      case Verifier::Step::wait:
        break;
      case Verifier::Step::sum:
        co_await sum_ranges();
        break;
      case Verifier::Step::reseed:
        // On a machine that goes on damaging it, copies would follow copies.
        if (now < reseed_at_us_) break;
        reseed_at_us_ = now + kTroubledUs;
        spdlog::error("verification: {}", verifier_.status().found.back());
        reseed_ = true;
        verifier_.reseeding();
        give_up({ErrorKind::unavailable, "verify.fetched_anew",
                 "its replica is damaged beyond what can be mended by parts"});
        break;
    }
    if (!verifier_away_) verify_status_ = verifier_.status();
  }
}

asio::awaitable<void> Uplink::recount() {
  auto open = [view = store_.snapshot(), schema = config_.schema] {
    return Recount::open(view, schema);
  };
  auto opened = co_await runtime_.pool().run(std::move(open));
  std::shared_ptr<Recount> count;
  if (opened) count = std::move(*opened);
  while (count && !stopping_) {
    auto job = [this, count]() -> Result<std::pair<bool, int64_t>> {
      int64_t begin = clock_.steady_us();
      BL_ASSIGN(bool done, count->step(kRowsAtOnce));
      return std::pair(done, clock_.steady_us() - begin);
    };
    auto step = co_await runtime_.pool().run(std::move(job));
    if (!step && step.error().code == "pool.full") {  // others come first
      verify_timer_.expires_after(std::chrono::seconds(1));
      co_await verify_timer_.async_wait(kTuple);
      continue;
    }
    if (!step) {
      verifier_.counted(std::unexpected(step.error()));
      co_return;
    }
    if (step->first) {
      verifier_.counted(count->findings());
      co_return;
    }
    if (hurry_) continue;
    verify_timer_.expires_after(std::chrono::microseconds(step->second * kRestPerWork));
    co_await verify_timer_.async_wait(kTuple);
  }
  if (!opened) verifier_.counted(std::unexpected(opened.error()));
}

asio::awaitable<void> Uplink::sum_ranges() {
  auto job = [view = verifier_.view(), schema = config_.schema, ranges = verifier_.ranges()] {
    return Verifier::sum(view, schema, ranges);
  };
  auto own = co_await runtime_.pool().run(std::move(job));
  verifier_.summed(std::move(own));
}

// Ranges that come behind it wait in held_ until it is taken at its csn.
void Uplink::take_point(const VerifyPoint& point) {
  verifier_away_ = true;
  committer_.post(
      [this, connection = connection_, point, now = clock_.wall_ms()](
          Replica& replica, const Committer::Write& write) -> std::move_only_function<void()> {
        auto back = [this, connection] {
          verifier_away_ = false;
          auto sums = std::exchange(verify_sums_, std::nullopt);
          bool lost = std::exchange(verifier_lost_link_, false) || connection != connection_;
          if (lost) {
            verifier_.interrupted();
          } else if (sums) {
            verifier_.sums_came(std::move(*sums));
          }
          return !lost && session_;
        };
        LineCursor at = replica.state().cursor;
        if (at != point.at || moved_by_file_) {
          return [this, back, point, early = at.csn < point.at.csn && !moved_by_file_] {
            if (!back()) return;
            if (early) {
              take_point(point);  // ranges before it are still to be applied
              return;
            }
            // A file brought it elsewhere, or its line is not the master's: what comes next on this
            // connection is of no use here either.
            give_up({ErrorKind::unavailable, "verify.elsewhere",
                     "an answer at csn " + std::to_string(point.at.csn.value) +
                         " where this office stands elsewhere; greeting anew"});
          };
        }
        auto taken = verifier_.at_point(point, replica, store_, write, now);
        return [this, back, taken = std::move(taken)] {
          bool here = back();
          if (taken) {
            for (const auto& line : taken->news) spdlog::error("verification: {}", line);
            if (!taken->changes.records.empty()) {
              on_changes_(taken->changes);
              on_moved_();
            }
          }
          verify_status_ = verifier_.status();
          verify_timer_.cancel();
          if (!here) return;
          if (!taken) {
            give_up(taken.error());
            return;
          }
          finishing_ = false;
          for (auto& range : std::exchange(held_, {})) take_range(std::move(range));
        };
      });
}

void Uplink::after_apply(Result<ApplyResult> result, Csn csn) {
  if (!result) {
    if (result.error().code == "effects.diverged") {
      // The base proves to differ from the master's: a fresh copy mends it, pending work is kept.
      spdlog::error("the feed cannot be applied, this replica is fetched anew: {}",
                    result.error().message);
      reseed_ = true;
    }
    give_up({ErrorKind::unavailable, result.error().code, result.error().message});
    return;
  }
  applied(*result);
  if (session_) perform(session_->on_applied(csn, clock_.steady_us()));
}

void Uplink::applied(const ApplyResult& result) {
  for (const auto& f : result.fates) {
    spdlog::info("mutation {}.{}: {}", to_hex(f.id.incarnation.value), f.id.seq.value,
                 to_string(f.fate));
  }
  if (!result.changes.records.empty()) on_changes_(result.changes);
  on_moved_();
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

namespace {

Result<void> check_file(const FileHead& head, const ReplicaState& state) {
  if (!state.joined()) {
    return fail(ErrorKind::unavailable, "file.never_joined",
                "this office has no data yet; it joins by its link, and files go on from there");
  }
  if (head.line != state.cursor.line) {
    return fail(ErrorKind::conflict, "file.other_line",
                "the file belongs to main line " + to_hex(head.line.value) +
                    ", this office follows " + to_hex(state.cursor.line.value));
  }
  if (head.origin != state.self || head.territories != state.territories) {
    return fail(ErrorKind::conflict, "file.subscription",
                "the file is cut by other territories than this office holds: its subscription was "
                "changed, and what that takes comes over the link");
  }
  return {};
}

}  // namespace

asio::awaitable<Result<Uplink::FileTaken>> Uplink::take_file(FilePart part) {
  // One after another, and not as one task: clients' groups come in between, and so may ranges of
  // the link. Then the next of ours does not fit any more, and what is left is chosen anew.
  FileTaken out;
  for (bool first = true;; first = false) {
    struct Step {
      ApplyResult applied;
      ReplicaState before, after;
      bool more = false;
    };
    auto step = co_await committer_.run<Result<Step>>(
        [this, &part](Replica& replica, const Committer::Write& write) -> Result<Step> {
          Step s;
          s.before = s.after = replica.state();
          BL_TRY(check_file(part.head, s.before));
          BL_ASSIGN(size_t first, first_new(part, s.before.cursor));
          RangeQueue queue;
          for (size_t i = first; i < part.ranges.size(); ++i) queue.add(part.ranges[i]);
          auto range = queue.take(s.more, redone_);
          if (range) {
            BL_ASSIGN(s.applied, replica.apply(*range));
            redone_ = s.applied.redone;
            (void)write(s.applied.batch, Sync::no);
            // The greeting of the connection that is up said another place, and whether the line
            // is the same up to here only the next one shows.
            moved_by_file_ = true;
          }
          s.after = replica.state();
          if (s.more) return s;
          Batch sync;  // everything before it is durable with it
          sync.put(Table::meta, keys::meta_state(), encode_replica_state(s.after));
          (void)write(sync, Sync::yes);
          return s;
        });
    if (!step) {
      if (step.error().code == "effects.diverged") {
        spdlog::error("a file cannot be applied, this replica is fetched anew: {}",
                      step.error().message);
        reseed_ = true;
      }
      co_return std::unexpected(step.error());
    }
    if (first) out.from = step->before.cursor.csn;
    out.to = step->after.cursor.csn;
    out.pending = step->after.ledger.pending;
    out.decided += step->applied.retired;
    const Ledger &a = step->before.ledger, &b = step->after.ledger;
    out.fates.applied += b.applied - a.applied;
    out.fates.merged += b.merged - a.merged;
    out.fates.overridden += b.overridden - a.overridden;
    out.fates.rejected += b.rejected - a.rejected;
    applied(step->applied);
    if (step->after.cursor.csn != step->before.cursor.csn) {
      give_up({ErrorKind::unavailable, "session.moved_by_file",
               "a file brought this office further than its greeting said; greeting anew"});
    }
    if (!step->more) co_return out;
  }
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
