// What an office asks its upstream for while somebody waits there: records that it does not hold
// (DESIGN 4), and by which commits others' mutations were decided (SEMANTICS 36).
#pragma once

#include <string>
#include <vector>

#include "common/base/ids.h"
#include "common/record/value.h"
#include "replication/line/commit.h"

namespace branchline {

struct LookupRequest {
  uint64_t number = 0;  // of the connection, from 1
  std::string token;    // the caller's own, as it was shown to the office

  // A record, by id or by the value of a unique index, with what belongs to it.
  EntityId entity;  // 0: it asks for `mutations`
  RecordId id;
  uint16_t index = 0;  // where `id` is nil
  ValueType key_type = ValueType::null;
  std::string key;
  bool timeline = false;         // elements of `append` fields too
  std::vector<FieldId> lookups;  // whose records come along
  struct Children {
    EntityId entity;
    FieldId field;
  };
  std::vector<Children> children;

  std::vector<MutationId> mutations;
};

struct LookupAnswer {
  uint64_t number = 0;
  std::optional<Error> error;
  LineId line;
  Csn csn;           // what it shows is as of this commit
  RecordId id;       // nil: there is no such record for this caller
  std::string rows;  // container (replication/wire/WIRE.md, Look-ups)
  struct Decision {
    Csn csn;            // 0: not decided yet
    bool lost = false;  // it never will be
  };
  std::vector<Decision> decisions;  // one per mutation
};

std::string encode_lookup_request(const LookupRequest& lookup);
Result<LookupRequest> decode_lookup_request(std::string_view bytes);
std::string encode_lookup_answer(const LookupAnswer& answer);
// `invalid` for a message that is none, and for an unknown kind of error.
Result<LookupAnswer> decode_lookup_answer(std::string_view bytes);

}  // namespace branchline
