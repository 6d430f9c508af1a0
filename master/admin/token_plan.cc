#include "master/admin/token_plan.h"

namespace branchline {
namespace {

class OpBuilder {
 public:
  OpBuilder(const Schema& schema, TokenPlan& plan, EntityId entity, const RecordId& id)
      : entity_(*schema.entity(entity)), plan_(plan) {
    op_.kind = RecordOpKind::create;
    op_.record = {entity, id};
  }
  void set(std::string_view field, std::string_view payload) {
    const Field& f = *entity_.field(field);
    op_.cells.push_back({f.id, CellOpKind::set, {f.type, plan_.arena.copy(payload)}, {}});
  }
  RecordOp& op() { return op_; }
  void done() { plan_.ops.push_back(std::move(op_)); }

 private:
  const Entity& entity_;
  TokenPlan& plan_;
  RecordOp op_;
};

}  // namespace

Result<TokenPlan> plan_token(const Schema& schema, Workspace& workspace, const Directory& directory,
                             const TokenRequest& request, const std::string& secret_hash,
                             RecordIdMaker& ids, int64_t now_ms) {
  TokenPlan plan;
  const Entity& users = *schema.entity(entity_id::kUser);
  if (request.user.empty())
    return fail(ErrorKind::invalid, "token.user", "name the user the token is for");
  const Index* by_name = nullptr;
  for (const auto& index : users.indexes) {
    if (index.unique && index.fields[0] == users.field("domainname")->id) by_name = &index;
  }
  bool admin = request.admin;
  BL_ASSIGN(auto holder, workspace.holder_of(users, *by_name, {ValueType::text, request.user}, {}));
  if (holder) {
    plan.user = holder->id;
    BL_ASSIGN(auto found, workspace.find(*holder));
    Value flag = found.record->value(users.field("isadministrator")->id);
    admin = !flag.is_null() && decode_boolean(flag.payload);
    if (request.admin && !admin) {
      return fail(ErrorKind::invalid, "token.user",
                  "user " + request.user + " exists and is no administrator");
    }
  } else {
    plan.user = ids.make(now_ms);
    OpBuilder b(schema, plan, entity_id::kUser, plan.user);
    b.set("domainname", request.user);
    b.set("fullname", request.full_name.empty() ? request.user : request.full_name);
    b.set("isadministrator", encode_boolean(request.admin));
    b.done();
  }
  if (admin && !request.territories.empty()) {
    return fail(ErrorKind::invalid, "token.territories",
                "territories: user " + request.user + (holder ? " is" : " would be") +
                    " an administrator, and an administrator's token is good everywhere; leave "
                    "them out, or make the token for another user");
  }
  plan.token = ids.make(now_ms);
  OpBuilder b(schema, plan, entity_id::kApiToken, plan.token);
  b.set("name", request.token_name.empty() ? request.user : request.token_name);
  b.set("tokenhash", secret_hash);
  b.set("systemuserid", encode_lookup({entity_id::kUser, plan.user}));
  b.set("access", encode_integer(request.write ? 2 : 1));
  if (request.expires_ms != 0) b.set("expireson", encode_integer(request.expires_ms));
  if (request.territories.empty()) {
    b.op().territory = kReferenceTerritory;
  }
  std::set<TerritoryId> also_in;  // who works in a territory works in those below it
  for (const auto& name : request.territories) {
    auto t = directory.territory(name);
    if (!t)
      return fail(ErrorKind::invalid, "token.territory", "there is no territory `" + name + "`");
    if (b.op().territory == kNoTerritory) b.op().territory = *t;
    for (TerritoryId below : directory.with_below(*t)) also_in.insert(below);
  }
  also_in.erase(b.op().territory);
  b.op().also_in.assign(also_in.begin(), also_in.end());
  b.done();
  return plan;
}

Result<TokenPlan> plan_revocation(const Schema& schema, Workspace& workspace,
                                  const RecordId& token) {
  TokenPlan plan;
  plan.token = token;
  RecordKey key{entity_id::kApiToken, token};
  BL_ASSIGN(auto found, workspace.find(key));
  if (!found.record || !found.record->live()) {
    return fail(ErrorKind::not_found, "token.unknown", "there is no API token " + to_string(token));
  }
  const Field& revoked = *schema.entity(entity_id::kApiToken)->field("isrevoked");
  if (const Cell* cell = found.record->find(revoked.id)) {
    if (decode_boolean(found.record->value(*cell).payload)) {
      plan.done = found.record->version(*cell).csn;
      return plan;
    }
  }
  RecordOp op;
  op.kind = RecordOpKind::update;
  op.record = key;
  op.cells.push_back(
      {revoked.id, CellOpKind::set, {revoked.type, plan.arena.copy(encode_boolean(true))}, {}});
  plan.ops.push_back(std::move(op));
  return plan;
}

}  // namespace branchline
