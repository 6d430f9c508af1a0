// Routes of the office's HTTP interface.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/steady_timer.hpp>
#include <deque>
#include <list>
#include <memory>
#include <string>
#include <unordered_map>
#include <unordered_set>

#include "branch/api/change_hub.h"
#include "branch/api/odata_body.h"
#include "branch/api/odata_json.h"
#include "branch/api/odata_options.h"
#include "branch/api/odata_url.h"
#include "branch/api/session_token.h"
#include "branch/api/static_files.h"
#include "branch/crm/lookup_counts.h"
#include "branch/crm/reader.h"
#include "branch/crm/save_command.h"
#include "branch/replica/committer.h"
#include "common/http/http.h"
#include "common/runtime/blocking_pool.h"
#include "replication/session/lookup.h"

namespace branchline {

struct OfficeLink {
  bool connected = false;
  bool caught_up = false;
};

// What the interface needs of the rest of the server; all outlive it.
struct OfficeParts {
  std::string server;
  std::shared_ptr<const Schema> schema;
  const Store* store = nullptr;
  Committer* committer = nullptr;
  BlockingPool* pool = nullptr;
  ChangeHub* changes = nullptr;
  Clock* clock = nullptr;
  const StaticFiles* files = nullptr;
  std::function<std::string()> metrics;
  std::function<OfficeLink()> link_state;
  std::function<std::string()> link_status;  // JSON members: "state":"following","roundTripMs":..
  // Asks the upstream, at most so many milliseconds; empty: there is none to ask.
  std::function<boost::asio::awaitable<Result<LookupAnswer>>(LookupRequest, int64_t)> look_up;
  LookupCounts lookup_counts;  // as they were kept
};

// I/O thread only.
// Answer of /readyz: 200 once this office has its copy, else 503.
HttpResponse readiness(bool joined);

class OfficeApi {
 public:
  explicit OfficeApi(OfficeParts parts);

  boost::asio::awaitable<HttpResponse> handle(const HttpRequest& request);
  // Records changed: forgets what was cached of tokens, users, territories and servers.
  void on_changes(const Changes& changes);
  // A part of the line was applied: who waits for it looks again.
  void on_moved();
  // Ends waits, with what there is.
  void stop();
  // Look-ups of records that this office does not hold.
  const LookupCounts& lookup_counts() const { return lookup_counts_; }

 private:
  struct Call;  // one request under way

  boost::asio::awaitable<HttpResponse> route(const HttpRequest& request, UrlParts url);
  boost::asio::awaitable<HttpResponse> answer(Call& call);
  boost::asio::awaitable<HttpResponse> odata(Call& call);
  boost::asio::awaitable<HttpResponse> read_set(Call& call, Schema::Set set, QueryOptions options);
  boost::asio::awaitable<HttpResponse> read_one(Call& call, Schema::Set set,
                                                const ResourceSegment& segment);
  boost::asio::awaitable<HttpResponse> read_below(Call& call, Schema::Set set,
                                                  const ResourceSegment& segment);
  boost::asio::awaitable<HttpResponse> write(Call& call, Schema::Set set,
                                             const ResourceSegment& segment);
  boost::asio::awaitable<HttpResponse> save(Call& call, SaveCommand::Mode mode, RecordInput input,
                                            Precondition precondition);
  // POST Merge, the action of the Dataverse.
  boost::asio::awaitable<HttpResponse> merge(Call& call);
  boost::asio::awaitable<HttpResponse> write_note(Call& call, const ResourceSegment& segment);
  boost::asio::awaitable<HttpResponse> sync_status(Call& call);
  boost::asio::awaitable<HttpResponse> mutation_status(Call& call, const std::string& text);
  HttpResponse change_stream(Call& call);
  std::string sync_event() const;
  HttpResponse who_am_i(const Call& call) const;

  Result<Principal> authenticate(std::string_view token);
  boost::asio::awaitable<void> follow_changes(HttpStream& out, uint64_t after, std::string token,
                                              Principal principal);
  Result<bool> append_change(std::string& out, const ReadContext& read,
                             const ChangeEvent& event) const;
  boost::asio::awaitable<HttpResponse> write_also_in(Call& call, Schema::Set set,
                                                     const ResourceSegment& segment,
                                                     const ResourceSegment& territory);
  boost::asio::awaitable<HttpResponse> write_reference(Call& call, Schema::Set set,
                                                       const ResourceSegment& segment);
  // As find_record, off the I/O thread where it takes a walk.
  boost::asio::awaitable<Result<std::optional<Record>>> look_up(const Call& call, Schema::Set set,
                                                                const ResourceSegment& segment);

  // office_upstream.cc
  bool asks_upstream(const Call& call, const Entity& entity) const;
  Result<void> want_collection(LookupRequest& question, const Entity::Collection& c) const;
  Result<void> want_options(LookupRequest& question, const Call& call, const Entity& entity,
                            const QueryOptions& options) const;
  boost::asio::awaitable<Result<LookupAnswer>> ask(const Call& call, LookupRequest question,
                                                   int64_t patience_ms);
  boost::asio::awaitable<Result<std::optional<Record>>> look_up_upstream(
      Call& call, Schema::Set set, const ResourceSegment& segment, LookupRequest question);
  void count_lookup(const RecordKey& key, TerritoryId territory);
  boost::asio::awaitable<Result<std::optional<UpstreamRecord>>> upstream_record(
      Call& call, SaveCommand::Mode mode, const RecordInput& input,
      const Precondition& precondition);

  // office_sessions.cc
  static Result<void> read_wait(Call& call);
  static Result<void> read_write_header(Call& call);
  boost::asio::awaitable<void> moved_or(int64_t until_us);
  Result<bool> shown_here(const Standing& standing, const Stream& stream, Seq seq) const;
  boost::asio::awaitable<Result<void>> await_session(Call& call);
  void put_session(const Call& call, HttpResponse& response) const;
  boost::asio::awaitable<Result<void>> read_committed(Call& call);
  boost::asio::awaitable<HttpResponse> with_fate(Call& call, HttpResponse answer);
  Result<bool> is_decided(const MutationId& id) const;  // sync_routes.cc

  Result<std::optional<Record>> find_record(const Call& call, const Schema::Set& set,
                                            const ResourceSegment& segment) const;
  ReadContext reader(const Principal& principal, bool snapshot) const;
  // What this request reads: the replica, or what was laid over it for it.
  ReadContext reader(const Call& call, bool snapshot) const;
  BodyContext body_context(const Call& call) const;
  Result<void> prepare_command(const Call& call, Command& command) const;
  // Branchline-Atomic and Branchline-Guard.
  Result<void> take_conditions(const Call& call, const Entity& entity, SaveCommand& command) const;
  std::string mutation_name(const MutationId& id) const;
  void refresh_directory();
  TerritoryNumber territory_number() const;
  JsonOptions json_options(const Call& call) const;

  OfficeParts parts_;
  std::unordered_map<std::string, Principal> principals_;  // by token hash
  std::shared_ptr<const OfficeFacts> facts_;
  std::map<OriginId, std::string> servers_;
  using TerritoryIds = std::map<TerritoryId, RecordId>;
  // Read on the pool's threads too: replaced, never changed.
  std::shared_ptr<const TerritoryIds> territory_ids_ = std::make_shared<TerritoryIds>();
  bool directory_known_ = false;
  uint64_t access_epoch_ = 0;  // counts changes of tokens and users
  size_t streams_ = 0;
  LookupCounts lookup_counts_;
  std::unordered_set<RecordKey> read_elsewhere_;  // through the upstream, lately
  std::deque<RecordKey> reads_elsewhere_;         // the same, oldest first
  std::list<boost::asio::steady_timer*> waiters_;
  bool stopping_ = false;
};

}  // namespace branchline
