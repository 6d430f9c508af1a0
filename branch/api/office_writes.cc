// Writes: a request becomes a command; the answer waits until it is durable here.
#include <algorithm>

#include "branch/api/filter_parser.h"
#include "branch/api/odata_names.h"
#include "branch/api/office_call.h"
#include "branch/crm/etag.h"
#include "branch/crm/virtual_sets.h"
#include "common/base/limits.h"

namespace branchline {
namespace {

std::string trimmed(std::string_view s) {
  while (!s.empty() && s.front() == ' ') s.remove_prefix(1);
  while (!s.empty() && s.back() == ' ') s.remove_suffix(1);
  return std::string(s);
}

Result<Precondition> parse_precondition(const HttpRequest& request) {
  Precondition p;
  std::string none = trimmed(request.header("If-None-Match"));
  std::string match = trimmed(request.header("If-Match"));
  if (!none.empty() && none != "*") {
    return fail(ErrorKind::invalid, "precondition.malformed",
                "If-None-Match of a write can only be *");
  }
  p.must_not_exist = none == "*";
  if (match == "*") {
    p.must_exist = true;
    return p;
  }
  std::string_view rest = match;
  while (!rest.empty()) {
    size_t comma = std::min(rest.find(','), rest.size());
    std::string one = trimmed(rest.substr(0, comma));
    rest.remove_prefix(std::min(comma + 1, rest.size()));
    if (one.starts_with("W/")) one = one.substr(2);
    std::optional<uint64_t> etag;
    if (one.size() == 18 && one.front() == '"' && one.back() == '"')
      etag = parse_hex64(std::string_view(one).substr(1, 16));
    // An ETag that is none of ours matches nothing: the record differs from what the client has.
    p.etags.push_back(etag.value_or(0));
  }
  return p;
}

Result<Json> parse_body(const HttpRequest& request) {
  std::string_view type = request.header("Content-Type");
  if (!type.empty() && type.find("json") == std::string_view::npos) {
    return fail(ErrorKind::invalid, "body.type",
                "the body must be JSON (Content-Type: application/json)");
  }
  if (request.body.empty())
    return fail(ErrorKind::invalid, "body.empty", "the request has no body");
  return parse_json(request.body);
}

// What Branchline-Guard may say: equalities of this entity's own fields, joined by `and`.
Result<void> check_guard(const Expression& e) {
  if (e.kind == Expression::Kind::all_of) {
    for (const auto& o : e.operands) BL_TRY(check_guard(o));
    return {};
  }
  bool plain = e.kind == Expression::Kind::equal && e.values.size() == 1 &&
               e.column.kind == Column::Kind::field && !e.column.field->is_collection();
  if (plain) return {};
  return fail(ErrorKind::invalid, "guard.malformed",
              "Branchline-Guard: only `field eq value`, joined by `and`");
}

// Headers that say how a record's change is decided; on what is not one they would be passed over.
Result<void> no_conditions(const HttpRequest& request) {
  for (const char* name : {"Branchline-Guard", "Branchline-Atomic"}) {
    if (request.has_header(name)) {
      return fail(ErrorKind::invalid, "guard.malformed",
                  std::string(name) + " is for changes of records, not for notes");
    }
  }
  return {};
}

}  // namespace

BodyContext OfficeApi::body_context(const Call& call) const {
  BodyContext c;
  c.schema = parts_.schema;
  c.resolve_key = [this, &call](const Entity& entity, const Index& index,
                                const OwnedValue& value) -> Result<RecordId> {
    BL_ASSIGN(auto record, read_by_key(reader(call, false), entity, index, value.view()));
    if (!record)
      return fail(ErrorKind::invalid, "lookup.unknown",
                  "there is no " + entity.label + " with this key here");
    return record->key().id;
  };
  c.territory_name = [this](const RecordId& id) -> std::string {
    for (const auto& [t, record] : *territory_ids_) {
      if (record != id) continue;
      for (const auto& [name, number] : facts_->territories) {
        if (number == t) return name;
      }
    }
    return {};
  };
  return c;
}

Result<void> OfficeApi::prepare_command(const Call& call, Command& command) const {
  if (call.request.has_header("Branchline-Lane")) {
    std::string_view lane = call.request.header("Branchline-Lane");
    if (lane != to_string(Lane::interactive) && lane != to_string(Lane::bulk)) {
      return fail(ErrorKind::invalid, "lane.unknown",
                  "Branchline-Lane: interactive (the default) or bulk, which waits where people's "
                  "work does not");
    }
    command.lane = lane == to_string(Lane::bulk) ? Lane::bulk : Lane::interactive;
  }
  std::string_view key = call.request.header("Idempotency-Key");
  if (!call.request.has_header("Idempotency-Key")) return {};
  if (key.empty()) {
    return fail(ErrorKind::invalid, "key.malformed",
                "Idempotency-Key is empty: draw a key for this request, or leave the header out");
  }
  if (key.size() > limits::kMaxOperationKeyBytes || !is_utf8(key)) {
    return fail(ErrorKind::invalid, "key.malformed",
                "Idempotency-Key: at most " + std::to_string(limits::kMaxOperationKeyBytes) +
                    " bytes of UTF-8");
  }
  command.operation_key = std::string(key);
  Sha256 sha;
  sha.add(call.request.method).add(" ").add(call.request.target).add("\n").add(call.request.body);
  for (const char* name : {"Branchline-Atomic", "Branchline-Guard"}) {
    if (call.request.has_header(name))
      sha.add("\n").add(name).add(":").add(call.request.header(name));
  }
  command.request = std::string(sha.finish().view().substr(0, 16));
  return {};
}

Result<void> OfficeApi::take_conditions(const Call& call, const Entity& entity,
                                        SaveCommand& command) const {
  if (call.request.has_header("Branchline-Atomic")) {
    std::string value = trimmed(call.request.header("Branchline-Atomic"));
    if (value != "true" && value != "false") {
      return fail(ErrorKind::invalid, "atomic.malformed", "Branchline-Atomic is true or false");
    }
    command.set_atomic(value == "true");
  }
  if (!call.request.has_header("Branchline-Guard")) return {};
  BL_ASSIGN(Expression guard, parse_filter(call.request.header("Branchline-Guard"), entity,
                                           territory_number(), {"Branchline-Guard", 0}));
  BL_TRY(check_guard(guard));
  command.set_guard(std::move(guard));
  return {};
}

boost::asio::awaitable<HttpResponse> OfficeApi::write(Call& call, Schema::Set set,
                                                      const ResourceSegment& segment) {
  const auto& path = call.resource;
  auto precondition = parse_precondition(call.request);
  if (!precondition) co_return error_response(precondition.error());
  BodyContext context = body_context(call);
  RecordInput input;
  input.entity = set.entity;
  input.subtype = set.subtype;

  if (call.request.method == "POST" && path.size() == 1 && !segment.parentheses) {
    auto body = parse_body(call.request);
    if (!body) co_return error_response(body.error());
    auto parsed = parse_record_body(context, set, *body, true);
    if (!parsed) co_return error_response(parsed.error());
    co_return co_await save(call, SaveCommand::Mode::create, std::move(*parsed), *precondition);
  }
  if (!segment.parentheses) co_return method_not_allowed("GET, HEAD, POST");
  auto address = parse_address(*set.entity, segment);
  if (!address) co_return error_response(address.error());

  if (call.request.method == "PATCH" && path.size() == 1) {
    auto body = parse_body(call.request);
    if (!body) co_return error_response(body.error());
    // The key in the body, if any, must be that of the URL; it is checked against the address.
    auto parsed = parse_record_body(context, set, *body, false);
    if (!parsed) co_return error_response(parsed.error());
    parsed->address = *address;
    bool update = precondition->must_exist || !precondition->etags.empty();
    co_return co_await save(call, update ? SaveCommand::Mode::update : SaveCommand::Mode::upsert,
                            std::move(*parsed), *precondition);
  }
  input.address = *address;
  if (call.request.method == "DELETE" && path.size() == 1) {
    co_return co_await save(call, SaveCommand::Mode::remove, std::move(input), *precondition);
  }
  bool property =
      path.size() == 2 && (call.request.method == "PUT" || call.request.method == "DELETE" ||
                           call.request.method == "PATCH");
  if (property) {
    Json value;  // null: DELETE clears
    if (call.request.method != "DELETE") {
      auto body = parse_body(call.request);
      if (!body) co_return error_response(body.error());
      const Json* member = body->member("value");
      if (!member) member = body->member(path[1]);
      if (!member)
        co_return error_response(
            {ErrorKind::invalid, "body.value", "the body must be {\"value\": ...}"});
      value = *member;
    }
    auto field = parse_property(context, *set.entity, path[1], value);
    if (!field) co_return path_error(field.error());
    input.fields.push_back(std::move(*field));
    co_return co_await save(call, SaveCommand::Mode::update, std::move(input), *precondition);
  }
  co_return method_not_allowed(path.size() == 1   ? "GET, HEAD, PATCH, DELETE"
                               : path.size() == 2 ? "GET, HEAD, PUT, PATCH, DELETE"
                                                  : "GET, HEAD");
}

// accounts(id)/primarycontactid/$ref: PUT binds {"@odata.id": "contacts(id)"}, DELETE clears.
// Likewise accounts(id)/territoryid/$ref, as a body's territoryid@odata.bind.
boost::asio::awaitable<HttpResponse> OfficeApi::write_reference(Call& call, Schema::Set set,
                                                                const ResourceSegment& segment) {
  ResourceSegment property_segment;
  if (auto parsed = parse_resource(call.resource[1]); parsed) property_segment = *parsed;
  if (property_segment.name == "alsointerritories")
    co_return co_await write_also_in(call, set, segment, property_segment);
  bool put = call.request.method == "PUT";
  if (!put && call.request.method != "DELETE") co_return method_not_allowed("PUT, DELETE");
  auto precondition = parse_precondition(call.request);
  if (!precondition) co_return error_response(precondition.error());
  auto address = parse_address(*set.entity, segment);
  if (!address) co_return error_response(address.error());
  Json value;  // null: DELETE clears
  if (put) {
    auto body = parse_body(call.request);
    if (!body) co_return error_response(body.error());
    const Json* member = body->member("@odata.id");
    if (!member || member->kind != Json::Kind::string) {
      co_return error_response({ErrorKind::invalid, "body.value",
                                "the body must be {\"@odata.id\": \"entityset(id)\"}"});
    }
    value = *member;
  }
  RecordInput input;
  input.entity = set.entity;
  input.subtype = set.subtype;
  input.address = *address;
  const std::string& property = call.resource[1];
  if (property == "territoryid" && set.entity->primary_key != property) {
    auto ok = parse_territory_reference(body_context(call), value, input);
    if (!ok) co_return error_response(ok.error());
  } else {
    auto field = parse_reference(body_context(call), *set.entity, property, value);
    if (!field) co_return path_error(field.error());
    input.fields.push_back(std::move(*field));
  }
  co_return co_await save(call, SaveCommand::Mode::update, std::move(input), *precondition);
}

// accounts(id)/alsointerritories/$ref: POST adds {"@odata.id": "territories(id)"};
// accounts(id)/alsointerritories(id)/$ref: DELETE takes one away.
boost::asio::awaitable<HttpResponse> OfficeApi::write_also_in(Call& call, Schema::Set set,
                                                              const ResourceSegment& segment,
                                                              const ResourceSegment& territory) {
  bool post = call.request.method == "POST" && !territory.parentheses;
  bool remove = call.request.method == "DELETE" && territory.parentheses;
  if (!post && !remove) co_return method_not_allowed(territory.parentheses ? "DELETE" : "POST");
  auto precondition = parse_precondition(call.request);
  if (!precondition) co_return error_response(precondition.error());
  auto address = parse_address(*set.entity, segment);
  if (!address) co_return error_response(address.error());
  std::string url = "territories(" + territory.id + ")";
  if (post) {
    auto body = parse_body(call.request);
    if (!body) co_return error_response(body.error());
    const Json* member = body->member("@odata.id");
    if (!member || member->kind != Json::Kind::string) {
      co_return error_response({ErrorKind::invalid, "body.value",
                                "the body must be {\"@odata.id\": \"territories(id)\"}"});
    }
    url = member->text;
  }
  auto name = parse_territory(body_context(call), url);
  if (!name) co_return error_response(name.error());
  RecordInput input;
  input.entity = set.entity;
  input.subtype = set.subtype;
  input.address = *address;
  (post ? input.also_in_add : input.also_in_remove).push_back(std::move(*name));
  co_return co_await save(call, SaveCommand::Mode::update, std::move(input), *precondition);
}

boost::asio::awaitable<HttpResponse> OfficeApi::save(Call& call, SaveCommand::Mode mode,
                                                     RecordInput input, Precondition precondition) {
  const Entity& entity = *input.entity;
  std::vector<Column> select;
  if (!call.url.parameters.empty()) {  // before anything is written
    auto options = parse_options(*parts_.schema, {input.entity, input.subtype}, call.url,
                                 territory_number(), OptionScope::record);
    if (!options) co_return error_response(options.error());
    if (!options->expand.empty()) {
      co_return error_response({ErrorKind::invalid, "option.malformed",
                                "$expand: not with a write; read the record again"});
    }
    select = std::move(options->select);
  }
  RecordAddress address = input.address;
  std::string set_name = input.subtype ? input.subtype->set_name : entity.set_name;
  auto elsewhere = co_await upstream_record(call, mode, input, precondition);
  if (!elsewhere) co_return error_response(elsewhere.error());
  auto command = std::make_shared<SaveCommand>(parts_.schema, call.principal, facts_, mode,
                                               std::move(input), precondition);
  if (*elsewhere) command->set_upstream(std::move(**elsewhere));
  if (auto ok = prepare_command(call, *command); !ok) co_return error_response(ok.error());
  if (auto ok = take_conditions(call, entity, *command); !ok) co_return error_response(ok.error());
  auto accepted = co_await parts_.committer->submit(command);
  if (!accepted) co_return error_response(accepted.error());
  call.accepted = accepted->id;
  call.view.reset();  // what follows is this office's
  RecordKey key = command->record();
  if (accepted->replayed && address.key) {
    // The first answer named the record that had the key then; whoever has it now is the best that
    // is known.
    auto holder = read_by_key(reader(call, false), entity, *address.key, address.key_value.view());
    if (holder && *holder) key = (*holder)->key();
  }
  std::string url = call.root() + set_name + "(" + to_string(key.id) + ")";
  bool created = command->created() || (accepted->replayed && mode == SaveCommand::Mode::create);
  HttpResponse r;
  r.status = 204;
  if (mode != SaveCommand::Mode::remove && call.wants_representation()) {
    ReadContext read = reader(call, false);
    auto record = read_record(read, key);
    if (!record) co_return error_response(record.error());
    if (*record) {
      std::string body;
      auto ok = append_record(body, read, entity, **record, select, {}, json_options(call),
                              call.root() + "$metadata#" + set_name + "/$entity");
      if (!ok) co_return error_response(ok.error());
      r = odata_json(std::move(body), created ? 201 : 200);
      r.headers.emplace_back("ETag", etag_text(etag_of(**record, entity)));
      r.headers.emplace_back("Preference-Applied", "return=representation");
    }
  }
  if (r.status == 204) r.headers.emplace_back("OData-Version", "4.0");
  if (mode != SaveCommand::Mode::remove) r.headers.emplace_back("OData-EntityId", url);
  if (created && r.status == 201) r.headers.emplace_back("Location", url);
  if (!accepted->id.is_none())
    r.headers.emplace_back("Branchline-Mutation", mutation_name(accepted->id));
  if (accepted->replayed) r.headers.emplace_back("Branchline-Replayed", "true");
  co_return r;
}

// {"Target": {"accountid": .., "@odata.type": "Microsoft.Dynamics.CRM.account"}, "Subordinate": ..,
// "UpdateContent": {..}, "PerformParentingChecks": false}: Target survives.
boost::asio::awaitable<HttpResponse> OfficeApi::merge(Call& call) {
  auto refuse = [](std::string code, std::string message) {
    return error_response({ErrorKind::invalid, std::move(code), std::move(message)});
  };
  auto precondition = parse_precondition(call.request);
  if (!precondition) co_return error_response(precondition.error());
  auto body = parse_body(call.request);
  if (!body) co_return error_response(body.error());
  if (body->kind != Json::Kind::object)
    co_return refuse("body.object", "the body must be a JSON object");
  const Json *target = nullptr, *subordinate = nullptr, *content = nullptr;
  bool same_parents = false;
  for (const auto& [name, value] : body->members) {
    if (name == "PerformParentingChecks") {
      if (value.kind != Json::Kind::boolean)
        co_return refuse("value.type", name + ": expected true or false");
      same_parents = value.boolean;
      continue;
    }
    const Json** place = name == "Target"          ? &target
                         : name == "Subordinate"   ? &subordinate
                         : name == "UpdateContent" ? &content
                                                   : nullptr;
    if (!place) {
      co_return refuse("property.unknown", "`" + shortened(name) +
                                               "`: Merge takes Target, Subordinate, UpdateContent "
                                               "and PerformParentingChecks");
    }
    bool empty = value.kind == Json::Kind::null && name == "UpdateContent";
    if (value.kind != Json::Kind::object && !empty)
      co_return refuse("value.type", name + ": expected an object");
    *place = empty ? nullptr : &value;
  }
  // Which records: "@odata.type" says the entity, or the name of the key does.
  auto entity_of = [&](const Json& reference) -> const Entity* {
    for (const auto& e : parts_.schema->entities()) {
      const Json* type = reference.member("@odata.type");
      bool named = type && type->kind == Json::Kind::string;
      std::string_view text = named ? std::string_view(type->text) : std::string_view();
      if (text.starts_with('#')) text.remove_prefix(1);
      if (named ? text == "Microsoft.Dynamics.CRM." + e->name
                : reference.member(e->primary_key) != nullptr)
        return e.get();
    }
    return nullptr;
  };
  auto id_of = [&](const Json& reference, const Entity& entity) {
    const Json* id = reference.member(entity.primary_key);
    return id && id->kind == Json::Kind::string ? parse_record_id(id->text) : std::nullopt;
  };
  if (!target || !subordinate) {
    co_return refuse("merge.ends",
                     "Merge needs Target, the record that stays, and Subordinate, "
                     "the one that becomes part of it");
  }
  const Entity* entity = entity_of(*target);
  if (!entity || entity->credential || entity_of(*subordinate) != entity) {
    co_return refuse("merge.entity",
                     "Target and Subordinate must be of one entity: {\"accountid\": \"..\", "
                     "\"@odata.type\": \"Microsoft.Dynamics.CRM.account\"}");
  }
  if (!entity->mergeable)
    co_return refuse("merge.entity", entity->label_plural + " cannot be merged");
  auto survivor = id_of(*target, *entity), merged = id_of(*subordinate, *entity);
  if (!survivor || !merged) {
    co_return refuse("value.id",
                     "Target and Subordinate: expected " + entity->primary_key + ", a record id");
  }
  RecordInput input;
  input.entity = entity;
  if (content) {
    auto parsed = parse_record_body(body_context(call), {entity, nullptr}, *content, false);
    if (!parsed) co_return error_response(parsed.error());
    input = std::move(*parsed);
  }
  input.address.id = *survivor;
  auto command =
      std::make_shared<SaveCommand>(parts_.schema, call.principal, facts_, SaveCommand::Mode::merge,
                                    std::move(input), *precondition);
  command->subordinate = *merged;
  command->same_parents = same_parents;
  if (auto ok = prepare_command(call, *command); !ok) co_return error_response(ok.error());
  auto accepted = co_await parts_.committer->submit(command);
  if (!accepted) co_return error_response(accepted.error());
  HttpResponse r;
  r.status = 204;
  r.headers.emplace_back("OData-Version", "4.0");
  if (!accepted->id.is_none())
    r.headers.emplace_back("Branchline-Mutation", mutation_name(accepted->id));
  if (accepted->replayed) r.headers.emplace_back("Branchline-Replayed", "true");
  co_return r;
}

// Notes: POST to annotations appends to the timeline of the record it is bound to.
boost::asio::awaitable<HttpResponse> OfficeApi::write_note(Call& call,
                                                           const ResourceSegment& segment) {
  if (auto ok = no_conditions(call.request); !ok) co_return error_response(ok.error());
  const Entity& notes = *parts_.schema->entity(entity_id::kAnnotation);
  if (call.request.method == "DELETE" && segment.parentheses && call.resource.size() == 1) {
    auto id = parse_record_id(segment.id);
    if (!id)
      co_return error_response(
          {ErrorKind::invalid, "key.malformed", "`" + shortened(segment.id) + "` is no record id"});
    ReadContext read = reader(call, true);
    auto job = [read, id = *id] { return find_note(read, id); };
    auto place = co_await parts_.pool->run(std::move(job));
    if (!place) co_return error_response(place.error());
    // Without a place it may still be the repetition of the request that removed it.
    NotePlace at = place->value_or(NotePlace{});
    auto command = std::make_shared<RemoveElementCommand>(parts_.schema, call.principal, at.record,
                                                          at.field, at.key);
    if (auto ok = prepare_command(call, *command); !ok) co_return error_response(ok.error());
    auto accepted = co_await parts_.committer->submit(command);
    if (!accepted) co_return error_response(accepted.error());
    call.accepted = accepted->id;
    HttpResponse r;
    r.status = 204;
    if (!accepted->id.is_none())
      r.headers.emplace_back("Branchline-Mutation", mutation_name(accepted->id));
    if (accepted->replayed) r.headers.emplace_back("Branchline-Replayed", "true");
    co_return r;
  }
  if (call.request.method != "POST" || segment.parentheses)
    co_return method_not_allowed(segment.parentheses ? "GET, HEAD, DELETE" : "GET, HEAD, POST");
  auto body = parse_body(call.request);
  if (!body) co_return error_response(body.error());
  auto note = parse_record_body(body_context(call), {&notes, nullptr}, *body, true);
  if (!note) co_return error_response(note.error());
  Lookup object;
  std::vector<RowField> row;
  RecordId id = note->address.id.value_or(RecordId{});
  if (id.is_nil()) {
    std::string_view key = call.request.header("Idempotency-Key");
    SystemRandom random;
    id = key.empty() ? RecordIdMaker(random).make(parts_.clock->wall_ms())
                     : keyed_record_id(call.principal.user, key, 0);
  }
  std::string id_bytes = encode_lookup({EntityId(0), id});
  row.push_back({annotation_field::kId, {ValueType::lookup, id_bytes}});
  for (const auto& f : note->fields) {
    if (f.field->name == "objectid" && f.value.type == ValueType::lookup)
      object = decode_lookup(f.value.payload);
    if (f.value.type == ValueType::null) continue;
    if (f.field->name == "subject") row.push_back({annotation_field::kSubject, f.value.view()});
    if (f.field->name == "notetext") row.push_back({annotation_field::kText, f.value.view()});
  }
  const Entity* target = parts_.schema->entity(object.entity);
  const Field* timeline = target ? target->field("annotations") : nullptr;
  if (!timeline) {
    co_return error_response(
        {ErrorKind::invalid, "field.required",
         "a note needs its record: \"objectid_account@odata.bind\": \"/accounts(id)\""});
  }
  if (row.size() == 1)
    co_return error_response(
        {ErrorKind::invalid, "field.required", "a note needs a subject or a notetext"});
  RecordInput input;
  input.entity = target;
  input.address.id = object.id;
  FieldInput append;
  append.field = timeline;
  append.kind = FieldInput::Kind::append;
  append.value = {ValueType::row, encode_row(row)};
  input.fields.push_back(std::move(append));
  auto command =
      std::make_shared<SaveCommand>(parts_.schema, call.principal, facts_,
                                    SaveCommand::Mode::update, std::move(input), Precondition{});
  if (auto ok = prepare_command(call, *command); !ok) co_return error_response(ok.error());
  auto accepted = co_await parts_.committer->submit(command);
  if (!accepted) co_return error_response(accepted.error());
  call.accepted = accepted->id;
  HttpResponse r;
  r.status = 204;
  r.headers.emplace_back("OData-Version", "4.0");
  r.headers.emplace_back("OData-EntityId", call.root() + "annotations(" + to_string(id) + ")");
  if (!accepted->id.is_none())
    r.headers.emplace_back("Branchline-Mutation", mutation_name(accepted->id));
  if (accepted->replayed) r.headers.emplace_back("Branchline-Replayed", "true");
  co_return r;
}

}  // namespace branchline
