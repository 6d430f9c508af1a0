// Records under work. The one thread that writes a replica (or the main line) changes records here,
// flushes the changes into a Batch, and keeps what it read for the next batch. By-products of every
// change: index keys, additive checksums, counts, and the journal that can put everything back.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <unordered_map>
#include <vector>

#include "common/record/operation.h"
#include "common/schema/schema.h"
#include "common/store/keyspace.h"
#include "common/store/store.h"
#include "replication/merge/element.h"

namespace branchline {

// Which indexes are kept: a branch answers queries, the master only finds children and unique keys.
enum class IndexScope { all, authority };

// Answers of a read (SEMANTICS 12).
enum class Held { value, absent, not_held };

// Whether a server of this scope keeps the index.
inline bool in_scope(const Index& index, IndexScope scope) {
  return scope == IndexScope::all || index.unique || index.parent;
}

// The record that it belongs to, whose territories it has.
std::optional<RecordKey> parent_of(const Record& record, const Entity& entity);

// The keys that a record has in Table::index: one per index; where it is deleted, its place in the
// deletion group and beneath its parent. Of an entity that this program does not know (null: a
// newer server's) only its place in the group.
std::vector<std::string> index_keys(const Record& record, const Entity* entity, keys::Side side,
                                    IndexScope scope);
// The value of a field as indexes and queries see it: system properties and defaults included.
// Points into the record, the schema or `scratch`.
Value effective_value(const Record& record, const Field* field, FieldId id, std::string& scratch);

// What a change did to the sums that a server keeps.
struct Deltas {
  std::vector<std::pair<TerritoryId, Sum128>> sums;
  struct Count {
    EntityId entity;
    TerritoryId territory;
    int64_t delta;
  };
  std::vector<Count> counts;  // of live records

  void add_sum(TerritoryId t, const Sum128& s, bool subtract);
  void add_count(EntityId e, TerritoryId t, int64_t delta);
  void merge(const Deltas& other);
  void clear() {
    sums.clear();
    counts.clear();
  }
};

// The pre-images of one mutation (or of one commit's effects).
struct Journal {
  struct CellBefore {
    FieldId field;
    bool existed;
    Cell cell;  // payload still in the record's heap
  };
  struct ElementBefore {
    FieldId field;
    ElementKey key;
    std::optional<Element> element;
  };
  struct RecordBefore {
    RecordKey key;
    bool created = false;
    PendingRef pending;
    bool state_changed = false;
    RecordState state = RecordState::live;
    Version state_version;
    RecordId target;
    bool relocated = false;
    TerritoryId territory;
    std::vector<TerritoryId> also_in;
    std::vector<CellBefore> cells;
    std::vector<ElementBefore> elements;
    // Merged into another: the cells and elements that went over. Both keep their versions, so that
    // neither stands here by value.
    bool redirected = false;
    std::vector<FieldId> taken;
    std::vector<std::pair<FieldId, ElementKey>> moved;
    std::vector<FieldId> followed;  // lookups that followed a redirect
  };
  std::vector<RecordBefore> records;
  std::unordered_map<RecordKey, size_t> places;  // in `records`
  Deltas deltas;
};

// Where `record` was before what the journal tells of; nowhere where that created it.
std::vector<TerritoryId> territories_before(const Journal& journal, const Record& record);

class Workspace {
 public:
  struct Config {
    keys::Side side = 0;
    IndexScope scope = IndexScope::all;
    // Whether a record that is not in the store does not exist anywhere.
    bool holds_everything = true;
    size_t max_cached = 20'000;  // records kept between batches
  };
  Workspace(const StoreView& store, std::shared_ptr<const Schema> schema, Config config);

  struct Found {
    Held held = Held::absent;
    Record* record = nullptr;  // valid until evict(); do not change it but through this class
  };
  Result<Found> find(const RecordKey& key);
  // The record that stands for `key`: itself, or the survivor where it was merged into another.
  // `through` collects the redirects on the way, the first asked for first.
  Result<Found> resolve(const RecordKey& key, std::vector<RecordKey>* through = nullptr);
  // Records that have an index key with this prefix, uncommitted changes included.
  Result<std::vector<RecordKey>> with_index_prefix(EntityId entity, const std::string& prefix);
  // Live records of `child` whose lookup `field` is `parent`.
  Result<std::vector<RecordKey>> children(EntityId child, FieldId field, const RecordKey& parent);
  // Deleted records, of any entity, that looked up to `parent` as the record they belong to.
  Result<std::vector<RecordKey>> deleted_children(const RecordKey& parent);
  // Another live record with this value in its unique index.
  Result<std::optional<RecordKey>> holder_of(const Entity& entity, const Index& index,
                                             const Value& value, const RecordId& except);
  Result<std::optional<Element>> element(const RecordKey& record, FieldId field,
                                         const ElementKey& key);
  // All elements of a record; of one field unless `field` is 0.
  Result<std::vector<std::pair<keys::ParsedElement, Element>>> elements(const RecordKey& record,
                                                                        FieldId field);

  // --- Changes; between begin() and end() or rollback() ---
  void begin();
  Journal end();
  void rollback();

  // The record must not be held, or be a leftover that is to be replaced.
  Record& create(const RecordKey& key, TerritoryId home, std::vector<TerritoryId> also_in,
                 const Version& version);
  void set_cell(Record& record, FieldId field, const Version& version, const Value& value);
  // Reads elements to keep the sums, hence may fail.
  Result<void> set_state(Record& record, RecordState state, const Version& version);
  // Reads elements to keep the sums, hence may fail.
  Result<void> set_territories(Record& record, TerritoryId home, std::vector<TerritoryId> also_in);
  Result<void> put_element(Record& record, FieldId field, const ElementKey& key,
                           const Element& element);
  Result<void> remove_element(Record& record, FieldId field, const ElementKey& key);
  // `merged` becomes a redirect to `survivor`, which takes over its elements and the cells of
  // `taken`, versions and all. `corrupt` where the merged record lacks such a cell.
  Result<void> redirect(Record& merged, Record& survivor, const std::vector<FieldId>& taken,
                        const Version& version);
  // The same where the survivor is not held here: what goes over leaves with nothing to undo it.
  Result<void> redirect_away(Record& merged, const RecordId& target, const Version& version);
  // Takes back which elements went over; for undo.
  Result<void> return_elements(const RecordKey& merged, const RecordKey& survivor,
                               const std::vector<std::pair<FieldId, ElementKey>>& moved);
  // A lookup gets the value to which its record was merged; its version stays.
  void follow(Record& record, FieldId field, const Value& value);
  // Allowed outside of begin() and end() too: no pre-image of its own.
  void set_pending(Record& record, PendingRef ref);

  // Undoing what a stored pre-image says (see undo.h); journalled like any change.
  void restore_cell(Record& record, FieldId field,
                    const std::optional<std::pair<Version, Value>>& before);
  Result<void> restore_state(Record& record, RecordState state, const Version& version,
                             const RecordId& target);
  // As if the record had never been created.
  Result<void> uncreate(Record& record);

  // --- What a branch holds; cannot be rolled back, and a pre-image says nothing of it ---
  // The record is held here no longer: with all that is kept of it.
  Result<void> drop(Record& record);
  // Whatever is stored of the record goes, readable or not, without a journal; nothing may be
  // unflushed of it. install() may put it anew.
  Result<void> wipe(const RecordKey& key);
  // A record as the master has it; it must not be held. Its elements are put afterwards.
  Result<Record*> install(Record record);

  // Writes every change since the last flush. The batch must then be written, or the process end.
  void flush(Batch& batch);
  // Forgets cached records beyond the limit; only between batches.
  void evict();
  // Forgets everything, unflushed changes too: what was under work is given up.
  void discard();
  // Forgets everything; nothing may be unflushed. For a switch of sides.
  void reset(keys::Side side, bool holds_everything);
  // From now on, what is not here may be elsewhere.
  void holds_less() { config_.holds_everything = false; }
  // What has changed since begin().
  const Journal& journal() const { return journal_; }
  bool dirty() const { return !dirty_.empty() || !element_writes_.empty(); }

  const Schema& schema() const { return *schema_; }
  const Config& config() const { return config_; }

 private:
  struct Entry {
    std::unique_ptr<Record> record;
    bool dirty = false;
    bool index_touched = false;
    bool stored = false;  // whether the store has a row
    std::vector<std::string> old_index_keys;
    bool unlisted = false;                 // waits in unlisted_
    std::vector<std::string> listed_keys;  // in touched_index_
  };
  Entry& entry_of(const Record& record);
  void touch(Entry& entry, const RecordKey& key, bool index);
  Journal::RecordBefore& before(const Record& record);
  void note_all_claims(const Record& record);
  void add_term(const Record& record, const Sum128& term, bool subtract);
  Result<void> add_whole(const Record& record, bool subtract);
  void note_claims(const Record& record, FieldId field, const Value& value);
  void move_element(const RecordKey& from, const RecordKey& to, FieldId field,
                    const ElementKey& key);
  bool indexed(EntityId entity, FieldId field) const;
  void unlist(Entry& entry, const RecordKey& key);
  void list_touched();

  const StoreView& store_;
  std::shared_ptr<const Schema> schema_;
  Config config_;
  std::unordered_map<RecordKey, Entry> entries_;
  std::vector<RecordKey> dirty_;
  std::map<std::string, std::optional<Element>> element_writes_;  // by key; nothing: removed
  std::unordered_map<std::string, std::vector<RecordKey>>
      claims_;  // unique values set since the last flush
  // Index keys of records whose stored index rows no longer tell: brought up to date when somebody
  // looks, so that a walk over children costs what there is, not what the batch has changed so far.
  std::map<std::string, RecordKey> touched_index_;
  std::vector<RecordKey> unlisted_;
  std::vector<RecordKey> bloated_;  // to be compacted once no journal holds their cells
  Journal journal_;
  bool journalling_ = false;
};

}  // namespace branchline
