// One request under way; private to this folder.
#pragma once

#include <algorithm>

#include "branch/api/office_api.h"

namespace branchline {

inline constexpr std::string_view kDataPath = "/api/data/v9.2/";

inline constexpr std::string_view kSessionHeader = "Branchline-Session";
inline constexpr std::string_view kReadHeader = "Branchline-Read";
inline constexpr std::string_view kWriteHeader = "Branchline-Write";
inline constexpr int64_t kUpstreamPatienceMs = 5'000;  // where the client names none
inline constexpr int64_t kFateWaitMs = 10'000;         // likewise
inline constexpr int64_t kMaxWaitMs = 60'000;          // of what clients ask for

struct OfficeApi::Call {
  const HttpRequest& request;
  UrlParts url;
  Principal principal;
  std::map<std::string, std::string> prefer;
  std::vector<std::string> resource;  // segments behind the service root
  std::string page_url;     // what the next page's link begins with; empty: the entity set's
  ResourceSegment segment;  // resource[0], taken apart

  std::shared_ptr<const StoreView> view;  // what is read instead of the replica
  keys::Side side = 0;                    // of `view`
  bool upstream = false;                  // the upstream was asked for the record
  Csn upstream_csn;
  bool reads_local = false;             // the upstream is not to be asked
  std::optional<Csn> committed_csn;     // only what is committed is read
  std::optional<SessionToken> session;  // seen elsewhere, and here by now
  std::optional<int64_t> wait_ms;       // Prefer: wait
  bool waits_for_fate = false;
  MutationId accepted;  // by a write

  bool is(std::string_view method) const {
    return request.method == method || (method == "GET" && request.method == "HEAD");
  }
  // Absolute, as the client addressed us.
  std::string root() const {
    std::string_view host = request.header("Host");
    return "http://" + std::string(host.empty() ? "localhost" : host) + std::string(kDataPath);
  }
  // How long to wait for others: what the client prefers, else `otherwise`.
  int64_t patience_ms(int64_t otherwise) const {
    return std::max<int64_t>(wait_ms.value_or(otherwise), 100);
  }
  bool wants_representation() const {
    auto at = prefer.find("return");
    return at != prefer.end() && at->second == "representation";
  }
};

inline HttpResponse odata_json(std::string body, int status = 200) {
  HttpResponse r;
  r.status = status;
  r.content_type = "application/json; odata.metadata=minimal";
  r.body = std::move(body);
  r.headers.emplace_back("OData-Version", "4.0");
  return r;
}

HttpResponse method_not_allowed(std::string_view allowed);
// An unknown property in a path is a thing that does not exist, not a malformed request.
inline HttpResponse path_error(Error error) {
  if (error.code == "property.unknown") error.kind = ErrorKind::not_found;
  return error_response(error);
}
// Whether an If-None-Match of a read names this ETag (weakly, as all of ours are).
bool names_etag(std::string_view header, std::string_view etag);

}  // namespace branchline
