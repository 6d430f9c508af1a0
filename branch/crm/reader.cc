#include "branch/crm/reader.h"

#include <algorithm>

#include "common/base/limits.h"
#include "common/schema/index_key.h"

namespace branchline {

Result<std::optional<Record>> read_record(const ReadContext& c, const RecordKey& key) {
  BL_ASSIGN(auto flat, c.view->get(Table::records, keys::record(c.side, key)));
  if (!flat) return std::optional<Record>();
  BL_ASSIGN(auto record, Record::decode(key, std::move(*flat)));
  for (size_t hops = 0; record.state() == RecordState::redirect; ++hops) {
    RecordKey survivor{key.entity, record.target()};
    BL_ASSIGN(auto next, c.view->get(Table::records, keys::record(c.side, survivor)));
    if (!next || hops == limits::kMaxRedirectHops) return std::optional<Record>();
    BL_ASSIGN(record, Record::decode(survivor, std::move(*next)));
  }
  const Entity* entity = c.schema->entity(key.entity);  // null: a newer server's, shown to nobody
  if (!record.live() || !entity || !may_read(c.principal, *entity, record))
    return std::optional<Record>();
  return std::optional<Record>(std::move(record));
}

Result<std::optional<Record>> read_by_key(const ReadContext& c, const Entity& entity,
                                          const Index& index, const Value& value) {
  std::string prefix = keys::index_prefix(c.side, entity.id, index.id);
  put_index_value(prefix, value);
  std::string wanted = comparison_key(value);
  // Keys sort by id: of several claims the same one is found at every server.
  auto cursor = scan_prefix(*c.view, Table::index, prefix);
  for (; cursor->valid(); cursor->next()) {
    BL_ASSIGN(auto record, read_record(c, {entity.id, keys::index_record(cursor->key())}));
    if (record && comparison_key(record->value(index.fields[0])) == wanted) return record;
  }
  if (auto e = cursor->error()) return std::unexpected(*e);
  return std::optional<Record>();
}

Result<std::vector<std::string>> read_set(const ReadContext& c, const Record& record,
                                          FieldId field) {
  std::vector<std::string> out;
  if (!record.find(field)) return out;  // the marker that merge leaves
  auto cursor =
      scan_prefix(*c.view, Table::elements, keys::element_prefix(c.side, record.key(), field));
  for (; cursor->valid(); cursor->next()) {
    BL_ASSIGN(auto element, decode_element(cursor->value()));
    out.emplace_back(element.value().payload);
  }
  if (auto e = cursor->error()) return std::unexpected(*e);
  std::sort(out.begin(), out.end());
  // Two offices may have added the same value.
  out.erase(std::unique(out.begin(), out.end()), out.end());
  return out;
}

}  // namespace branchline
