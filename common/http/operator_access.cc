#include "common/http/operator_access.h"

#include "common/access/token_auth.h"
#include "common/base/hash.h"
#include "common/base/random.h"
#include "common/tls/files.h"

namespace branchline {

std::string make_token() {
  static constexpr char digits[] =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
  SystemRandom random;
  std::string bits = random.bytes(32), out = "branchline_";
  uint32_t buffer = 0;
  int count = 0;
  for (char c : bits) {
    buffer = buffer << 8 | static_cast<uint8_t>(c);
    for (count += 8; count >= 6; count -= 6) out.push_back(digits[buffer >> (count - 6) & 63]);
  }
  if (count > 0) out.push_back(digits[buffer << (6 - count) & 63]);
  return out;
}

Result<OperatorAccess> OperatorAccess::load(const std::string& folder, Lookup lookup) {
  std::string path = folder + "/operator.token";
  auto token = read_key_file(path);
  if (!token && token.error().kind == ErrorKind::not_found) {
    std::string fresh = make_token();
    BL_TRY(write_file(path, fresh + "\n", 0600, Overwrite::refuse));
    token = fresh;
  }
  if (!token) return std::unexpected(token.error());
  while (!token->empty() && (token->back() == '\n' || token->back() == ' ')) token->pop_back();
  OperatorAccess out;
  out.hash_ = std::string(sha256(*token).view());
  out.lookup_ = std::move(lookup);
  return out;
}

std::optional<HttpResponse> OperatorAccess::refuse(const HttpRequest& request) const {
  auto token = bearer_token(request.header("Authorization"));
  if (!token) return error_response(token.error());
  if (sha256(*token).view() == hash_) return std::nullopt;
  auto principal = lookup_(*token);
  if (!principal) return error_response(principal.error());
  if (!principal->admin || !principal->may_write) {
    return error_response(
        {ErrorKind::denied, "access.operator", "this needs an administrator's token"});
  }
  // `token create` makes no such token; one of an older master must not make others.
  if (!principal->everywhere) {
    return error_response({ErrorKind::denied, "access.operator",
                           "this administrator's token is for some territories only; operating a "
                           "server needs one that is good everywhere"});
  }
  return std::nullopt;
}

}  // namespace branchline
