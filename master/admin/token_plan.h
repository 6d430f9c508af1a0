// A new API token as operations: the user (made where there is none of this name) and the token's
// record, in the territories where it is good.
#pragma once

#include "common/json/json.h"
#include "master/ingest/ingest.h"

namespace branchline {

struct TokenRequest {
  std::string user;       // domain name of the user
  std::string full_name;  // for a new user; empty: the domain name
  std::string token_name;
  bool admin = false;  // for a new user
  bool write = true;
  std::vector<std::string> territories;  // empty: everywhere
  int64_t expires_ms = 0;                // 0: never
};

// The request in a body of POST /admin/tokens; `invalid` names the key that is unknown or not as
// expected.
Result<TokenRequest> read_token_request(const Schema& schema, const Json& body);

struct TokenPlan {
  std::vector<RecordOp> ops;
  Arena arena;
  RecordId user;
  RecordId token;
  Csn done;  // of a revocation that is committed already: then there are no operations
};
// `secret_hash`: token_hash() of the token. `invalid` for an unknown territory, a user whose kind
// differs, or an administrator's token with territories (who administers is good everywhere).
Result<TokenPlan> plan_token(const Schema& schema, Workspace& workspace, const Directory& directory,
                             const TokenRequest& request, const std::string& secret_hash,
                             RecordIdMaker& ids, int64_t now_ms);

// What revokes a token: it stays as a record, so that offices learn that it ended. Nothing for one
// that is revoked: what was written before it ended is judged by the commit that first ended it.
// `not_found` where there is none.
Result<TokenPlan> plan_revocation(const Schema& schema, Workspace& workspace,
                                  const RecordId& token);

}  // namespace branchline
