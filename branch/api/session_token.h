// Branchline-Session (SEMANTICS 36): what a client has seen, in a few dozen letters, so that
// another office can show it nothing older. docs/formats.md has the bytes. Pure.
#pragma once

#include <map>
#include <string>
#include <string_view>

#include "common/base/error.h"
#include "common/base/ids.h"

namespace branchline {

struct SessionToken {
  LineId line;
  Csn csn;                        // the highest seen
  std::map<Stream, Seq> streams;  // pending work seen: through which seq of each server's stream
};

std::string encode_session(const SessionToken& token);
// `invalid` "session.malformed" for anything that encode_session() did not make.
Result<SessionToken> decode_session(std::string_view text);

}  // namespace branchline
