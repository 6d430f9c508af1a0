#include "common/record/value.h"

#include <limits>

namespace branchline {
namespace {

constexpr std::string_view kTypeNames[] = {
    "null",  "text",    "integer",    "decimal",     "money",  "boolean",
    "date",  "instant", "local_time", "duration",    "option", "lookup",
    "phone", "email",   "url",        "external_id", "blob",   "row"};

// The shortest form is the only valid one: equal values must have equal bytes.
uint64_t shortest_varint(Reader& r) {
  size_t before = r.remaining();
  uint64_t v = r.varint();
  size_t used = before - r.remaining();
  if (r.ok() && used > 1 && v >> (7 * (used - 1)) == 0) r.fail();
  return v;
}

Decimal read_decimal(Reader& r, bool& canonical) {
  int64_t mantissa = unzigzag(shortest_varint(r));
  int scale = r.u8();
  // The least integer has no negative (Decimal::negated).
  if (scale > Decimal::kMaxScale || mantissa == std::numeric_limits<int64_t>::min()) {
    r.fail();
    canonical = false;
    return {};
  }
  Decimal d(mantissa, scale);
  canonical = d.mantissa() == mantissa && d.scale() == scale;
  return d;
}

void write_decimal(Writer& w, const Decimal& d) {
  w.svarint(d.mantissa());
  w.u8(static_cast<uint8_t>(d.scale()));
}

bool is_integer(std::string_view payload, int64_t least, int64_t most) {
  Reader r(payload);
  int64_t v = unzigzag(shortest_varint(r));
  return r.done() && v >= least && v <= most;
}

constexpr int64_t kLeast = std::numeric_limits<int64_t>::min();
constexpr int64_t kMost = std::numeric_limits<int64_t>::max();

bool two_digits(std::string_view text, size_t at, int& out) {
  if (at + 2 > text.size() || text[at] < '0' || text[at] > '9' || text[at + 1] < '0' ||
      text[at + 1] > '9') {
    return false;
  }
  out = (text[at] - '0') * 10 + (text[at + 1] - '0');
  return true;
}

}  // namespace

std::string_view to_string(ValueType type) {
  auto at = static_cast<size_t>(type);
  return at < std::size(kTypeNames) ? kTypeNames[at] : "unknown";
}

std::optional<ValueType> parse_value_type(std::string_view name) {
  for (size_t i = 0; i < std::size(kTypeNames); ++i) {
    if (kTypeNames[i] == name) return static_cast<ValueType>(i);
  }
  return std::nullopt;
}

std::string encode_integer(int64_t v) {
  std::string out;
  Writer(out).svarint(v);
  return out;
}

std::string encode_boolean(bool v) { return std::string(1, v ? '\1' : '\0'); }

std::string encode_decimal(const Decimal& v) {
  std::string out;
  Writer w(out);
  write_decimal(w, v);
  return out;
}

std::string encode_money(const Money& v) {
  std::string out;
  Writer w(out);
  write_decimal(w, v.amount);
  w.bytes({v.currency.data(), 3});
  w.svarint(v.rate_date);
  return out;
}

std::string encode_lookup(const Lookup& v) {
  std::string out;
  Writer w(out);
  w.varint(v.entity.value);
  w.id(v.id);
  return out;
}

int64_t decode_integer(std::string_view payload) { return Reader(payload).svarint(); }

bool decode_boolean(std::string_view payload) { return payload == std::string_view("\1", 1); }

Decimal decode_decimal(std::string_view payload) {
  Reader r(payload);
  bool canonical;
  return read_decimal(r, canonical);
}

Money decode_money(std::string_view payload) {
  Reader r(payload);
  Money m;
  bool canonical;
  m.amount = read_decimal(r, canonical);
  std::string_view currency = r.bytes(3);
  if (currency.size() == 3) m.currency = {currency[0], currency[1], currency[2]};
  m.rate_date = r.svarint();
  return m;
}

Lookup decode_lookup(std::string_view payload) {
  Reader r(payload);
  Lookup l;
  l.entity = EntityId(static_cast<uint16_t>(r.varint_max(0xffff)));
  l.id = r.id();
  return l;
}

std::string encode_row(const std::vector<RowField>& fields) {
  std::string out;
  Writer w(out);
  w.varint(fields.size());
  for (const auto& f : fields) {
    w.varint(f.field.value);
    w.u8(static_cast<uint8_t>(f.value.type));
    w.blob(f.value.payload);
  }
  return out;
}

std::vector<RowField> decode_row(std::string_view payload) {
  Reader r(payload);
  std::vector<RowField> fields(r.varint_max(payload.size()));
  for (auto& f : fields) {
    f.field = FieldId(static_cast<uint16_t>(r.varint_max(0xffff)));
    f.value.type = static_cast<ValueType>(r.u8());
    f.value.payload = r.blob();
  }
  if (!r.done()) fields.clear();
  return fields;
}

bool valid(const Value& value) {
  std::string_view p = value.payload;
  switch (value.type) {
    case ValueType::null:
      return p.empty();
    case ValueType::text:
    case ValueType::phone:
    case ValueType::email:
    case ValueType::url:
      return is_utf8(p);
    case ValueType::integer:
    case ValueType::duration:
    case ValueType::option:
      return is_integer(p, kLeast, kMost);
    case ValueType::date:
      return is_integer(p, kMinDate, kMaxDate);
    case ValueType::instant:
      return is_integer(p, kMinInstant, kMaxInstant);
    case ValueType::boolean:
      return p.size() == 1 && static_cast<uint8_t>(p[0]) <= 1;
    case ValueType::decimal: {
      Reader r(p);
      bool canonical = false;
      read_decimal(r, canonical);
      return r.done() && canonical;
    }
    case ValueType::money: {
      Reader r(p);
      bool canonical = false;
      read_decimal(r, canonical);
      std::string_view currency = r.bytes(3);
      int64_t rate_date = unzigzag(shortest_varint(r));
      if (!r.done() || !canonical || rate_date < kMinDate || rate_date > kMaxDate) return false;
      for (char c : currency) {
        if (c < 'A' || c > 'Z') return false;
      }
      return true;
    }
    case ValueType::lookup: {
      Reader r(p);
      uint64_t entity = shortest_varint(r);
      r.id();
      return r.done() && entity <= 0xffff;
    }
    case ValueType::local_time: {
      Reader r(p);
      int64_t ms = unzigzag(shortest_varint(r));
      return r.ok() && ms >= kMinInstant && ms <= kMaxInstant && !r.rest().empty() &&
             is_utf8(r.rest());
    }
    case ValueType::external_id: {
      Reader r(p);
      std::string_view system = r.bytes(shortest_varint(r));
      return r.ok() && !r.rest().empty() && is_utf8(system) && is_utf8(r.rest());
    }
    case ValueType::blob: {
      Reader r(p);
      r.bytes(32);
      shortest_varint(r);
      return r.ok() && is_utf8(r.rest());
    }
    case ValueType::row: {
      Reader r(p);
      uint64_t count = shortest_varint(r);
      for (uint64_t i = 0; i < count && r.ok(); ++i) {
        uint64_t field = shortest_varint(r);
        uint8_t type = r.u8();
        std::string_view payload = r.bytes(shortest_varint(r));
        // Rows do not nest.
        if (!r.ok() || field > 0xffff || type >= static_cast<uint8_t>(ValueType::row)) return false;
        if (!valid({static_cast<ValueType>(type), payload})) return false;
      }
      return r.done();
    }
  }
  return false;
}

int compare_ordered(const Value& a, const Value& b) {
  if (a.type == ValueType::decimal) {
    return Decimal::compare(decode_decimal(a.payload), decode_decimal(b.payload));
  }
  if (a.type == ValueType::money) {
    return Decimal::compare(decode_money(a.payload).amount, decode_money(b.payload).amount);
  }
  if (a.type == ValueType::boolean) {
    return int(decode_boolean(a.payload)) - int(decode_boolean(b.payload));
  }
  int64_t x = decode_integer(a.payload), y = decode_integer(b.payload);
  return x < y ? -1 : x > y ? 1 : 0;
}

int64_t days_from_civil(int year, int month, int day) {
  int64_t y = month <= 2 ? year - 1 : year;
  int64_t era = (y >= 0 ? y : y - 399) / 400;
  int64_t yoe = y - era * 400;
  int64_t doy = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
  int64_t doe = yoe * 365 + yoe / 4 - yoe / 100 + doy;
  return era * 146097 + doe - 719468;
}

CivilDate civil_from_days(int64_t days) {
  days += 719468;
  int64_t era = (days >= 0 ? days : days - 146096) / 146097;
  int64_t doe = days - era * 146097;
  int64_t yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
  int64_t doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
  int64_t mp = (5 * doy + 2) / 153;
  int day = static_cast<int>(doy - (153 * mp + 2) / 5 + 1);
  int month = static_cast<int>(mp < 10 ? mp + 3 : mp - 9);
  return {static_cast<int>(yoe + era * 400 + (month <= 2 ? 1 : 0)), month, day};
}

std::optional<int64_t> parse_date(std::string_view text) {
  int high, low, month, day;
  if (text.size() != 10 || text[4] != '-' || text[7] != '-' || !two_digits(text, 0, high) ||
      !two_digits(text, 2, low) || !two_digits(text, 5, month) || !two_digits(text, 8, day)) {
    return std::nullopt;
  }
  int year = high * 100 + low;
  if (year < 1 || month < 1 || month > 12 || day < 1) return std::nullopt;
  int64_t days = days_from_civil(year, month, day);
  CivilDate back = civil_from_days(days);
  if (back.month != month || back.day != day) return std::nullopt;
  return days;
}

std::optional<int64_t> parse_instant(std::string_view text) {
  if (text.size() < 10) return std::nullopt;
  auto days = parse_date(text.substr(0, 10));
  if (!days) return std::nullopt;
  int64_t ms = *days * 86'400'000;
  if (text.size() == 10) return ms;
  int hour, minute, second = 0;
  if ((text[10] != 'T' && text[10] != 't') || !two_digits(text, 11, hour) || text.size() < 16 ||
      text[13] != ':' || !two_digits(text, 14, minute) || hour > 23 || minute > 59) {
    return std::nullopt;
  }
  size_t at = 16;
  int64_t fraction = 0;
  if (at < text.size() && text[at] == ':') {
    if (!two_digits(text, at + 1, second) || second > 59) return std::nullopt;
    at += 3;
    if (at < text.size() && text[at] == '.') {
      size_t start = ++at;
      int64_t unit = 100;
      for (; at < text.size() && text[at] >= '0' && text[at] <= '9'; ++at, unit /= 10) {
        fraction += (text[at] - '0') * unit;
      }
      if (at == start) return std::nullopt;
    }
  }
  ms += ((hour * 60 + minute) * 60 + second) * 1000ll + fraction;
  if (at == text.size()) return std::nullopt;  // which zone?
  if (text[at] == 'Z' || text[at] == 'z')
    return at + 1 == text.size() ? std::optional(ms) : std::nullopt;
  int offset_hour, offset_minute;
  if ((text[at] != '+' && text[at] != '-') || text.size() != at + 6 || text[at + 3] != ':' ||
      !two_digits(text, at + 1, offset_hour) || !two_digits(text, at + 4, offset_minute) ||
      offset_hour > 14 || offset_minute > 59) {
    return std::nullopt;
  }
  int64_t offset = (offset_hour * 60 + offset_minute) * 60'000ll;
  ms = text[at] == '+' ? ms - offset : ms + offset;
  if (ms < kMinInstant || ms > kMaxInstant) return std::nullopt;
  return ms;
}

namespace {

// By hand: a record has several, and printf costs more than the rest of writing it.
void append_digits(std::string& out, int64_t value, int width) {
  char digits[20];
  for (int i = width; i > 0; --i, value /= 10) digits[i - 1] = static_cast<char>('0' + value % 10);
  out.append(digits, static_cast<size_t>(width));
}

void append_date(std::string& out, int64_t days) {
  CivilDate d = civil_from_days(days);
  if (d.year < 0 || d.year > 9999) {
    out += std::to_string(d.year);
  } else {
    append_digits(out, d.year, 4);
  }
  out.push_back('-');
  append_digits(out, d.month, 2);
  out.push_back('-');
  append_digits(out, d.day, 2);
}

}  // namespace

std::string format_date(int64_t days) {
  std::string out;
  append_date(out, days);
  return out;
}

std::string format_instant(int64_t ms) {
  int64_t days = ms >= 0 ? ms / 86'400'000 : -((86'399'999 - ms) / 86'400'000);
  int64_t rest = ms - days * 86'400'000;
  std::string out;
  out.reserve(24);
  append_date(out, days);
  out.push_back('T');
  append_digits(out, rest / 3'600'000, 2);
  out.push_back(':');
  append_digits(out, rest / 60'000 % 60, 2);
  out.push_back(':');
  append_digits(out, rest / 1000 % 60, 2);
  if (rest % 1000 != 0) {
    out.push_back('.');
    append_digits(out, rest % 1000, 3);
  }
  out.push_back('Z');
  return out;
}

bool is_utf8(std::string_view s) {
  size_t i = 0;
  while (i < s.size()) {
    uint8_t c = static_cast<uint8_t>(s[i]);
    if (c < 0x80) {
      ++i;
      continue;
    }
    size_t length = c >= 0xf0 ? 4 : c >= 0xe0 ? 3 : 2;
    if (c < 0xc2 || c > 0xf4 || i + length > s.size()) return false;
    uint32_t code = c & (0xffu >> (length + 1));
    for (size_t k = 1; k < length; ++k) {
      uint8_t next = static_cast<uint8_t>(s[i + k]);
      if ((next & 0xc0) != 0x80) return false;
      code = code << 6 | (next & 0x3f);
    }
    bool overlong = (length == 3 && code < 0x800) || (length == 4 && code < 0x10000);
    if (overlong || code > 0x10ffff || (code >= 0xd800 && code <= 0xdfff)) return false;
    i += length;
  }
  return true;
}

}  // namespace branchline
