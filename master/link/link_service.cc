#include "master/link/link_service.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <chrono>
#include <set>
#include <utility>

#include "common/base/limits.h"
#include "master/lookup/lookup.h"
#include "master/verify/verify.h"
#include "replication/courier/peer_row.h"
#include "replication/relay/channel.h"
#include "replication/session/link_timing.h"

namespace branchline {
namespace {

namespace asio = boost::asio;
constexpr auto kTuple = asio::as_tuple(asio::use_awaitable);
constexpr int64_t kMinTickUs = 1'000;
constexpr int64_t kKeepUseUs = 2'000'000;
constexpr std::chrono::milliseconds kBulkPause{4};
constexpr int64_t kTellAllUs = 20'000;
constexpr size_t kBulkAtOnce = 4;  // blocks, where no line is in the way

Error full_disk() {
  return {ErrorKind::exhausted, "disk.full",
          "the master's disk is nearly full; changes are kept here until there is room"};
}

}  // namespace

struct LinkService::Trunk {
  Trunk(std::unique_ptr<Link> l, LinkBudget& b) : link(std::move(l)), budget(b) {}
  std::unique_ptr<Link> link;
  LinkBudget& budget;
  TrunkSender down;
  Handle own;
  std::map<uint64_t, Handle> channels;
  uint64_t last_channel = 0;
};

struct LinkService::Connection {
  Connection(std::shared_ptr<Trunk> t, uint64_t number, std::vector<std::string> way,
             const FeedSource& feed, LinkBudget* budget, const asio::any_io_executor& io,
             int64_t now)
      : trunk(std::move(t)),
        channel(number),
        path(std::move(way)),
        session(feed, path.empty() ? trunk->link->peer() : path.front(), now, budget),
        timer(io) {}
  std::shared_ptr<Trunk> trunk;
  uint64_t channel;                      // 0: of the link itself
  std::vector<std::string> path;         // of a channel: itself, then the hubs that it comes by
  uint64_t bytes_in = 0, bytes_out = 0;  // of a channel
  MasterSession session;
  asio::steady_timer timer;
  std::vector<PendingRange> pending;  // of its introduction
  JoinProgress join;
  std::shared_ptr<SnapshotSource> snapshot;
  std::set<RecordId> shown;    // credentials, over this connection
  std::optional<Csn> opening;  // the head when a snapshot was asked for: it is at least as new
  bool closed = false;
};

LinkService::LinkService(Runtime& runtime, const Store& store, std::shared_ptr<const Schema> schema,
                         LineFeed& feed, Clock& clock,
                         const std::map<std::string, LinePolicy>& lines)
    : runtime_(runtime),
      store_(store),
      schema_(std::move(schema)),
      feed_(feed),
      clock_(clock),
      bulk_timer_(runtime.io()),
      tell_timer_(runtime.io()),
      told_all_us_(clock.steady_us() - link_timing::kQuietPause) {
  set_lines(lines);
}

void LinkService::set_lines(const std::map<std::string, LinePolicy>& lines) {
  for (const auto& [server, policy] : lines) {
    LinkBudget& budget = budgets_[server];
    budget.set_policy(policy);
    if (budget.day().number != 0) continue;
    auto day = store_.get(Table::meta, keys::meta_line_use(server));
    if (day && *day) budget.restore_day(**day);
  }
  paced_ = std::any_of(budgets_.begin(), budgets_.end(),
                       [](const auto& b) { return b.second.policy().bytes_per_s != 0; });
}

void LinkService::keep_use() {
  use_kept_at_ = clock_.steady_us();
  Batch changed;
  for (auto& [server, budget] : budgets_) {
    if (budget.policy().bytes_per_day == 0) continue;
    std::string row = budget.encode_day();
    if (std::exchange(use_kept_[server], row) == row) continue;
    changed.put(Table::meta, keys::meta_line_use(server), row);
  }
  if (changed.empty()) return;
  ingest_->post([rows = std::move(changed)](Ingest&, const IngestLoop::Tools& tools) {
    tools.write(rows);
    return std::move_only_function<void()>();
  });
}

asio::awaitable<void> LinkService::run(TlsAcceptor& acceptor) {
  for (;;) {
    auto link = co_await acceptor.accept();
    if (!link) co_return;
    if (stopping_) co_return;
    auto budget = budgets_.try_emplace((*link)->peer()).first;
    auto trunk = std::make_shared<Trunk>(std::move(*link), budget->second);
    trunk->own = connect(trunk, 0, {});
    runtime_.tasks().spawn("link of " + trunk->link->peer(),
                           [this, trunk]() -> asio::awaitable<void> { co_await serve(trunk); });
  }
}

LinkService::Handle LinkService::connect(const std::shared_ptr<Trunk>& trunk, uint64_t channel,
                                         std::vector<std::string> path) {
  const std::string& peer = path.empty() ? trunk->link->peer() : path.front();
  auto budget = budgets_.try_emplace(peer).first;
  auto c = std::make_shared<Connection>(trunk, channel, std::move(path), feed_, &budget->second,
                                        runtime_.io().get_executor(), clock_.steady_us());
  if (channel != 0) {
    c->session.set_room([this, t = trunk.get()] {
      return t->link->queued_bytes() < limits::kMaxTrunkQueueBytes &&
             t->budget.hold(Lane::interactive, clock_.steady_us(), clock_.wall_ms()) ==
                 SendHold::no;
    });
  }
  connections_.push_back(c);
  runtime_.tasks().spawn("ticks of " + c->session.peer(),
                         [this, c]() -> asio::awaitable<void> { co_await ticks(c); });
  return c;
}

void LinkService::stop() {
  stopping_ = true;
  bulk_timer_.cancel();
  tell_timer_.cancel();
  auto all = connections_;
  for (auto& c : all) c->trunk->link->close();
}

asio::awaitable<void> LinkService::serve(std::shared_ptr<Trunk> trunk) {
  Handle own = trunk->own;
  while (!own->closed) {
    auto frames = co_await trunk->link->read();
    if (!frames) {
      if (own->closed || stopping_) break;
      if (frames.error().kind == ErrorKind::invalid) {
        // No frames, on a line that holds: the branch learns why.
        perform(own, own->session.on_broken(frames.error()));
      } else {
        spdlog::info("link of {} ended: {}", own->session.peer(), frames.error().message);
      }
      break;
    }
    for (const auto& frame : *frames) {
      if (!own->closed) on_frame(trunk, frame);
    }
  }
  end(own);
  co_await trunk->link->closed();
  trunk->own.reset();
}

void LinkService::on_frame(const std::shared_ptr<Trunk>& trunk, const Frame& frame) {
  Handle own = trunk->own;
  if (!is_channel_frame(frame.type)) {
    perform(own, own->session.on_frame(frame, clock_.steady_us(), clock_.wall_ms()));
  } else if (auto ok = on_channel(trunk, frame); !ok) {
    perform(own, own->session.on_broken(ok.error()));
  }
}

Result<void> LinkService::on_channel(const std::shared_ptr<Trunk>& trunk, const Frame& frame) {
  auto known = [&](uint64_t channel) -> Result<Handle> {
    if (channel == 0 || channel > trunk->last_channel)
      return fail(ErrorKind::invalid, "channel.unknown", "a channel that was never opened");
    auto at = trunk->channels.find(channel);
    return at == trunk->channels.end() ? Handle() : at->second;  // null: it ended here meanwhile
  };
  if (frame.type == FrameType::channel_open) {
    BL_ASSIGN(ChannelOpen open, decode_channel_open(frame.payload));
    MasterSession::State state = trunk->own->session.state();
    bool greeted =
        state == MasterSession::State::feeding || state == MasterSession::State::snapshotting;
    if (!greeted || open.channel <= trunk->last_channel ||
        trunk->channels.size() >= limits::kMaxChannels) {
      return fail(ErrorKind::invalid, "channel.number",
                  "a channel before the greeting, out of order or beyond the limit");
    }
    trunk->last_channel = open.channel;
    trunk->down.opened();
    trunk->channels[open.channel] = connect(trunk, open.channel, std::move(open.path));
    return {};
  }
  if (frame.type == FrameType::channel_closed) {
    BL_ASSIGN(uint64_t channel, decode_channel_closed(frame.payload));
    BL_ASSIGN(Handle c, known(channel));
    if (!c) return {};
    spdlog::info("link of {} ended at its hub {}", c->session.peer(), trunk->link->peer());
    trunk->channels.erase(channel);  // nothing is to be said of it
    end(c);
    return {};
  }
  BL_ASSIGN(ChannelFrame f, decode_channel_frame(frame.payload));
  BL_ASSIGN(Handle c, known(f.channel));
  if (!c) return {};
  c->bytes_in += frame.payload.size();
  perform(c, c->session.on_frame(f.frame, clock_.steady_us(), clock_.wall_ms()));
  return {};
}

bool LinkService::send(Connection& c, std::string frame) {
  size_t before = frame.size();
  std::string bytes = c.trunk->down.send(c.channel, std::move(frame));
  if (c.channel != 0) {
    c.bytes_out += before;
    // Its own session counts what it sends by itself.
    c.trunk->budget.sent(bytes.size(), clock_.steady_us(), clock_.wall_ms());
  }
  return c.trunk->link->send(std::move(bytes)).has_value();
}

void LinkService::end(const Handle& c) {
  c->closed = true;
  c->timer.cancel();
  keep_use();
  closed(c);
  std::erase(connections_, c);
  audience_.leave(c, c->session.registration());
  Csn durable = c->session.peer_heartbeat().durable_csn;
  if (c->channel == 0 && durable.value > 0) keep_peer(c, durable);
  Trunk& trunk = *c->trunk;
  if (c->channel != 0) {
    if (trunk.channels.erase(c->channel) > 0) {
      (void)trunk.link->send(encode_channel_closed(c->channel));
    }
    return;
  }
  auto channels = std::exchange(trunk.channels, {});
  for (auto& [number, other] : channels) end(other);
  trunk.link->close();
}

// What it has not sent of a snapshot may go on over its next connection.
void LinkService::closed(const Handle& c) {
  shelf_.expire(clock_.steady_us());
  if (!c->snapshot) return;
  shelf_.put(std::move(c->snapshot), clock_.steady_us());
  c->snapshot.reset();
}

void LinkService::subscriptions_changed(const std::vector<std::string>& servers) {
  auto all = connections_;
  for (auto& c : all) {
    bool concerned = std::find(servers.begin(), servers.end(), c->session.peer()) != servers.end();
    if (!concerned || c->closed) continue;
    perform(c, c->session.on_broken({ErrorKind::unavailable, "session.subscription",
                                     "its subscription was changed; it connects anew"}));
  }
}

std::vector<BranchNews> LinkService::news() const {
  std::vector<BranchNews> out;
  for (const auto& c : connections_) {
    bool open = c->session.state() == MasterSession::State::feeding ||
                c->session.state() == MasterSession::State::snapshotting;
    const Heartbeat& h = c->session.peer_heartbeat();
    if (c->closed || !open || h.sent_us == 0) continue;
    out.push_back({c->session.registration().origin, h.passed_csn, h.pending, h.pending_bytes,
                   h.oldest_pending_ms});
  }
  return out;
}

Csn LinkService::needed() const {
  Csn out = feed_.head().csn;
  if (auto kept = shelf_.lowest()) out = std::min(out, *kept);
  for (const auto& c : connections_) {
    if (c->closed) continue;
    if (c->opening) out = std::min(out, *c->opening);
    if (c->snapshot) out = std::min(out, c->snapshot->head().at.csn);
    if (c->session.state() == MasterSession::State::feeding)
      out = std::min(out, c->session.sent().csn);
  }
  return out;
}

asio::awaitable<void> LinkService::ticks(Handle c) {
  while (!c->closed) {
    int64_t wait = std::max(c->session.next_tick_us() - clock_.steady_us(), kMinTickUs);
    c->timer.expires_after(std::chrono::microseconds(wait));
    co_await c->timer.async_wait(kTuple);
    if (c->closed) co_return;
    perform(c, c->session.tick(clock_.steady_us(), clock_.wall_ms()));
    if (clock_.steady_us() - use_kept_at_ > kKeepUseUs) keep_use();
  }
}

void LinkService::set_disk_full(bool full) {
  disk_full_ = full;
  if (!full) return;
  auto all = connections_;
  for (auto& c : all) {
    if (!c->closed) perform(c, c->session.on_broken(full_disk()));
  }
}

void LinkService::perform(const Handle& c, MasterEffects effects) {
  if (effects.introduce && disk_full_) {
    perform(c, c->session.on_broken(full_disk()));
    return;
  }
  int64_t before = c->session.next_tick_us();
  if (effects.introduce) {
    c->pending = effects.introduce->pending;
    c->join = effects.introduce->join;
    bool other_alive =
        std::any_of(connections_.begin(), connections_.end(), [&](const Handle& other) {
          return other != c && !other->closed && other->session.peer() == c->session.peer() &&
                 other->session.alive(clock_.steady_us());
        });
    std::vector<std::string> path = c->path;
    if (!path.empty()) path.push_back(c->trunk->link->peer());
    // The line of an office beneath a hub shows the hub's: files of its own tell its certificate.
    std::string certificate = path.empty() ? c->trunk->link->peer_certificate() : std::string();
    ingest_->post([this, c, path, certificate, other_alive, intro = std::move(*effects.introduce)](
                      Ingest& ingest, const IngestLoop::Tools& tools) {
      Batch rows;
      auto registration = [&]() -> Result<Registration> {
        BL_TRY(check_path(ingest.directory(), path));
        return ingest.begin_session(intro, rows, other_alive);
      }();
      if (registration && !certificate.empty()) {
        rows.put(Table::meta, keys::meta_peer(intro.server),
                 encode_peer_row({intro.cursor.csn, certificate}));
      }
      tools.write(rows);
      const MasterState& s = ingest.state();
      LineCursor head{s.line, s.head, s.chain};
      return std::move_only_function<void()>([this, c, registration, head, csn = intro.cursor.csn] {
        if (head.line != feed_.head().line) line_replaced(head, c);
        if (c->closed) return;
        if (registration) {
          // An earlier connection that nobody has seen break yet would hold the snapshot.
          auto others = connections_;
          for (auto& other : others) {
            if (other == c || other->closed || other->session.peer() != c->session.peer()) continue;
            perform(other, other->session.on_broken({ErrorKind::unavailable, "session.superseded",
                                                     "a newer connection took over"}));
          }
          audience_.join(c, *registration);
          refusals_.erase(c->session.peer());
          std::string via = c->channel == 0 ? "" : " by the hub " + c->trunk->link->peer();
          spdlog::info("{} connected{} at csn {}{}{}", c->session.peer(), via, csn.value,
                       registration->join      ? ", joins by snapshot"
                       : registration->partial ? ", its subscription has changed"
                                               : "",
                       registration->rolled_back ? "; its disk was rolled back" : "");
        }
        perform(c, c->session.on_registered(registration, clock_.steady_us(), clock_.wall_ms()));
        // The line may have grown while it registered.
        tell_line(c);
      });
    });
  }
  for (auto& block : effects.blocks) {
    ingest_->submit(c->session.registration().origin, c->session.registration().session,
                    std::move(block));
  }
  for (auto& frame : effects.frames) {
    if (!send(*c, std::move(frame))) {
      c->trunk->link->close();
      break;
    }
  }
  if (effects.open_snapshot) {
    runtime_.tasks().spawn("snapshot for " + c->session.peer(),
                           [this, c]() -> asio::awaitable<void> { co_await open_snapshot(c); });
  }
  for (auto& question : effects.lookups) {
    runtime_.tasks().spawn("look-up of " + c->session.peer(),
                           [this, c, q = std::move(question)]() mutable -> asio::awaitable<void> {
                             co_await look_up(c, std::move(q));
                           });
  }
  if (effects.verify) begin_verify(c, std::move(*effects.verify));
  if (effects.want_chunk) {
    runtime_.tasks().spawn("chunk for " + c->session.peer(),
                           [this, c]() -> asio::awaitable<void> { co_await next_chunk(c); });
  }
  if (effects.close) {
    if (effects.closed_by_peer || effects.close->kind != ErrorKind::unavailable)
      refusals_[c->session.peer()] = effects.close->message;
    if (effects.closed_by_peer) {
      spdlog::warn("{} closes its link: {}", c->session.peer(), effects.close->message);
    } else {
      spdlog::warn("closing the link of {}: {}", c->session.peer(), effects.close->message);
    }
    end(c);
    return;
  }
  if (c->session.next_tick_us() < before) c->timer.cancel();  // ticks() looks again
}

// All connections but `by`'s, which is told by its own answer, belong to the line as it was.
void LinkService::line_replaced(const LineCursor& head, const Handle& by) {
  spdlog::warn(
      "this master is behind its branches: the main line goes on as {} from csn {}; `branchline "
      "reconcile` tells who is awaited",
      to_hex(head.line.value), head.csn.value);
  feed_.rename(head);
  Error replaced{ErrorKind::unavailable, kLineReplaced,
                 "the main line goes on under a new id since the master was restored"};
  auto all = connections_;
  for (auto& c : all) {
    if (c != by && !c->closed) perform(c, c->session.on_broken(replaced));
  }
}

asio::awaitable<void> LinkService::open_snapshot(Handle c) {
  FeedScope scope;
  const Registration& r = c->session.registration();
  scope.origin = r.origin;
  scope.territories.insert(r.territories.begin(), r.territories.end());
  scope.territories.insert(kReferenceTerritory);
  std::set<TerritoryId> held;
  if (r.partial) {
    held.insert(r.installed.begin(), r.installed.end());
    held.insert(kReferenceTerritory);
  }
  c->opening = feed_.head().csn;
  auto kept = shelf_.take(r.origin, clock_.steady_us());
  if (kept && kept->head().at.line != feed_.head().line) kept.reset();  // of the line as it was
  if (kept) c->opening = std::min(*c->opening, kept->head().at.csn);
  uint64_t id = 0;
  while (id == 0) id = random_.next();
  auto job = [kept, view = store_.snapshot(), scope, held, join = c->join, pending = c->pending, id,
              &lock = snapshot_lock(r.origin)]() -> Result<std::shared_ptr<SnapshotSource>> {
    if (kept) {
      std::lock_guard one(lock);
      BL_ASSIGN(bool goes_on, kept->resume(join, scope, held, pending));
      if (goes_on) return kept;
    }
    BL_ASSIGN(auto source, SnapshotSource::open(view, scope, pending, held, id));
    return std::shared_ptr<SnapshotSource>(std::move(source));
  };
  auto source = co_await runtime_.pool().run(std::move(job));
  c->opening.reset();
  if (c->closed) {
    if (source) shelf_.put(*source, clock_.steady_us());
    co_return;
  }
  if (!source) {
    perform(c, c->session.on_broken(source.error()));
    co_return;
  }
  c->snapshot = *source;
  if (*source == kept) {
    spdlog::info("{} goes on with its snapshot at chunk {}", c->session.peer(),
                 kept->head().first_chunk);
  }
  perform(c, c->session.on_snapshot(c->snapshot->head(), clock_.steady_us()));
  tell_line(c);  // a partial one is awaited at its csn
}

asio::awaitable<void> LinkService::next_chunk(Handle c) {
  auto snapshot = c->snapshot;
  if (!snapshot) co_return;
  auto job = [snapshot, number = c->session.next_chunk(),
              &lock = snapshot_lock(c->session.registration().origin)] {
    std::lock_guard one(lock);
    return snapshot->chunk(number);
  };
  auto chunk = co_await runtime_.pool().run(std::move(job));
  if (c->closed) co_return;
  if (!chunk) {
    perform(c, c->session.on_broken(chunk.error()));
    co_return;
  }
  bool last = !*chunk;
  perform(c, c->session.on_chunk(std::move(*chunk), snapshot->end(), clock_.steady_us()));
  // Kept for a while also when it is sent: the branch may not come to its end over this link.
  if (last && c->snapshot) shelf_.put(std::exchange(c->snapshot, nullptr), clock_.steady_us());
}

asio::awaitable<void> LinkService::look_up(Handle c, LookupRequest question) {
  uint64_t number = question.number;
  auto job = [view = store_.snapshot(), schema = schema_, q = std::move(question),
              now = clock_.wall_ms()] { return answer_lookup(*view, *schema, q, now); };
  auto looked_up = co_await runtime_.pool().run(std::move(job));
  if (c->closed) co_return;
  if (!looked_up) {
    looked_up = LookedUp{};
    looked_up->answer.number = number;
    looked_up->answer.error =
        Error{ErrorKind::unavailable, "lookup.busy",
              "the master has too much to do for look-ups; try again in a moment"};
  }
  const LookupAnswer& answer = looked_up->answer;
  if (answer.id.is_nil() || !looked_up->may_write || c->shown.count(looked_up->credential) > 0) {
    perform(c, c->session.on_looked_up(answer));
    co_return;
  }
  // Known for good before the office may send an edit that relies on it.
  ingest_->post(
      [this, c, answer, origin = c->session.registration().origin,
       credential = looked_up->credential](Ingest& ingest, const IngestLoop::Tools& tools) {
        Batch rows;
        ingest.note_shown(origin, credential, rows);
        if (!rows.empty()) tools.write(rows);
        return std::move_only_function<void()>([this, c, answer, credential] {
          c->shown.insert(credential);
          if (!c->closed) perform(c, c->session.on_looked_up(answer));
        });
      });
}

// The view is at least as new as what the feed has sent, and the feed stops at its csn before it
// can send more: so the answer has its place there.
void LinkService::begin_verify(const Handle& c, VerifyRequest question) {
  auto view = store_.snapshot();
  auto at = line_at(*view);
  if (!at) {
    perform(c, c->session.on_broken(at.error()));
    return;
  }
  c->session.on_verify_view(at->csn);
  runtime_.tasks().spawn(
      "verification of " + c->session.peer(),
      [this, c, view, q = std::move(question)]() mutable -> asio::awaitable<void> {
        co_await verify(c, view, std::move(q));
      });
}

asio::awaitable<void> LinkService::verify(Handle c, std::shared_ptr<const StoreView> view,
                                          VerifyRequest question) {
  const Registration& r = c->session.registration();
  std::set<TerritoryId> held(r.territories.begin(), r.territories.end());
  held.insert(kReferenceTerritory);
  Error busy{ErrorKind::unavailable, "verify.busy", "the master has too much to do"};
  auto point_job = [view, held, question] { return verify_point(*view, held, question); };
  auto point = co_await runtime_.pool().run(std::move(point_job));
  if (c->closed) co_return;
  if (!point && point.error().kind == ErrorKind::exhausted) {
    // The feed waits for the point: the branch gets it without rows, and asks for them again.
    VerifyRequest totals;
    totals.number = question.number;
    point = verify_point(*view, held, totals);
    if (point) point->error = busy;
  }
  if (!point) {
    perform(c, c->session.on_broken(point.error()));
    co_return;
  }
  tell_line(c);  // up to the view at least, before the feed looks whether it is there
  if (c->closed) co_return;
  perform(c, c->session.on_verify_point(std::move(*point), clock_.steady_us()));
  if (question.sums.empty() || c->closed) co_return;
  auto sums_job = [view, held, question]() -> Result<VerifySums> {
    return verify_sums(*view, held, question);
  };
  auto sums = co_await runtime_.pool().run(std::move(sums_job));
  if (c->closed) co_return;
  if (!sums) sums = VerifySums{question.number, {}, busy};
  perform(c, c->session.on_verify_sums(*sums));
}

void LinkService::published(IngestResult&& result) {
  if (result.line) feed_.add(result.line);
  int64_t now = clock_.steady_us();
  std::set<OriginId> authors;
  for (const auto& ack : result.acks) authors.insert(ack.origin);
  for (const auto& b : result.broken) authors.insert(b.origin);
  for (auto& c : audience_.of(result.line ? &result.line->header : nullptr, authors)) {
    const Registration& r = c->session.registration();
    for (const auto& ack : result.acks) {
      if (!c->closed && ack.origin == r.origin && ack.session == r.session)
        perform(c, c->session.on_committed(ack.stream, ack.seq, now));
    }
    for (const auto& b : result.broken) {
      if (!c->closed && b.origin == r.origin && b.session == r.session)
        perform(c, c->session.on_broken(b.error));
    }
    if (result.line) tell_line(c);
  }
  if (result.line) tell_all_soon();
  allow_bulk();
}

void LinkService::tell_line(const Handle& c) {
  if (!c->closed) perform(c, c->session.on_line(feed_.head(), clock_.steady_us()));
}

void LinkService::tell_all_soon() {
  if (tell_waits_ || stopping_) return;
  tell_waits_ = true;
  int64_t now = clock_.steady_us();
  int64_t at = std::max(now + kTellAllUs, told_all_us_ + link_timing::kQuietPause);
  tell_timer_.expires_after(std::chrono::microseconds(at - now));
  tell_timer_.async_wait([this](const boost::system::error_code& error) {
    tell_waits_ = false;
    if (error) return;
    told_all_us_ = clock_.steady_us();
    auto all = connections_;
    for (auto& c : all) tell_line(c);
  });
}

void LinkService::keep_peer(const Handle& c, Csn csn) {
  ingest_->post([key = keys::meta_peer(c->session.peer()),
                 row = encode_peer_row({csn, c->trunk->link->peer_certificate()})](
                    Ingest&, const IngestLoop::Tools& tools) {
    Batch rows;
    rows.put(Table::meta, key, row);
    tools.write(rows);
    return std::move_only_function<void()>();
  });
}

bool LinkService::has_room_for_bulk() const {
  if (!paced_) return true;
  int64_t now = clock_.steady_us();
  return std::all_of(connections_.begin(), connections_.end(), [&](const Handle& c) {
    return c->closed || c->session.has_room_for_bulk(now, bulk_allowed_at_);
  });
}

asio::awaitable<void> LinkService::room_for_bulk() {
  asio::steady_timer timer(runtime_.io());
  while (!stopping_ && !has_room_for_bulk()) {
    timer.expires_after(kBulkPause);
    co_await timer.async_wait(kTuple);
  }
}

void LinkService::allow_bulk() {
  if (bulk_waits_ || stopping_) return;
  if (has_room_for_bulk()) {
    ingest_->allow_bulk(paced_ ? 1 : kBulkAtOnce);
    bulk_allowed_at_ = clock_.steady_us();
    return;
  }
  bulk_waits_ = true;
  bulk_timer_.expires_after(kBulkPause);
  bulk_timer_.async_wait([this](const boost::system::error_code& error) {
    bulk_waits_ = false;
    if (!error) allow_bulk();
  });
}

std::vector<BranchLinkStatus> LinkService::status() const {
  std::vector<BranchLinkStatus> out;
  for (const auto& c : connections_) {
    BranchLinkStatus s;
    s.server = c->session.peer();
    s.state = std::string(to_string(c->session.state()));
    s.sent = c->session.sent().csn;
    const Heartbeat& h = c->session.peer_heartbeat();
    s.applied = h.csn;
    s.durable = h.durable_csn;
    s.pending = h.pending;
    s.oldest_pending_ms = h.oldest_pending_ms;
    s.passed = h.passed_csn;
    s.pending_bytes = h.pending_bytes;
    s.round_trip_us = c->session.round_trip_us();
    const Link& link = *c->trunk->link;
    s.bytes_in = c->channel == 0 ? link.counters().bytes_in : c->bytes_in;
    s.bytes_out = c->channel == 0 ? link.counters().bytes_out : c->bytes_out;
    s.queued_bytes = link.queued_bytes();
    if (c->channel != 0) s.via = c->path.size() > 1 ? c->path[1] : link.peer();
    out.push_back(std::move(s));
  }
  return out;
}

}  // namespace branchline
