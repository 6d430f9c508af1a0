#include "branch/courier/office_courier.h"

#include <spdlog/spdlog.h>

#include "common/base/limits.h"
#include "common/json/json_writer.h"
#include "common/tls/sealed.h"
#include "replication/courier/file_part.h"
#include "replication/courier/peer_row.h"
#include "replication/courier/pending_reader.h"
#include "replication/transport/sealed_file.h"

namespace branchline {
namespace {

namespace asio = boost::asio;

Result<FilePart> open_feed(const LinkContext& tls, const std::string& server,
                           const std::string& master, const std::string& framed, int64_t now_s) {
  BL_ASSIGN(OpenedFile open, open_file(tls, server, FileKind::feed, framed, now_s));
  if (open.signer != master) {
    return fail(
        ErrorKind::denied, "file.signer",
        "the file is from " + open.signer + ", and the master of " + server + " is " + master);
  }
  return std::move(open.part);
}

// Generation and order of where each lane goes on.
std::vector<uint64_t> numbers_of(const PendingPosition& position) {
  std::vector<uint64_t> out;
  for (const PendingRef& ref : position) {
    out.push_back(ref.generation);
    out.push_back(ref.order.value);
  }
  return out;
}

PendingPosition position_of(const std::vector<uint64_t>& numbers) {
  PendingPosition out = pending_begin();
  for (size_t l = 0; l < out.size(); ++l) {
    out[l].generation = static_cast<uint32_t>(numbers[2 * l]);
    out[l].order = Order(numbers[2 * l + 1]);
  }
  return out;
}

}  // namespace

asio::awaitable<HttpResponse> OfficeCourier::export_part(const HttpRequest& request) {
  auto response = co_await give(request);
  co_return response ? std::move(*response) : error_response(response.error());
}

asio::awaitable<Result<HttpResponse>> OfficeCourier::give(const HttpRequest& request) {
  auto query = query_of(request.target);
  ExportToken at{SystemRandom().bytes(16), 0, numbers_of(pending_begin())};
  if (auto token = query.find("token"); token != query.end()) {
    auto parsed = parse_export_token(token->second, at.position.size());
    if (!parsed) co_return std::unexpected(parsed.error());
    at = std::move(*parsed);
  }
  std::string certificate;
  if (!request.body.empty()) {
    auto given = read_certificate(request.body);
    if (!given) co_return std::unexpected(given.error());
    certificate = std::move(*given);
  } else {
    auto row = parts_.store->get(Table::meta, keys::meta_peer(parts_.master));
    if (!row) co_return std::unexpected(row.error());
    if (!*row) {
      co_return fail(ErrorKind::conflict, "file.no_certificate",
                     "this office has not connected to " + parts_.master +
                         " since it can write files, so its certificate is not known here: give "
                         "its server.pem with --certificate");
    }
    auto peer = decode_peer_row(**row);
    if (!peer) co_return std::unexpected(peer.error());
    certificate = std::move(peer->certificate);
  }
  struct Standing {
    bool joined = false;
    keys::Side side = 0;
    Introduction introduction;
    std::shared_ptr<const StoreView> view;
  };
  auto standing = co_await parts_.committer->run<Result<Standing>>(
      [this](Replica& replica, const Committer::Write& write) -> Result<Standing> {
        // What the file says of this office must hold after a power cut, too.
        Batch sync;
        sync.put(Table::meta, keys::meta_state(), encode_replica_state(replica.state()));
        (void)write(sync, Sync::yes);
        Standing out;
        out.side = replica.state().side;
        BL_ASSIGN(out.introduction, replica.introduction(parts_.server, parts_.topology_digest));
        // Without a cursor it has nothing, or what it has is of a line that was replaced.
        out.joined = out.introduction.cursor.csn.value != 0;
        out.view = parts_.store->snapshot();
        return out;
      });
  if (!standing) co_return std::unexpected(standing.error());
  Standing s = std::move(*standing);
  parts_.uplink->on_export();
  if (!s.joined) {
    co_return fail(
        ErrorKind::unavailable, "file.never_joined",
        "this office has no data yet, or its main line was replaced: its link is needed first");
  }
  auto job = [s = std::move(s), at = std::move(at), certificate = std::move(certificate),
              parts = parts_, wall_ms = parts_.clock->wall_ms()]() -> Result<HttpResponse> {
    BL_ASSIGN(std::string whose, certified_server(*parts.tls, certificate, wall_ms / 1000));
    if (whose != parts.master) {
      return fail(ErrorKind::denied, "file.certificate",
                  "this is the certificate of " + whose + ", and the master of " + parts.server +
                      " is " + parts.master);
    }
    ReplicaOutbox outbox(*s.view, s.side);
    BL_ASSIGN(PendingSlice slice,
              read_pending(outbox, position_of(at.position), limits::kTargetFilePartBytes));
    FilePart part;
    part.head.kind = FileKind::pending;
    part.head.from = parts.server;
    part.head.to = parts.master;
    part.head.line = s.introduction.cursor.line;
    part.head.file = at.file;
    part.head.part = at.part;
    part.head.last = !slice.more;
    part.introduction = s.introduction;
    part.blocks = std::move(slice.blocks);
    BL_ASSIGN(std::string cms, seal(*parts.tls, certificate, encode_file_part(part, wall_ms)));
    HttpResponse response;
    response.content_type = "application/octet-stream";
    response.body =
        frame_sealed_part({part.head.kind, part.head.from, part.head.to, std::move(cms)});
    response.headers.emplace_back("Branchline-Mutations", std::to_string(slice.mutations));
    response.headers.emplace_back("Branchline-End",
                                  std::to_string(s.introduction.cursor.csn.value));
    if (slice.more) {
      ExportToken next{at.file, at.part + 1, numbers_of(slice.after)};
      response.headers.emplace_back("Branchline-Next", to_string(next));
    }
    return response;
  };
  co_return co_await parts_.runtime->pool().run(std::move(job));
}

asio::awaitable<HttpResponse> OfficeCourier::import_piece(const HttpRequest& request) {
  auto query = query_of(request.target);
  auto at = number_of(query, "at"), size = number_of(query, "size");
  if (!at) co_return error_response(at.error());
  if (!size) co_return error_response(size.error());
  auto part = pieces_.add(query["upload"], *at, *size, request.body);
  if (!part) co_return error_response(part.error());
  if (!*part) co_return json_response("{}");
  auto response = co_await take(std::move(**part));
  co_return response ? std::move(*response) : error_response(response.error());
}

asio::awaitable<Result<HttpResponse>> OfficeCourier::take(std::string framed) {
  auto job = [parts = parts_, framed = std::move(framed)] {
    return open_feed(*parts.tls, parts.server, parts.master, framed, parts.clock->wall_ms() / 1000);
  };
  auto part = co_await parts_.runtime->pool().run(std::move(job));
  if (!part) co_return std::unexpected(part.error());
  FileHead head = part->head;
  auto taken = co_await parts_.uplink->take_file(std::move(*part));
  if (!taken) co_return std::unexpected(taken.error());
  spdlog::info("took in part {} of a feed by file: csn {} to {}, {} changes of ours decided",
               head.part, taken->from.value, taken->to.value, taken->decided);
  std::string body;
  JsonWriter w(body);
  w.begin_object().member("kind", "feed").member("from", head.from);
  w.member("file", hex(head.file)).member("part", uint64_t{head.part}).member("last", head.last);
  w.member("before", taken->from.value).member("csn", taken->to.value);
  w.member("new", taken->to.value - taken->from.value);
  w.member("known", (head.end.value - head.begin.value) - (taken->to.value - taken->from.value));
  w.member("decided", taken->decided).member("applied", taken->fates.applied);
  w.member("merged", taken->fates.merged).member("overridden", taken->fates.overridden);
  w.member("rejected", taken->fates.rejected).member("pending", taken->pending).end_object();
  co_return json_response(std::move(body));
}

}  // namespace branchline
