// What kinds of records there are. Immutable after parse(); shared by all threads.
#pragma once

#include <array>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "common/base/error.h"
#include "common/base/hash.h"
#include "common/record/value.h"

namespace branchline {

// DESIGN 3; what each does with which operation: replication/merge/policy.h.
enum class Policy : uint8_t { latest, sum, set, append, max, min, first, ask, escrow };
std::string_view to_string(Policy policy);

enum class DeletePolicy : uint8_t { edit_wins, delete_wins };

// How a record gets its territory.
enum class TerritoryRule : uint8_t {
  root,       // its own
  child,      // its parent's: the first of Entity::parents that is set; its own if none is
  reference,  // goes to every branch
};

// Properties that every record has without storing a cell: they come from its versions and header.
namespace system_field {
inline constexpr FieldId kCreatedOn{1};
inline constexpr FieldId kCreatedBy{2};
inline constexpr FieldId kModifiedOn{3};
inline constexpr FieldId kModifiedBy{4};
inline constexpr FieldId kTerritory{5};
// Cells that the merge writes on any record.
inline constexpr FieldId kRevivedOn{6};    // a concurrent edit brought it back from deletion
inline constexpr FieldId kDuplicateOf{7};  // another record held its unique key first
// On the survivor of a merge: one element per record that was merged into it, a lookup to that one;
// the cell marks that there are elements. Tells a delete that it had not seen the merge.
inline constexpr FieldId kMergedFrom{8};
// On a record that was moved: where it was before, and with its version when it moved last.
inline constexpr FieldId kMovedFrom{9};
inline constexpr uint16_t kFirstOwn = 16;
}  // namespace system_field

// Recomputed by the merge from the merged record (SEMANTICS 10), never written by an operation.
struct Derived {
  enum class Kind { none, join, sum_of_children, line_amount, late } kind = Kind::none;
  std::vector<FieldId>
      inputs;      // join: parts; line_amount: quantity, price, discount; late: promised, done...
  EntityId child;  // sum_of_children
  FieldId child_parent;  //   the child's lookup to this record
  FieldId child_field;   //   what is summed
};

struct Option {
  int64_t value;
  std::string label;
};

struct Field {
  FieldId id;
  std::string name;
  std::string label;
  ValueType type = ValueType::text;
  Policy policy = Policy::latest;
  uint16_t group = 0;             // 1-based index into Entity::groups; 0: none
  std::vector<EntityId> targets;  // lookup
  std::vector<std::string>
      inverse;  // per target: the name of its collection of records that look up to it
  ValueType element = ValueType::text;  // set: the type of its elements
  bool required = false;
  bool read_only = false;  // written by Branchline, not by clients
  bool hierarchy = false;  // a lookup to its own entity that must not form a cycle
  size_t max_length = 0;   // text, in code points; 0: limits::kMaxValueBytes
  std::vector<Option> options;
  std::string default_value;                    // canonical payload; empty: none
  std::array<char, 3> currency{'X', 'X', 'X'};  // money: of amounts that name none
  Derived derived;
  uint32_t since = 1;  // feature level from which on a line may hold it

  bool is_collection() const { return policy == Policy::set || policy == Policy::append; }
};

struct Index {
  uint16_t id;                  // unique within the entity, part of the keyspace
  std::vector<FieldId> fields;  // system_field::kCreatedOn may be the last
  bool unique = false;
  bool parent = false;  // kept by the master too: finds a record's children, and what refers to it
};

// An entity set that shows part of an entity's records: tasks are activities of one type.
struct SubType {
  std::string name;      // task
  std::string set_name;  // tasks
  FieldId field;
  int64_t value;
};

// A child whose deletion its parent's deletion takes along.
struct ChildLink {
  EntityId child;
  FieldId field;
};

struct Entity {
  EntityId id;
  std::string name;
  std::string set_name;
  std::string primary_key;  // accountid
  FieldId primary_name;     // shown where the record is referred to
  std::string label;
  std::string label_plural;
  TerritoryRule territory = TerritoryRule::root;
  DeletePolicy on_delete = DeletePolicy::edit_wins;
  bool master_only = false;      // written only by commits made at the master
  bool admin_only = false;       // clients need an administrator's token to write
  bool credential = false;       // never served by the API
  bool virtual_set = false;      // no records of its own: see crm.yaml
  uint32_t since = 1;            // feature level from which on a line may hold it
  bool mergeable = false;        // two of its records may be merged as duplicates
  std::vector<FieldId> parents;  // TerritoryRule::child, in order
  std::vector<Field> fields;     // sorted by id
  std::vector<std::string> groups;
  std::vector<Index> indexes;
  std::vector<SubType> subtypes;
  std::vector<ChildLink> children;  // computed from the children's `parents`
  // Every lookup that may name a record of this entity: what a merge leads to the survivor.
  // Computed, for entities that can be merged.
  std::vector<ChildLink> referrers;
  // Collections of records that look up to this one, by name: computed from their `inverse`.
  struct Collection {
    std::string name;
    EntityId entity;
    FieldId field;
  };
  std::vector<Collection> collections;
  const Collection* collection(std::string_view name) const;
  // Parents whose derived sums this entity's fields feed: computed.
  struct FeedsParent {
    FieldId lookup;  // here
    EntityId parent;
    FieldId parent_field;  // the derived sum there
    FieldId field;         // here
  };
  std::vector<FeedsParent> feeds;

  const Field* field(FieldId id) const;
  const Field* field(std::string_view name) const;
  // All fields of a group, in order of id.
  std::vector<const Field*> group_fields(uint16_t group) const;
  std::unordered_map<std::string_view, const Field*> by_name;
  bool has_derived = false;
};

class Schema {
 public:
  // `origin` names the text in errors ("crm.yaml:12: ...").
  static Result<std::shared_ptr<const Schema>> parse(std::string text, const std::string& origin);
  // The CRM that is compiled in.
  static std::shared_ptr<const Schema> built_in();

  uint32_t version() const { return version_; }
  const Digest& digest() const { return digest_; }
  // Of the version before, which this one extends: ids and types are as they were there. Zero:
  // none.
  const Digest& extends() const { return extends_; }
  const std::vector<std::unique_ptr<Entity>>& entities() const { return entities_; }
  const Entity* entity(EntityId id) const;
  const Entity* entity(std::string_view logical_name) const;
  // An entity set's entity and, where the set shows a part of it, which.
  struct Set {
    const Entity* entity = nullptr;
    const SubType* subtype = nullptr;
  };
  std::optional<Set> set(std::string_view set_name) const;

 private:
  friend class SchemaParser;
  uint32_t version_ = 0;
  Digest digest_, extends_;
  std::vector<std::unique_ptr<Entity>> entities_;
  std::vector<const Entity*> by_id_;
  std::map<std::string, const Entity*, std::less<>> by_name_;
  std::map<std::string, Set, std::less<>> by_set_;
};

// Entities that the code itself refers to: their numbers are fixed in crm.yaml, and parse()
// insists.
namespace entity_id {
inline constexpr EntityId kAccount{1};
inline constexpr EntityId kContact{2};
inline constexpr EntityId kUser{9};
inline constexpr EntityId kTerritory{10};
inline constexpr EntityId kServer{11};
inline constexpr EntityId kApiToken{12};
inline constexpr EntityId kTopology{13};
inline constexpr EntityId kConflict{20};
inline constexpr EntityId kEscrowShare{21};
inline constexpr EntityId kAnnotation{100};
inline constexpr EntityId kFate{101};
}  // namespace entity_id

// A timeline's note is an element of an `append` field, a row of these fields; the API shows the
// notes of all records as the entity set `annotations`.
namespace annotation_field {
inline constexpr FieldId kId{1};       // lookup: its own id, in no entity (0)
inline constexpr FieldId kSubject{2};  // text
inline constexpr FieldId kText{3};     // text
}  // namespace annotation_field

}  // namespace branchline
