#include "master/admin/master_admin.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <charconv>
#include <limits>

#include "common/base/limits.h"
#include "master/admin/token_plan.h"
#include "master/ingest/audit.h"
#include "master/ingest/on_ingest.h"
#include "master/ingest/topology_commit.h"
#include "replication/line/compress.h"
#include "replication/line/report_json.h"

namespace branchline {
namespace {

namespace asio = boost::asio;

constexpr const char* kPaths =
    "/healthz, /readyz, /metrics, /admin/status, /admin/audit, /admin/log?after=CSN&limit=N, POST "
    "/admin/tokens, "
    "POST /admin/tokens/revoke?id=ID, "
    "POST /admin/release?server=NAME, POST /admin/write-off?server=NAME, POST "
    "/admin/reconcile/close, GET and POST /admin/backup, POST /admin/topology?force=true, "
    "/admin/feature-level, POST /admin/feature-level?level=N, "
    "POST /admin/escrow/write-off?server=NAME&shares=frozen|all&pieces=returned|sold, "
    "POST /admin/import, POST /admin/export?server=NAME";

std::string parameter(std::string_view target, std::string_view name) {
  size_t mark = target.find('?');
  if (mark == std::string_view::npos) return {};
  std::string_view rest = target.substr(mark + 1);
  while (!rest.empty()) {
    size_t amp = std::min(rest.find('&'), rest.size());
    std::string_view one = rest.substr(0, amp);
    if (one.starts_with(name) && one.size() > name.size() && one[name.size()] == '=')
      return std::string(one.substr(name.size() + 1));
    rest.remove_prefix(std::min(amp + 1, rest.size()));
  }
  return {};
}

// What /admin/log may be asked for. A mistake is refused: passed over, it would answer with another
// part of the line than was meant.
struct LogRequest {
  uint64_t after = 0;
  uint64_t limit = 100;
};
constexpr uint64_t kMaxLogRows = 10'000;

Result<uint64_t> number_parameter(std::string_view name, std::string_view text, uint64_t least,
                                  uint64_t most) {
  uint64_t value = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (text.empty() || error != std::errc() || end != text.data() + text.size() || value < least ||
      value > most) {
    return fail(ErrorKind::invalid, "log." + std::string(name),
                std::string(name) + ": expected a number from " + std::to_string(least) + " to " +
                    std::to_string(most));
  }
  return value;
}

Result<LogRequest> read_log_request(std::string_view target) {
  LogRequest out;
  size_t mark = target.find('?');
  std::string_view rest = mark == std::string_view::npos ? "" : target.substr(mark + 1);
  for (; !rest.empty(); rest.remove_prefix(std::min(rest.find('&'), rest.size() - 1) + 1)) {
    std::string_view one = rest.substr(0, rest.find('&'));
    std::string_view name = one.substr(0, one.find('='));
    std::string_view value = one.substr(std::min(name.size() + 1, one.size()));
    if (name == "after") {
      constexpr auto kMost = static_cast<uint64_t>(std::numeric_limits<int64_t>::max());
      BL_ASSIGN(out.after, number_parameter(name, value, 0, kMost));
    } else if (name == "limit") {
      BL_ASSIGN(out.limit, number_parameter(name, value, 1, kMaxLogRows));
    } else {
      return fail(ErrorKind::invalid, "log.parameter",
                  "there is no parameter `" + std::string(name.substr(0, 60)) +
                      "`; the log has after and limit");
    }
  }
  return out;
}

struct Facts {
  MasterState state;
  std::map<OriginId, OriginState> origins;
  std::map<OriginId, ProgramSeen> programs;
  Directory directory;
  TrimState trimmed;
  std::map<OriginId, BranchProgress> progress;
  Reconciling reconciling;
};

asio::awaitable<Facts> facts_of(IngestLoop& loop) {
  co_return co_await on_ingest<Facts>(loop, [](Ingest& ingest, const IngestLoop::Tools&) {
    return Facts{ingest.state(),   ingest.origins(),  ingest.programs(),   ingest.directory(),
                 ingest.trimmed(), ingest.branches(), ingest.reconciling()};
  });
}

ReportNames names_of(const Directory& directory) {
  ReportNames names;
  names.server = [directory](OriginId o) {
    const ServerEntry* s = directory.server(o);
    return s ? s->name : "server" + std::to_string(o.value);
  };
  names.territory = [directory](TerritoryId t) -> std::string {
    if (t == kReferenceTerritory) return "reference";
    for (const auto& [name, number] : directory.territories()) {
      if (number == t) return name;
    }
    return {};
  };
  return names;
}

}  // namespace

asio::awaitable<HttpResponse> MasterAdmin::handle(const HttpRequest& request) {
  std::string path(request.target.substr(0, request.target.find('?')));
  bool get = request.method == "GET";
  if (path == "/healthz" || path == "/readyz") {
    bool reconciling = parts_.ingest->counters().reconciling;
    co_return json_response(reconciling ? R"({"status":"ok","reconciling":true})"
                                        : R"({"status":"ok"})");
  }
  if (path == "/metrics") {
    HttpResponse r;
    r.content_type = "text/plain; version=0.0.4";
    r.body = parts_.metrics();
    co_return r;
  }
  if (auto refused = parts_.access->refuse(request)) co_return std::move(*refused);
  if (path == "/admin/status" && get) co_return co_await status();
  if (path == "/admin/audit" && get) co_return co_await audit();
  if (path == "/admin/log" && get) {
    auto wanted = read_log_request(request.target);
    if (!wanted) co_return error_response(wanted.error());
    co_return co_await log(wanted->after, wanted->limit);
  }
  if (path == "/admin/tokens" && request.method == "POST") co_return co_await create_token(request);
  if (path == "/admin/tokens/revoke" && request.method == "POST")
    co_return co_await revoke_token(parameter(request.target, "id"));
  if (path == "/admin/escrow/write-off" && request.method == "POST")
    co_return co_await write_off(request.target);
  if (path == "/admin/release" && request.method == "POST")
    co_return co_await release(parameter(request.target, "server"));
  if (path == "/admin/feature-level" && get) co_return co_await feature_level();
  if (path == "/admin/feature-level" && request.method == "POST")
    co_return co_await raise_feature_level(parameter(request.target, "level"));
  if (path == "/admin/topology" && request.method == "POST")
    co_return co_await apply_topology(request);
  if (path == "/admin/write-off" && request.method == "POST")
    co_return co_await write_off_disk(parameter(request.target, "server"));
  if (path == "/admin/reconcile/close" && request.method == "POST")
    co_return co_await close_reconciling();
  if (path == "/admin/backup" && get) co_return parts_.backup->status();
  if (path == "/admin/backup" && request.method == "POST") co_return co_await start_backup(request);
  if (path == "/admin/import" && request.method == "POST")
    co_return co_await parts_.courier->import_piece(request);
  if (path == "/admin/export" && request.method == "POST")
    co_return co_await parts_.courier->export_part(request);
  co_return not_found_response(kPaths);
}

asio::awaitable<HttpResponse> MasterAdmin::status() {
  Facts facts = co_await facts_of(*parts_.ingest);
  auto links = parts_.links->status();
  IngestCounters counters = parts_.ingest->counters();
  std::string body;
  JsonWriter w(body);
  w.begin_object();
  w.member("server", parts_.server).member("role", "master");
  w.member("line", to_hex(facts.state.line.value)).member("term", uint64_t{facts.state.term.value});
  w.member("csn", facts.state.head.value);
  w.member("featureLevel", uint64_t{facts.directory.feature_level()});
  w.member("trimmedThrough", facts.trimmed.csn.value)
      .member("topology", facts.directory.topology_digest());
  int64_t now = parts_.clock->wall_ms();
  w.member("queuedBytes", counters.queued_bytes).member("batches", counters.batches);
  w.member("diskFull", parts_.links->disk_full());
  if (auto damage = parts_.store->damage()) w.member("storeDamage", *damage);
  if (const Reconciling& r = facts.reconciling; r.open() || !r.late.empty()) {
    auto list = [&](const char* name, const std::set<OriginId>& origins) {
      w.key(name).begin_array();
      for (OriginId o : origins) w.text(names_of(facts.directory).server(o));
      w.end_array();
    };
    w.key("reconciling").begin_object().member("open", r.open());
    if (r.open()) w.member("since", format_instant(r.since_ms)).member("why", r.why);
    list("awaited", r.awaited);
    list("notWaitedFor", r.late);
    w.end_object();
  }
  w.key("branches").begin_array();
  for (const auto& [origin, server] : facts.directory.servers()) {
    if (server.master || server.removed) continue;
    w.begin_object();
    w.member("server", server.name);
    auto link = std::find_if(links.begin(), links.end(),
                             [&](const auto& l) { return l.server == server.name; });
    bool connected = link != links.end();
    w.member("connected", connected);
    if (connected) {
      w.member("state", link->state)
          .member("applied", link->applied.value)
          .member("durable", link->durable.value);
      w.member("behind",
               facts.state.head.value - std::min(facts.state.head.value, link->applied.value));
      w.member("pending", link->pending).member("oldestPendingMs", link->oldest_pending_ms);
      w.member("roundTripMs", link->round_trip_us / 1000);
      w.member("bytesIn", link->bytes_in)
          .member("bytesOut", link->bytes_out)
          .member("queuedBytes", uint64_t{link->queued_bytes});
      if (!link->via.empty()) w.member("via", link->via);
    }
    // What an office would lose with its disk: what it had when it was heard last.
    auto told = facts.progress.find(origin);
    if (told != facts.progress.end()) {
      const BranchProgress& p = told->second;
      uint64_t mutations = connected ? link->pending : p.pending;
      uint64_t bytes = connected ? link->pending_bytes : p.pending_bytes;
      int64_t oldest = connected ? link->oldest_pending_ms
                                 : (p.oldest_ms == 0 ? 0 : std::max<int64_t>(now - p.oldest_ms, 0));
      w.key("unshipped")
          .begin_object()
          .member("mutations", mutations)
          .member("bytes", bytes)
          .member("oldestMs", mutations == 0 ? 0 : oldest)
          .end_object();
      w.member("passed", p.passed.value).member("heardMsAgo", connected ? 0 : now - p.heard_ms);
      w.member("lapsed", p.lapsed_at.value != 0);
    }
    auto refusal = parts_.links->refusals().find(server.name);
    if (refusal != parts_.links->refusals().end()) w.member("refused", refusal->second);
    auto state = facts.origins.find(origin);
    if (state != facts.origins.end()) {
      w.key("ledger");
      put_ledger_json(w, state->second.ledger);
      const OriginState& o = state->second;
      if (o.quarantined) w.member("quarantined", o.why);
      if (o.refused.value != 0) w.member("copyRefused", format_instant(o.refused_ms));
      if (o.written_off) w.member("writtenOff", true);
      uint64_t missing = 0;
      for (const auto& gap : o.missing) missing += gap.count();
      if (missing > 0) w.member("missing", missing);
    }
    w.end_object();
  }
  w.end_array();
  w.key("sums").begin_object();
  ReportNames names = names_of(facts.directory);
  for (const auto& [t, sum] : facts.state.totals.sums) {
    std::string name = names.territory(t);
    if (!name.empty()) w.member(name, to_hex(sum));
  }
  w.end_object();
  w.end_object();
  co_return json_response(std::move(body));
}

asio::awaitable<HttpResponse> MasterAdmin::audit() {
  Facts facts = co_await facts_of(*parts_.ingest);
  auto job = [view = parts_.store->snapshot(), schema = parts_.schema] {
    return audit_line(*view, *schema);
  };
  auto report = co_await parts_.runtime->pool().run(std::move(job));
  if (!report) co_return error_response(report.error());
  std::string body;
  JsonWriter w(body);
  put_audit_json(w, *report, names_of(facts.directory));
  co_return json_response(std::move(body));
}

asio::awaitable<HttpResponse> MasterAdmin::create_token(const HttpRequest& request) {
  // Revoking goes on: it is small, and what it is for cannot wait for room.
  if (parts_.links->disk_full()) {
    co_return error_response(
        {ErrorKind::exhausted, "disk.full",
         "the master's disk is nearly full; no token is created until there is room (free space on "
         "it; reading and revoking go on)"});
  }
  auto json = parse_json(request.body);
  if (!json) co_return error_response(json.error());
  auto wanted = read_token_request(*parts_.schema, *json);
  if (!wanted) co_return error_response(wanted.error());
  std::string secret = make_token();
  int64_t now = parts_.clock->wall_ms();
  struct Made {
    RecordId token, user;
    Csn csn;
  };
  auto made = co_await on_ingest<Result<Made>>(
      *parts_.ingest,
      [wanted = std::move(*wanted), hash = token_hash(secret), now](
          Ingest& ingest, const IngestLoop::Tools& tools) -> Result<Made> {
        SystemRandom random;
        RecordIdMaker ids(random);
        BL_ASSIGN(TokenPlan plan, plan_token(ingest.schema(), ingest.workspace(),
                                             ingest.directory(), wanted, hash, ids, now));
        BL_ASSIGN(Ingest::Local local, ingest.commit_local(plan.ops, {}, ""));
        tools.write(local.result.batch);
        tools.publish(std::move(local.result));
        if (local.fate == Fate::rejected)
          return fail(ErrorKind::invalid, "token.rejected",
                      std::string(explain(local.outcomes.back().reason)));
        return Made{plan.token, plan.user, local.csn};
      });
  if (!made) co_return error_response(made.error());
  std::string body;
  JsonWriter w(body);
  w.begin_object()
      .member("token", secret)
      .member("id", to_string(made->token))
      .member("user", to_string(made->user))
      .member("csn", made->csn.value)
      .end_object();
  co_return json_response(std::move(body), 201);
}

asio::awaitable<HttpResponse> MasterAdmin::revoke_token(const std::string& text) {
  auto id = parse_record_id(text);
  if (!id)
    co_return error_response(
        {ErrorKind::invalid, "token.id", "id: the token's record id, as `token create` told it"});
  auto done = co_await on_ingest<Result<Csn>>(
      *parts_.ingest, [id = *id](Ingest& ingest, const IngestLoop::Tools& tools) -> Result<Csn> {
        BL_ASSIGN(TokenPlan plan, plan_revocation(ingest.schema(), ingest.workspace(), id));
        if (plan.ops.empty()) return plan.done;
        BL_ASSIGN(Ingest::Local local, ingest.commit_local(plan.ops, {}, ""));
        tools.write(local.result.batch);
        tools.publish(std::move(local.result));
        if (local.fate == Fate::rejected)
          return fail(ErrorKind::invalid, "token.rejected",
                      std::string(explain(local.outcomes.back().reason)));
        return local.csn;
      });
  if (!done) co_return error_response(done.error());
  co_return json_response("{\"revoked\":true,\"csn\":" + std::to_string(done->value) + "}");
}

asio::awaitable<HttpResponse> MasterAdmin::log(uint64_t after, uint64_t limit) {
  Facts facts = co_await facts_of(*parts_.ingest);
  auto job = [view = parts_.store->snapshot(), after, limit,
              names = names_of(facts.directory)]() -> Result<std::string> {
    std::string body;
    JsonWriter w(body);
    w.begin_object().key("commits").begin_array();
    uint64_t shown = 0, last = after;
    auto cursor = view->scan(Table::line, keys::line_prefix(Csn(after + 1)), {});
    for (; cursor->valid() && shown < limit; cursor->next()) {
      Reader key(cursor->key());
      key.fixed64();
      if (key.u8() != uint8_t(keys::LineRow::fates)) continue;
      BL_ASSIGN(std::string raw, decompress(cursor->value(), limits::kMaxBlockBytes));
      BL_ASSIGN(auto fates, decode_fate_block(raw));
      for (const auto& f : fates) {
        for (uint32_t k = 0; k < f.count && shown < limit; ++k) {
          if (f.csn.value + k <= after) continue;
          last = f.csn.value + k;
          ++shown;
          w.begin_object();
          w.member("csn", last);
          w.member("mutation", names.server(f.id.origin) + "." + to_hex(f.id.incarnation.value) +
                                   "." + std::string(to_string(f.id.lane)) + "." +
                                   std::to_string(f.id.seq.value + k));
          w.member("fate", to_string(f.fate));
          if (!f.outcomes.empty()) w.member("reason", to_string(f.outcomes.front().reason));
          w.end_object();
        }
      }
    }
    if (auto e = cursor->error()) return std::unexpected(*e);
    w.end_array().member("last", last).end_object();
    return body;
  };
  auto body = co_await parts_.runtime->pool().run(std::move(job));
  if (!body) co_return error_response(body.error());
  co_return json_response(std::move(*body));
}

asio::awaitable<HttpResponse> MasterAdmin::feature_level() {
  Facts facts = co_await facts_of(*parts_.ingest);
  std::string body;
  JsonWriter w(body);
  w.begin_object().member("committed", uint64_t{facts.directory.feature_level()});
  w.member("newest", uint64_t{kFeatureLevel}).key("servers").begin_array();
  for (const auto& [origin, server] : facts.directory.servers()) {
    w.begin_object().member("server", server.name);
    auto seen = facts.programs.find(origin);
    if (server.master || server.removed) {
      w.member("level", uint64_t{kFeatureLevel})
          .member("schema", uint64_t{parts_.schema->version()});
    } else if (seen != facts.programs.end()) {
      w.member("level", uint64_t{seen->second.feature_level})
          .member("schema", uint64_t{seen->second.schema_version})
          .member("seen", format_instant(seen->second.wall_ms));
    }
    w.end_object();
  }
  w.end_array().end_object();
  co_return json_response(std::move(body));
}

asio::awaitable<HttpResponse> MasterAdmin::raise_feature_level(const std::string& text) {
  uint32_t level = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), level);
  if (text.empty() || error != std::errc() || end != text.data() + text.size()) {
    co_return error_response(
        {ErrorKind::invalid, "feature_level.number", "level: expected a number"});
  }
  auto done = co_await on_ingest<Result<Csn>>(
      *parts_.ingest, [level](Ingest& ingest, const IngestLoop::Tools& tools) -> Result<Csn> {
        BL_ASSIGN(Ingest::Local local, ingest.raise_feature_level(level));
        tools.write(local.result.batch);
        tools.publish(std::move(local.result));
        if (local.fate == Fate::rejected)
          return fail(ErrorKind::invalid, "feature_level.rejected",
                      std::string(explain(local.outcomes.back().reason)));
        return local.csn;
      });
  if (!done) co_return error_response(done.error());
  spdlog::info("the feature level is {} from csn {} on", level, done->value);
  co_return json_response("{\"committed\":" + std::to_string(level) +
                          ",\"csn\":" + std::to_string(done->value) + "}");
}

asio::awaitable<HttpResponse> MasterAdmin::write_off(std::string_view target) {
  std::string server = parameter(target, "server"), shares = parameter(target, "shares"),
              pieces = parameter(target, "pieces");
  if ((shares != "frozen" && shares != "all") || (pieces != "returned" && pieces != "sold")) {
    co_return error_response(
        {ErrorKind::invalid, "escrow.parameter",
         "shares is frozen or all, pieces is returned or sold; both must be said"});
  }
  uint64_t written_off = 0;
  for (bool more = true; more;) {
    auto step = co_await on_ingest<Result<Ingest::WriteOff>>(
        *parts_.ingest,
        [server, all = shares == "all", sold = pieces == "sold"](
            Ingest& ingest, const IngestLoop::Tools& tools) -> Result<Ingest::WriteOff> {
          const ServerEntry* entry = ingest.directory().server(server);
          if (!entry || entry->master) {
            return fail(ErrorKind::not_found, "escrow.unknown",
                        "there is no branch `" + server + "`");
          }
          return ingest.write_off(entry->origin, all, sold, [&](IngestResult&& r) {
            tools.write(r.batch);
            tools.publish(std::move(r));
          });
        });
    if (!step) co_return error_response(step.error());
    written_off += step->shares;
    more = step->more;
  }
  co_return json_response("{\"shares\":" + std::to_string(written_off) + "}");
}

asio::awaitable<HttpResponse> MasterAdmin::write_off_disk(const std::string& server) {
  for (const auto& link : parts_.links->status()) {
    if (link.server != server) continue;
    co_return error_response({ErrorKind::conflict, "write_off.connected",
                              server + " is connected, so its disk is not lost; stop it first"});
  }
  auto lost = co_await on_ingest<Result<uint64_t>>(
      *parts_.ingest, [server](Ingest& ingest, const IngestLoop::Tools& tools) -> Result<uint64_t> {
        const ServerEntry* entry = ingest.directory().server(server);
        if (!entry || entry->master)
          return fail(ErrorKind::not_found, "write_off.unknown",
                      "there is no branch `" + server + "`");
        Batch rows;
        BL_ASSIGN(uint64_t n, ingest.write_off_disk(entry->origin, rows));
        tools.write(rows);
        return n;
      });
  if (!lost) co_return error_response(lost.error());
  co_return json_response("{\"writtenOff\":true,\"lost\":" + std::to_string(*lost) + "}");
}

asio::awaitable<HttpResponse> MasterAdmin::close_reconciling() {
  std::set<std::string> names;
  for (const auto& link : parts_.links->status()) names.insert(link.server);
  using Done = Result<std::pair<std::vector<std::string>, std::map<std::string, uint64_t>>>;
  auto done = co_await on_ingest<Done>(
      *parts_.ingest, [names](Ingest& ingest, const IngestLoop::Tools& tools) -> Done {
        std::set<OriginId> connected;
        for (const auto& [origin, server] : ingest.directory().servers()) {
          if (names.count(server.name)) connected.insert(origin);
        }
        Batch rows;
        BL_ASSIGN(auto closed, ingest.close_reconciling(connected, rows));
        tools.write(rows);
        std::pair<std::vector<std::string>, std::map<std::string, uint64_t>> out;
        auto name = [&](OriginId o) { return ingest.directory().server(o)->name; };
        for (OriginId o : closed.left) out.first.push_back(name(o));
        for (const auto& [o, count] : closed.lost) out.second[name(o)] = count;
        return out;
      });
  if (!done) co_return error_response(done.error());
  std::string body;
  JsonWriter w(body);
  w.begin_object().key("notWaitedFor").begin_array();
  for (const auto& name : done->first) w.text(name);
  w.end_array().key("lost").begin_object();
  for (const auto& [name, count] : done->second) w.member(name, count);
  w.end_object().end_object();
  co_return json_response(std::move(body));
}

asio::awaitable<HttpResponse> MasterAdmin::start_backup(const HttpRequest& request) {
  auto json = parse_json(request.body);
  if (!json) co_return error_response(json.error());
  const Json* directory = json->member("directory");
  if (!directory || directory->kind != Json::Kind::string) {
    co_return error_response(
        {ErrorKind::invalid, "backup.directory", "expected {\"directory\": \"/absolute/path\"}"});
  }
  Facts facts = co_await facts_of(*parts_.ingest);
  co_return parts_.backup->start(directory->text, parts_.server + " master\nline " +
                                                      to_hex(facts.state.line.value) + "\ncsn " +
                                                      std::to_string(facts.state.head.value));
}

asio::awaitable<HttpResponse> MasterAdmin::release(const std::string& server) {
  auto done = co_await on_ingest<Result<void>>(
      *parts_.ingest, [server](Ingest& ingest, const IngestLoop::Tools& tools) -> Result<void> {
        const ServerEntry* entry = ingest.directory().server(server);
        if (!entry)
          return fail(ErrorKind::not_found, "release.unknown",
                      "there is no server `" + server + "`");
        Batch rows;
        BL_TRY(ingest.release(entry->origin, rows));
        tools.write(rows);
        return {};
      });
  if (!done) co_return error_response(done.error());
  co_return json_response("{\"released\":true}");
}

asio::awaitable<HttpResponse> MasterAdmin::apply_topology(const HttpRequest& request) {
  auto topology = parse_topology(std::string(request.body), "the file");
  if (!topology) co_return error_response(topology.error());
  bool force = parameter(request.target, "force") == "true";
  auto lines = line_policies(*topology);
  struct Applied {
    Csn csn;
    std::vector<std::string> territories_added, servers_added, servers_removed,
        subscriptions_changed, upstreams_changed;
    bool changed = false;
  };
  auto done = co_await on_ingest<Result<Applied>>(
      *parts_.ingest,
      [topology = std::move(*topology), force, &store = *parts_.store](
          Ingest& ingest, const IngestLoop::Tools& tools) -> Result<Applied> {
        BL_ASSIGN(auto tokens, token_places(store));
        BL_ASSIGN(TopologyPlan plan,
                  plan_topology(ingest.schema(), ingest.directory(), topology, tokens));
        Applied out{ingest.state().head,  plan.territories_added,     plan.servers_added,
                    plan.servers_removed, plan.subscriptions_changed, plan.upstreams_changed,
                    !plan.ops.empty()};
        if (plan.ops.empty()) return out;
        for (const auto& name : plan.servers_removed) {
          auto told = ingest.branches().find(ingest.directory().server(name)->origin);
          if (force || told == ingest.branches().end() || told->second.pending == 0) continue;
          return fail(ErrorKind::conflict, "topology.unshipped",
                      name + " had " + std::to_string(told->second.pending) +
                          " changes that are not here yet when it was heard last; let it connect "
                          "and ship them, or use --force: they stay on its disk and are taken when "
                          "it is added again");
        }
        BL_ASSIGN(Ingest::Local local, ingest.commit_local(plan.ops, {}, ""));
        tools.write(local.result.batch);
        tools.publish(std::move(local.result));
        if (local.fate == Fate::rejected) {
          return fail(ErrorKind::invalid, "topology.rejected",
                      std::string(explain(local.outcomes.back().reason)));
        }
        out.csn = local.csn;
        return out;
      });
  if (!done) co_return error_response(done.error());
  // They are not part of what is committed, but a new server's line must not be flooded until the
  // next start.
  parts_.links->set_lines(lines);
  std::vector<std::string> concerned = done->subscriptions_changed;
  concerned.insert(concerned.end(), done->servers_removed.begin(), done->servers_removed.end());
  concerned.insert(concerned.end(), done->upstreams_changed.begin(), done->upstreams_changed.end());
  parts_.links->subscriptions_changed(concerned);
  std::string body;
  JsonWriter w(body);
  w.begin_object().member("changed", done->changed).member("csn", done->csn.value);
  auto list = [&](const char* name, const std::vector<std::string>& names) {
    w.key(name).begin_array();
    for (const auto& n : names) w.text(n);
    w.end_array();
  };
  list("territoriesAdded", done->territories_added);
  list("serversAdded", done->servers_added);
  list("serversRemoved", done->servers_removed);
  list("subscriptionsChanged", done->subscriptions_changed);
  list("upstreamsChanged", done->upstreams_changed);
  w.end_object();
  co_return json_response(std::move(body));
}

}  // namespace branchline
