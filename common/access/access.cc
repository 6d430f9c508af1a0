#include "common/access/access.h"

#include <algorithm>

#include "common/base/bytes.h"
#include "common/base/hash.h"

namespace branchline {
namespace {

constexpr int64_t kWriteAccess = 2;  // apitoken.access

bool flag(const Schema& schema, const Record& record, std::string_view field) {
  Value v = record.value(schema.entity(record.key().entity)->field(field)->id);
  return v.type == ValueType::boolean && decode_boolean(v.payload);
}

// Whether what `version` wrote was there at commit `at`.
bool known(const Version& version, std::optional<Csn> at) { return !at || version.csn <= *at; }

// Once per token or user: nothing writes an end again, so its version is the commit that it came
// with. One that was taken back does not count at all.
bool ended(const Schema& schema, const Record& record, std::string_view field,
           std::optional<Csn> at) {
  if (!record.live() && known(record.state_version(), at)) return true;
  if (!flag(schema, record, field)) return false;
  const Cell* cell = record.find(schema.entity(record.key().entity)->field(field)->id);
  return known(record.version(*cell), at);
}

}  // namespace

bool Principal::works_in(TerritoryId t) const {
  return everywhere || std::find(territories.begin(), territories.end(), t) != territories.end();
}

bool Principal::works_in_any(const std::vector<TerritoryId>& of) const {
  return everywhere ||
         std::any_of(of.begin(), of.end(), [&](TerritoryId t) { return works_in(t); });
}

Result<Principal> principal_of(const Schema& schema, const Record& token, const Record& user,
                               int64_t now_ms, std::optional<Csn> at) {
  const Entity& entity = *schema.entity(entity_id::kApiToken);
  if (ended(schema, token, "isrevoked", at)) {
    return fail(ErrorKind::denied, "token.revoked",
                "this API token was revoked; ask an administrator for another");
  }
  Value expires = token.value(entity.field("expireson")->id);
  if (!expires.is_null() && decode_integer(expires.payload) <= now_ms) {
    return fail(ErrorKind::denied, "token.expired",
                "this API token has expired; ask an administrator for another");
  }
  if (ended(schema, user, "isdisabled", at)) {
    return fail(ErrorKind::denied, "user.disabled", "this user is disabled");
  }
  Principal p;
  p.user = user.key().id;
  p.credential = token.key().id;
  p.name = std::string(user.value(schema.entity(entity_id::kUser)->field("fullname")->id).payload);
  p.admin = flag(schema, user, "isadministrator");
  Value access = token.value(entity.field("access")->id);
  p.may_write = !access.is_null() && decode_integer(access.payload) == kWriteAccess;
  p.everywhere = token.in_territory(kReferenceTerritory);
  p.territories.push_back(token.territory());
  p.territories.insert(p.territories.end(), token.also_in().begin(), token.also_in().end());
  return p;
}

bool may_read(const Principal& p, const Entity& entity, const Record& record) {
  if (entity.credential) return false;
  if (entity.territory == TerritoryRule::reference || p.everywhere) return true;
  // Children of reference data (who holds how much of a product's stock) go to everybody as well.
  if (record.territory() == kReferenceTerritory || p.works_in(record.territory())) return true;
  return std::any_of(record.also_in().begin(), record.also_in().end(),
                     [&](TerritoryId t) { return p.works_in(t); });
}

bool may_write_entity(const Principal& p, const Entity& entity) {
  if (!p.may_write || entity.master_only || entity.credential) return false;
  bool administrative = entity.admin_only || entity.territory == TerritoryRule::reference;
  return p.admin || !administrative;
}

bool may_write(const Principal& p, const Entity& entity, const Record& record) {
  return may_write_entity(p, entity) && may_read(p, entity, record);
}

bool may_move(const Principal& p, const std::vector<TerritoryId>& homes, const Record& record,
              TerritoryId home, const std::vector<TerritoryId>& also_in) {
  if (!p.works_in_any(homes)) return false;
  if (home != record.territory() && !p.works_in(home)) return false;
  return std::all_of(also_in.begin(), also_in.end(),
                     [&](TerritoryId t) { return record.in_territory(t) || p.works_in(t); });
}

std::string token_hash(std::string_view token) { return hex(sha256(token).view()); }

}  // namespace branchline
