#include "replication/merge/element.h"

namespace branchline {

Element Element::make(const Version& version, const Value& value) {
  Element e;
  e.version = version;
  e.type_and_payload.push_back(static_cast<char>(value.type));
  e.type_and_payload.append(value.payload);
  return e;
}

std::string encode_element(const Element& element) {
  std::string out;
  Writer w(out);
  w.u8(1);  // format
  put_version(w, element.version);
  w.bytes(element.type_and_payload);
  return out;
}

Result<Element> decode_element(std::string_view bytes) {
  Reader r(bytes);
  uint8_t format = r.u8();
  Element e;
  e.version = get_version(r);
  e.type_and_payload = std::string(r.rest());
  if (!r.ok() || format != 1 || e.type_and_payload.empty() || !valid(e.value())) {
    return fail(ErrorKind::corrupt, "element.corrupt", "an element's stored bytes are damaged");
  }
  return e;
}

}  // namespace branchline
