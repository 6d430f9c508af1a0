// Whose token this is: looked up by hash in a replica's (or the master's) unique index.
#pragma once

#include "common/access/access.h"
#include "common/store/keyspace.h"
#include "common/store/store.h"

namespace branchline {

struct TokenAnswer {
  Principal principal;
  bool may_cache = true;  // false where it ends by itself
};
// `denied` with a code "token.*" that says why not.
Result<TokenAnswer> authenticate_token(const StoreView& view, keys::Side side, const Schema& schema,
                                       std::string_view token, int64_t now_ms);

// The token in an Authorization header: "Bearer ..."; `denied` where there is none.
Result<std::string_view> bearer_token(std::string_view header);

}  // namespace branchline
