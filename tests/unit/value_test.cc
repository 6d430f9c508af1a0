#include <catch2/catch.hpp>

#include <limits>

#include "common/record/value.h"

namespace branchline {
namespace {

constexpr int64_t kMost = std::numeric_limits<int64_t>::max();
constexpr int64_t kLeast = std::numeric_limits<int64_t>::min();

std::string text(const std::optional<Decimal>& d) { return d ? d->to_string() : "-"; }
std::string parsed(std::string_view s) { return text(Decimal::parse(s)); }

TEST_CASE("decimal: what parses, and as what") {
  struct Row {
    const char* in;
    const char* out;
  };
  for (auto [in, out] : {Row{"0", "0"},
                         {"-0", "0"},
                         {"0.000", "0"},
                         {"12.50", "12.5"},
                         {"-12.50", "-12.5"},
                         {"+1", "1"},
                         {".5", "0.5"},
                         {"5.", "5"},
                         {"1e3", "1000"},
                         {"1.5E-3", "0.0015"},
                         {"1200e-2", "12"},
                         {"0.0000000001", "0.0000000001"},
                         {"922337203.6854775807", "922337203.6854775807"},
                         {"9223372036854775807", "9223372036854775807"},
                         {"-9223372036854775807", "-9223372036854775807"},
                         {"10000000000000000000000e-10", "1000000000000"},
                         {"0e999999999", "0"},
                         {"000000000000000000000000000000000000000000001", "1"}}) {
    INFO(in);
    CHECK(parsed(in) == out);
  }
  for (const char* wrong : {"", "-", "+", ".", "e5", "1e", "1e+", "1 ", " 1", "1,5", "1.2.3",
                            "0x10", "NaN", "inf", "--1", "1e5x", "\xd9\xa3"}) {
    INFO(wrong);
    CHECK(parsed(wrong) == "-");
  }
}

TEST_CASE("decimal: what does not fit is refused, never rounded") {
  for (const char* wrong : {"0.00000000001", "1e-11", "9223372036854775808", "-9223372036854775808",
                            "1e19", "1e1000000000", "1e-1000000000", "922337203685477580.75",
                            "99999999999999999999999999999999999999"}) {
    INFO(wrong);
    CHECK(parsed(wrong) == "-");
  }
}

TEST_CASE("decimal: arithmetic is exact or refused") {
  Decimal most(kMost, 0), tiny(1, Decimal::kMaxScale);
  CHECK(text(Decimal::add(Decimal(1, 1), Decimal(2, 1))) == "0.3");
  CHECK(text(Decimal::subtract(Decimal(1, 1), Decimal(1, 1))) == "0");
  CHECK(text(Decimal::add(most, Decimal(1, 0))) == "-");
  // The sum of a large and a small number has no room for all its digits: refused as well.
  CHECK(text(Decimal::add(most, tiny)) == "-");
  CHECK(text(Decimal::subtract(Decimal(-kMost, 0), Decimal(1, 0))) == "-");
  CHECK(text(Decimal::multiply(Decimal(15, 1), Decimal(-15, 1))) == "-2.25");
  CHECK(text(Decimal::multiply(most, most)) == "-");
  CHECK(text(Decimal::multiply(most, Decimal(1, 0))) == "9223372036854775807");
  CHECK(most.negated().negated() == most);
}

TEST_CASE("decimal: rounding is half to even") {
  struct Row {
    const char* in;
    int scale;
    const char* out;
  };
  for (auto [in, scale, out] : {Row{"0.5", 0, "0"},
                                {"1.5", 0, "2"},
                                {"2.5", 0, "2"},
                                {"-0.5", 0, "0"},
                                {"-1.5", 0, "-2"},
                                {"2.51", 0, "3"},
                                {"2.449", 1, "2.4"},
                                {"2.45", 1, "2.4"},
                                {"2.55", 1, "2.6"},
                                {"7", 3, "7"}}) {
    INFO(in);
    CHECK(text(Decimal::parse(in)->rounded(scale)) == out);
  }
  // A product of more decimals than are kept is rounded the same way.
  CHECK(text(Decimal::multiply(Decimal(5, 10), Decimal(5, 1))) == "0.0000000002");
  CHECK(text(Decimal::multiply(Decimal(15, 10), Decimal(5, 1))) == "0.0000000008");
}

TEST_CASE("decimal: division rounds at the asked decimals, for any operands") {
  auto divide = [](const char* a, const char* b, int scale) {
    return text(Decimal::divide(*Decimal::parse(a), *Decimal::parse(b), scale));
  };
  CHECK(divide("1", "3", 4) == "0.3333");
  CHECK(divide("-2", "3", 4) == "-0.6667");
  CHECK(divide("1", "8", 2) == "0.12");
  CHECK(divide("3", "8", 2) == "0.38");
  CHECK(divide("-1", "8", 2) == "-0.12");
  CHECK(divide("100", "0.0000000001", 0) == "1000000000000");
  CHECK(divide("0.0000000001", "100", 10) == "0");
  CHECK(divide("1", "0", 2) == "-");
  // These leave 128 bits when multiplied out.
  CHECK(divide("9223372036854775807", "0.0000000001", 10) == "-");
  CHECK(divide("9223372036854775807", "922337203.6854775807", 10) == "10000000000");
  CHECK(divide("9223372036854775807", "9223372036854775807", 10) == "1");
  CHECK(divide("1", "9223372036854775807", 10) == "0");
}

TEST_CASE("decimal: order") {
  auto compare = [](const char* a, const char* b) {
    return Decimal::compare(*Decimal::parse(a), *Decimal::parse(b));
  };
  CHECK(compare("1.10", "1.1") == 0);
  CHECK(compare("-1", "0.0000000001") < 0);
  CHECK(compare("9223372036854775807", "0.1") > 0);
  CHECK(compare("-9223372036854775807", "-0.1") < 0);
}

bool ok(ValueType type, std::string_view payload) { return valid({type, payload}); }
std::string_view raw(const char* bytes, size_t n) { return {bytes, n}; }

TEST_CASE("values: only complete and shortest bytes are valid") {
  CHECK(ok(ValueType::null, ""));
  CHECK_FALSE(ok(ValueType::null, "x"));
  CHECK(ok(ValueType::text, ""));
  CHECK_FALSE(ok(ValueType::text, "\xff"));
  CHECK_FALSE(ok(ValueType::text, "\xc0\xaf"));          // overlong
  CHECK_FALSE(ok(ValueType::text, "\xed\xa0\x80"));      // a surrogate
  CHECK_FALSE(ok(ValueType::text, "\xf4\x90\x80\x80"));  // beyond Unicode
  CHECK_FALSE(ok(ValueType::text, "\xe2\x82"));          // cut
  CHECK(ok(ValueType::text, "\xf0\x9f\x98\x80"));
  for (auto type : {ValueType::integer, ValueType::date, ValueType::instant, ValueType::duration,
                    ValueType::option}) {
    CHECK(ok(type, encode_integer(1)));
    CHECK_FALSE(ok(type, ""));
    CHECK_FALSE(ok(type, raw("\x82\x00", 2)));  // 1 in two bytes
    CHECK_FALSE(ok(type, raw("\x02\x00", 2)));  // bytes left over
    CHECK_FALSE(ok(type, raw("\x80", 1)));
    CHECK_FALSE(ok(type, "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02"));
  }
  CHECK(ok(ValueType::integer, encode_integer(kLeast)));
  CHECK(ok(ValueType::integer, encode_integer(kMost)));
  CHECK_FALSE(ok(ValueType::boolean, raw("\2", 1)));
  CHECK_FALSE(ok(ValueType::boolean, ""));
  CHECK(ok(ValueType::decimal, encode_decimal(Decimal(125, 1))));
  CHECK_FALSE(ok(ValueType::decimal, raw("\x04\x00\x00", 3)));
  CHECK_FALSE(ok(ValueType::decimal, raw("\x28\x01", 2)));  // 2.0 with a decimal too many
  CHECK_FALSE(ok(ValueType::decimal, raw("\x02\x0b", 2)));  // eleven decimals
  CHECK_FALSE(ok(ValueType::decimal, "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x00"));
  Money money{Decimal(100, 0), {'E', 'U', 'R'}, 0};
  CHECK(ok(ValueType::money, encode_money(money)));
  money.currency = {'e', 'u', 'r'};
  CHECK_FALSE(ok(ValueType::money, encode_money(money)));
  CHECK_FALSE(ok(ValueType::lookup, std::string(1, '\1') + std::string(15, 'x')));
  CHECK(ok(ValueType::lookup, std::string(1, '\1') + std::string(16, 'x')));
  CHECK_FALSE(ok(ValueType::lookup, std::string("\x81\x00", 2) + std::string(16, 'x')));
  CHECK_FALSE(ok(ValueType::local_time, encode_integer(1)));  // of which zone?
  CHECK(ok(ValueType::local_time, encode_integer(1) + "UTC"));
  CHECK_FALSE(ok(ValueType::local_time, std::string("\x82\x00", 2) + "UTC"));
  CHECK(ok(ValueType::external_id, "\3sap42"));
  CHECK_FALSE(ok(ValueType::external_id, "\3sap"));
  CHECK_FALSE(ok(ValueType::external_id, std::string("\x83\x00", 2) + "sap42"));
  CHECK(ok(ValueType::blob, std::string(32, 'h') + "\5image/png"));
  CHECK_FALSE(ok(ValueType::blob, std::string(31, 'h')));
  CHECK_FALSE(ok(static_cast<ValueType>(18), ""));
  CHECK_FALSE(ok(static_cast<ValueType>(255), ""));
}

TEST_CASE("values: rows hold valid values and no rows") {
  std::string inner = encode_row({{FieldId(1), {ValueType::text, "a"}}});
  CHECK(ok(ValueType::row, inner));
  CHECK(ok(ValueType::row, raw("\0", 1)));
  CHECK_FALSE(ok(ValueType::row, encode_row({{FieldId(1), {ValueType::row, inner}}})));
  CHECK_FALSE(ok(ValueType::row, encode_row({{FieldId(1), {ValueType::text, "\xff"}}})));
  CHECK_FALSE(ok(ValueType::row, inner + "x"));
  CHECK_FALSE(ok(ValueType::row, raw("\5", 1)));
  CHECK_FALSE(ok(ValueType::row, "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"));
}

TEST_CASE("values: dates and instants are of the years 1 to 9999, by any way in") {
  CHECK(parse_date("0001-01-01") == kMinDate);
  CHECK(parse_date("9999-12-31") == kMaxDate);
  CHECK(format_date(kMinDate) == "0001-01-01");
  CHECK(format_date(kMaxDate) == "9999-12-31");
  CHECK(format_instant(kMinInstant) == "0001-01-01T00:00:00Z");
  CHECK(format_instant(kMaxInstant) == "9999-12-31T23:59:59.999Z");
  CHECK(ok(ValueType::date, encode_integer(kMinDate)));
  CHECK(ok(ValueType::date, encode_integer(kMaxDate)));
  CHECK(ok(ValueType::instant, encode_integer(kMaxInstant)));
  for (int64_t beyond : {kMinDate - 1, kMaxDate + 1, kLeast, kMost}) {
    CHECK_FALSE(ok(ValueType::date, encode_integer(beyond)));
    CHECK_FALSE(ok(ValueType::money, encode_money({Decimal(1, 0), {'E', 'U', 'R'}, beyond})));
  }
  for (int64_t beyond : {kMinInstant - 1, kMaxInstant + 1, kLeast, kMost}) {
    CHECK_FALSE(ok(ValueType::instant, encode_integer(beyond)));
    CHECK_FALSE(ok(ValueType::local_time, encode_integer(beyond) + "UTC"));
  }
  // With their offset these lie outside.
  CHECK_FALSE(parse_instant("0001-01-01T00:00:00+01:00"));
  CHECK_FALSE(parse_instant("9999-12-31T23:59:59-01:00"));
}

TEST_CASE("values: dates and instants as text") {
  for (const char* wrong :
       {"", "2026-1-01", "2026-13-01", "2026-02-29", "2026-00-10", "2026-01-00", "0000-01-01",
        "2026-01-01x", "2026/01/01", "\xd9\xa2\xd9\xa0\xd9\xa2\xd9\xa6-01-01"}) {
    INFO(wrong);
    CHECK_FALSE(parse_date(wrong));
  }
  CHECK(parse_date("2024-02-29"));
  CHECK(parse_date("2000-02-29"));
  CHECK_FALSE(parse_date("1900-02-29"));
  for (int64_t day = kMinDate; day < kMaxDate; day += 997)
    CHECK(parse_date(format_date(day)) == day);
  CHECK(parse_instant("2026-11-22") == 20'779 * 86'400'000ll);
  CHECK(parse_instant("2026-11-22T10:00:00.5Z") == 1'795'341'600'500);
  CHECK(parse_instant("2026-11-22T12:00+02:00") == 1'795'341'600'000);
  CHECK(parse_instant("2026-11-22t10:00:00.123456789z") == 1'795'341'600'123);
  CHECK(format_instant(1'795'341'600'123) == "2026-11-22T10:00:00.123Z");
  CHECK(format_instant(-1) == "1969-12-31T23:59:59.999Z");
  for (const char* wrong :
       {"2026-11-22T10:00", "2026-11-22T24:00Z", "2026-11-22T10:60Z", "2026-11-22T10:00:60Z",
        "2026-11-22T10:00:00.Z", "2026-11-22T10:00:00Zx", "2026-11-22T10:00:00+15:00",
        "2026-11-22T10:00:00+0200", "2026-11-22 10:00Z", "2026-11-22T"}) {
    INFO(wrong);
    CHECK_FALSE(parse_instant(wrong));
  }
}

TEST_CASE("values: order within a type") {
  auto compare = [](ValueType type, std::string_view a, std::string_view b) {
    return compare_ordered({type, a}, {type, b});
  };
  CHECK(compare(ValueType::integer, encode_integer(kLeast), encode_integer(kMost)) < 0);
  CHECK(compare(ValueType::date, encode_integer(-1), encode_integer(-1)) == 0);
  CHECK(compare(ValueType::boolean, encode_boolean(true), encode_boolean(false)) > 0);
  CHECK(compare(ValueType::decimal, encode_decimal(Decimal(15, 1)), encode_decimal(Decimal(2, 0))) <
        0);
  CHECK(compare(ValueType::money, encode_money({Decimal(1, 0), {'U', 'S', 'D'}, 5}),
                encode_money({Decimal(1, 0), {'E', 'U', 'R'}, 9})) == 0);
}

TEST_CASE("values: every type has a name that leads back to it") {
  for (int i = 0; i <= kLastValueType; ++i) {
    auto type = static_cast<ValueType>(i);
    CHECK(parse_value_type(to_string(type)) == type);
  }
  CHECK(to_string(static_cast<ValueType>(kLastValueType + 1)) == "unknown");
  CHECK_FALSE(parse_value_type("float"));
}

}  // namespace
}  // namespace branchline
