// A client's request body: JSON, then bound to an account as a new record and as an edit, and to
// one property.
#include "branch/api/odata_body.h"
#include "common/record/value.h"
#include "tests/fuzz/target.h"

using namespace branchline;

namespace {

void check(const RecordInput& input) {
  for (const auto& f : input.fields) {
    fuzz::require(valid(f.value.view()));
    for (const auto& e : f.elements) fuzz::require(valid(e.view()));
  }
  for (const auto& child : input.children) {
    for (const auto& r : child.records) check(r);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const auto schema = Schema::built_in();
  static const BodyContext context{
      schema,
      [](const Entity&, const Index&, const OwnedValue&) -> Result<RecordId> {
        return fail(ErrorKind::not_found, "fuzz.none", "no such record");
      },
      [](const RecordId&) { return std::string("east"); }};
  auto json = parse_json(fuzz::text(data, size));
  if (!json) return 0;
  for (const char* name : {"accounts", "salesorders", "tasks", "annotations"}) {
    auto set = schema->set(name);
    if (!set) continue;
    for (bool create : {true, false}) {
      if (auto input = parse_record_body(context, *set, *json, create)) check(*input);
    }
  }
  (void)parse_property(context, *schema->entity("account"), "creditlimit", *json);
  return 0;
}
