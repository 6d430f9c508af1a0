#include "branch/api/office_api.h"

#include <algorithm>

#include "branch/api/odata_metadata.h"
#include "branch/api/odata_names.h"
#include "branch/api/office_call.h"
#include "branch/crm/virtual_sets.h"
#include "common/access/token_auth.h"
#include "common/base/bytes.h"
#include "common/json/json.h"

namespace branchline {
namespace {

constexpr size_t kMaxPrincipals = 10'000;

constexpr const char* kPaths =
    "/ (the web app), /api/data/v9.2/, /api/sync/status, /api/sync/mutations/{id}, /api/changes, "
    "/healthz, /readyz, /metrics";

Error not_built(const std::string& what) { return {ErrorKind::invalid, "feature.not_built", what}; }

Error unknown_set(const Schema& schema, const std::string& name) {
  if (name == "$batch") return not_built("$batch is not built yet: send its requests one by one");
  if (name == "EntityDefinitions" || name == "RelationshipDefinitions" ||
      name == "GlobalOptionSetDefinitions") {
    return not_built(name + " is not built yet: GET " + std::string(kDataPath) +
                     "$metadata describes the entities");
  }
  std::vector<std::string> known;
  for (const auto& e : schema.entities()) {
    if (e->credential) continue;
    known.push_back(e->set_name);
    for (const auto& s : e->subtypes) known.push_back(s.set_name);
  }
  std::string near = nearest_name(name, known);
  std::string message = "there is no entity set `" + shortened(name) + "`";
  if (!near.empty()) message += "; did you mean " + near + "?";
  return {ErrorKind::not_found, "set.unknown",
          message + " (GET " + std::string(kDataPath) + " lists the entity sets)"};
}

RecordId territory_record(std::string_view name) {
  return keyed_record_id({}, "territory:" + std::string(name), 0);
}

}  // namespace

bool names_etag(std::string_view header, std::string_view etag) {
  auto opaque = [](std::string_view one) {
    while (!one.empty() && one.front() == ' ') one.remove_prefix(1);
    while (!one.empty() && one.back() == ' ') one.remove_suffix(1);
    return one.starts_with("W/") ? one.substr(2) : one;
  };
  while (!header.empty()) {
    size_t comma = std::min(header.find(','), header.size());
    std::string_view one = opaque(header.substr(0, comma));
    if (one == "*" || one == opaque(etag)) return true;
    header.remove_prefix(std::min(comma + 1, header.size()));
  }
  return false;
}

HttpResponse method_not_allowed(std::string_view allowed) {
  HttpResponse r = error_response(
      {ErrorKind::invalid, "method.unknown", "this resource takes " + std::string(allowed)});
  r.status = 405;
  r.headers.emplace_back("Allow", std::string(allowed));
  return r;
}

HttpResponse readiness(bool joined) {
  return json_response(joined ? "{\"status\":\"ready\"}" : "{\"status\":\"joining\"}",
                       joined ? 200 : 503);
}

OfficeApi::OfficeApi(OfficeParts parts)
    : parts_(std::move(parts)),
      facts_(std::make_shared<OfficeFacts>()),
      lookup_counts_(parts_.lookup_counts) {}

boost::asio::awaitable<HttpResponse> OfficeApi::handle(const HttpRequest& request) {
  auto url = parse_target(request.target);
  if (!url) co_return error_response(url.error());
  co_return co_await route(request, std::move(*url));
}

boost::asio::awaitable<HttpResponse> OfficeApi::route(const HttpRequest& request, UrlParts url) {
  const std::string& path = url.path;
  bool get = request.method == "GET" || request.method == "HEAD";
  bool plain =
      path == "/healthz" || path == "/readyz" || path == "/metrics" || !path.starts_with("/api/");
  if (plain && !get) co_return method_not_allowed("GET, HEAD");
  if (path == "/healthz") co_return json_response("{\"status\":\"ok\"}");
  if (path == "/readyz") {
    co_return readiness(parts_.committer->joined());
  }
  if (path == "/metrics") {
    HttpResponse r;
    r.content_type = "text/plain; version=0.0.4";
    r.body = parts_.metrics();
    co_return r;
  }
  if (plain)
    co_return parts_.files->answer(path, request.header("If-None-Match"),
                                   request.header("Accept-Encoding"));
  auto token = bearer_token(request.header("Authorization"));
  if (!token) co_return error_response(token.error());
  auto principal = authenticate(*token);
  if (!principal) co_return error_response(principal.error());
  Call call{
      request, std::move(url), std::move(*principal), parse_prefer(request.header("Prefer")), {}};
  if (auto ok = read_wait(call); !ok) co_return error_response(ok.error());
  refresh_directory();
  if (auto ok = co_await await_session(call); !ok) co_return error_response(ok.error());
  HttpResponse response = co_await answer(call);
  if (call.upstream && response.status < 400)
    response.headers.emplace_back("Branchline-Source", "upstream");
  std::optional<Csn> as_of = call.committed_csn;
  if (call.upstream) as_of = call.upstream_csn;
  if (as_of && response.status < 400)
    response.headers.emplace_back("Branchline-Csn", std::to_string(as_of->value));
  put_session(call, response);
  co_return response;
}

boost::asio::awaitable<HttpResponse> OfficeApi::answer(Call& call) {
  bool get = call.is("GET");
  if (call.url.path == "/api/data/v9.2" || call.url.path.starts_with(kDataPath)) {
    call.resource.assign(call.url.segments.begin() + 3, call.url.segments.end());
    auto understood = read_write_header(call);
    if (!understood) co_return error_response(understood.error());
    if (get) {
      auto ok = co_await read_committed(call);
      if (!ok) co_return error_response(ok.error());
    }
    HttpResponse response = co_await odata(call);
    if (call.waits_for_fate && !call.accepted.is_none() && response.status < 300)
      response = co_await with_fate(call, std::move(response));
    co_return response;
  }
  bool status = call.url.path == "/api/sync/status", changes = call.url.path == "/api/changes";
  bool mutation =
      call.url.segments.size() == 4 && call.url.path.starts_with("/api/sync/mutations/");
  if (!status && !changes && !mutation) co_return not_found_response(kPaths);
  if (!get) co_return method_not_allowed("GET, HEAD");
  if (status) co_return co_await sync_status(call);
  if (mutation) co_return co_await mutation_status(call, call.url.segments[3]);
  co_return change_stream(call);
}

// --- Who asks ---

Result<Principal> OfficeApi::authenticate(std::string_view token) {
  if (!parts_.committer->joined()) {
    return fail(ErrorKind::unavailable, "branch.joining",
                "this branch has not received its data yet; try again in a moment");
  }
  std::string hash(sha256(token).view());
  if (auto at = principals_.find(hash); at != principals_.end()) return at->second;
  BL_ASSIGN(TokenAnswer answer, authenticate_token(*parts_.store, parts_.committer->side(),
                                                   *parts_.schema, token, parts_.clock->wall_ms()));
  // A token with an end is looked up each time, so that it ends in time.
  if (answer.may_cache && principals_.size() < kMaxPrincipals) principals_[hash] = answer.principal;
  return answer.principal;
}

void OfficeApi::on_changes(const Changes& changes) {
  bool access = false;
  for (const auto& r : changes.records) {
    access = access || r.entity == entity_id::kApiToken || r.entity == entity_id::kUser;
    if (r.entity == entity_id::kTerritory || r.entity == entity_id::kServer)
      directory_known_ = false;
  }
  if (access || changes.records.empty()) {
    principals_.clear();
    ++access_epoch_;
  }
  if (changes.records.empty())
    directory_known_ = false;  // a new snapshot: everything may have changed
}

// Names of servers and territories, read when they are first needed and after they changed.
void OfficeApi::refresh_directory() {
  if (directory_known_) return;
  auto facts = std::make_shared<OfficeFacts>();
  servers_.clear();
  auto territory_ids = std::make_shared<TerritoryIds>();
  keys::Side side = parts_.committer->side();
  for (EntityId id : {entity_id::kTerritory, entity_id::kServer}) {
    const Entity& entity = *parts_.schema->entity(id);
    auto rows = scan_prefix(*parts_.store, Table::records, keys::record_prefix(side, id));
    for (; rows->valid(); rows->next()) {
      auto key = keys::parse_record(rows->key());
      auto record = key ? Record::decode(*key, std::string(rows->value()))
                        : Result<Record>(std::unexpected(Error{}));
      if (!record || !record->live()) continue;
      std::string name(record->value(entity.field("name")->id).payload);
      auto number = [&](const char* field) {
        return decode_integer(record->value(entity.field(field)->id).payload);
      };
      if (id == entity_id::kTerritory) {
        TerritoryId t(static_cast<uint32_t>(number("territorynumber")));
        facts->territories[name] = t;
        (*territory_ids)[t] = key->id;
      } else {
        servers_[OriginId(static_cast<uint16_t>(number("servernumber")))] = name;
      }
    }
  }
  facts->held = parts_.committer->status().territories;
  facts_ = std::move(facts);
  territory_ids_ = std::move(territory_ids);
  directory_known_ = parts_.committer->joined();
}

std::string OfficeApi::mutation_name(const MutationId& id) const {
  return mutation_text(id, parts_.server);
}

ReadContext OfficeApi::reader(const Principal& principal, bool snapshot) const {
  ReadContext c;
  c.view = snapshot ? parts_.store->snapshot()
                    : std::shared_ptr<const StoreView>(std::shared_ptr<void>(), parts_.store);
  c.schema = parts_.schema;
  c.side = parts_.committer->side();
  c.principal = principal;
  c.server = parts_.server;
  if (snapshot) {
    c.self = parts_.committer->status().self;
    c.server_name = [servers = servers_](OriginId origin) {
      auto at = servers.find(origin);
      return at == servers.end() ? "server" + std::to_string(origin.value) : at->second;
    };
  }
  return c;
}

ReadContext OfficeApi::reader(const Call& call, bool snapshot) const {
  ReadContext c = reader(call.principal, snapshot && !call.view);
  if (!call.view) return c;
  c.view = call.view;
  c.side = call.side;
  c.self = parts_.committer->status().self;
  c.server_name = [servers = servers_](OriginId origin) {
    auto at = servers.find(origin);
    return at == servers.end() ? "server" + std::to_string(origin.value) : at->second;
  };
  return c;
}

TerritoryNumber OfficeApi::territory_number() const {
  return [ids = territory_ids_](const RecordId& id) -> int64_t {
    for (const auto& [t, record] : *ids) {
      if (record == id) return t.value;
    }
    return 0;
  };
}

JsonOptions OfficeApi::json_options(const Call& call) const {
  JsonOptions o;
  o.root = call.root();
  o.annotations = call.prefer.count("odata.include-annotations") > 0;
  o.territory_id = [ids = territory_ids_](TerritoryId t) {
    auto at = ids->find(t);
    return at == ids->end() ? RecordId{} : at->second;
  };
  return o;
}

// --- OData's routes ---

boost::asio::awaitable<HttpResponse> OfficeApi::odata(Call& call) {
  if (call.prefer.count("odata.track-changes") || call.prefer.count("track-changes")) {
    co_return error_response(
        not_built("Prefer: odata.track-changes (delta links) is not built yet: read the list, then "
                  "follow GET /api/changes"));
  }
  const auto& path = call.resource;
  if (path.empty()) {
    if (!call.is("GET")) co_return method_not_allowed("GET, HEAD");
    co_return odata_json(service_document(*parts_.schema, call.root()));
  }
  if (path[0] == "$metadata" && path.size() == 1) {
    if (!call.is("GET")) co_return method_not_allowed("GET, HEAD");
    HttpResponse r;
    r.content_type = "application/xml";
    r.body = csdl(*parts_.schema);
    r.headers.emplace_back("OData-Version", "4.0");
    co_return r;
  }
  auto segment = parse_resource(path[0]);
  if (!segment) co_return error_response(segment.error());
  call.segment = *segment;
  if (segment->name == "WhoAmI" && path.size() == 1) {
    if (!call.is("GET")) co_return method_not_allowed("GET, HEAD");
    co_return who_am_i(call);
  }
  if (segment->name == "Merge" && path.size() == 1) {
    if (call.request.method != "POST") co_return method_not_allowed("POST");
    co_return co_await merge(call);
  }
  auto set = parts_.schema->set(segment->name);
  if (!set || set->entity->credential)
    co_return error_response(unknown_set(*parts_.schema, segment->name));
  bool addressed = segment->parentheses;
  if (path.size() > 1 && !addressed && !(path.size() == 2 && path[1] == "$count")) {
    co_return not_found_response(
        "entityset, entityset(id), entityset/$count, entityset(id)/property");
  }
  if (call.is("GET")) {
    if (path.size() == 1 && addressed) co_return co_await read_one(call, *set, *segment);
    if (path.size() > 1 && addressed) co_return co_await read_below(call, *set, *segment);
    auto options = parse_options(*parts_.schema, *set, call.url, territory_number());
    if (!options) co_return error_response(options.error());
    co_return co_await read_set(call, *set, std::move(*options));
  }
  if (set->entity->id == entity_id::kAnnotation) co_return co_await write_note(call, *segment);
  if (set->entity->virtual_set) co_return method_not_allowed("GET, HEAD");
  if (path.size() == 3 && path[2] == "$ref")
    co_return co_await write_reference(call, *set, *segment);
  co_return co_await write(call, *set, *segment);
}

HttpResponse OfficeApi::who_am_i(const Call& call) const {
  std::string body = "{\"@odata.context\":";
  append_json_string(body, call.root() + "$metadata#Microsoft.Dynamics.CRM.WhoAmIResponse");
  body += ",\"BusinessUnitId\":\"" + to_string(territory_record(parts_.server)) +
          "\",\"UserId\":\"" + to_string(call.principal.user) + "\",\"OrganizationId\":\"" +
          to_string(keyed_record_id({}, "organization", 0)) + "\",\"FullName\":";
  append_json_string(body, call.principal.name);
  body += ",\"Server\":";
  append_json_string(body, parts_.server);
  body += ",\"Administrator\":";
  body += call.principal.admin ? "true" : "false";
  body += ",\"MayWrite\":";
  body += call.principal.may_write ? "true}" : "false}";
  return odata_json(std::move(body));
}

}  // namespace branchline
