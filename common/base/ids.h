// The names of things: records, servers, mutations, places in the main line. docs/formats.md says
// how each is written to disk and wire; SEMANTICS 1-4 says why a position is never a bare number.
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <cstring>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "common/base/strong.h"

namespace branchline {

// Place in the main line: dense, from 1; 0 is "before the first commit".
using Csn = Strong<struct CsnTag, uint64_t>;
// Place in an origin's sequence: dense, from 1, per incarnation and lane.
using Seq = Strong<struct SeqTag, uint64_t>;
// Place among all mutations of one incarnation, across lanes: dense, from 1.
using Order = Strong<struct OrderTag, uint64_t>;
// A server, numbered by the master when it first commits the topology that names it; 0 is nobody.
using OriginId = Strong<struct OriginTag, uint16_t>;
// Drawn at random at every process start of a server.
using Incarnation = Strong<struct IncarnationTag, uint64_t>;
// Names one history of the main line; a new one is drawn when a master is restored behind its
// branches.
using LineId = Strong<struct LineTag, uint64_t>;
using Term = Strong<struct TermTag, uint32_t>;
// A node of the territory tree; 0 is none, 1 is reference data that goes to every branch.
using TerritoryId = Strong<struct TerritoryTag, uint32_t>;
using EntityId = Strong<struct EntityTag, uint16_t>;
using FieldId = Strong<struct FieldTag, uint16_t>;

inline constexpr TerritoryId kNoTerritory{0};
inline constexpr TerritoryId kReferenceTerritory{1};

enum class Lane : uint8_t { interactive = 0, bulk = 1 };
inline constexpr int kLaneCount = 2;
std::string_view to_string(Lane lane);

// 16 bytes, a UUID in text. Made where the record is created: 48 bits of milliseconds, a 12-bit
// counter and a 62-bit node part that a process draws once (layout of RFC 9562 version 8). Ids are
// guessable; they are names, never secrets.
struct RecordId {
  std::array<uint8_t, 16> bytes{};

  constexpr auto operator<=>(const RecordId&) const = default;
  bool is_nil() const { return *this == RecordId{}; }
  std::string_view view() const { return {reinterpret_cast<const char*>(bytes.data()), 16}; }
  static RecordId from_bytes(std::string_view sixteen_bytes) {
    RecordId id;
    std::memcpy(id.bytes.data(), sixteen_bytes.data(), 16);
    return id;
  }
};

std::string to_string(const RecordId& id);
// Appends the 36 characters of the UUID.
void append_uuid(const RecordId& id, std::string& out);
// Accepts 8-4-4-4-12 hex digits, either case; nothing else.
std::optional<RecordId> parse_record_id(std::string_view text);

// Identity of a mutation, for ever (SEMANTICS 1, 2).
struct MutationId {
  OriginId origin;
  Incarnation incarnation;
  Lane lane = Lane::interactive;
  Seq seq;

  constexpr auto operator<=>(const MutationId&) const = default;
  bool is_none() const { return seq.value == 0; }
};

// The master writes before it has committed who anybody is, so its number is fixed.
inline constexpr OriginId kMasterOrigin{1};

// One sequence of mutations: everything in MutationId but the number.
struct Stream {
  OriginId origin;
  Incarnation incarnation;
  Lane lane = Lane::interactive;
  constexpr auto operator<=>(const Stream&) const = default;
};
inline Stream stream_of(const MutationId& id) { return {id.origin, id.incarnation, id.lane}; }

// A key of a collection element: the mutation that put it and its index there (SEMANTICS 11).
struct ElementKey {
  MutationId mutation;
  uint32_t index = 0;
  constexpr auto operator<=>(const ElementKey&) const = default;
};

// Sixteen lower-case hex digits: how incarnations and line ids are shown.
std::string to_hex(uint64_t value);
std::optional<uint64_t> parse_hex64(std::string_view sixteen_digits);

struct RecordKey {
  EntityId entity;
  RecordId id;
  constexpr auto operator<=>(const RecordKey&) const = default;
};

}  // namespace branchline

template <>
struct std::hash<branchline::RecordId> {
  size_t operator()(const branchline::RecordId& id) const noexcept {
    uint64_t a, b;
    std::memcpy(&a, id.bytes.data(), 8);
    std::memcpy(&b, id.bytes.data() + 8, 8);
    return (a ^ (b * 0x9E3779B97F4A7C15ull)) * 0xBF58476D1CE4E5B9ull;
  }
};
template <>
struct std::hash<branchline::RecordKey> {
  size_t operator()(const branchline::RecordKey& key) const noexcept {
    return std::hash<branchline::RecordId>()(key.id) ^ (size_t(key.entity.value) << 48);
  }
};
