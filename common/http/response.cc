#include "common/http/http.h"
#include "common/json/json.h"

namespace branchline {
int http_status(const Error& error) {
  if (error.code == "key.reused") return 422;
  if (error.code == "disk.full" || error.code == "outbox.full") return 507;
  if (error.code == "body.type") return 415;
  if (error.code == "precondition.required") return 428;
  if (error.code == "record.deleted") return 410;
  if (error.code == "feature.not_built") return 501;
  switch (error.kind) {
    case ErrorKind::invalid:
      return 400;
    case ErrorKind::not_found:
      return 404;
    case ErrorKind::conflict:
      return 412;
    case ErrorKind::denied:
      return error.code.starts_with("token.") ? 401 : 403;
    case ErrorKind::unavailable:
      return 503;
    case ErrorKind::exhausted:
      return 429;
    case ErrorKind::corrupt:
      return 500;
    case ErrorKind::shutdown:
      return 503;
  }
  return 500;
}

HttpResponse error_response(const Error& error) {
  HttpResponse r;
  r.status = http_status(error);
  r.content_type = "application/json";
  r.body = "{\"error\":{\"code\":";
  append_json_string(r.body, error.code);
  r.body += ",\"message\":";
  append_json_string(r.body, error.message);
  r.body += "}}";
  if (r.status == 401) r.headers.emplace_back("WWW-Authenticate", "Bearer");
  if (r.status == 503) r.headers.emplace_back("Retry-After", "1");
  return r;
}

HttpResponse json_response(std::string body, int status) {
  HttpResponse r;
  r.status = status;
  r.content_type = "application/json";
  r.body = std::move(body);
  return r;
}

HttpResponse not_found_response(std::string_view paths) {
  return error_response({ErrorKind::not_found, "path.unknown",
                         "there is nothing here; there are: " + std::string(paths)});
}

}  // namespace branchline
