#include "common/schema/index_key.h"

#include <unicode/bytestream.h>
#include <unicode/casemap.h>
#include <unicode/coll.h>
#include <unicode/uversion.h>

#include <memory>

#include "common/base/check.h"

namespace branchline {
namespace {

// Collators are not safe to share between threads while they work.
icu::Collator& collator() {
  thread_local std::unique_ptr<icu::Collator> instance = [] {
    UErrorCode status = U_ZERO_ERROR;
    std::unique_ptr<icu::Collator> c(icu::Collator::createInstance(icu::Locale::getRoot(), status));
    BL_CHECK(U_SUCCESS(status));
    // Secondary: accents count, case does not.
    c->setAttribute(UCOL_STRENGTH, UCOL_SECONDARY, status);
    BL_CHECK(U_SUCCESS(status));
    return c;
  }();
  return *instance;
}

std::string dotted(const UVersionInfo& version) {
  char text[U_MAX_VERSION_STRING_LENGTH];
  u_versionToString(version, text);
  return text;
}

void put_ordered(std::string& out, int64_t v) {
  Writer(out).fixed64(static_cast<uint64_t>(v) ^ (1ull << 63));
}

void put_decimal(std::string& out, const Decimal& d) {
  __int128 v = d.mantissa();
  for (int s = d.scale(); s < Decimal::kMaxScale; ++s) v *= 10;
  auto flipped = static_cast<unsigned __int128>(v) ^ (static_cast<unsigned __int128>(1) << 127);
  Writer w(out);
  w.fixed64(static_cast<uint64_t>(flipped >> 64));
  w.fixed64(static_cast<uint64_t>(flipped));
}

// Bytes without zeros, then a zero: the shorter of two with one beginning sorts first.
void put_terminated(std::string& out, std::string_view bytes) {
  out.append(bytes);
  out.push_back('\0');
}

void put_value(std::string& out, const Value& value, size_t text_limit) {
  if (value.is_null()) {
    out.push_back('\0');
    return;
  }
  out.push_back('\1');
  switch (value.type) {
    case ValueType::integer:
    case ValueType::date:
    case ValueType::instant:
    case ValueType::duration:
    case ValueType::option:
    case ValueType::local_time:
      put_ordered(out, decode_integer(value.payload));
      break;
    case ValueType::decimal:
      put_decimal(out, decode_decimal(value.payload));
      break;
    case ValueType::money:
      put_decimal(out, decode_money(value.payload).amount);
      break;
    case ValueType::boolean:
      out.push_back(decode_boolean(value.payload) ? '\1' : '\0');
      break;
    case ValueType::lookup: {
      Lookup l = decode_lookup(value.payload);
      Writer w(out);
      w.fixed16(l.entity.value);
      w.id(l.id);
      break;
    }
    default: {
      std::string key = collation_key(value.payload);
      if (key.size() > text_limit) key.resize(text_limit);
      put_terminated(out, key);
    }
  }
}

}  // namespace

void put_index_value(std::string& out, const Value& value) {
  put_value(out, value, kMaxTextKeyBytes);
}

std::string comparison_key(const Value& value) {
  std::string out;
  put_value(out, value, ~size_t{0});
  return out;
}

// What Table::index holds of a record beside its texts' order; raised where crm.yaml's indexes
// change what the rows of a record are, so that a store that has the old ones is rebuilt.
// 2: lookups to records that can be merged are found at the master too; deleted children have a row
// beneath the record that they belong to.
constexpr int kIndexRows = 2;

std::string collation_version() {
  // The collator's own version covers code and data of collation, UCA's included, by ICU's word;
  // the library's stands beside it because normalization and the order of new letters come with it
  // too. A rebuild too many is cheap, a row that is not found is not. "rows": which rows
  // there are.
  UVersionInfo library, keys;
  u_getVersion(library);
  collator().getVersion(keys);
  return "ICU " + dotted(library) + ", root collator " + dotted(keys) + ", secondary, " +
         std::to_string(kMaxTextKeyBytes) + " bytes, rows " + std::to_string(kIndexRows);
}

std::string collation_key(std::string_view text) {
  icu::UnicodeString u =
      icu::UnicodeString::fromUTF8({text.data(), static_cast<int32_t>(text.size())});
  uint8_t small[256];
  int32_t n = collator().getSortKey(u, small, sizeof small);
  if (n <= static_cast<int32_t>(sizeof small)) {
    return {reinterpret_cast<char*>(small), static_cast<size_t>(n > 0 ? n - 1 : 0)};
  }
  std::string key(static_cast<size_t>(n), '\0');
  collator().getSortKey(u, reinterpret_cast<uint8_t*>(key.data()), n);
  key.pop_back();  // the terminating zero
  return key;
}

std::string fold_case(std::string_view text) {
  bool ascii = true;
  for (char c : text) ascii = ascii && static_cast<uint8_t>(c) < 0x80;
  std::string out;
  if (ascii) {
    out.reserve(text.size());
    for (char c : text) out.push_back(c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c);
    return out;
  }
  UErrorCode status = U_ZERO_ERROR;
  icu::StringByteSink<std::string> sink(&out);
  icu::CaseMap::utf8Fold(0, {text.data(), static_cast<int32_t>(text.size())}, sink, nullptr,
                         status);
  return U_SUCCESS(status) ? out : std::string(text);
}

}  // namespace branchline
