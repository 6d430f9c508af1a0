// A CSV file for the importer: read to its end in every encoding, each whole row written and read
// again is the same, and a mapping makes of it mutations and rejections. The first byte chooses the
// delimiter.
#include "tests/fuzz/target.h"
#include "tools/branchline/import/csv_reader.h"
#include "tools/branchline/import/import_plan.h"
#include "tools/branchline/import/mapping.h"
#include "tools/branchline/import/text_encoding.h"

using namespace branchline;
using namespace branchline::import;

namespace {

constexpr std::string_view kMapping = R"(version: 1
name: fuzz
records:
  - set: accounts
    key: {accountnumber: "{id}"}
    repeated: reject
    fields:
      name: "{name|last word}"
      creditlimit: {value: "{amount}", decimal_mark: ","}
      lastcontacted: {value: "{last}", date: M/D/YYYY}
      revenue: {formula: "{amount} * {count} - [creditlimit]", scale: 2}
      parentaccountid: {value: "{parent}", lookup: accounts(accountnumber)}
)";

void check(const Mapping& mapping, std::string_view text, char delimiter) {
  CsvReader reader(text, {delimiter, 200, 40});
  auto header = reader.next();
  if (!header) return;
  std::optional<Planner> planner;
  if (auto made = Planner::create(mapping, *header, {})) planner.emplace(std::move(*made));
  size_t position = reader.position(), number = header->number;
  while (auto row = reader.next()) {
    fuzz::require(reader.position() > position && row->number > number);
    position = reader.position();
    number = row->number;
    fuzz::require(row->fields.size() <= 40);
    if (row->problem.empty()) {
      const std::string line = csv_line(row->fields, delimiter);
      auto again = CsvReader(line, {delimiter, 200, 40}).next();
      fuzz::require(again && again->problem.empty() && again->fields == row->fields);
    }
    (void)visible(row->problem);
    if (planner) planner->add(std::move(*row));
  }
  fuzz::require(reader.position() == text.size());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const auto schema = Schema::built_in();
  static const auto mapping = parse_mapping(kMapping, "fuzz.yaml", *schema);
  fuzz::require(mapping.has_value());
  if (size == 0) return 0;
  static constexpr std::string_view kDelimiters = ",;\t|";
  const char delimiter = kDelimiters[data[0] % kDelimiters.size()];
  std::string_view text = fuzz::text(data + 1, size - 1);
  auto encoding = settle_encoding(text, Encoding::detect);
  if (!encoding) return 0;
  if (*encoding == Encoding::latin1) {
    check(*mapping, utf8_from_latin1(text), delimiter);
  } else {
    check(*mapping, text, delimiter);
  }
  return 0;
}
