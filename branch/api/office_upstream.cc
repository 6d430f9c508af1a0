// Records that this office does not hold, through the upstream with the caller's own token (DESIGN
// 4): fetched for one request, laid over a view of the replica in memory, never written here.
#include <algorithm>

#include "branch/api/office_call.h"
#include "branch/crm/overlay.h"
#include "common/access/token_auth.h"
#include "common/base/limits.h"

namespace branchline {
namespace {

constexpr size_t kRememberedReads = 10'000;

bool found_through_parent(const Entity& child, FieldId field) {
  return std::any_of(child.indexes.begin(), child.indexes.end(),
                     [&](const Index& i) { return i.parent && i.fields[0] == field; });
}

std::unexpected<Error> not_from_elsewhere(const std::string& name) {
  return fail(ErrorKind::invalid, "feature.not_built",
              name +
                  " of a record that this office does not hold cannot be read here: leave it "
                  "out, or ask at an office that holds the record");
}

}  // namespace

// Whether there may be records that the caller may see and this office does not hold. Not for a
// token that is good only where all is held: the answer would be the same, a round trip later.
bool OfficeApi::asks_upstream(const Call& call, const Entity& entity) const {
  if (call.reads_local || !parts_.look_up || entity.virtual_set || entity.credential) return false;
  if (entity.territory == TerritoryRule::reference) return false;
  ReplicaStatus s = parts_.committer->status();
  if (s.holds_everything) return false;
  if (call.principal.everywhere) return true;
  return std::any_of(
      call.principal.territories.begin(), call.principal.territories.end(), [&](TerritoryId t) {
        return std::find(s.territories.begin(), s.territories.end(), t) == s.territories.end();
      });
}

Result<void> OfficeApi::want_collection(LookupRequest& question,
                                        const Entity::Collection& c) const {
  const Entity& child = *parts_.schema->entity(c.entity);
  if (child.id == entity_id::kAnnotation) {
    question.timeline = true;
    return {};
  }
  if (child.virtual_set || !found_through_parent(child, c.field)) return not_from_elsewhere(c.name);
  question.children.push_back({c.entity, c.field});
  return {};
}

Result<void> OfficeApi::want_options(LookupRequest& question, const Call& call,
                                     const Entity& entity, const QueryOptions& options) const {
  for (const auto& e : options.expand) {
    if (e.lookup) question.lookups.push_back(e.lookup->id);
    if (e.collection) BL_TRY(want_collection(question, *e.collection));
  }
  if (call.prefer.count("odata.include-annotations") > 0) {  // names of what is referred to
    for (const auto& f : entity.fields) {
      if (f.type == ValueType::lookup) question.lookups.push_back(f.id);
    }
  }
  if (question.lookups.size() > limits::kMaxLookupParts ||
      question.children.size() > limits::kMaxLookupParts) {
    return not_from_elsewhere("so much of $expand");
  }
  return {};
}

boost::asio::awaitable<Result<LookupAnswer>> OfficeApi::ask(const Call& call,
                                                            LookupRequest question,
                                                            int64_t patience_ms) {
  auto token = bearer_token(call.request.header("Authorization"));
  if (!token) co_return std::unexpected(token.error());
  question.token = std::string(*token);
  auto answer = co_await parts_.look_up(std::move(question), patience_ms);
  if (answer && answer->line != parts_.committer->standing().cursor.line) {
    co_return fail(ErrorKind::unavailable, "upstream.line",
                   "head office is on another line than this office's copy (it was restored): the "
                   "office is about to fetch its data anew; try again in a moment");
  }
  co_return answer;
}

// From now on the request reads what the upstream showed, over what is here.
boost::asio::awaitable<Result<std::optional<Record>>> OfficeApi::look_up_upstream(
    Call& call, Schema::Set set, const ResourceSegment& segment, LookupRequest question) {
  auto address = parse_address(*set.entity, segment);
  if (!address) co_return std::unexpected(address.error());
  question.entity = set.entity->id;
  if (address->id) {
    question.id = *address->id;
  } else {
    question.index = address->key->id;
    question.key_type = address->key_value.type;
    question.key = address->key_value.payload;
  }
  auto answer = co_await ask(call, std::move(question), call.patience_ms(kUpstreamPatienceMs));
  if (!answer) co_return std::unexpected(answer.error());
  call.upstream = true;
  call.upstream_csn = answer->csn;
  if (answer->id.is_nil()) co_return std::optional<Record>();
  keys::Side side = parts_.committer->side();
  auto below = call.view ? call.view : parts_.store->snapshot();
  auto job = [below, schema = parts_.schema, side, rows = std::move(answer->rows)] {
    return lay_upstream(below, *schema, side, rows);
  };
  auto view = co_await parts_.pool->run(std::move(job));
  if (!view) co_return std::unexpected(view.error());
  call.view = std::move(*view);
  call.side = side;
  RecordKey key{set.entity->id, answer->id};
  auto record = read_record(reader(call, true), key);
  if (!record || !*record) co_return record;
  if (set.subtype) {
    Value type = (*record)->value(set.subtype->field);
    if (type.is_null() || decode_integer(type.payload) != set.subtype->value)
      co_return std::optional<Record>();
  }
  count_lookup(key, (*record)->territory());
  co_return record;
}

void OfficeApi::count_lookup(const RecordKey& key, TerritoryId territory) {
  LookupCount& count = lookup_counts_[territory];
  if (count.times++ == 0) count.since_ms = parts_.clock->wall_ms();
  if (!read_elsewhere_.insert(key).second) return;
  reads_elsewhere_.push_back(key);
  if (reads_elsewhere_.size() <= kRememberedReads) return;
  read_elsewhere_.erase(reads_elsewhere_.front());
  reads_elsewhere_.pop_front();
}

// Before an update or a removal: where the record is not here but the caller may see it, what the
// upstream shows of it. Nothing: the write is this office's own matter.
boost::asio::awaitable<Result<std::optional<UpstreamRecord>>> OfficeApi::upstream_record(
    Call& call, SaveCommand::Mode mode, const RecordInput& input,
    const Precondition& precondition) {
  std::optional<UpstreamRecord> none;
  if (mode == SaveCommand::Mode::create || !asks_upstream(call, *input.entity)) co_return none;
  ResourceSegment segment;
  segment.id = input.address.id ? to_string(*input.address.id) : std::string();
  Schema::Set set{input.entity, input.subtype};
  ReadContext here = reader(call, false);
  std::optional<Record> held;
  if (input.address.id) {
    auto row = here.view->get(Table::records,
                              keys::record(here.side, {input.entity->id, *input.address.id}));
    if (!row) co_return std::unexpected(row.error());
    if (*row) co_return none;
  } else {
    auto record =
        read_by_key(here, *input.entity, *input.address.key, input.address.key_value.view());
    if (!record) co_return std::unexpected(record.error());
    if (*record) co_return none;
  }
  auto read_first = [&] {
    return fail(ErrorKind::conflict, "precondition.required",
                "this office does not hold that " + input.entity->label +
                    ": GET it here first, then send the ETag of that answer as If-Match, so that "
                    "head office knows what you had seen");
  };
  if (mode == SaveCommand::Mode::upsert) {
    // Without If-Match this creates, and creating never waits for the WAN. Who was shown the record
    // through this office means to change it, though.
    bool shown =
        input.address.id && read_elsewhere_.count({input.entity->id, *input.address.id}) > 0;
    if (shown && !precondition.must_not_exist) co_return read_first();
    co_return none;
  }
  LookupRequest question;
  Result<std::optional<Record>> record = std::optional<Record>();
  if (input.address.id) {
    record = co_await look_up_upstream(call, set, segment, std::move(question));
  } else {
    segment.parentheses = true;
    record = co_await look_up_upstream(call, set, call.segment, std::move(question));
  }
  if (!record) co_return std::unexpected(record.error());
  if (!*record) co_return none;  // the command says that there is none
  if (precondition.etags.empty()) co_return read_first();
  co_return UpstreamRecord{call.view, call.side, (*record)->key().id, call.upstream_csn};
}

}  // namespace branchline
