// What became of a write, how the link is, and the change stream.
#include "branch/api/odata_names.h"
#include "branch/api/office_call.h"
#include "branch/crm/virtual_sets.h"
#include "common/access/token_auth.h"
#include "replication/line/commit.h"

namespace branchline {
namespace {

constexpr size_t kMaxStreams = 200;
constexpr size_t kEventsPerWrite = 256;
constexpr int64_t kSyncEventUs = 1'000'000;  // at most one `sync` event in this time
constexpr int64_t kHeartbeatUs =
    15'000'000;  // a stream is never silent for longer: clients and we notice a dead peer

std::string ledger_json(const Ledger& l) {
  return "{\"accepted\":" + std::to_string(l.accepted) +
         ",\"pending\":" + std::to_string(l.pending) + ",\"applied\":" + std::to_string(l.applied) +
         ",\"merged\":" + std::to_string(l.merged) +
         ",\"overridden\":" + std::to_string(l.overridden) +
         ",\"rejected\":" + std::to_string(l.rejected) + ",\"lost\":" + std::to_string(l.lost) +
         "}";
}

// The fate of one of this server's own mutations, or nothing while it is pending or unknown.
Result<std::optional<FateRow>> fate_of(const StoreView& view, const MutationId& id) {
  MutationId behind = id;
  behind.seq = id.seq.next();
  auto cursor = view.scan_back(Table::fates, keys::fate_prefix(stream_of(id)), keys::fate(behind));
  if (auto e = cursor->error()) return std::unexpected(*e);
  if (!cursor->valid()) return std::optional<FateRow>();
  auto first = keys::parse_fate(cursor->key());
  if (!first) return fail(ErrorKind::corrupt, "fate.key", "a fate's key is damaged");
  BL_ASSIGN(auto row, decode_fate_row(*first, cursor->value()));
  if (id.seq.value >= first->seq.value + row.entry.count) return std::optional<FateRow>();
  row.entry.csn = Csn(row.entry.csn.value + (id.seq.value - first->seq.value));
  return std::optional<FateRow>(std::move(row));
}

// What its author asked for, to be read and entered again.
void put_content(std::string& body, const Schema& schema, const Mutation& m) {
  body += ",\"operations\":[";
  bool first = true;
  for (const auto& op : m.ops) {
    const Entity* entity = schema.entity(op.record.entity);
    if (!entity) continue;
    if (!std::exchange(first, false)) body.push_back(',');
    body += "{\"operation\":\"" + std::string(to_string(op.kind)) + "\",\"entity\":\"" +
            entity->name + "\",\"record\":\"" + to_string(op.record.id) + "\",\"fields\":[";
    bool first_cell = true;
    for (const auto& cell : op.cells) {
      const Field* field = entity->field(cell.field);
      if (!field) continue;
      if (!std::exchange(first_cell, false)) body.push_back(',');
      body += "{\"field\":\"" + field->name + "\",\"kind\":\"" + std::string(to_string(cell.kind)) +
              "\",\"value\":";
      append_json_value(body, cell.value);
      body.push_back('}');
    }
    body += "]}";
  }
  body.push_back(']');
}

}  // namespace

Result<bool> OfficeApi::is_decided(const MutationId& id) const {
  BL_ASSIGN(auto fate, fate_of(*parts_.store, id));
  return fate.has_value();
}

boost::asio::awaitable<HttpResponse> OfficeApi::sync_status(Call& call) {
  ReplicaStatus s = parts_.committer->status();
  std::string pending_since;
  if (s.ledger.pending > 0) {
    int64_t ms = co_await parts_.committer->ask<int64_t>(
        [](const Replica& replica) { return replica.oldest_pending_ms().value_or(0); });
    if (ms > 0) pending_since = ",\"pendingSince\":\"" + format_instant(ms) + "\"";
  }
  std::string body = "{\"server\":";
  append_json_string(body, parts_.server);
  body += ",\"joined\":";
  body += s.joined ? "true" : "false";
  body += ",\"line\":\"" + to_hex(s.cursor.line.value) +
          "\",\"csn\":" + std::to_string(s.cursor.csn.value) +
          ",\"pending\":" + std::to_string(s.ledger.pending) + pending_since +
          ",\"ledger\":" + ledger_json(s.ledger) + ",\"lastEvent\":";
  append_json_string(body, parts_.changes->event_id(parts_.changes->last()));
  body += ",\"territories\":[";
  bool first = true;
  for (const auto& [name, t] : facts_->territories) {
    if (std::find(s.territories.begin(), s.territories.end(), t) == s.territories.end()) continue;
    if (!first) body.push_back(',');
    first = false;
    append_json_string(body, name);
  }
  body += "]";
  if (!s.joined || s.seed_expected > 0) {
    body += ",\"joining\":{\"records\":" + std::to_string(s.seeded) +
            ",\"expected\":" + std::to_string(s.seed_expected) + "}";
  }
  body += ",\"link\":{" + parts_.link_status() + "}}";
  (void)call;
  co_return json_response(std::move(body));
}

boost::asio::awaitable<HttpResponse> OfficeApi::mutation_status(Call& call,
                                                                const std::string& text) {
  auto parsed = parse_mutation_text(text);
  if (!parsed) {
    co_return error_response({ErrorKind::invalid, "mutation.malformed",
                              "`" + text.substr(0, 80) +
                                  "` is no mutation id (server.incarnation.lane.number, from a "
                                  "Branchline-Mutation header)"});
  }
  if (parsed->server != parts_.server) {
    co_return error_response({ErrorKind::not_found, "mutation.elsewhere",
                              "this mutation was made at " + parsed->server + "; ask there"});
  }
  MutationId id = parsed->id;
  id.origin = parts_.committer->status().self;
  ReadContext read = reader(call.principal, true);
  auto fate = fate_of(*read.view, id);
  if (!fate) co_return error_response(fate.error());
  std::string body = "{\"id\":";
  append_json_string(body, text);
  if (!*fate) {
    // Neither decided nor in the outbox: it never was.
    auto rows = scan_prefix(*read.view, Table::meta, keys::meta_incarnation_prefix());
    std::optional<uint32_t> generation;
    for (; rows->valid(); rows->next()) {
      auto info = decode_incarnation(rows->value());
      if (info && info->incarnation == id.incarnation) generation = info->generation;
    }
    bool pending = false;
    if (generation && id.seq.value > 0) {
      OutboxReader outbox(*read.view, read.side);
      auto block = outbox.holding_seq({*generation, id.lane}, id.seq, false);
      if (!block) co_return error_response(block.error());
      pending = block->has_value();
    }
    if (!pending)
      co_return error_response(
          {ErrorKind::not_found, "mutation.unknown", "no such mutation was made here"});
    co_return json_response(body + ",\"state\":\"pending\"}");
  }
  const FateEntry& e = (*fate)->entry;
  body += ",\"state\":\"" + std::string(to_string(e.fate)) +
          "\",\"csn\":" + std::to_string(e.csn.value);
  std::optional<Mutation> m;
  if (!(*fate)->content.empty()) {
    Reader r((*fate)->content);
    auto content = get_mutation(r);
    if (content) m = std::move(*content);
  }
  // The values are their author's; others learn the outcome only.
  bool show = m && (m->author == call.principal.user || call.principal.admin);
  body += ",\"outcomes\":[";
  for (size_t i = 0; i < e.outcomes.size(); ++i) {
    const Outcome& o = e.outcomes[i];
    if (i) body.push_back(',');
    body += "{\"outcome\":\"" + std::string(to_string(o.fate)) + "\",\"reason\":\"" +
            std::string(to_string(o.reason)) + "\",\"explanation\":";
    append_json_string(body, explain(o.reason));
    if (!o.other.is_none()) {
      auto at = servers_.find(o.other.origin);
      body += ",\"other\":";
      append_json_string(
          body, mutation_text(o.other, at == servers_.end()
                                           ? "server" + std::to_string(o.other.origin.value)
                                           : at->second));
    }
    if (m && o.op < m->ops.size()) {
      const RecordOp& op = m->ops[o.op];
      const Entity* entity = parts_.schema->entity(op.record.entity);
      if (entity) {
        body +=
            ",\"entity\":\"" + entity->name + "\",\"record\":\"" + to_string(op.record.id) + "\"";
        const Field* field = entity->field(o.field);
        if (field) body += ",\"field\":\"" + field->name + "\"";
        if (o.field == system_field::kTerritory) body += ",\"field\":\"territoryid\"";
        for (const auto& cell : op.cells) {
          if (!show || !field || cell.field != o.field) continue;
          body += ",\"value\":";
          append_json_value(body, cell.value);
        }
      }
    }
    body.push_back('}');
  }
  body.push_back(']');
  if (show) put_content(body, *parts_.schema, *m);
  co_return json_response(body + "}");
}

// What of the state towards head office people see at once; details are at /api/sync/status.
std::string OfficeApi::sync_event() const {
  OfficeLink link = parts_.link_state();
  return "{\"pending\":" + std::to_string(parts_.committer->status().ledger.pending) +
         ",\"connected\":" + (link.connected ? "true" : "false") +
         ",\"caughtUp\":" + (link.caught_up ? "true" : "false") + "}";
}

// Events name records, never values: a client reads what it is shown, with its own rights. A record
// that it may not read (any more), or that was deleted, is told as such.
HttpResponse OfficeApi::change_stream(Call& call) {
  std::string_view last = call.request.header("Last-Event-ID");
  if (last.empty()) {
    if (const std::string* parameter = call.url.parameter("since")) last = *parameter;
  }
  uint64_t after = parts_.changes->last();
  if (!last.empty()) {
    auto resumed = parts_.changes->resume_after(last);
    if (!resumed) {
      HttpResponse gone = error_response({ErrorKind::not_found, "changes.gone",
                                          "this position is of another server or start, or too "
                                          "old: read anew, then follow the stream"});
      gone.status = 410;
      return gone;
    }
    after = *resumed;
  }
  if (streams_ >= kMaxStreams) {
    return error_response({ErrorKind::unavailable, "changes.too_many",
                           "too many change streams are open at this server"});
  }
  HttpResponse r;
  r.content_type = "text/event-stream";
  r.headers.emplace_back("Cache-Control", "no-store");
  std::string token(*bearer_token(call.request.header("Authorization")));
  r.stream = [this, after, token = std::move(token),
              principal = call.principal](HttpStream& out) -> boost::asio::awaitable<void> {
    return follow_changes(out, after, token, principal);
  };
  return r;
}

boost::asio::awaitable<void> OfficeApi::follow_changes(HttpStream& out, uint64_t after,
                                                       std::string token, Principal principal) {
  struct Counted {
    size_t& n;
    explicit Counted(size_t& count) : n(count) { ++n; }
    ~Counted() { --n; }
  } counted(streams_);
  ChangeHub& hub = *parts_.changes;
  uint64_t epoch = access_epoch_;
  std::string hello = "id: " + hub.event_id(after) + "\nevent: hello\ndata: {}\n\n";
  if (!co_await out.write(std::move(hello))) co_return;
  std::string told;
  int64_t told_us = 0, written_us = parts_.clock->steady_us();
  while (!hub.stopped()) {
    if (epoch != access_epoch_) {  // a token that ends ends its streams
      epoch = access_epoch_;
      auto still = authenticate(token);
      if (!still) co_return;
      principal = std::move(*still);
    }
    auto events = hub.since(after, kEventsPerWrite);
    if (!events) co_return;  // it fell too far behind: the client comes again and gets 410
    std::string text;
    int64_t now = parts_.clock->steady_us();
    if (told.empty() || now - told_us >= kSyncEventUs) {
      if (std::string sync = sync_event(); sync != told) {
        text += "event: sync\ndata: " + sync + "\n\n";
        told = std::move(sync);
        told_us = now;
      }
    }
    if (text.empty() && events->empty()) {
      if (now - written_us >= kHeartbeatUs) {
        if (!authenticate(token)) co_return;  // it may have expired
        if (!co_await out.write(": still here\n\n")) co_return;
        written_us = parts_.clock->steady_us();
      }
      co_await hub.more().wait();
      continue;
    }
    ReadContext read = reader(principal, false);
    for (const auto& e : *events) {
      after = e.number;
      auto shown = append_change(text, read, e);
      if (!shown) co_return;
    }
    if (text.empty()) continue;
    if (!co_await out.write(std::move(text))) co_return;
    written_us = parts_.clock->steady_us();
  }
}

// False where the event is none of the reader's business: credentials, records of territories that
// it may not read.
Result<bool> OfficeApi::append_change(std::string& out, const ReadContext& read,
                                      const ChangeEvent& event) const {
  const Entity* entity = parts_.schema->entity(event.record.entity);
  if (!entity || entity->credential) return false;
  BL_ASSIGN(auto flat, read.view->get(Table::records, keys::record(read.side, event.record)));
  bool live = false;
  if (flat) {
    BL_ASSIGN(auto record, Record::decode(event.record, std::move(*flat)));
    // A tombstone still says where its record was; one that moved away is gone for those who saw it
    // there.
    bool seen = may_read(read.principal, *entity, record);
    if (!seen && !read.principal.works_in_any(event.was_in)) return false;
    live = seen && record.live();
  } else if (!event.was_in.empty() && !read.principal.works_in_any(event.was_in)) {
    return false;
  }
  out += "id: " + parts_.changes->event_id(event.number) + "\nevent: change\ndata: {\"entity\":\"" +
         entity->name + "\",\"set\":\"" + entity->set_name + "\",\"id\":\"" +
         to_string(event.record.id) + "\",\"kind\":\"" + (live ? "changed" : "gone") + "\"}\n\n";
  return true;
}

}  // namespace branchline
