#include "common/access/token_auth.h"

#include "common/schema/index_key.h"

namespace branchline {

Result<TokenAnswer> authenticate_token(const StoreView& view, keys::Side side, const Schema& schema,
                                       std::string_view token, int64_t now_ms) {
  std::string hash = token_hash(token);
  const Entity& entity = *schema.entity(entity_id::kApiToken);
  const Field& hash_field = *entity.field("tokenhash");
  for (const auto& index : entity.indexes) {
    if (!index.unique || index.fields[0] != hash_field.id) continue;
    std::string prefix = keys::index_prefix(side, entity.id, index.id);
    put_index_value(prefix, {ValueType::text, hash});
    auto cursor = scan_prefix(view, Table::index, prefix);
    for (; cursor->valid(); cursor->next()) {
      RecordKey key{entity.id, keys::index_record(cursor->key())};
      BL_ASSIGN(auto flat, view.get(Table::records, keys::record(side, key)));
      if (!flat) continue;
      BL_ASSIGN(auto record, Record::decode(key, std::move(*flat)));
      if (record.value(hash_field.id).payload != hash) continue;
      Value holder = record.value(entity.field("systemuserid")->id);
      if (holder.is_null()) continue;
      RecordKey user_key{entity_id::kUser, decode_lookup(holder.payload).id};
      BL_ASSIGN(auto user_flat, view.get(Table::records, keys::record(side, user_key)));
      if (!user_flat) continue;
      BL_ASSIGN(auto user, Record::decode(user_key, std::move(*user_flat)));
      TokenAnswer answer;
      BL_ASSIGN(answer.principal, principal_of(schema, record, user, now_ms));
      answer.may_cache = record.value(entity.field("expireson")->id).is_null();
      return answer;
    }
    if (auto e = cursor->error()) return std::unexpected(*e);
  }
  return fail(ErrorKind::denied, "token.unknown",
              "this token is not known here (or not good for this office)");
}

Result<std::string_view> bearer_token(std::string_view header) {
  if (header.empty()) {
    return fail(ErrorKind::denied, "token.missing",
                "this needs a token: send \"Authorization: Bearer <token>\"");
  }
  std::string scheme(header.substr(0, 7));
  for (char& c : scheme) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  if (header.size() < 8 || scheme != "bearer ") {
    return fail(ErrorKind::denied, "token.missing",
                "the Authorization header must be \"Bearer <token>\"");
  }
  return header.substr(7);
}

}  // namespace branchline
