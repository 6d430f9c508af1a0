// Who may do what; pure. Uses: an API token's record (its territories are where its holder may
// work; the reference territory means everywhere) and its user's record.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "common/record/record.h"
#include "common/schema/schema.h"

namespace branchline {

struct Principal {
  RecordId user;
  RecordId credential;
  std::string name;
  bool admin = false;
  bool may_write = false;
  bool everywhere = false;
  std::vector<TerritoryId> territories;  // where !everywhere

  bool works_in(TerritoryId t) const;
  bool works_in_any(const std::vector<TerritoryId>& of) const;
};

// What a token allows; `denied` with the reason (revoked, expired, user disabled). With `at`, an
// end that was committed later than that commit does not count yet: for work that was accepted
// there. All else is as the records say it now, since only an end keeps the commit that wrote it.
Result<Principal> principal_of(const Schema& schema, const Record& token, const Record& user,
                               int64_t now_ms, std::optional<Csn> at = {});

bool may_read(const Principal& p, const Entity& entity, const Record& record);
// `record` as it is, or as it would be created.
bool may_write(const Principal& p, const Entity& entity, const Record& record);
// Whether he may give a record, which he may write, these territories: he works in its home (in one
// of `homes`) and in each territory that it newly enters. From where it is he may take it away.
bool may_move(const Principal& p, const std::vector<TerritoryId>& homes, const Record& record,
              TerritoryId home, const std::vector<TerritoryId>& also_in);
// Whether any record of this entity could be written: the early answer, before a record is known.
bool may_write_entity(const Principal& p, const Entity& entity);

// SHA-256 of the token, lower-case hex: what is stored instead of it.
std::string token_hash(std::string_view token);

}  // namespace branchline
