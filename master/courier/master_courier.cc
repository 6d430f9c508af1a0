#include "master/courier/master_courier.h"

#include <spdlog/spdlog.h>

#include "common/base/limits.h"
#include "common/json/json_writer.h"
#include "common/tls/sealed.h"
#include "master/ingest/on_ingest.h"
#include "replication/courier/feed_reader.h"
#include "replication/courier/peer_row.h"
#include "replication/line/compress.h"
#include "replication/transport/sealed_file.h"

namespace branchline {
namespace {

namespace asio = boost::asio;

// Of `origin`'s mutations in a batch.
Result<void> count_fates(const LineBatch& line, OriginId origin, Ledger& ledger) {
  for (const auto& [whose, stored] : line.fates) {
    if (whose != origin) continue;
    BL_ASSIGN(std::string raw, decompress(stored, limits::kMaxBlockBytes));
    BL_ASSIGN(auto fates, decode_fate_block(raw));
    for (const auto& f : fates) {
      ledger.accepted += f.count;
      ledger.count(f.fate, f.count);
    }
  }
  return {};
}

Error explain_gap(Error error, const std::string& from) {
  if (error.code == "stream.gap") {
    error.code = "file.gap";
    error.message +=
        ". A part of an export before this one is missing: import the files of " + from +
        " in the order in which they were made, or export there again, which brings all that is "
        "pending";
  }
  return error;
}

}  // namespace

struct MasterCourier::Report {
  FileHead head;
  uint64_t known = 0;
  Ledger fates;  // of what was new: `accepted` is how much that is
  Csn csn;       // of the main line now
};

asio::awaitable<HttpResponse> MasterCourier::import_piece(const HttpRequest& request) {
  if (parts_.links->disk_full()) {
    co_return error_response({ErrorKind::exhausted, "disk.full",
                              "the master's disk is nearly full; nothing is taken in until there "
                              "is room. The file keeps"});
  }
  auto query = query_of(request.target);
  auto at = number_of(query, "at"), size = number_of(query, "size");
  if (!at) co_return error_response(at.error());
  if (!size) co_return error_response(size.error());
  auto part = pieces_.add(query["upload"], *at, *size, request.body);
  if (!part) co_return error_response(part.error());
  if (!*part) co_return json_response("{}");
  auto report = co_await take(std::move(**part));
  if (!report) co_return error_response(report.error());
  std::string body;
  JsonWriter w(body);
  w.begin_object().member("kind", "pending").member("from", report->head.from);
  w.member("file", hex(report->head.file)).member("part", uint64_t{report->head.part});
  w.member("last", report->head.last);
  w.member("new", report->fates.accepted).member("known", report->known);
  w.member("applied", report->fates.applied).member("merged", report->fates.merged);
  w.member("overridden", report->fates.overridden).member("rejected", report->fates.rejected);
  w.member("csn", report->csn.value).end_object();
  co_return json_response(std::move(body));
}

asio::awaitable<Result<MasterCourier::Report>> MasterCourier::take(std::string framed) {
  auto job = [tls = parts_.tls, server = parts_.server, framed = std::move(framed),
              now_s = parts_.clock->wall_ms() / 1000] {
    return open_file(*tls, server, FileKind::pending, framed, now_s);
  };
  auto opened = co_await parts_.runtime->pool().run(std::move(job));
  if (!opened) co_return std::unexpected(opened.error());
  Report report;
  report.head = opened->part.head;
  const std::string& from = report.head.from;
  auto origin = co_await on_ingest<Result<OriginId>>(
      *parts_.ingest,
      [head = report.head, intro = *opened->part.introduction,
       certificate = std::move(opened->certificate)](
          Ingest& ingest, const IngestLoop::Tools& tools) -> Result<OriginId> {
        Batch rows;
        BL_ASSIGN(OriginId id, ingest.introduce_file(intro, rows));
        rows.put(Table::meta, keys::meta_peer(head.from),
                 encode_peer_row({intro.cursor.csn, certificate}));
        tools.write(rows);
        return id;
      });
  if (!origin) co_return std::unexpected(origin.error());
  for (auto& block : opened->part.blocks) {
    // One at a time: what comes over links goes on in between. Bulk work waits for room on the
    // lines down, as it does there (SEMANTICS 32).
    if (peek_lane(block) == Lane::bulk) co_await parts_.links->room_for_bulk();
    auto done = co_await on_ingest<Result<void>>(
        *parts_.ingest,
        [&report, origin = *origin, bytes = std::move(block)](
            Ingest& ingest, const IngestLoop::Tools& tools) mutable -> Result<void> {
          BL_ASSIGN(MutationBlock decoded, decode_mutation_block(std::move(bytes)));
          uint64_t all = decoded.mutations.size(), fresh = report.fates.accepted;
          std::vector<IncomingBlock> blocks;
          blocks.push_back({origin, 0, std::move(decoded), true});
          while (!blocks.empty()) {
            auto result = ingest.ingest(std::move(blocks));
            if (!result) return std::unexpected(result.error());
            tools.write(result->batch);
            blocks = std::move(result->rest);
            std::optional<Error> broken;
            if (!result->broken.empty()) broken = result->broken.front().error;
            Result<void> counted;
            if (result->line) counted = count_fates(*result->line, origin, report.fates);
            result->broken.clear();
            tools.publish(std::move(*result));
            BL_TRY(counted);
            if (broken) return std::unexpected(*broken);
          }
          report.known += all - (report.fates.accepted - fresh);
          report.csn = ingest.state().head;
          return {};
        });
    if (!done) co_return std::unexpected(explain_gap(done.error(), from));
  }
  if (report.csn.value == 0) report.csn = parts_.links->head().csn;
  spdlog::info("took in part {} of a file of {}: {} new, {} known", report.head.part, from,
               report.fates.accepted, report.known);
  co_return report;
}

// --- Feeds ---

struct MasterCourier::Wanted {
  std::string server;
  OriginId origin;
  std::vector<TerritoryId> territories;
  std::string certificate;
  std::optional<ExportToken> token;
  Csn from;
};

asio::awaitable<HttpResponse> MasterCourier::export_part(const HttpRequest& request) {
  auto response = co_await give(request);
  co_return response ? std::move(*response) : error_response(response.error());
}

asio::awaitable<Result<MasterCourier::Wanted>> MasterCourier::read_request(
    const HttpRequest& request) {
  auto query = query_of(request.target);
  Wanted out;
  out.server = query["server"];
  auto branch = co_await on_ingest<Result<ServerEntry>>(
      *parts_.ingest,
      [name = out.server](Ingest& ingest, const IngestLoop::Tools&) -> Result<ServerEntry> {
        const ServerEntry* entry = ingest.directory().server(name);
        if (!entry || entry->master || entry->removed)
          return fail(ErrorKind::not_found, "file.unknown", "there is no branch `" + name + "`");
        auto progress = ingest.branches().find(entry->origin);
        std::vector<TerritoryId> wanted(entry->territories.begin(), entry->territories.end());
        if (progress != ingest.branches().end() && progress->second.installed != wanted) {
          return fail(ErrorKind::conflict, "file.subscription",
                      "the subscription of " + name +
                          " was changed, and what that takes comes over its link only");
        }
        return *entry;
      });
  if (!branch) co_return std::unexpected(branch.error());
  out.origin = branch->origin;
  out.territories.assign(branch->territories.begin(), branch->territories.end());
  if (auto token = query.find("token"); token != query.end()) {
    auto parsed = parse_export_token(token->second, 2);
    if (!parsed) co_return std::unexpected(parsed.error());
    out.token = std::move(*parsed);
  }
  std::optional<PeerRow> peer;
  auto row = parts_.store->get(Table::meta, keys::meta_peer(out.server));
  if (!row) co_return std::unexpected(row.error());
  if (*row) {
    auto decoded = decode_peer_row(**row);
    if (!decoded) co_return std::unexpected(decoded.error());
    peer = std::move(*decoded);
  }
  if (!request.body.empty()) {
    auto certificate = read_certificate(request.body);
    if (!certificate) co_return std::unexpected(certificate.error());
    out.certificate = std::move(*certificate);
  } else if (peer) {
    out.certificate = peer->certificate;
  } else {
    co_return fail(ErrorKind::conflict, "file.no_certificate",
                   out.server +
                       " has not connected since this master can write files, so its certificate "
                       "is not known here: import a file of it first (branchline export --at " +
                       out.server + " FILE), or give its server.pem with --certificate");
  }
  if (query.count("from") > 0) {
    auto from = number_of(query, "from");
    if (!from) co_return std::unexpected(from.error());
    out.from = Csn(*from);
  } else if (out.token) {
    out.from = Csn(out.token->position[0]);
  } else if (!peer) {
    co_return fail(ErrorKind::conflict, "file.no_position",
                   "how far " + out.server +
                       " has come is not known here: say it with --from CSN (`csn` in its status), "
                       "or import a file of it first");
  } else {
    out.from = peer->csn;
    for (const auto& link : parts_.links->status()) {
      if (link.server == out.server) out.from = std::max(out.from, link.durable);
    }
  }
  co_return out;
}

asio::awaitable<Result<HttpResponse>> MasterCourier::give(const HttpRequest& request) {
  auto wanted = co_await read_request(request);
  if (!wanted) co_return std::unexpected(wanted.error());
  auto job = [w = std::move(*wanted), view = parts_.store->snapshot(), tls = parts_.tls,
              server = parts_.server, wall_ms = parts_.clock->wall_ms()]() -> Result<HttpResponse> {
    BL_ASSIGN(std::string whose, certified_server(*tls, w.certificate, wall_ms / 1000));
    if (whose != w.server) {
      return fail(ErrorKind::denied, "file.certificate",
                  "this is the certificate of " + whose + ", and the file is for " + w.server);
    }
    BL_ASSIGN(auto row, view->get(Table::meta, keys::meta_state()));
    if (!row) return fail(ErrorKind::unavailable, "file.no_line", "the master has no state yet");
    BL_ASSIGN(MasterState state, decode_master_state(*row));
    Csn until = w.token ? Csn(w.token->position[1]) : state.head;
    if (w.from > until || until > state.head) {
      return fail(ErrorKind::invalid, "file.from",
                  "the main line ends at csn " + std::to_string(state.head.value) +
                      "; a feed from csn " + std::to_string(w.from.value) + " is not possible");
    }
    LineFeed line(*view, {state.line, state.head, state.chain});
    auto after = line.cursor_before(w.from);
    if (!after && after.error().code == "line.trimmed") {
      return fail(ErrorKind::conflict, "file.trimmed",
                  "the main line behind csn " + std::to_string(w.from.value) + ", where " +
                      w.server +
                      " stands, is kept no longer: it fetches its data anew over its link");
    }
    if (!after) return std::unexpected(after.error());
    FeedScope scope;
    scope.origin = w.origin;
    scope.territories.insert(w.territories.begin(), w.territories.end());
    scope.territories.insert(kReferenceTerritory);
    FilePart part;
    BL_ASSIGN(part.ranges, read_feed(line, *after, until, scope, limits::kTargetFilePartBytes));
    FileHead& head = part.head;
    head.kind = FileKind::feed;
    head.from = server;
    head.to = w.server;
    head.line = state.line;
    head.file = w.token ? w.token->file : SystemRandom().bytes(16);
    head.part = w.token ? w.token->part : 0;
    head.origin = w.origin;
    head.territories = w.territories;
    head.begin = after->csn;
    head.begin_chain = after->chain;
    head.end = part.ranges.empty() ? after->csn : part.ranges.back().to.csn;
    head.last = head.end >= until;
    BL_ASSIGN(std::string cms, seal(*tls, w.certificate, encode_file_part(part, wall_ms)));
    HttpResponse response;
    response.content_type = "application/octet-stream";
    response.body = frame_sealed_part({head.kind, head.from, head.to, std::move(cms)});
    response.headers.emplace_back("Branchline-Begin", std::to_string(head.begin.value));
    response.headers.emplace_back("Branchline-End", std::to_string(head.end.value));
    if (!head.last) {
      ExportToken next{head.file, head.part + 1, {head.end.value, until.value}};
      response.headers.emplace_back("Branchline-Next", to_string(next));
    }
    return response;
  };
  co_return co_await parts_.runtime->pool().run(std::move(job));
}

}  // namespace branchline
