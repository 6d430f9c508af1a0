// An element of a `set` or `append` field as stored, apart from its record (SEMANTICS 11).
#pragma once

#include "common/record/record.h"

namespace branchline {

struct Element {
  Version version;  // version.id is the key's mutation
  std::string type_and_payload;

  Value value() const {
    return {static_cast<ValueType>(type_and_payload[0]),
            std::string_view(type_and_payload).substr(1)};
  }
  static Element make(const Version& version, const Value& value);
};

std::string encode_element(const Element& element);
Result<Element> decode_element(std::string_view bytes);

}  // namespace branchline
