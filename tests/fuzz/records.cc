// A record as it is stored and as a snapshot brings it: what is accepted has one meaning, and can
// be read, summed, changed and put away again.
#include "common/record/record.h"

#include "tests/fuzz/target.h"

using namespace branchline;

namespace {

constexpr RecordKey kKey{};

void same(const Record& x, const Record& y) {
  fuzz::require(x.state() == y.state() && x.territory() == y.territory() &&
                x.also_in() == y.also_in() && x.target() == y.target() &&
                x.pending() == y.pending());
  fuzz::require(x.state_version() == y.state_version() &&
                x.created_version() == y.created_version());
  fuzz::require(x.cells().size() == y.cells().size());
  for (size_t i = 0; i < x.cells().size(); ++i) {
    const Cell &a = x.cells()[i], &b = y.cells()[i];
    fuzz::require(a.field == b.field && x.version(a) == y.version(b));
    fuzz::require(x.value(a).type == y.value(b).type && x.value(a).payload == y.value(b).payload);
  }
  fuzz::require(record_sum(x) == record_sum(y));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  auto record = Record::decode(kKey, std::string(fuzz::text(data, size)));
  if (!record) return 0;
  const std::string flat = record->encode();
  auto again = Record::decode(kKey, flat);
  fuzz::require(again.has_value());
  same(*record, *again);
  fuzz::require(again->encode() == flat);

  // An edit and its undoing.
  Version version;
  version.id.seq = Seq(77);
  const FieldId field(3);
  const Cell* found = record->find(field);
  const std::optional<Cell> before = found ? std::optional(*found) : std::nullopt;
  record->set(field, version, {ValueType::text, "edited"});
  record->compact();
  auto edited = Record::decode(kKey, record->encode());
  fuzz::require(edited.has_value());
  fuzz::require(edited->value(field).payload == "edited");
  (void)record->last_version();
  if (!before) {
    record->remove_cell(field);
    fuzz::require(record_sum(*record) == record_sum(*again));
  }
  return 0;
}
