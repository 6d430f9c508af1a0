#include "replication/merge/index_upkeep.h"

namespace branchline {
namespace {

constexpr size_t kBatchBytes = 1024 * 1024;

Result<bool> holds_any(const StoreView& view, Table table, std::string_view prefix) {
  auto cursor = scan_prefix(view, table, prefix);
  if (auto e = cursor->error()) return std::unexpected(*e);
  return cursor->valid();
}

}  // namespace

std::string describe(const IndexRebuild& r) {
  switch (r.stage) {
    case IndexRebuild::Stage::begun:
      return "rebuilding the indexes of " + std::to_string(r.expected) + " records: " +
             (r.found.empty()
                  ? "the store does not say how they were made (an earlier version wrote "
                    "it, or a rebuild broke off)"
                  : "they are of " + r.found) +
             ", this program makes " + r.wanted;
    case IndexRebuild::Stage::going:
      return "rebuilding the indexes: " + std::to_string(r.records) + " of " +
             std::to_string(r.expected) + " records";
    case IndexRebuild::Stage::done:
      break;
  }
  return "the indexes are rebuilt: " + std::to_string(r.records) +
         " records, deleted ones among them";
}

std::string index_version(const Schema& schema, IndexScope scope, const std::string& collation) {
  std::map<EntityId, std::string> entities;  // by id: their order in the text means nothing
  for (const auto& entity : schema.entities()) {
    Writer w(entities[entity->id]);
    // Deleted records are listed beneath the one they belong to.
    w.varint(entity->parents.size());
    for (FieldId f : entity->parents) w.fixed16(f.value);
    for (const auto& index : entity->indexes) {
      if (!in_scope(index, scope)) continue;
      w.fixed16(index.id);
      w.u8(static_cast<uint8_t>((index.unique ? 1 : 0) | (index.parent ? 2 : 0)));
      w.varint(index.fields.size());
      for (FieldId f : index.fields) {
        const Field* field = entity->field(f);
        w.fixed16(f.value);
        w.u8(static_cast<uint8_t>(field ? field->type : ValueType::null));
        w.blob(field ? field->default_value : std::string());
      }
    }
  }
  Sha256 sha;
  for (const auto& [id, bytes] : entities) {
    std::string head;
    Writer w(head);
    w.fixed16(id.value);
    w.varint(bytes.size());
    sha.add(head).add(bytes);
  }
  return collation + ", indexes " + hex(sha.finish().view().substr(0, 8));
}

Result<void> keep_index(Store& store, const Schema& schema, keys::Side side, IndexScope scope,
                        uint64_t expected_records, const IndexUpkeep& upkeep, Batch& start) {
  std::string row = keys::meta_collation(side);
  BL_ASSIGN(auto found, store.get(Table::meta, row));
  std::string wanted = index_version(schema, scope, upkeep.collation);
  if (found == wanted) return {};
  std::string prefix(1, static_cast<char>(side));
  BL_ASSIGN(bool any_record, holds_any(store, Table::records, prefix));
  BL_ASSIGN(bool any_index, holds_any(store, Table::index, prefix));
  if (!any_record && !any_index) {
    start.put(Table::meta, row, wanted);
    return {};
  }

  IndexRebuild rebuild;
  rebuild.found = found.value_or("");
  rebuild.wanted = wanted;
  rebuild.expected = expected_records;
  auto tell = [&](IndexRebuild::Stage stage) {
    rebuild.stage = stage;
    if (upkeep.progress) upkeep.progress(rebuild);
  };
  tell(IndexRebuild::Stage::begun);
  Batch batch;
  // With the rows goes what they are said to be: were this to break off and the program before it
  // started again, it would take half an index for its own.
  batch.erase(Table::meta, row);
  batch.erase_range(Table::index, prefix, prefix_end(prefix));
  size_t in_batch = 0;
  auto records = scan_prefix(store, Table::records, prefix);
  for (; records->valid(); records->next()) {
    auto key = keys::parse_record(records->key());
    if (!key) return fail(ErrorKind::corrupt, "record.key", "a record's key is damaged");
    ++rebuild.records;
    BL_ASSIGN(auto record, Record::decode(*key, std::string(records->value())));
    for (const auto& k : index_keys(record, schema.entity(key->entity), side, scope))
      batch.put(Table::index, k, {});
    if (++in_batch < upkeep.batch_records && batch.bytes() < kBatchBytes) continue;
    BL_TRY(store.write(batch, Sync::no));
    batch.clear();
    in_batch = 0;
    tell(IndexRebuild::Stage::going);
  }
  if (auto e = records->error()) return std::unexpected(*e);
  batch.put(Table::meta, row, wanted);
  BL_TRY(store.write(batch, Sync::yes));
  tell(IndexRebuild::Stage::done);
  return {};
}

}  // namespace branchline
