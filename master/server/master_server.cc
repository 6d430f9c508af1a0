#include "master/server/master_server.h"

#include <spdlog/spdlog.h>
#include <boost/asio/steady_timer.hpp>

#include "common/access/token_auth.h"
#include "common/http/drain.h"
#include "common/metrics/metrics.h"
#include "common/program/disk_watch.h"
#include "common/program/opened_server.h"
#include "common/program/start_log.h"
#include "common/runtime/event.h"
#include "common/runtime/listen_address.h"
#include "master/admin/master_admin.h"
#include "master/ingest/attempt_file.h"
#include "master/ingest/topology_commit.h"

namespace branchline {
namespace {

namespace asio = boost::asio;

constexpr std::chrono::seconds kRetention{5};
constexpr std::chrono::milliseconds kBetweenParts{50};
// A master that was away itself gives its branches so long to come back before it takes them for
// gone.
constexpr int64_t kLapseGraceUs = 3600ll * 1'000'000;

// The main line must reach its anchor, with the same hash there.
Result<void> check_anchor(const StoreView& store, const Anchor& anchor,
                          const std::string& directory) {
  BL_ASSIGN(auto row, store.get(Table::line, keys::line_batch(Csn(anchor.number))));
  if (row) {
    BL_ASSIGN(auto header, decode_batch_header(*row));
    if (header.chain == anchor.chain) return {};
  }
  return fail(ErrorKind::corrupt, "store.lost_log",
              "the store in " + directory + " lacks commits that had been confirmed (up to csn " +
                  std::to_string(anchor.number) +
                  "): log files were lost, or an older copy was put in place. Put the complete "
                  "data directory back. Only to go "
                  "on without those commits, start once with --accept-lost-log; branches that have "
                  "them bring back what they had part in (docs/operations.md, Restoring)");
}

class MasterServer {
 public:
  explicit MasterServer(const ServerConfig& config)
      : config_(config), runtime_({.blocking_threads = 2, .blocking_queue = 256}) {}

  Result<int> run() {
    BL_ASSIGN(OpenedServer opened, open_server(config_, StoreRole::master, clock_, check_anchor));
    store_ = std::move(opened.store);
    const ServerSpec* spec = opened.spec;
    BL_TRY(start_ingest(opened.lost_accepted));
    BL_ASSIGN(auto access,
              OperatorAccess::load(
                  config_.data_directory, [this](std::string_view token) -> Result<Principal> {
                    BL_ASSIGN(TokenAnswer answer,
                              authenticate_token(*store_, 0, *schema_, token, clock_.wall_ms()));
                    return answer.principal;
                  }));
    BL_ASSIGN(auto link_endpoint, listen_address(spec->link.host, spec->link.port));
    BL_ASSIGN(auto acceptor, TlsAcceptor::listen(runtime_.io(), link_endpoint, opened.tls));
    MasterCourier courier(
        {config_.server, &runtime_, store_.get(), loop_.get(), links_.get(), &clock_, opened.tls});
    backup_ = std::make_unique<BackupJob>(*store_, clock_);
    MasterAdmin admin({config_.server, &runtime_, store_.get(), schema_, loop_.get(), links_.get(),
                       feed_.get(), &clock_, &access, backup_.get(), &courier,
                       [this] { return render(); }});
    BL_ASSIGN(auto http,
              HttpServer::listen(runtime_.io(), spec->admin.host, spec->admin.port,
                                 [&admin](const HttpRequest& r) { return admin.handle(r); }));
    runtime_.tasks().spawn("accept links", [this, a = acceptor.get()]() -> asio::awaitable<void> {
      co_await links_->run(*a);
    });
    runtime_.tasks().spawn("retention", [this]() -> asio::awaitable<void> { co_await retain(); });
    runtime_.tasks().spawn("anchor", [this]() -> asio::awaitable<void> { co_await keep_anchor(); });
    runtime_.tasks().spawn(
        "drain http", [&]() -> asio::awaitable<void> { co_await drain_on_stop(runtime_, *http); });
    auto stop_links = runtime_.tasks().on_stop([&] {
      acceptor->close();
      links_->stop();
      anchor_timer_.cancel();
      retention_timer_.cancel();
    });
    runtime_.stop_on_signals();
    spdlog::info("master {} at csn {}, links on {}, operators on {}", config_.server,
                 feed_->head().csn.value, spec->link.to_string(), spec->admin.to_string());
    int code = runtime_.run();
    loop_->stop();
    spdlog::info("stopped");
    return code;
  }

 private:
  Result<void> start_ingest(bool lost_accepted) {
    BL_ASSIGN(attempts_, AttemptFile::open(config_.data_directory + "/ingest.attempt"));
    Batch start;
    IndexUpkeep upkeep;
    upkeep.progress = [log = StartLog(clock_)](const IndexRebuild& r) mutable {
      bool between = r.stage == IndexRebuild::Stage::going;
      between ? log.progress(describe(r)) : log.milestone(describe(r));
    };
    BL_ASSIGN(ingest_,
              Ingest::open(*store_, schema_, clock_, random_, attempts_.get(), start, upkeep));
    BL_TRY(store_->write(start, Sync::yes));
    // The first file is committed; from then on changes are handed over (`topology apply`), and a
    // file that was left behind must not take them back.
    const std::string& committed = ingest_->directory().topology_digest();
    if (!committed.empty() && committed != config_.topology.digest()) {
      spdlog::warn(
          "the topology file is not the one that was committed; what was committed counts. To "
          "commit the file: branchline topology apply FILE");
    }
    if (committed.empty()) {
      BL_ASSIGN(TopologyPlan plan, plan_topology(*schema_, ingest_->directory(), config_.topology));
      BL_ASSIGN(Ingest::Local local, ingest_->commit_local(plan.ops, {}, ""));
      BL_TRY(store_->write(local.result.batch, Sync::yes));
      if (local.fate == Fate::rejected) {
        return fail(ErrorKind::corrupt, "topology.rejected",
                    "the topology could not be committed: " +
                        std::string(explain(local.outcomes.back().reason)));
      }
      spdlog::info("committed the topology at csn {}", local.csn.value);
    }
    const MasterState& s = ingest_->state();
    feed_ = std::make_unique<LineFeed>(*store_, LineCursor{s.line, s.head, s.chain});
    links_ = std::make_unique<LinkService>(runtime_, *store_, schema_, *feed_, clock_,
                                           line_policies(config_.topology));
    incarnation_ = ingest_->origins().at(s.self).latest;
    if (lost_accepted) {
      BL_TRY(write_anchor(anchor_path(config_), {incarnation_, s.head.value, s.chain}));
    }
    loop_ =
        std::make_unique<IngestLoop>(runtime_.io(), *store_, *ingest_,
                                     [this](IngestResult&& r) { links_->published(std::move(r)); });
    links_->set_ingest(loop_.get());
    return {};
  }

  // Offices keep what a full master cannot take: links are closed with the reason until there is
  // room.
  void look_at_disk() {
    if (!disk_.look()) return;
    links_->set_disk_full(disk_.full());
    if (disk_.full()) {
      spdlog::error(
          "the disk of {} is nearly full ({} MiB left): links are closed, branches keep their "
          "changes, no tokens are created",
          config_.data_directory, disk_.free_bytes() >> 20);
    } else {
      spdlog::info("the disk has room again, branches may connect");
    }
  }

  // Every few seconds: what branches have passed, who was away too long, and a part of the line
  // that nobody needs.
  asio::awaitable<void> retain() {
    int64_t up_since = clock_.steady_us();
    while (!runtime_.tasks().stopping()) {
      retention_timer_.expires_after(kRetention);
      co_await retention_timer_.async_wait(asio::as_tuple(asio::use_awaitable));
      for (bool more = true; more && !runtime_.tasks().stopping();) {
        RetentionInput input;
        input.now_ms = clock_.wall_ms();
        input.may_lapse = clock_.steady_us() - up_since > kLapseGraceUs;
        input.connected = links_->news();
        // The anchor must find its batch.
        input.floor = std::min(links_->needed(), Csn(anchored_.value - (anchored_.value > 0)));
        auto done = std::make_shared<std::optional<Result<RetentionResult>>>();
        auto ready = std::make_shared<Event>(runtime_.io().get_executor());
        loop_->post([input, done, ready](Ingest& ingest, const IngestLoop::Tools& tools) mutable {
          input.max_offline_ms = ingest.directory().policies().max_offline_us / 1000;
          Batch rows;
          auto result = ingest.retain(input, rows);
          tools.write(rows);
          std::vector<std::string> names;
          if (result) {
            for (OriginId o : result->lapsed) names.push_back(ingest.directory().server(o)->name);
          }
          return std::move_only_function<void()>([done, ready, result, names] {
            for (const auto& n : names) {
              spdlog::warn(
                  "{} was away for longer than max_offline: the main line is not kept for "
                  "it any more; it gets a snapshot when it comes back",
                  n);
            }
            *done = result;
            ready->notify();
          });
        });
        while (!*done) co_await ready->wait();
        if (!**done) {
          spdlog::error("retention: {}", (*done)->error().message);
          break;
        }
        more = (**done)->more;
        if (!more) continue;
        // Commits come in between: requests go before blocks.
        retention_timer_.expires_after(kBetweenParts);
        co_await retention_timer_.async_wait(asio::as_tuple(asio::use_awaitable));
      }
    }
  }

  // At most a second old, apart from the path of commits. The disk is looked at with it.
  asio::awaitable<void> keep_anchor() {
    Csn written;
    while (!runtime_.tasks().stopping()) {
      anchor_timer_.expires_after(std::chrono::seconds(1));
      co_await anchor_timer_.async_wait(asio::as_tuple(asio::use_awaitable));
      if (!runtime_.tasks().stopping()) {
        damage_.look(*store_);
        look_at_disk();
      }
      LineCursor head = feed_->head();
      if (head.csn == written) continue;
      Anchor anchor{incarnation_, head.csn.value, head.chain};
      auto job = [path = anchor_path(config_), anchor] { return write_anchor(path, anchor); };
      auto ok = co_await runtime_.pool().run(std::move(job));
      if (!ok) {
        spdlog::error("the anchor could not be written: {}", ok.error().message);
      } else {
        written = anchored_ = head.csn;
      }
    }
  }

  std::string render() {
    IngestCounters c = loop_->counters();
    auto total = [this](const char* name, const char* help, double v) {
      auto& counter = metrics_.counter(name, help);
      counter.Increment(v - counter.Value());
    };
    metrics_.gauge("branchline_line_csn", "Head of the main line")
        .Set(static_cast<double>(feed_->head().csn.value));
    metrics_.gauge("branchline_ingest_queued_bytes", "Blocks waiting for the ingest thread")
        .Set(static_cast<double>(c.queued_bytes));
    metrics_.gauge("branchline_reconciling", "1 while a restored master waits for its branches")
        .Set(c.reconciling ? 1 : 0);
    total("branchline_ingest_batches_total", "Synced batches since start",
          static_cast<double>(c.batches));
    total("branchline_ingest_mutations_total", "Mutations decided since start",
          static_cast<double>(c.mutations));
    for (const auto& s : links_->status()) {
      metrics_
          .gauge("branchline_link_applied_csn", "What a branch has applied", {{"server", s.server}})
          .Set(static_cast<double>(s.applied.value));
      metrics_
          .gauge("branchline_link_round_trip_seconds", "Round trip of a link",
                 {{"server", s.server}})
          .Set(static_cast<double>(s.round_trip_us) / 1e6);
    }
    return metrics_.render_metrics();
  }

  ServerConfig config_;
  DiskWatch disk_{config_};
  DamageWatch damage_;
  SystemClock clock_;
  SystemRandom random_;
  std::shared_ptr<const Schema> schema_ = config_.schema ? config_.schema : Schema::built_in();
  Runtime runtime_;
  std::unique_ptr<Store> store_;
  std::unique_ptr<BackupJob> backup_;  // ends before its store
  std::unique_ptr<AttemptFile> attempts_;
  std::unique_ptr<Ingest> ingest_;
  std::unique_ptr<LineFeed> feed_;
  std::unique_ptr<LinkService> links_;
  std::unique_ptr<IngestLoop> loop_;
  Incarnation incarnation_;
  Csn anchored_;  // the anchor in the file names it
  asio::steady_timer anchor_timer_{runtime_.io()};
  asio::steady_timer retention_timer_{runtime_.io()};
  Metrics metrics_;
};

}  // namespace

int run_master(const ServerConfig& config) {
  MasterServer server(config);
  auto code = server.run();
  if (!code) {
    spdlog::critical("{}", code.error().message);
    return 2;
  }
  return *code;
}

}  // namespace branchline
