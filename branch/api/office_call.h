// One request under way; private to this folder.
#pragma once

#include "branch/api/office_api.h"

namespace branchline {

inline constexpr std::string_view kDataPath = "/api/data/v9.2/";

struct OfficeApi::Call {
  const HttpRequest& request;
  UrlParts url;
  Principal principal;
  std::map<std::string, std::string> prefer;
  std::vector<std::string> resource;  // segments behind the service root
  std::string page_url;  // what the next page's link begins with; empty: the entity set's

  bool is(std::string_view method) const {
    return request.method == method || (method == "GET" && request.method == "HEAD");
  }
  // Absolute, as the client addressed us.
  std::string root() const {
    std::string_view host = request.header("Host");
    return "http://" + std::string(host.empty() ? "localhost" : host) + std::string(kDataPath);
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
