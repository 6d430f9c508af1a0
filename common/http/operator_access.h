// Who may use a server's operators' interface: the bearer of the token in its data directory (made
// at the first start, readable by the owner), or of an administrator's API token.
#pragma once

#include <functional>
#include <string>

#include "common/access/access.h"
#include "common/http/http.h"

namespace branchline {

class OperatorAccess {
 public:
  // Reads or makes FOLDER/operator.token (mode 0600). `lookup` finds API tokens.
  using Lookup = std::function<Result<Principal>(std::string_view token)>;
  static Result<OperatorAccess> load(const std::string& folder, Lookup lookup);
  // Nothing, or the answer that refuses: 401 without a token, 403 for one that is not an
  // administrator's.
  std::optional<HttpResponse> refuse(const HttpRequest& request) const;

 private:
  std::string hash_;
  Lookup lookup_;
};

// "branchline_" and 43 characters: 256 random bits.
std::string make_token();

}  // namespace branchline
