// Reads: one record on the I/O thread, everything else on the pool over a snapshot.
#include <algorithm>

#include "branch/api/odata_names.h"
#include "branch/api/office_call.h"
#include "branch/crm/etag.h"
#include "branch/crm/virtual_sets.h"
#include "common/base/limits.h"

namespace branchline {
namespace {

std::string as_hex(const std::string& bytes) { return hex(bytes); }

std::string next_link(const std::string& set_url, const UrlParts& url,
                      const std::string& continue_at, std::optional<uint64_t> top_left) {
  std::string out = set_url + "?";
  for (const auto& [name, value] : url.parameters) {
    if (name == "$skip" || name == "$skiptoken" || name == "$top") continue;
    out += percent_encode(name) + "=" + percent_encode(value) + "&";
  }
  if (top_left) out += "$top=" + std::to_string(*top_left) + "&";
  return out + "$skiptoken=" + as_hex(continue_at);
}

Result<std::string> apply_body(const ReadContext& read, const ApplyPlan& plan,
                               const std::string& context) {
  BL_ASSIGN(auto rows, run_apply(read, plan));
  std::string body = "{\"@odata.context\":";
  append_json_string(body, context);
  body += ",\"value\":[";
  for (size_t i = 0; i < rows.size(); ++i) {
    if (i) body.push_back(',');
    body.push_back('{');
    bool first = true;
    auto put = [&](const std::string& name, const OwnedValue& v) {
      if (!first) body.push_back(',');
      first = false;
      append_json_string(body, name);
      body.push_back(':');
      append_json_value(body, v.view());
    };
    for (size_t k = 0; k < plan.group_by.size(); ++k) put(plan.group_by[k].name, rows[i].groups[k]);
    for (size_t k = 0; k < plan.aggregates.size(); ++k)
      put(plan.aggregates[k].alias, rows[i].values[k]);
    body.push_back('}');
  }
  return body + "]}";
}

}  // namespace

boost::asio::awaitable<HttpResponse> OfficeApi::read_set(Call& call, Schema::Set set,
                                                         QueryOptions options) {
  ReadContext read = reader(call, true);
  std::string set_name = set.subtype ? set.subtype->set_name : set.entity->set_name;
  std::string context = call.root() + "$metadata#" + set_name;
  if (options.apply) {
    ApplyPlan plan = std::move(*options.apply);
    plan.territory_id = json_options(call).territory_id;
    if (options.query.filter.kind != Expression::Kind::always) {
      Expression both;
      both.kind = Expression::Kind::all_of;
      both.operands = {options.query.filter, plan.filter};
      both.finish();
      plan.filter = std::move(both);
    }
    auto job = [read, plan, context] { return apply_body(read, plan, context); };
    auto body = co_await parts_.pool->run(std::move(job));
    if (!body) co_return error_response(body.error());
    co_return odata_json(std::move(*body));
  }
  if (call.resource.size() == 2) {  // $count
    auto job = [read, q = options.query]() -> Result<uint64_t> {
      uint64_t n = 0;
      BL_TRY(for_each_match(read, *q.entity, q.filter, [&](const Record&) {
        ++n;
        return true;
      }));
      return n;
    };
    auto n = co_await parts_.pool->run(std::move(job));
    if (!n) co_return error_response(n.error());
    HttpResponse r;
    r.content_type = "text/plain";
    r.body = std::to_string(*n);
    co_return r;
  }
  uint64_t page_size = 0;
  if (auto page = call.prefer.find("odata.maxpagesize"); page != call.prefer.end()) {
    const std::string& text = page->second;
    bool digits =
        !text.empty() && text.size() <= 9 &&
        std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
    page_size = digits ? std::min<uint64_t>(std::stoull(text), limits::kMaxPageSize) : 0;
    if (page_size == 0) {
      co_return error_response({ErrorKind::invalid, "option.malformed",
                                "Prefer: odata.maxpagesize needs a number of at least 1"});
    }
  }
  options.query.page_size = page_size;
  JsonOptions json = json_options(call);
  std::string set_url = call.page_url.empty() ? call.root() + set_name : call.page_url;
  auto job = [read, options = std::move(options), json, context, set_url,
              url = call.url]() -> Result<std::string> {
    const Query& q = options.query;
    BL_ASSIGN(QueryResult rows, run_query(read, q));
    std::string body = "{\"@odata.context\":";
    body.reserve(256 + rows.records.size() * 512);
    append_json_string(body, context);
    if (rows.count) body += ",\"@odata.count\":" + std::to_string(*rows.count);
    body += ",\"value\":[";
    for (size_t i = 0; i < rows.records.size(); ++i) {
      if (i) body.push_back(',');
      BL_TRY(append_record(body, read, *q.entity, rows.records[i], options.select, options.expand,
                           json, {}));
      if (body.size() > limits::kMaxAnswerBytes) {
        return fail(ErrorKind::invalid, "answer.too_large",
                    "this answer would be larger than " + std::to_string(limits::kMaxAnswerBytes) +
                        " bytes: $select fewer properties, or ask for smaller pages (Prefer: "
                        "odata.maxpagesize=N)");
      }
    }
    body.push_back(']');
    if (!rows.continue_at.empty()) {
      std::optional<uint64_t> left;
      if (q.top) left = *q.top - rows.records.size();
      body += ",\"@odata.nextLink\":";
      append_json_string(body, next_link(set_url, url, rows.continue_at, left));
    }
    return body + "}";
  };
  auto body = co_await parts_.pool->run(std::move(job));
  if (!body) co_return error_response(body.error());
  HttpResponse r = odata_json(std::move(*body));
  if (page_size > 0)
    r.headers.emplace_back("Preference-Applied", "odata.maxpagesize=" + std::to_string(page_size));
  co_return r;
}

Result<std::optional<Record>> OfficeApi::find_record(const Call& call, const Schema::Set& set,
                                                     const ResourceSegment& segment) const {
  BL_ASSIGN(RecordAddress address, parse_address(*set.entity, segment));
  ReadContext read = reader(call, false);
  std::optional<Record> record;
  if (address.id) {
    BL_ASSIGN(record, read_record(read, {set.entity->id, *address.id}));
    // A replica that was switched between the two reads of side and row looks empty for a moment.
    if (!record && !call.view && read.side != parts_.committer->side()) {
      read.side = parts_.committer->side();
      BL_ASSIGN(record, read_record(read, {set.entity->id, *address.id}));
    }
  } else {
    BL_ASSIGN(record, read_by_key(read, *set.entity, *address.key, address.key_value.view()));
  }
  if (record && set.subtype) {
    Value type = record->value(set.subtype->field);
    if (type.is_null() || decode_integer(type.payload) != set.subtype->value) record.reset();
  }
  return record;
}

boost::asio::awaitable<Result<std::optional<Record>>> OfficeApi::look_up(
    const Call& call, Schema::Set set, const ResourceSegment& segment) {
  if (!set.entity->virtual_set) co_return find_record(call, set, segment);
  auto address = parse_address(*set.entity, segment);
  if (!address) co_return std::unexpected(address.error());
  if (!address->id)
    co_return fail(ErrorKind::invalid, "key.unknown",
                   set.entity->set_name + " are addressed by id");
  auto job = [read = reader(call, true), entity = set.entity,
              id = *address->id]() -> Result<std::optional<Record>> {
    std::optional<Record> record;
    BL_TRY(for_each_virtual(read, *entity, {}, [&](Record&& r) {
      if (r.key().id == id) record = std::move(r);
      return !record;
    }));
    return record;
  };
  co_return co_await parts_.pool->run(std::move(job));
}

boost::asio::awaitable<HttpResponse> OfficeApi::read_one(Call& call, Schema::Set set,
                                                         const ResourceSegment& segment) {
  QueryOptions options;
  if (!call.url.parameters.empty()) {
    auto parsed =
        parse_options(*parts_.schema, set, call.url, territory_number(), OptionScope::record);
    if (!parsed) co_return error_response(parsed.error());
    options = std::move(*parsed);
  }
  auto record = co_await look_up(call, set, segment);
  if (record && !*record && asks_upstream(call, *set.entity)) {
    LookupRequest question;
    if (auto ok = want_options(question, call, *set.entity, options); !ok)
      co_return error_response(ok.error());
    record = co_await look_up_upstream(call, set, segment, std::move(question));
  }
  if (!record) co_return error_response(record.error());
  if (!*record) {
    co_return error_response({ErrorKind::not_found, "record.not_found",
                              "there is no " + set.entity->label + " with this id here"});
  }
  std::string etag = etag_text(etag_of(**record, *set.entity));
  if (names_etag(call.request.header("If-None-Match"), etag)) {
    HttpResponse r;
    r.status = 304;
    r.headers.emplace_back("ETag", etag);
    co_return r;
  }
  std::string set_name = set.subtype ? set.subtype->set_name : set.entity->set_name;
  std::string context = call.root() + "$metadata#" + set_name + "/$entity";
  JsonOptions json = json_options(call);
  std::string body;
  Result<void> written;
  // What waits in a conflict is read beside it, and shown with the names of offices.
  bool alone = options.expand.empty() && set.entity->id != entity_id::kConflict;
  if (alone) {
    body.reserve(1024);
    ReadContext read = reader(call, false);
    written = append_record(body, read, *set.entity, **record, options.select, {}, json, context);
  } else {
    ReadContext read = reader(call, true);
    auto job = [&]() -> Result<std::string> {
      std::string out;
      BL_TRY(append_record(out, read, *set.entity, **record, options.select, options.expand, json,
                           context));
      return out;
    };
    auto made = co_await parts_.pool->run(std::move(job));
    if (made) {
      body = std::move(*made);
    } else {
      written = std::unexpected(made.error());
    }
  }
  if (!written) co_return error_response(written.error());
  HttpResponse r = odata_json(std::move(body));
  r.headers.emplace_back("ETag", etag);
  // Merged into another since its id was noted: what came is the survivor, under its own id.
  auto asked = parse_address(*set.entity, segment);
  if (asked && asked->id && *asked->id != (*record)->key().id) {
    r.headers.emplace_back("Content-Location",
                           call.root() + set_name + "(" + to_string((*record)->key().id) + ")");
  }
  co_return r;
}

// accounts(id)/name, /name/$value, /primarycontactid, /contact_customer_accounts
boost::asio::awaitable<HttpResponse> OfficeApi::read_below(Call& call, Schema::Set set,
                                                           const ResourceSegment& segment) {
  const Entity& entity = *set.entity;
  const std::string& below = call.resource[1];
  auto record = co_await look_up(call, set, segment);
  if (record && !*record && asks_upstream(call, entity)) {
    LookupRequest question;
    if (const auto* collection = entity.collection(below)) {
      if (auto ok = want_collection(question, *collection); !ok)
        co_return error_response(ok.error());
    } else if (const Field* field = entity.field(below);
               field && field->type == ValueType::lookup) {
      question.lookups.push_back(field->id);
    }
    record = co_await look_up_upstream(call, set, segment, std::move(question));
  }
  if (!record) co_return error_response(record.error());
  if (!*record) {
    co_return error_response({ErrorKind::not_found, "record.not_found",
                              "there is no " + entity.label + " with this id here"});
  }
  bool raw = call.resource.size() == 3 && call.resource[2] == "$value";
  bool count = call.resource.size() == 3 && call.resource[2] == "$count";
  if (call.resource.size() > 3 || (call.resource.size() == 3 && !raw && !count)) {
    co_return not_found_response(
        "entityset(id)/property, /property/$value, /collection, /collection/$count");
  }
  if (const auto* collection = entity.collection(below); collection && !raw) {
    Schema::Set children{parts_.schema->entity(collection->entity), nullptr};
    auto options = parse_options(*parts_.schema, children, call.url, territory_number());
    if (!options) co_return error_response(options.error());
    Expression of_parent;
    of_parent.kind = Expression::Kind::equal;
    of_parent.column.field = children.entity->field(collection->field);
    of_parent.column.id = collection->field;
    of_parent.column.type = ValueType::lookup;
    of_parent.values.push_back(
        {ValueType::lookup, encode_lookup({entity.id, (*record)->key().id})});
    Expression both;
    both.kind = Expression::Kind::all_of;
    both.operands = {of_parent, options->query.filter};
    both.finish();
    options->query.filter = std::move(both);
    std::string set_name = set.subtype ? set.subtype->set_name : entity.set_name;
    call.page_url = call.root() + set_name + "(" + to_string((*record)->key().id) + ")/" + below;
    call.resource = {children.entity->set_name};
    if (count) call.resource.push_back("$count");
    co_return co_await read_set(call, children, std::move(*options));
  }
  const Field* lookup = entity.field(below);
  if (lookup && lookup->type == ValueType::lookup && !raw && !count) {
    Value v = (*record)->value(lookup->id);
    if (v.is_null()) {
      HttpResponse none;
      none.status = 204;
      co_return none;
    }
    Lookup l = decode_lookup(v.payload);
    const Entity* to = parts_.schema->entity(l.entity);
    if (!to) {
      co_return path_error({ErrorKind::not_found, "record.unknown_entity",
                            "this refers to a kind of record that this server's version does not "
                            "know; upgrade it"});
    }
    ResourceSegment target;
    target.name = to->set_name;
    target.id = to_string(l.id);
    co_return co_await read_one(call, {to, nullptr}, target);
  }
  auto column = column_named(entity, below);
  if (!column) co_return path_error(column.error());
  if (count)
    co_return error_response(
        {ErrorKind::not_found, "property.unknown", below + " is no collection of records"});
  const Field* field = column->field;
  if (field && field->is_collection()) {
    if (field->policy == Policy::append || raw) {
      co_return error_response({ErrorKind::not_found, "property.unknown",
                                raw ? below + " is a list of texts and has no single value"
                                    : below + " is a timeline: read annotations"});
    }
    auto values = branchline::read_set(reader(call, false), **record, field->id);
    if (!values) co_return error_response(values.error());
    std::string body = "{\"@odata.context\":";
    append_json_string(body, call.root() + "$metadata#Collection(Edm.String)");
    body += ",\"value\":[";
    for (size_t i = 0; i < values->size(); ++i) {
      if (i) body.push_back(',');
      append_json_string(body, (*values)[i]);
    }
    co_return odata_json(body + "]}");
  }
  if (column->kind == Column::Kind::system && column->id == system_field::kTerritory) {
    std::string id = to_string(json_options(call).territory_id((*record)->territory()));
    HttpResponse r = raw ? HttpResponse{} : odata_json("{\"value\":\"" + id + "\"}");
    if (raw) {
      r.content_type = "text/plain; charset=utf-8";
      r.body = id;
    }
    co_return r;
  }
  std::string scratch;
  Value v = column_value(**record, *column, scratch);
  HttpResponse r;
  if (raw) {
    if (v.is_null()) {
      r.status = 204;
      co_return r;
    }
    std::string json;
    append_json_value(json, v);
    bool text = v.type == ValueType::text || v.type == ValueType::phone ||
                v.type == ValueType::email || v.type == ValueType::url;
    if (!text && json.size() >= 2 && json.front() == '"') json = json.substr(1, json.size() - 2);
    r.content_type = "text/plain; charset=utf-8";
    r.body = text ? std::string(v.payload) : json;
    co_return r;
  }
  std::string body = "{\"@odata.context\":";
  append_json_string(body, call.root() + "$metadata#" + entity.set_name + "(" +
                               to_string((*record)->key().id) + ")/" + below);
  body += ",\"value\":";
  append_json_value(body, v);
  co_return odata_json(body + "}");
}

}  // namespace branchline
