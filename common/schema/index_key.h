// Order-preserving bytes of values, for index keys: memcmp of the bytes sorts as people expect the
// values to. Text sorts and compares by ICU's root collation, without regard to case.
#pragma once

#include <string>
#include <string_view>

#include "common/record/value.h"

namespace branchline {

// Longest part of an index key that a text takes; equal prefixes are told apart on the record.
inline constexpr size_t kMaxTextKeyBytes = 64;

// Appends one value: a byte that says null or not, then bytes that no other value's bytes are a
// prefix of.
void put_index_value(std::string& out, const Value& value);

// What identifies the bytes that put_index_value() makes of a text: the ICU that runs, its collator
// and how much of a key is kept. Another ICU may make other bytes, so whoever stores them stores
// this beside them.
std::string collation_version();
// The whole collation key of a text (unbounded), for sorting and comparing in memory.
std::string collation_key(std::string_view text);
// As put_index_value does, but all of a text: two values are equal for a user iff these are.
std::string comparison_key(const Value& value);
// Folded for `contains`, `startswith`, `endswith`: case does not matter.
std::string fold_case(std::string_view text);

}  // namespace branchline
