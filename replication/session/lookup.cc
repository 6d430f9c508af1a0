#include "replication/session/lookup.h"

#include <limits>

#include "common/base/bytes.h"
#include "common/base/limits.h"
#include "replication/proto/link.pb.h"

namespace branchline {
namespace {

std::unexpected<Error> malformed(const char* what) {
  return fail(ErrorKind::invalid, "message.malformed", std::string("malformed message: ") + what);
}

template <typename Small>
bool fits(uint32_t v) {
  return v <= std::numeric_limits<Small>::max();
}

}  // namespace

std::string encode_lookup_request(const LookupRequest& l) {
  proto::Lookup m;
  m.set_number(l.number);
  m.set_token(l.token);
  if (l.entity.value != 0) {
    auto* r = m.mutable_read();
    r->set_entity(l.entity.value);
    if (!l.id.is_nil()) r->set_id(std::string(l.id.view()));
    r->set_index(l.index);
    r->set_key_type(static_cast<uint32_t>(l.key_type));
    r->set_key(l.key);
    r->set_timeline(l.timeline);
    for (FieldId f : l.lookups) r->add_lookups(f.value);
    for (const auto& c : l.children) {
      auto* out = r->add_children();
      out->set_entity(c.entity.value);
      out->set_field(c.field.value);
    }
  }
  for (const auto& id : l.mutations) {
    std::string bytes;
    Writer w(bytes);
    put_mutation_id(w, id);
    m.add_mutations(bytes);
  }
  return m.SerializeAsString();
}

Result<LookupRequest> decode_lookup_request(std::string_view bytes) {
  proto::Lookup m;
  if (!m.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) return malformed("look-up");
  LookupRequest l;
  l.number = m.number();
  l.token = m.token();
  if (l.number == 0 || l.token.empty() || l.token.size() > limits::kMaxLookupTokenBytes) {
    return malformed("a look-up without number or token");
  }
  if (m.has_read() != (m.mutations_size() == 0)) {
    return malformed("a look-up of a record and of mutations, or of neither");
  }
  const auto& r = m.read();
  if (m.has_read()) {
    bool narrow =
        fits<uint16_t>(r.entity()) && fits<uint16_t>(r.index()) && fits<uint8_t>(r.key_type());
    if (!narrow || r.entity() == 0 || (r.id().empty() ? r.key().empty() : r.id().size() != 16)) {
      return malformed("a look-up that names no record");
    }
    if (size_t(r.lookups_size()) > limits::kMaxLookupParts ||
        size_t(r.children_size()) > limits::kMaxLookupParts) {
      return malformed("a look-up of too many parts");
    }
    l.entity = EntityId(static_cast<uint16_t>(r.entity()));
    if (!r.id().empty()) l.id = RecordId::from_bytes(r.id());
    l.index = static_cast<uint16_t>(r.index());
    l.key_type = static_cast<ValueType>(r.key_type());
    l.key = r.key();
    l.timeline = r.timeline();
    for (uint32_t f : r.lookups()) {
      if (!fits<uint16_t>(f)) return malformed("a field's number");
      l.lookups.emplace_back(static_cast<uint16_t>(f));
    }
    for (const auto& c : r.children()) {
      if (!fits<uint16_t>(c.entity()) || !fits<uint16_t>(c.field()))
        return malformed("a field's number");
      l.children.push_back(
          {EntityId(static_cast<uint16_t>(c.entity())), FieldId(static_cast<uint16_t>(c.field()))});
    }
  }
  if (size_t(m.mutations_size()) > limits::kMaxSessionStreams)
    return malformed("a look-up of too many mutations");
  for (const auto& bytes_of_one : m.mutations()) {
    Reader one(bytes_of_one);
    l.mutations.push_back(get_mutation_id(one));
    if (!one.done()) return malformed("a mutation's id");
  }
  return l;
}

std::string encode_lookup_answer(const LookupAnswer& a) {
  proto::LookupAnswer m;
  m.set_number(a.number);
  if (a.error) {
    m.set_kind(static_cast<uint32_t>(a.error->kind));
    m.set_code(a.error->code);
    m.set_message(a.error->message);
    return m.SerializeAsString();
  }
  m.set_line(a.line.value);
  m.set_csn(a.csn.value);
  if (!a.id.is_nil()) m.set_id(std::string(a.id.view()));
  m.set_rows(a.rows);
  for (const auto& d : a.decisions) {
    auto* out = m.add_decisions();
    out->set_csn(d.csn.value);
    out->set_lost(d.lost);
  }
  return m.SerializeAsString();
}

Result<LookupAnswer> decode_lookup_answer(std::string_view bytes) {
  proto::LookupAnswer m;
  if (!m.ParseFromArray(bytes.data(), static_cast<int>(bytes.size())))
    return malformed("answer to a look-up");
  LookupAnswer a;
  a.number = m.number();
  if (!m.code().empty()) {
    if (m.kind() > static_cast<uint32_t>(ErrorKind::shutdown))
      return malformed("an unknown kind of error");
    a.error = Error{static_cast<ErrorKind>(m.kind()), m.code(), m.message()};
    return a;
  }
  a.line = LineId(m.line());
  a.csn = Csn(m.csn());
  if (!m.id().empty() && m.id().size() != 16) return malformed("a record's id");
  if (!m.id().empty()) a.id = RecordId::from_bytes(m.id());
  a.rows = m.rows();
  for (const auto& d : m.decisions()) a.decisions.push_back({Csn(d.csn()), d.lost()});
  return a;
}

}  // namespace branchline
