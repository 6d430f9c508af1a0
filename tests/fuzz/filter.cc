// A client's $filter, evaluated on a record where it parses.
#include "branch/api/filter_parser.h"

#include "tests/fuzz/target.h"

using namespace branchline;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const auto schema = Schema::built_in();
  static const Entity& account = *schema->entity("account");
  static const Record record = [] {
    Version version;
    version.id.seq = Seq(1);
    Record r({account.id, {}}, TerritoryId(3), {}, version);
    std::string money = encode_money({Decimal(125, 1), {'U', 'S', 'D'}, 0}),
                number = encode_integer(7);
    r.set(account.field("name")->id, version, {ValueType::text, "Acme"});
    r.set(account.field("creditlimit")->id, version, {ValueType::money, money});
    r.set(account.field("numberofemployees")->id, version, {ValueType::integer, number});
    r.set(account.field("lastcontacted")->id, version, {ValueType::instant, number});
    return r;
  }();
  auto filter =
      parse_filter(fuzz::text(data, size), account, [](const RecordId&) { return int64_t(3); });
  if (filter) (void)holds(*filter, record);
  return 0;
}
