#include "branch/server/branch_server.h"

#include <spdlog/spdlog.h>
#include <boost/asio/steady_timer.hpp>

#include "branch/api/office_api.h"
#include "branch/courier/office_courier.h"
#include "branch/relay/relay_service.h"
#include "branch/replica/audit.h"
#include "branch/replica/lost_log.h"
#include "branch/uplink/uplink.h"
#include "common/access/token_auth.h"
#include "common/http/drain.h"
#include "common/http/operator_access.h"
#include "common/json/json.h"
#include "common/metrics/metrics.h"
#include "common/program/backup_job.h"
#include "common/program/disk_watch.h"
#include "common/program/opened_server.h"
#include "common/program/start_log.h"
#include "common/runtime/listen_address.h"
#include "replication/line/report_json.h"

namespace branchline {
namespace {

namespace asio = boost::asio;

class BranchServer {
 public:
  explicit BranchServer(const BranchConfig& config)
      : config_(config), runtime_({.blocking_threads = 2, .blocking_queue = 512}) {}

  Result<int> run() {
    BL_ASSIGN(OpenedServer opened, open_server(config_, StoreRole::branch, clock_, check_lost_log));
    store_ = std::move(opened.store);
    anchor_missing_ = opened.anchor_missing;
    const ServerSpec* spec = opened.spec;
    Batch start;
    IndexUpkeep upkeep;
    upkeep.progress = [log = StartLog(clock_)](const IndexRebuild& r) mutable {
      bool between = r.stage == IndexRebuild::Stage::going;
      between ? log.progress(describe(r)) : log.milestone(describe(r));
    };
    BL_ASSIGN(replica_, Replica::open(*store_, schema_, clock_, random_, start, upkeep));
    replica_->set_restore_window(config_.topology.policies.restore_window_us / 1000);
    BL_TRY(store_->write(start, Sync::yes));
    if (opened.lost_accepted) {
      const ReplicaState& s = replica_->state();
      BL_TRY(write_anchor(anchor_path(config_), {s.incarnation, s.order.value, chain_of(s.ends)}));
    }
    changes_ = std::make_unique<ChangeHub>(runtime_.io().get_executor(), config_.server);
    changes_->set_incarnation(replica_->state().incarnation);
    Committer::Events events;
    events.changed = [this](const Changes& c) { on_changes(c); };
    events.outbox = [this] { uplink_->on_outbox(); };
    committer_ = std::make_unique<Committer>(runtime_.io(), *store_, *replica_, events);

    const ServerSpec* upstream = config_.topology.server(spec->upstream);
    Uplink::Config link{config_.server,
                        spec->upstream,
                        spec->dial.value_or(upstream->link),
                        config_.topology.digest(),
                        line_policy(config_.topology, *spec),
                        schema_};
    Uplink::Events shown;
    shown.changed = [this](const Changes& c) { on_changes(c); };
    shown.installed = [this] {
      api_->on_changes(Changes{});
      api_->on_moved();
      changes_->start_anew();
    };
    shown.moved = [this] { api_->on_moved(); };
    uplink_ =
        std::make_unique<Uplink>(runtime_, link, opened.tls, *store_, *committer_, clock_, shown);

    backup_ = std::make_unique<BackupJob>(*store_, clock_);
    courier_ = std::make_unique<OfficeCourier>(OfficeCourier::Parts{
        config_.server, config_.topology.master().name, config_.topology.digest(), &runtime_,
        store_.get(), committer_.get(), uplink_.get(), &clock_, opened.tls});

    StaticFiles files = StaticFiles::load(config_.web_directory);
    OfficeParts parts;
    parts.server = config_.server;
    parts.schema = schema_;
    parts.store = store_.get();
    parts.committer = committer_.get();
    parts.pool = &runtime_.pool();
    parts.changes = changes_.get();
    parts.clock = &clock_;
    parts.files = &files;
    parts.metrics = [this] { return render(); };
    parts.link_state = [this] {
      UplinkStatus s = uplink_->status();
      return OfficeLink{is_up(s), s.caught_up};
    };
    parts.link_status = [this] { return link_status(); };
    parts.look_up = [this](LookupRequest question, int64_t patience_ms) {
      return uplink_->look_up(std::move(question), patience_ms);
    };
    BL_ASSIGN(auto counts, store_->get(Table::meta, keys::meta_lookup_counts()));
    if (counts) {
      BL_ASSIGN(parts.lookup_counts, decode_lookup_counts(*counts));
      counts_kept_ = parts.lookup_counts;
    }
    api_ = std::make_unique<OfficeApi>(std::move(parts));
    BL_ASSIGN(auto access,
              OperatorAccess::load(
                  config_.data_directory, [this](std::string_view token) -> Result<Principal> {
                    BL_ASSIGN(TokenAnswer answer,
                              authenticate_token(*store_, committer_->side(), *schema_, token,
                                                 clock_.wall_ms()));
                    return answer.principal;
                  }));
    committer_->set_outbox_quota(outbox_quota());  // before the first write, not a second later
    HttpServer::Handler office = [this](const HttpRequest& r) { return api_->handle(r); };
    if (config_.wrap_office) office = config_.wrap_office(std::move(office));
    BL_ASSIGN(auto http, HttpServer::listen(runtime_.io(), spec->http.host, spec->http.port,
                                            std::move(office)));
    BL_ASSIGN(auto admin, HttpServer::listen(runtime_.io(), spec->admin.host, spec->admin.port,
                                             [this, &access](const HttpRequest& r) {
                                               return handle_admin(r, access);
                                             }));
    BL_TRY(listen_as_hub(*spec, opened.tls));
    http_ = http.get();
    runtime_.tasks().spawn(
        "drain http", [&]() -> asio::awaitable<void> { co_await drain_on_stop(runtime_, *http); });
    runtime_.tasks().spawn("drain operators' http", [&]() -> asio::awaitable<void> {
      co_await drain_on_stop(runtime_, *admin);
    });
    runtime_.tasks().spawn("uplink",
                           [this]() -> asio::awaitable<void> { co_await uplink_->run(); });
    runtime_.tasks().spawn("housekeeping",
                           [this]() -> asio::awaitable<void> { co_await keep_house(); });
    auto stop = runtime_.tasks().on_stop([this] {
      changes_->stop();
      api_->stop();
      counts_due_us_ = 0;
      keep_lookup_counts();
      if (relay_acceptor_) relay_acceptor_->close();
      if (relay_) relay_->stop();
      uplink_->stop();
      timer_.cancel();
    });
    runtime_.stop_on_signals();
    spdlog::info(
        "branch {} at csn {} with {} changes waiting, office on http://{}, operators on {}",
        config_.server, replica_->state().cursor.csn.value, replica_->state().ledger.pending,
        spec->http.to_string(), spec->admin.to_string());
    int code = runtime_.run();
    committer_->stop();
    spdlog::info("stopped");
    return code;
  }

 private:
  void on_changes(const Changes& c) {
    api_->on_changes(c);
    changes_->add(c);
  }

  // Where the topology gives this branch a `link`, others may have it as their upstream.
  Result<void> listen_as_hub(const ServerSpec& spec, std::shared_ptr<const LinkContext> tls) {
    if (spec.link.port == 0) return {};
    relay_ =
        std::make_unique<RelayService>(runtime_, *uplink_, clock_, config_.server, spec.upstream);
    uplink_->set_sharer(relay_.get());
    BL_ASSIGN(auto endpoint, listen_address(spec.link.host, spec.link.port));
    BL_ASSIGN(relay_acceptor_, TlsAcceptor::listen(runtime_.io(), endpoint, std::move(tls)));
    runtime_.tasks().spawn("accept links", [this]() -> asio::awaitable<void> {
      co_await relay_->run(*relay_acceptor_);
    });
    spdlog::info("upstream for other branches, their links on {}", spec.link.to_string());
    return {};
  }

  // Every second: the anchor, and whether the disk has room.
  asio::awaitable<void> keep_house() {
    Anchor written;
    while (!runtime_.tasks().stopping()) {
      timer_.expires_after(std::chrono::seconds(1));
      co_await timer_.async_wait(asio::as_tuple(asio::use_awaitable));
      if (runtime_.tasks().stopping()) co_return;
      changes_->pulse();
      Anchor now = co_await committer_->ask<Anchor>([](const Replica& replica) {
        const ReplicaState& s = replica.state();
        return Anchor{s.incarnation, s.order.value, chain_of(s.ends)};
      });
      oldest_pending_ms_ = co_await committer_->ask<int64_t>(
          [](const Replica& replica) { return replica.oldest_pending_ms().value_or(0); });
      // Until this start has written, the anchor of the one before says more.
      if ((now.number > 0 || anchor_missing_) && !(now == written)) {
        auto job = [path = anchor_path(config_), now] { return write_anchor(path, now); };
        auto ok = co_await runtime_.pool().run(std::move(job));
        if (!ok) {
          spdlog::error("the anchor could not be written: {}", ok.error().message);
        } else {
          written = now;
        }
      }
      keep_lookup_counts();
      look_at_outbox();
      compact_where_due();
      damage_.look(*store_);
      if (!disk_.look()) continue;
      committer_->set_disk_full(disk_.full());
      if (disk_.full()) {
        spdlog::error("the disk of {} is nearly full ({} MiB left): writes are refused with 507",
                      config_.data_directory, disk_.free_bytes() >> 20);
      } else {
        spdlog::info("the disk has room again, writes go on");
      }
    }
  }

  // Coarsely: a crash may forget a minute of them.
  void keep_lookup_counts() {
    int64_t now = clock_.steady_us();
    if (now < counts_due_us_ || api_->lookup_counts() == counts_kept_) return;
    counts_due_us_ = now + 60'000'000;
    counts_kept_ = api_->lookup_counts();
    committer_->post(
        [row = encode_lookup_counts(counts_kept_)](
            Replica&, const Committer::Write& write) -> std::move_only_function<void()> {
          Batch batch;
          batch.put(Table::meta, keys::meta_lookup_counts(), row);
          (void)write(batch, Sync::no);
          return {};
        });
  }

  // What may wait here is a policy of the topology as it was committed last, which comes with the
  // feed; the file stands in until then.
  uint64_t outbox_quota() {
    RecordKey key{entity_id::kTopology, keyed_record_id({}, "topology:topology", 0)};
    auto row = store_->get(Table::records, keys::record(committer_->side(), key));
    auto record = row && *row ? Record::decode(key, std::move(**row))
                              : Result<Record>(std::unexpected(Error{}));
    if (!record || !record->live()) return config_.topology.policies.outbox_quota_bytes;
    FieldId canonical = schema_->entity(key.entity)->field("canonical")->id;
    return policies_of(record->value(canonical).payload).outbox_quota_bytes;
  }

  // Warns long before writes are refused.
  void look_at_outbox() {
    uint64_t quota = outbox_quota(), bytes = committer_->status().outbox_bytes;
    committer_->set_outbox_quota(quota);
    bool warn = bytes >= quota / 10 * 8;
    if (warn == outbox_warning_) return;
    outbox_warning_ = warn;
    if (warn) {
      spdlog::warn(
          "changes that wait for the master take {} % of the {} MiB that they may; beyond that "
          "writes are refused with 507. Bring the link back, or raise `outbox_quota` in the "
          "topology",
          bytes / (quota / 100), quota >> 20);
    } else {
      spdlog::info("the changes that wait for the master are well below what may wait again");
    }
  }

  // After another snapshot, another subscription or a record's move to where it is not held here,
  // no byte stays of what is held no longer. Where records move all day, at most a twentieth of the
  // time goes into it.
  void compact_where_due() {
    if (compacting_ || clock_.steady_us() < compact_after_us_) return;
    auto due = store_->get(Table::meta, keys::meta_compact());
    if (!due || !*due) return;
    compacting_ = true;
    runtime_.tasks().spawn("compaction", [this, which = **due]() -> asio::awaitable<void> {
      int64_t began = clock_.steady_us();
      auto job = [this] { return store_->compact(); };
      auto done = co_await runtime_.pool().run(std::move(job));
      if (!done) {
        spdlog::error("the store could not be compacted: {}", done.error().message);
      } else if (*done) {
        co_await committer_->run<bool>([this, which](Replica&, const Committer::Write& write) {
          auto now = store_->get(Table::meta, keys::meta_compact());
          if (!now || *now != which) return false;  // another switch since
          Batch batch;
          batch.erase(Table::meta, keys::meta_compact());
          (void)write(batch, Sync::yes);
          return true;
        });
        spdlog::info("what this office holds no longer is gone from its files");
      }
      int64_t ended = clock_.steady_us();
      compact_after_us_ = ended + 20 * (ended - began);
      compacting_ = false;
    });
  }

  static bool is_up(const UplinkStatus& s) {
    return s.state == "following" || s.state == "joining";
  }

  std::string link_status() {
    UplinkStatus s = uplink_->status();
    std::string out;
    JsonWriter w(out);
    w.member("state", s.state)
        .member("upstream", config_.topology.server(config_.server)->upstream);
    w.member("connected", is_up(s)).member("caughtUp", s.caught_up);
    if (s.down_since_ms > 0) w.member("downSince", format_instant(s.down_since_ms));
    w.member("roundTripMs", s.round_trip_us / 1000).member("clockOffsetMs", s.clock_offset_ms);
    w.member("masterCsn", s.master_head.value)
        .member("bytesIn", s.bytes_in)
        .member("bytesOut", s.bytes_out);
    w.member("unacknowledgedBytes", s.unacknowledged_bytes);
    w.key("lanes").begin_object();
    for (size_t l = 0; l < kLaneCount; ++l) {
      const UplinkStatus::LaneStatus& lane = s.lanes[l];
      w.key(to_string(static_cast<Lane>(l))).begin_object();
      w.member("pending", lane.pending).member("held", to_string(lane.hold));
      if (lane.drain_s) w.member("drainSeconds", *lane.drain_s);
      w.end_object();
    }
    w.end_object();
    if (!s.problem.empty()) w.member("problem", s.problem).member("problemCode", s.problem_code);
    return out;
  }

  std::string render() {
    ReplicaStatus r = committer_->status();
    CommitterCounters c = committer_->counters();
    UplinkStatus l = uplink_->status();
    auto set = [this](const char* name, const char* help, double v) {
      metrics_.gauge(name, help).Set(v);
    };
    auto total = [this](const char* name, const char* help, double v) {
      auto& counter = metrics_.counter(name, help);
      counter.Increment(v - counter.Value());
    };
    set("branchline_replica_csn", "Commit that the base stands at",
        static_cast<double>(r.cursor.csn.value));
    set("branchline_replica_pending", "Own mutations without a fate",
        static_cast<double>(r.ledger.pending));
    double oldest =
        oldest_pending_ms_ > 0
            ? static_cast<double>(std::max<int64_t>(clock_.wall_ms() - oldest_pending_ms_, 0)) / 1e3
            : 0;
    set("branchline_replica_oldest_pending_seconds",
        "Age of the oldest own mutation without a fate", oldest);
    set("branchline_replica_outbox_bytes", "What own mutations without a fate take",
        static_cast<double>(r.outbox_bytes));
    const VerifyStatus& v = uplink_->verification().status();
    set("branchline_verify_equal", "1 while the checksums compared last were the master's",
        v.compared_equal || v.comparisons == 0 ? 1 : 0);
    set("branchline_verify_csn", "Commit at which everything was counted and compared last",
        static_cast<double>(v.done_csn.value));
    total("branchline_verify_mismatches_total", "Comparisons of checksums that differed",
          static_cast<double>(v.mismatches));
    total("branchline_verify_mended_records_total", "Records that verification fetched again",
          static_cast<double>(v.records_mended));
    total("branchline_verify_mended_index_rows_total", "Index rows that verification wrote anew",
          static_cast<double>(v.index_rows_mended));
    total("branchline_verify_mended_totals_total",
          "Checksums and counts that verification set right", static_cast<double>(v.totals_mended));
    total("branchline_verify_fetched_anew_total",
          "Replicas that verification fetched anew as a whole",
          static_cast<double>(v.fetched_anew));
    set("branchline_disk_free_bytes", "Free on the disk of the data directory",
        static_cast<double>(disk_.free_bytes()));
    total("branchline_replica_accepted_total", "Own mutations accepted",
          static_cast<double>(r.ledger.accepted));
    total("branchline_commit_groups_total", "Synced groups of client writes since start",
          static_cast<double>(c.groups));
    total("branchline_commit_mutations_total", "Client writes since start",
          static_cast<double>(c.mutations));
    total("branchline_commit_sync_seconds_total", "Time spent in synced writes since start",
          static_cast<double>(c.sync_us) / 1e6);
    set("branchline_link_up", "1 while following the master", l.state == "following" ? 1 : 0);
    set("branchline_link_round_trip_seconds", "Round trip of the link",
        static_cast<double>(l.round_trip_us) / 1e6);
    total("branchline_link_received_bytes_total", "Received over the link since start",
          static_cast<double>(l.bytes_in));
    total("branchline_link_sent_bytes_total", "Sent over the link since start",
          static_cast<double>(l.bytes_out));
    total("branchline_http_requests_total", "Requests since start",
          static_cast<double>(http_->counters().requests));
    total("branchline_http_refused_connections_total", "Connections over the limit",
          static_cast<double>(http_->counters().refused_connections));
    total("branchline_http_malformed_requests_total",
          "Requests that were no HTTP, too large or too slow",
          static_cast<double>(http_->counters().malformed));
    set("branchline_http_connections", "Open connections",
        static_cast<double>(http_->counters().open));
    return metrics_.render_metrics();
  }

  asio::awaitable<HttpResponse> handle_admin(const HttpRequest& request,
                                             const OperatorAccess& access) {
    std::string path(request.target.substr(0, request.target.find('?')));
    if (path == "/healthz") {
      co_return json_response(outbox_warning_ ? R"({"status":"ok","warning":"outbox"})"
                                              : R"({"status":"ok"})");
    }
    if (path == "/readyz") co_return readiness(committer_->joined());
    if (path == "/metrics") {
      HttpResponse r;
      r.content_type = kMetricsContentType;
      r.body = render();
      co_return r;
    }
    if (auto refused = access.refuse(request)) {
      // Tokens come with its data: that this one is not known yet says nothing of it.
      ReplicaStatus join = committer_->status();
      if (join.joined || !bearer_token(request.header("Authorization")))
        co_return std::move(*refused);
      co_return error_response(
          {ErrorKind::unavailable, "branch.joining",
           "this branch is receiving its data (" + std::to_string(join.seeded) +
               (join.seed_expected > 0
                    ? " of about " + std::to_string(join.seed_expected) + " records"
                    : " records so far") +
               ") and knows no tokens until it has them; until then its own operator.token is "
               "taken"});
    }
    if (path == "/admin/status") co_return co_await admin_status();
    if (path == "/admin/audit") {
      auto job = [view = store_->snapshot(), schema = schema_] {
        return audit_replica(*view, *schema);
      };
      auto report = co_await runtime_.pool().run(std::move(job));
      if (!report) co_return error_response(report.error());
      std::string body;
      JsonWriter w(body);
      put_audit_json(w, *report, names());
      co_return json_response(std::move(body));
    }
    if (path == "/admin/backup" && request.method == "GET") co_return backup_->status();
    if (path == "/admin/backup" && request.method == "POST") {
      auto json = parse_json(request.body);
      if (!json) co_return error_response(json.error());
      const Json* directory = json->member("directory");
      if (!directory || directory->kind != Json::Kind::string) {
        co_return error_response({ErrorKind::invalid, "backup.directory",
                                  "expected {\"directory\": \"/absolute/path\"}"});
      }
      LineCursor at = committer_->status().cursor;
      co_return backup_->start(directory->text, config_.server + " branch\nline " +
                                                    to_hex(at.line.value) + "\ncsn " +
                                                    std::to_string(at.csn.value));
    }
    if (path == "/admin/export" && request.method == "POST")
      co_return co_await courier_->export_part(request);
    if (path == "/admin/import" && request.method == "POST")
      co_return co_await courier_->import_piece(request);
    if (path == "/admin/verify") {
      std::string body;
      JsonWriter w(body);
      w.begin_object();
      if (request.method == "POST") w.member("asked", uplink_->verification().verify_now());
      put_verification(w);
      w.end_object();
      co_return json_response(std::move(body));
    }
    co_return not_found_response(
        "/healthz, /readyz, /metrics, /admin/status, /admin/audit, /admin/backup, "
        "/admin/verify, POST /admin/export, POST /admin/import");
  }

  void put_verification(JsonWriter& w) {
    const VerifyStatus& v = uplink_->verification().status();
    w.member("server", config_.server).member("linked", is_up(uplink_->status()));
    w.member("state", v.state).member("running", v.running).member("done", v.done);
    if (v.done > 0) {
      w.member("outcome", v.outcome).member("records", v.records).member("elements", v.elements);
      if (v.done_ms > 0) w.member("at", format_instant(v.done_ms)).member("csn", v.done_csn.value);
    }
    if (v.comparisons > 0) {
      w.key("compared")
          .begin_object()
          .member("at", format_instant(v.compared_ms))
          .member("csn", v.compared_csn.value)
          .member("equal", v.compared_equal)
          .end_object();
    }
    w.member("mismatches", v.mismatches)
        .member("recordsMended", v.records_mended)
        .member("indexRowsMended", v.index_rows_mended)
        .member("totalsMended", v.totals_mended)
        .member("fetchedAnew", v.fetched_anew);
    w.key("found").begin_array();
    for (const auto& line : v.found) w.text(line);
    w.end_array();
  }

  std::map<TerritoryId, std::string> territory_names() {
    std::map<TerritoryId, std::string> out;
    const Entity& entity = *schema_->entity(entity_id::kTerritory);
    auto rows =
        scan_prefix(*store_, Table::records, keys::record_prefix(committer_->side(), entity.id));
    for (; rows->valid(); rows->next()) {
      auto key = keys::parse_record(rows->key());
      auto record = key ? Record::decode(*key, std::string(rows->value()))
                        : Result<Record>(std::unexpected(Error{}));
      if (!record || !record->live()) continue;
      TerritoryId t(static_cast<uint32_t>(
          decode_integer(record->value(entity.field("territorynumber")->id).payload)));
      out[t] = std::string(record->value(entity.field("name")->id).payload);
    }
    return out;
  }

  ReportNames names() {
    ReportNames n;
    n.server = [name = config_.server](OriginId) { return name; };
    std::map<TerritoryId, std::string> territories{{kReferenceTerritory, "reference"}};
    auto held = committer_->status().territories;
    for (const auto& [t, name] : territory_names()) {
      if (std::find(held.begin(), held.end(), t) != held.end()) territories[t] = name;
    }
    n.territory = [territories](TerritoryId t) {
      auto at = territories.find(t);
      return at == territories.end() ? std::string() : at->second;
    };
    return n;
  }

  asio::awaitable<HttpResponse> admin_status() {
    // Read where it is written: checksums belong to the csn beside them.
    struct Standing {
      LineCursor cursor;
      Ledger ledger;
      std::map<TerritoryId, Sum128> sums;
    };
    Standing s = co_await committer_->ask<Standing>([](const Replica& replica) {
      const ReplicaState& state = replica.state();
      return Standing{state.cursor, state.ledger, state.totals.sums};
    });
    std::string body;
    JsonWriter w(body);
    w.begin_object();
    w.member("server", config_.server)
        .member("role", "branch")
        .member("joined", committer_->joined());
    w.member("line", to_hex(s.cursor.line.value)).member("csn", s.cursor.csn.value);
    w.member("pending", s.ledger.pending);
    if (ReplicaStatus join = committer_->status(); !join.joined || join.seed_expected > 0) {
      w.key("joining")
          .begin_object()
          .member("records", join.seeded)
          .member("expected", join.seed_expected)
          .end_object();
    }
    w.key("ledger");
    put_ledger_json(w, s.ledger);
    w.member("diskFull", disk_.full());
    if (auto damage = store_->damage()) w.member("storeDamage", *damage);
    w.member("outboxBytes", committer_->status().outbox_bytes)
        .member("outboxQuota", committer_->outbox_quota())
        .member("outboxWarning", outbox_warning_);
    auto due = store_->get(Table::meta, keys::meta_compact());
    w.member("compactionDue", due && due->has_value());
    w.key("sums").begin_object();
    ReportNames n = names();
    for (const auto& [t, sum] : s.sums) {
      std::string name = n.territory(t);
      if (!name.empty()) w.member(name, to_hex(sum));
    }
    w.end_object();
    put_lookups(w);
    w.key("verification").begin_object();
    put_verification(w);
    w.end_object();
    w.key("link").raw("{" + link_status() + "}");
    if (relay_) put_hub(w);
    w.end_object();
    co_return json_response(std::move(body));
  }

  void put_hub(JsonWriter& w) {
    w.key("hub")
        .begin_object()
        .member("sessions", relay_->sessions())
        .member("waitingBytes", relay_->waiting_bytes());
    w.key("links").begin_array();
    for (const auto& leaf : relay_->leaves()) {
      w.begin_object()
          .member("server", leaf.server)
          .member("bytesIn", leaf.bytes_in)
          .member("bytesOut", leaf.bytes_out)
          .member("queuedBytes", leaf.queued_bytes)
          .end_object();
    }
    w.end_array().end_object();
  }

  // Of territories that are not held here: held ones need no look-ups any more.
  void put_lookups(JsonWriter& w) {
    auto held = committer_->status().territories;
    std::map<TerritoryId, std::string> all = territory_names();
    w.key("lookups").begin_array();
    for (const auto& [t, count] : api_->lookup_counts()) {
      auto name = all.find(t);
      if (name == all.end() || std::find(held.begin(), held.end(), t) != held.end()) continue;
      w.begin_object()
          .member("territory", name->second)
          .member("times", count.times)
          .member("since", format_instant(count.since_ms))
          .end_object();
    }
    w.end_array();
  }

  BranchConfig config_;
  DiskWatch disk_{config_};
  DamageWatch damage_;
  SystemClock clock_;
  SystemRandom random_;
  std::shared_ptr<const Schema> schema_ = config_.schema ? config_.schema : Schema::built_in();
  Runtime runtime_;
  std::unique_ptr<Store> store_;
  std::unique_ptr<BackupJob> backup_;
  std::unique_ptr<Replica> replica_;
  std::unique_ptr<ChangeHub> changes_;
  std::unique_ptr<Uplink> uplink_;
  std::unique_ptr<RelayService> relay_;  // null: not a hub
  std::unique_ptr<TlsAcceptor> relay_acceptor_;
  std::unique_ptr<OfficeCourier> courier_;
  std::unique_ptr<OfficeApi> api_;
  std::unique_ptr<Committer> committer_;
  HttpServer* http_ = nullptr;
  asio::steady_timer timer_{runtime_.io()};
  int64_t oldest_pending_ms_ = 0;  // when it was made; 0: nothing is pending
  LookupCounts counts_kept_;
  int64_t counts_due_us_ = 0;
  bool outbox_warning_ = false;  // most of what may wait for the master does
  bool compacting_ = false;
  int64_t compact_after_us_ = 0;
  bool anchor_missing_ = false;  // when this start found its data directory
  Metrics metrics_;
};

}  // namespace

int run_branch(const BranchConfig& config) {
  BranchServer server(config);
  auto code = server.run();
  if (!code) {
    spdlog::critical("{}", code.error().message);
    return 2;
  }
  return *code;
}

}  // namespace branchline
