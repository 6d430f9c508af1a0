// Reading a replica from any thread: a consistent view, the live side, and who asks.
#pragma once

#include <functional>
#include <memory>

#include "common/access/access.h"
#include "common/schema/schema.h"
#include "common/store/keyspace.h"
#include "common/store/store.h"
#include "replication/merge/element.h"

namespace branchline {

struct ReadContext {
  std::shared_ptr<const StoreView> view;
  std::shared_ptr<const Schema> schema;
  keys::Side side = 0;
  OriginId self;
  std::string server;  // this server's name
  Principal principal;
  // Names of other servers, for showing mutation ids.
  std::function<std::string(OriginId)> server_name;
};

// A live record that the principal may read; nothing otherwise, as if it did not exist. Of a record
// that was merged into another: that one, whose key tells.
Result<std::optional<Record>> read_record(const ReadContext& c, const RecordKey& key);
// The record with this value in a unique index.
Result<std::optional<Record>> read_by_key(const ReadContext& c, const Entity& entity,
                                          const Index& index, const Value& value);
// Values of a `set` field, sorted.
Result<std::vector<std::string>> read_set(const ReadContext& c, const Record& record,
                                          FieldId field);

}  // namespace branchline
