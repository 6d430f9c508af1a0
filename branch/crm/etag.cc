#include "branch/crm/etag.h"

namespace branchline {

uint64_t etag_of(const Record& record, const Entity& entity) {
  thread_local std::string bytes;
  bytes.clear();
  Writer w(bytes);
  w.u8(static_cast<uint8_t>(record.state()));
  put_mutation_id(w, record.state_version().id);
  for (const auto& cell : record.cells()) {
    w.fixed16(cell.field.value);
    put_mutation_id(w, record.version(cell).id);
    const Field* field = entity.field(cell.field);
    // A lookup that followed the merge of two records has its old version and another value.
    bool computed =
        field && (field->policy == Policy::sum || field->policy == Policy::escrow ||
                  field->derived.kind != Derived::Kind::none || field->type == ValueType::lookup);
    if (computed) w.bytes(record.value(cell).payload);
  }
  return hash64(bytes);
}

std::string etag_text(uint64_t etag) { return "W/\"" + to_hex(etag) + "\""; }

}  // namespace branchline
