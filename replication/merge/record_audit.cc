#include "replication/merge/record_audit.h"

#include "replication/merge/index_upkeep.h"

namespace branchline {
namespace {

constexpr size_t kMaxProblems = 20;

void problem(RecordAudit& audit, std::string text) {
  if (audit.problems.size() < kMaxProblems) audit.problems.push_back(std::move(text));
}

void add(RecordAudit& audit, const Record& record, const Sum128& term) {
  audit.totals.add_sum(record.territory(), term, false);
  for (auto t : record.also_in()) audit.totals.add_sum(t, term, false);
}

}  // namespace

Result<RecordAudit> audit_records(const StoreView& view, const Schema& schema, keys::Side side,
                                  IndexScope scope) {
  RecordAudit audit;
  std::string prefix(1, static_cast<char>(side));
  auto elements = scan_prefix(view, Table::elements, prefix);
  auto orphan = [&] {
    problem(audit, "an element of a record that does not exist: " + hex(elements->key()));
  };
  uint64_t index_rows = 0;
  auto records = scan_prefix(view, Table::records, prefix);
  for (; records->valid(); records->next()) {
    auto key = keys::parse_record(records->key());
    if (!key) {
      problem(audit, "a record under a damaged key");
      continue;
    }
    const Entity* entity = schema.entity(key->entity);  // null: a newer server's
    auto record = Record::decode(*key, std::string(records->value()));
    if (!record) {
      problem(audit, record.error().message);
      continue;
    }
    ++audit.records;
    bool counts = record->state() != RecordState::tombstone;
    if (counts) add(audit, *record, record_sum(*record));
    if (record->live()) audit.totals.add_count(key->entity, record->territory(), 1);
    for (const auto& k : index_keys(*record, entity, side, scope)) {
      ++index_rows;
      BL_ASSIGN(auto row, view.get(Table::index, k));
      if (!row)
        problem(audit, "record " + to_string(key->id) + " of " +
                           (entity ? entity->name : "an unknown entity") +
                           " is missing in an index");
    }
    std::string own = keys::element_prefix(side, *key);
    for (; elements->valid() && elements->key() < own; elements->next()) orphan();
    for (; elements->valid() && elements->key().starts_with(own); elements->next()) {
      auto parsed = keys::parse_element(elements->key());
      auto element = decode_element(elements->value());
      if (!parsed || !element) {
        problem(audit, "a damaged element of record " + to_string(key->id));
        continue;
      }
      ++audit.elements;
      if (counts)
        add(audit, *record, element_term(*key, parsed->field, parsed->key, element->value()));
    }
  }
  for (; elements->valid(); elements->next()) orphan();
  for (const auto* cursor : {records.get(), elements.get()}) {
    if (auto e = cursor->error()) return std::unexpected(*e);
  }
  BL_ASSIGN(auto collation, view.get(Table::meta, keys::meta_collation(side)));
  std::string wanted = index_version(schema, scope);
  if (collation != wanted) {
    problem(audit, "the indexes are of " +
                       (collation ? "'" + *collation + "'" : std::string("nobody knows what")) +
                       ", this server makes '" + wanted +
                       "': start it again, and it rebuilds them");
  }
  uint64_t stored = 0;
  auto index = scan_prefix(view, Table::index, prefix);
  for (; index->valid(); index->next()) ++stored;
  if (auto e = index->error()) return std::unexpected(*e);
  if (stored != index_rows) {
    problem(audit, "the indexes hold " + std::to_string(stored) + " rows, the records say " +
                       std::to_string(index_rows));
  }
  return audit;
}

}  // namespace branchline
