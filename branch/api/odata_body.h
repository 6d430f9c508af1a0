// Request bodies of writes: JSON to what shall be written, bound to the schema.
#pragma once

#include <functional>

#include "branch/crm/input.h"
#include "common/json/json.h"
#include "common/schema/schema.h"

namespace branchline {

// What a body can refer to beyond itself.
struct BodyContext {
  std::shared_ptr<const Schema> schema;
  // The id of the record with this alternate key: `accounts(accountnumber='X1')` in a binding.
  std::function<Result<RecordId>(const Entity&, const Index&, const OwnedValue&)> resolve_key;
  // The name of the territory with this record id; empty if there is none.
  std::function<std::string(const RecordId&)> territory_name;
};

// Fields, `lookup@odata.bind`, `field@Branchline.add`, `field@Branchline.correct`,
// `Branchline.territory`, `territoryid@odata.bind`, `Branchline.also_in`,
// `alsointerritories@odata.bind`, collections of new records, the primary key of
// a new record. Annotations are ignored; anything else is refused by name.
Result<RecordInput> parse_record_body(const BodyContext& context, const Schema::Set& set,
                                      const Json& body, bool create);
// One property's new value (PUT accounts(id)/name with {"value": ..}).
Result<FieldInput> parse_property(const BodyContext& context, const Entity& entity,
                                  const std::string& property, const Json& value);

// What PUT accounts(id)/primarycontactid/$ref binds; null: clears it. `property.unknown` for what
// is no lookup.
Result<FieldInput> parse_reference(const BodyContext& context, const Entity& entity,
                                   const std::string& property, const Json& target);

// The same for PUT accounts(id)/territoryid/$ref, where every record has one that is no field.
Result<void> parse_territory_reference(const BodyContext& context, const Json& target,
                                       RecordInput& input);

// The name of the territory that a URL means.
Result<std::string> parse_territory(const BodyContext& context, const std::string& url);

// The address in `accounts(..)`: an id, or a unique key by name.
struct ResourceSegment;
Result<RecordAddress> parse_address(const Entity& entity, const ResourceSegment& segment);

}  // namespace branchline
