// Routes of the office's HTTP interface.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <memory>
#include <string>
#include <unordered_map>

#include "branch/api/change_hub.h"
#include "branch/api/odata_body.h"
#include "branch/api/odata_json.h"
#include "branch/api/odata_url.h"
#include "branch/api/static_files.h"
#include "branch/crm/reader.h"
#include "branch/crm/save_command.h"
#include "branch/replica/committer.h"
#include "common/http/http.h"
#include "common/runtime/blocking_pool.h"

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

 private:
  struct Call;  // one request under way

  boost::asio::awaitable<HttpResponse> route(const HttpRequest& request, UrlParts url);
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
  boost::asio::awaitable<HttpResponse> write_reference(Call& call, Schema::Set set,
                                                       const ResourceSegment& segment);
  // As find_record, off the I/O thread where it takes a walk.
  boost::asio::awaitable<Result<std::optional<Record>>> look_up(const Call& call, Schema::Set set,
                                                                const ResourceSegment& segment);
  Result<std::optional<Record>> find_record(const Call& call, const Schema::Set& set,
                                            const ResourceSegment& segment) const;
  ReadContext reader(const Principal& principal, bool snapshot) const;
  BodyContext body_context(const Call& call) const;
  Result<void> prepare_command(const Call& call, Command& command) const;
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
};

}  // namespace branchline
