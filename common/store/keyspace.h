// Every key of every table; KEYSPACE.md shows the bytes. Numbers in keys are big endian, so keys
// sort as they do.
//
// A branch has two sides of its replica: the live one and, while it is seeded anew, the one being
// built. Keys of replicated state start with the side; a master uses side 0.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "common/base/ids.h"
#include "common/record/record.h"

namespace branchline::keys {

using Side = uint8_t;

// Table::records: side, entity (2), id (16) -> Record's flat form.
std::string record(Side side, const RecordKey& key);
std::string record_prefix(Side side, EntityId entity);
std::optional<RecordKey> parse_record(std::string_view key);

// Table::elements: side, entity (2), id (16), field (2), mutation (19), index (4) -> Element's
// form.
std::string element(Side side, const RecordKey& record, FieldId field, const ElementKey& key);
std::string element_prefix(Side side, const RecordKey& record);
std::string element_prefix(Side side, const RecordKey& record, FieldId field);
struct ParsedElement {
  RecordKey record;
  FieldId field;
  ElementKey key;
};
std::optional<ParsedElement> parse_element(std::string_view key);

// Table::index: side, entity (2), index (2), encoded values, id (16) -> nothing.
std::string index_prefix(Side side, EntityId entity, uint16_t index);
// The id at the end of an index key.
RecordId index_record(std::string_view key);
// Table::index, entity 0, index 0xffff: members of a deletion group:
// side, 0 (2), 0xffff (2), mutation (19), entity (2), id (16) -> nothing.
std::string group_prefix(Side side, const MutationId& deletion);
std::string group_member(Side side, const MutationId& deletion, const RecordKey& record);

// Table::index, entity 0, index 0xfffe: deleted children, which travel with their parent:
// side, 0 (2), 0xfffe (2), parent's entity (2) and id (16), entity (2), id (16) -> nothing.
std::string deleted_child_prefix(Side side, const RecordKey& parent);
std::string deleted_child(Side side, const RecordKey& parent, const RecordKey& record);

// Table::outbox: side, lane (1 bit) and generation (31), last order in the block (8) -> outbox
// block.
std::string outbox(Side side, PendingRef last);
std::string outbox_end(Side side, Lane lane);  // behind all keys of the lane
std::optional<PendingRef> parse_outbox(std::string_view key);
// In the place of a side: blocks of decided mutations, kept for the restore window.
inline constexpr Side kKept = 2;

// Table::fates: origin (2), incarnation (8), lane, first seq (8) -> fate row.
std::string fate(const MutationId& first);
std::string fate_prefix(OriginId origin);
std::string fate_prefix(const Stream& stream);
std::optional<MutationId> parse_fate(std::string_view key);

// Table::line: last csn of the batch (8), kind, then per kind.
enum class LineRow : uint8_t {
  batch = 0,     // -> batch header
  effects = 1,   // territory (4), origin (2), echo -> commit block
  fates = 2,     // origin (2) -> fate block
  rejected = 3,  // -> canonical bytes of rejected mutations, kept and never fed
  arrivals = 4,  // territory (4), origin (2), echo, part (4) -> commit block of images
};
std::string line_batch(Csn last);
std::string line_effects(Csn last, TerritoryId territory, OriginId origin, bool echo);
std::string line_fates(Csn last, OriginId origin);
std::string line_arrivals(Csn last, TerritoryId territory, OriginId origin, bool echo,
                          uint32_t part);
std::string line_rejected(Csn last);
std::string line_prefix(Csn last);

// Table::keys: author (16), operation key -> operation key row.
std::string operation_key(const RecordId& author, std::string_view key);

// Table::meta: one byte of kind, then per kind.
std::string meta_identity();  // whose store in which format: common/store/identity.h
std::string meta_state();     // the group state: replica or master
std::string meta_incarnation(uint32_t generation);  // branch: its own process starts
std::string meta_incarnation_prefix();
// Master: the process starts of all origins.
std::string meta_known_incarnation(OriginId origin, Incarnation incarnation);
std::string meta_known_incarnation_prefix();
std::string meta_stream(const Stream& stream);  // master: high-water of a stream
std::string meta_stream_prefix();
std::string meta_origin(OriginId origin);  // master: an origin's ledger and incarnation
std::string meta_origin_prefix();
std::string meta_program(OriginId origin);  // master: what a branch said of its program
std::string meta_program_prefix();
// Look-ups. Master: this credential was shown at that branch. Branch: how often it asked its
// upstream.
std::string meta_shown_prefix();
std::string meta_shown(OriginId origin, const RecordId& credential);
std::string meta_lookup_counts();
std::string meta_line_use(std::string_view peer);  // bytes sent to that server today
std::string meta_join();                           // branch: a side being built from a snapshot
std::string meta_compact();  // branch: values were erased whose bytes are not gone yet
std::string meta_trim();     // master: through where the line was trimmed
std::string meta_trim_prefix();
std::string meta_trimmed_fates(const Stream& stream);  // what the trimmed part said of a stream
std::string meta_trimmed_fates_prefix();
std::string meta_branch(OriginId origin);  // master: how far a branch has come, what it holds
std::string meta_branch_prefix();
// Master: earlier lines, and which branches are awaited while reconciling. Branch: earlier lines,
// and what is kept of decided mutations.
std::string meta_reconciling();
std::string meta_restored();  // master: the store came out of a backup and has not started since
std::string meta_peer(std::string_view server);  // replication/courier/peer_row.h
// Which collation made the text keys in Table::index of a side.
std::string meta_collation(Side side);

}  // namespace branchline::keys
