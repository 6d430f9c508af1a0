// Records in a store without a replica around them: for tests of conditions, queries, aggregation
// and JSON.
#pragma once

#include <catch2/catch.hpp>
#include <initializer_list>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "branch/api/odata_names.h"
#include "branch/crm/reader.h"
#include "common/base/check.h"
#include "common/record/mutation.h"
#include "common/store/mem_store.h"
#include "replication/merge/workspace.h"

namespace branchline::query_test {

inline constexpr TerritoryId kEast{2}, kWest{3};

inline RecordId id_of(const std::string& name) { return keyed_record_id({}, name, 0); }

// Counts what is read of the store beneath it.
class CountingView : public StoreView {
 public:
  explicit CountingView(const StoreView& store) : store_(store) {}
  mutable size_t gets = 0;
  mutable size_t index_rows = 0;
  mutable size_t record_rows = 0;

  Result<std::optional<std::string>> get(Table table, std::string_view key) const override {
    ++gets;
    return store_.get(table, key);
  }
  std::unique_ptr<Cursor> scan(Table table, std::string_view begin,
                               std::string_view end) const override {
    return std::make_unique<Counted>(store_.scan(table, begin, end), counter(table));
  }
  std::unique_ptr<Cursor> scan_back(Table table, std::string_view begin,
                                    std::string_view end) const override {
    return std::make_unique<Counted>(store_.scan_back(table, begin, end), counter(table));
  }
  void reset() const { gets = index_rows = record_rows = 0; }

 private:
  size_t& counter(Table table) const { return table == Table::index ? index_rows : record_rows; }
  class Counted : public Cursor {
   public:
    Counted(std::unique_ptr<Cursor> inner, size_t& rows) : inner_(std::move(inner)), rows_(rows) {
      count();
    }
    bool valid() const override { return inner_->valid(); }
    void next() override {
      inner_->next();
      count();
    }
    std::string_view key() const override { return inner_->key(); }
    std::string_view value() const override { return inner_->value(); }
    std::optional<Error> error() const override { return inner_->error(); }

   private:
    void count() {
      if (inner_->valid()) ++rows_;
    }
    std::unique_ptr<Cursor> inner_;
    size_t& rows_;
  };
  const StoreView& store_;
};

class World {
 public:
  std::shared_ptr<const Schema> schema = Schema::built_in();
  MemStore store;
  std::shared_ptr<CountingView> view = std::make_shared<CountingView>(store);
  Principal principal;

  World() {
    principal.user = id_of("reader");
    principal.everywhere = principal.may_write = true;
  }
  const Entity& entity(std::string_view name) const { return *schema->entity(name); }

  // Fields as texts; `lookup=entity:name` binds to the record of that name.
  using Fields = std::vector<std::pair<std::string, std::string>>;
  Record make(std::string_view entity_name, const std::string& name, const Fields& fields,
              TerritoryId territory = kEast) const {
    const Entity& e = entity(entity_name);
    Version v;
    v.id = {OriginId(1), Incarnation(7), Lane::interactive, Seq(++seq_)};
    v.hlc = Hlc::at_ms(created_ms);
    v.author = principal.user;
    Record record({e.id, id_of(name)}, territory, {}, v);
    for (const auto& [field_name, text] : fields) {
      const Field* field = e.field(field_name);
      BL_CHECK(field != nullptr);
      OwnedValue value;
      if (field->type == ValueType::lookup) {
        size_t colon = text.find(':');
        value = {ValueType::lookup,
                 encode_lookup({entity(text.substr(0, colon)).id, id_of(text.substr(colon + 1))})};
      } else {
        auto parsed = value_from_text(*field, text);
        BL_CHECK(parsed);
        value = *parsed;
      }
      record.set(field->id, v, value.view());
    }
    return record;
  }
  Record add(std::string_view entity_name, const std::string& name, const Fields& fields,
             TerritoryId territory = kEast) {
    Record record = make(entity_name, name, fields, territory);
    Batch batch;
    batch.put(Table::records, keys::record(side, record.key()), record.encode());
    for (const auto& key : index_keys(record, &entity(entity_name), side, IndexScope::all))
      batch.put(Table::index, key, "");
    BL_CHECK(store.write(batch, Sync::yes));
    return record;
  }
  void erase(const Record& record) {
    Batch batch;
    batch.erase(Table::records, keys::record(side, record.key()));
    for (const auto& key :
         index_keys(record, schema->entity(record.key().entity), side, IndexScope::all))
      batch.erase(Table::index, key);
    BL_CHECK(store.write(batch, Sync::yes));
  }
  ReadContext context() const {
    ReadContext c;
    c.view = view;
    c.schema = schema;
    c.side = side;
    c.principal = principal;
    c.server = "east";
    c.server_name = [](OriginId) { return std::string("east"); };
    return c;
  }

  keys::Side side = 0;
  int64_t created_ms = 1'700'000'000'000;

 private:
  mutable uint64_t seq_ = 0;
};

// The message of what must be an error.
template <typename T>
std::string refusal(const Result<T>& r) {
  if (r) return "(accepted)";
  return r.error().message;
}

}  // namespace branchline::query_test
