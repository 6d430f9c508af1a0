// Typed values (SEMANTICS 39). A Value is a type and canonical bytes that somebody else owns:
// merging, hashing and shipping move bytes and never decode; only HTTP, derived fields and counters
// do.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/bytes.h"
#include "common/base/ids.h"
#include "common/record/decimal.h"

namespace branchline {

// Numbers are part of the formats: never reused.
enum class ValueType : uint8_t {
  null = 0,
  text = 1,          // UTF-8
  integer = 2,       // svarint
  decimal = 3,       // svarint mantissa, u8 scale
  money = 4,         // decimal, 3 letters of ISO 4217, svarint days of the rate's date (0: none)
  boolean = 5,       // u8 0 or 1
  date = 6,          // svarint days since 1970-01-01
  instant = 7,       // svarint milliseconds since 1970-01-01 UTC
  local_time = 8,    // svarint milliseconds of the local wall clock, then the zone's IANA name
  duration = 9,      // svarint milliseconds
  option = 10,       // svarint
  lookup = 11,       // varint entity, 16 bytes id
  phone = 12,        // E.164 where it could be parsed, else as typed
  email = 13,        // as typed
  url = 14,          // as typed
  external_id = 15,  // varint length and name of the system, then the id there
  blob = 16,         // 32 bytes SHA-256, varint size, then the media type
  row = 17,  // varint count, then per field: varint field, u8 type, blob: one element of a timeline
};
inline constexpr uint8_t kLastValueType = 17;
std::string_view to_string(ValueType type);
std::optional<ValueType> parse_value_type(std::string_view name);

struct Value {
  ValueType type = ValueType::null;
  std::string_view payload;

  bool is_null() const { return type == ValueType::null; }
  bool operator==(const Value&) const = default;
};

struct Money {
  Decimal amount;
  std::array<char, 3> currency{'X', 'X', 'X'};  // ISO 4217: no currency
  int64_t rate_date = 0;                        // days since 1970; 0: none
};

struct Lookup {
  EntityId entity;
  RecordId id;
};

// Encoders append canonical payload bytes.
std::string encode_integer(int64_t v);  // integer, date, instant, duration, option
std::string encode_boolean(bool v);
std::string encode_decimal(const Decimal& v);
std::string encode_money(const Money& v);
std::string encode_lookup(const Lookup& v);

// Decoders of payloads that valid() accepted; on a wrong payload they return a zero value.
int64_t decode_integer(std::string_view payload);
bool decode_boolean(std::string_view payload);
Decimal decode_decimal(std::string_view payload);
Money decode_money(std::string_view payload);
Lookup decode_lookup(std::string_view payload);

struct RowField {
  FieldId field;
  Value value;
};
std::string encode_row(const std::vector<RowField>& fields);
std::vector<RowField> decode_row(std::string_view payload);

// Canonical and complete for its type: what may be stored. Bytes from a peer pass here before use.
bool valid(const Value& value);

// -1, 0, 1 for two values of one ordered type (numbers, dates, instants, money by amount,
// booleans).
int compare_ordered(const Value& a, const Value& b);

// Civil dates (proleptic Gregorian), after Hinnant, "chrono-Compatible Low-Level Date Algorithms".
int64_t days_from_civil(int year, int month, int day);
struct CivilDate {
  int year, month, day;
};
CivilDate civil_from_days(int64_t days);
// "2026-11-22"; nothing unless it is exactly a valid date of the years 1 to 9999.
std::optional<int64_t> parse_date(std::string_view text);
// What a date (days) and an instant (milliseconds) may be: the years 1 to 9999. Nothing outside is
// valid().
inline constexpr int64_t kMinDate = -719'162;
inline constexpr int64_t kMaxDate = 2'932'896;
inline constexpr int64_t kMinInstant = kMinDate * 86'400'000;
inline constexpr int64_t kMaxInstant = (kMaxDate + 1) * 86'400'000 - 1;
// "2026-11-22T10:00:00Z", with optional fraction and offset; a bare date is midnight UTC.
std::optional<int64_t> parse_instant(std::string_view text);
std::string format_date(int64_t days);
std::string format_instant(int64_t ms);
bool is_utf8(std::string_view text);

}  // namespace branchline
